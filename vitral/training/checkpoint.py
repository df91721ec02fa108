"""Checkpoints that are either whole or not there.

    checkpoints/step-00000500/tensors.safetensors   everything that is a tensor, by name
                              state.json            everything that is a number
                              manifest.json         SHA-256 and size of the two, written last
    checkpoints/latest                              the name of the newest whole one

A save writes into `step-N.tmp`, flushes every file to the disk, renames the folder, moves the pointer and
only then removes old ones; a crash at any moment leaves the previous checkpoint usable. A read trusts only
what its manifest vouches for, and falls back to the next older one that is whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitral.errors import StorageError
from vitral.files import flush, replace_durably, write_durably

TENSORS, STATE, MANIFEST, LATEST = "tensors.safetensors", "state.json", "manifest.json", "latest"
OLD = ".old"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: tensors by name, plain numbers, and the steps whose folders were found torn."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]
    rejected: tuple[str, ...] = ()


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], keep: int) -> Path:
    """Commit a checkpoint of `step` under `folder` and remove all but the newest `keep`; return its path.

    Raises:
        StorageError: it could not be written; the older ones are untouched.
    """
    final = folder / f"step-{step:08d}"
    aside = final.with_suffix(".tmp")
    needed = sum(tensor.nbytes for tensor in tensors.values())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, aside / TENSORS)
        write_durably(aside / STATE, json.dumps(state).encode())
        flush(aside / TENSORS)
        manifest = {name: _seal(aside / name) for name in (TENSORS, STATE)}
        write_durably(aside / MANIFEST, json.dumps(manifest, indent=1).encode())
        flush(aside)
        if not _holds(final, manifest):  # else the same step again, after a resume: the same bytes are there already
            _exchange(final, aside)
        shutil.rmtree(aside, ignore_errors=True)
        flush(folder)
        replace_durably(folder / LATEST, final.name.encode())
        _prune(folder, step, keep)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        free = shutil.disk_usage(folder if folder.is_dir() else folder.parent).free
        raise StorageError(
            f"cannot save the checkpoint of step {step} in {folder} ({_reason(error)}): it needs "
            f"{needed / 1e6:.1f} MB and {free / 1e6:.1f} MB are free; earlier checkpoints are untouched."
        ) from error
    return final


def load_latest(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint, on the CPU, or `None` where there is none at all.

    Raises:
        StorageError: there are checkpoints, but not one of them is whole.
    """
    rejected: list[str] = []
    for old in list(folder.glob(f"step-*{OLD}")):  # a crash between the two renames of an exchange
        if not old.with_suffix("").exists():
            old.rename(old.with_suffix(""))
    candidates = _steps(folder)[::-1]
    if (folder / LATEST).is_file():  # what it names was committed last; anything newer never was
        committed = folder / (folder / LATEST).read_text()
        candidates.sort(key=lambda candidate: candidate != committed)
    for candidate in candidates:
        if _is_whole(candidate):
            state = json.loads((candidate / STATE).read_text())
            return Checkpoint(load_file(candidate / TENSORS), state, tuple(rejected))
        rejected.append(candidate.name)
    if rejected:
        raise StorageError(
            f"no checkpoint in {folder} is whole ({', '.join(rejected)}): start afresh with another --out."
        )
    return None


def _seal(path: Path) -> dict[str, str | int]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def _exchange(final: Path, aside: Path) -> None:
    """Give `aside` the place of `final`, which may hold the same step from before its evaluation was finished."""
    old = final.with_suffix(OLD)
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    aside.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def _holds(folder: Path, manifest: Mapping[str, Any]) -> bool:
    return _is_whole(folder) and json.loads((folder / MANIFEST).read_text()) == manifest


def _is_whole(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        return set(manifest) == {TENSORS, STATE} and all(_seal(folder / name) == manifest[name] for name in manifest)
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _prune(folder: Path, step: int, keep: int) -> None:
    """Keep the newest `keep` up to `step`; what is newer was never committed, and will be made again."""
    made = _steps(folder)
    current = made.index(folder / f"step-{step:08d}") + 1
    for old in made[: max(0, current - keep)] + made[current:]:
        shutil.rmtree(old, ignore_errors=True)


def _steps(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest first."""
    found = {int(path.name[5:]): path for path in folder.glob("step-*") if path.name[5:].isdecimal()}
    return [found[step] for step in sorted(found)]


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
