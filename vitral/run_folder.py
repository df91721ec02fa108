"""The folder of a run: described once, held by one process at a time, opened again only for the same run."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vitral.config import RunConfig
from vitral.datasets.dataset import TEST, TRAIN, VALIDATION, Dataset
from vitral.datasets.fingerprint import fingerprint
from vitral.errors import StorageError, UsageError
from vitral.files import replace_durably
from vitral.frozen import decays
from vitral.overrides import differences, from_json, override, to_json
from vitral.planning import Plan, model_words
from vitral.serving.device import choose_device
from vitral.training import checkpoint
from vitral.training.log import JsonLines
from vitral.training.loop import Progress
from vitral.training.schedule import Schedule
from vitral.version import VERSION
from vitral.weights.folder import recover

MAY_CHANGE = (
    "runtime.", "data.path", "data.image_folder", "data.max_pixels", "data.on_bad_image", "training.keep_checkpoints",
    "training.micro_batch_size",
)  # fmt: skip
"""Settings that change no step that has been made: a run may go on with other values of them."""

LOCK = ".lock"
"""A file that a process holds locked while it writes into the folder."""

OWN = {"config.json", "data.json", "environment.json", "sweep.json"}
"""What a start writes first; a start that died among them left a folder that the next one takes."""

OF_A_SWEEP = {"sweep", "features"}
"""What a sweep writes before its final run begins."""


def resumes(plan: Plan, folder: Path) -> bool:
    """Whether the folder already holds this run.

    Raises:
        UsageError: it holds another one; the difference is shown.
    """
    if not _begun(folder) or not _has_steps(folder):  # then nothing is lost, and a mistyped option may be mended
        return False
    try:
        before = json.loads((folder / "config.json").read_text())
        old = json.loads((folder / "data.json").read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{folder} holds a run that cannot be read ({error}): name another with --out.") from error
    require_same(plan.config, described(plan.dataset), folder, before, old)
    return True


def open_folder(plan: Plan, folder: Path, command: tuple[str, ...]) -> bool:
    """Write what the run is; `True` if the folder already holds the same run."""
    recover(folder / "model")
    resumed = resumes(plan, folder)
    try:
        for name, value in (
            ("data.json", described(plan.dataset)),
            ("environment.json", _environment(plan, command)),
            ("config.json", to_json(plan.config)),
        ):
            replace_durably(folder / name, json.dumps(value, indent=1).encode())
    except OSError as error:
        raise StorageError(f"cannot write to {folder} ({error.strerror}): name another folder with --out.") from error
    return resumed


def record(folder: Path, config: RunConfig) -> None:
    """Write down what a running run is, after a trial or memory that ran out has changed it."""
    try:
        replace_durably(folder / "config.json", json.dumps(to_json(config), indent=1).encode())
    except OSError as error:
        raise StorageError(f"cannot write to {folder} ({error.strerror}): free some space and start again.") from error


def settled(plan: Plan, folder: Path) -> Plan:
    """The plan with what trials of an earlier start in `folder` chose: a resume must not choose otherwise.

    Of two sizes of micro-batches the smaller holds: the other may be what memory was not enough for.
    """
    if not _begun(folder) or not _has_steps(folder):
        return plan
    try:
        before = from_json(RunConfig, json.loads((folder / "config.json").read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return plan  # refused with its reason when the folder is opened
    chosen: dict[str, object] = {}
    sizes = [size for c in (before, plan.config) if (size := c.training.micro_batch_size) is not None]
    if sizes:
        chosen["training.micro_batch_size"] = min(*sizes, plan.config.training.batch_size)
    if plan.config.training.precision is None:
        chosen["training.precision"] = before.training.precision
    if plan.config.augmentation.check_flip and before.augmentation.check_flip:
        chosen["augmentation.flip"] = before.augmentation.flip
    if plan.config.optimizer.find_rate and before.optimizer.find_rate:
        chosen["optimizer.learning_rate"] = before.optimizer.learning_rate
    return replace(plan, config=override(plan.config, chosen))


def _has_steps(folder: Path) -> bool:
    return any((folder / "checkpoints").glob("step-*")) or (folder / "model").exists()


def _begun(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def finished_step(folder: Path, plan: Plan) -> int | None:
    """The last step of a run that is trained to its end and measured on every split; `None` if anything is left to do,
    or to mend."""
    splits, total = plan.dataset.splits, total_steps(plan.config, plan.dataset)
    try:
        found = json.loads((folder / "model" / "metrics.json").read_text(encoding="utf-8"))
        # the intervals come last: an evaluation during training writes the rest
        measured = all("intervals" in found[name] for name in (VALIDATION, TEST) if name in splits)
        ended = found["step"] == total or found.get("stopped_early") is True
        done = measured and ended and (folder / "model" / "model.safetensors").is_file() and _is_whole(folder)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return int(found["step"]) if done else None


def total_steps(config: RunConfig, dataset: Dataset) -> int:
    """Steps of the whole run: updates, or the weight decays that a head is solved for."""
    if config.optimizer.name == "lbfgs":
        return len(decays(dataset))
    return Schedule.build(config.schedule, config.training.batch_size, len(dataset.splits[TRAIN])).total


def _is_whole(folder: Path) -> bool:
    """Whether the newest checkpoint is as it was written, and no line of metrics from before it is lost."""
    saved = checkpoint.load_latest(folder / "checkpoints")
    if saved is None or saved.rejected:
        return False
    return JsonLines(folder / "metrics.jsonl").size() >= int(saved.state["metrics_bytes"])


def weights_begun_with(folder: Path) -> tuple[bool, str | None]:
    """Whether a run has begun in the folder, and the weights that it started from."""
    try:
        weights = json.loads((folder / "config.json").read_text())["model"]["weights"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False, None
    return True, None if weights is None else str(weights)


def described(dataset: Dataset) -> dict[str, Any]:
    """What identifies the pictures of a run: class names, and count and fingerprint of each split."""
    return {
        "classes": list(dataset.classes),
        "splits": {
            name: {"count": len(split), "sha256": fingerprint(split, dataset.root)}
            for name, split in dataset.splits.items()
        },
    }


def require_same(config: RunConfig, data: dict[str, Any], folder: Path, old_config: Any, old_data: Any) -> None:
    """Refuse to go on with other settings or other pictures than were written down.

    Args:
        data: `described` of the pictures now.
        old_config, old_data: as read from files.

    Raises:
        UsageError: they differ, and how; or what was read is not what a run writes.
    """
    try:
        if not isinstance(old_config, dict):
            raise TypeError("its configuration is no JSON object")
        before = from_json(RunConfig, old_config)
        old_counts = {name: split["count"] for name, split in old_data["splits"].items()}
        old_classes = list(old_data["classes"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{folder} holds a run that cannot be read ({error}): name another with --out.") from error
    changed = differences(before, config, but=(*MAY_CHANGE, *_of_the_teacher(before, config)))
    if old_classes != data["classes"]:
        changed.append(f"classes: {len(old_classes)} -> {len(data['classes'])}, or renamed")
    for name, split in data["splits"].items():
        if old_data["splits"].get(name) != split:
            changed.append(f"pictures of {name}: {old_counts.get(name, 0)} -> {split['count']}, or changed")
    if changed:
        raise UsageError(
            f"{folder} holds a run that was started differently ({'; '.join(changed)}): "
            f"start afresh with --out ANOTHER_FOLDER, or give the same options to go on."
        )


def _of_the_teacher(before: RunConfig, config: RunConfig) -> tuple[str, ...]:
    """A teacher may have moved, if its digest says that it is the same; one that was written down without a digest is
    known by its name."""
    old, new = before.distillation, config.distillation
    if old.digest is None:
        return ("distillation.digest",) if old.teacher == new.teacher else ()
    return ("distillation.teacher",) if old.digest == new.digest else ()


def _environment(plan: Plan, command: tuple[str, ...]) -> dict[str, Any]:
    counts = {f"{name}_count": len(split) for name, split in plan.dataset.splits.items()}
    return {
        "vitral": VERSION,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": str(choose_device(plan.config.runtime.device)),
        "cores": os.cpu_count(),
        "model": model_words(plan),
        "command": list(command),
        "decisions": list(plan.decisions),
        "warnings": list(plan.warnings),
        "classes": len(plan.dataset.classes),
        **counts,
    }


def require_space(folder: Path, progress: Progress, config: RunConfig) -> None:
    """Refuse a run whose checkpoints cannot fit, before it costs hours; what it holds already is counted in."""
    weights = sum(tensor.nbytes for tensor in progress.model.state_dict().values())
    copies = 1 + (2 if config.optimizer.name != "sgd" else 1) + (1 if progress.average else 0)
    needed = weights * copies * (config.training.keep_checkpoints + 1) + 2 * weights
    held = [path for part in ("checkpoints", "model") for path in (folder / part).rglob("*") if path.is_file()]
    free = shutil.disk_usage(folder).free + sum(path.stat().st_size for path in held)
    if free < needed:
        raise StorageError(
            f"{folder} has {free / 1e6:.0f} MB for the run's checkpoints, which need {needed / 1e6:.0f} MB: "
            f"free some space, lower --training.keep-checkpoints, or name another folder with --out."
        )


def require_own(folder: Path) -> None:
    """Refuse a folder that holds other things than a run; nothing is written.

    Raises:
        UsageError: it does, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder with --out.")
    if folder.is_dir() and not _begun(folder):
        allowed = OF_A_SWEEP if (folder / "sweep.json").is_file() else set()
        if not holds_only(folder, OWN | allowed):
            raise UsageError(f"{folder} is not empty and holds no run: name another folder with --out.")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make the folder and keep other runs out of it.

    Raises:
        UsageError: it holds other things, or another process runs in it. StorageError: it cannot be made.
    """
    require_own(folder)
    with held(folder):
        yield


def holds_only(folder: Path, names: Collection[str]) -> bool:
    """Whether nothing is in a folder but files of these names, and what a crash left of writing them."""
    return {path.name.removesuffix(".tmp") for path in folder.iterdir()} <= {*names, LOCK}


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make the folder and keep other processes out of it; the system lets go of it however this process ends.

    Raises:
        UsageError: another process holds it. StorageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("w")
    except OSError as error:
        raise StorageError(f"cannot write to {folder} ({error.strerror}): name another folder with --out.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"another vitral is running in {folder}: wait for it, or name another with --out."
            ) from error
        yield
