"""Folders that are whole or not there: written aside, flushed to the disk, then given their name."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from vitral.errors import StorageError, UsageError, VitralError
from vitral.files import flush

OLD = "-old"
"""Ending of the name that a folder has while its successor takes its place."""


@contextmanager
def written_aside(folder: Path) -> Iterator[Path]:
    """A new folder to write into; when the block ends well it takes the place of `folder`.

    Raises:
        StorageError: it could not be written; what was there before is untouched.
    """
    aside: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        aside.chmod(0o755)
        yield aside
        for path in (*aside.iterdir(), aside):
            flush(path)
        _exchange(aside, folder)
    except (OSError, SafetensorError) as error:
        if isinstance(error, VitralError):
            raise
        reason = getattr(error, "strerror", None) or error
        free = shutil.disk_usage(folder.parent).free if folder.parent.is_dir() else 0
        raise StorageError(
            f"cannot write the folder {folder} ({reason}): {free / 1e6:.1f} MB are free; "
            f"what was there before is untouched."
        ) from error
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


def require_own(folder: Path, source: Path, mark: str, kind: str) -> None:
    """Refuse to take the place of anything but an empty folder or what an earlier `kind` of the same source left.

    Args:
        mark: the JSON file that such a folder has: "library" is vitral, "source" where it came from, "files" its own.

    Raises:
        UsageError: something else stands there.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        record = json.loads((folder / mark).read_text(encoding="utf-8"))
        ours = record["library"] == "vitral" and isinstance(record["source"], str)
        ours = ours and {path.name for path in folder.iterdir()} <= set(record["files"])
    except (OSError, ValueError, RecursionError, TypeError, KeyError):
        ours = False
    if not ours:
        raise UsageError(
            f"{folder} is there and is not, or not only, an earlier {kind}, so it is not replaced: name another "
            f"with --out."
        )
    if Path(record["source"]).resolve() != source.resolve():
        raise UsageError(
            f"{folder} is the {kind} of another model, {record['source']}, so it is not replaced: name another "
            f"with --out."
        )


def _exchange(new: Path, place: Path) -> None:
    if place.exists():
        old = new.with_name(new.name + OLD)
        place.rename(old)
        try:
            new.rename(place)
        except OSError:
            old.rename(place)
            raise
        shutil.rmtree(old, ignore_errors=True)
    else:
        new.rename(place)
    flush(place.parent)
