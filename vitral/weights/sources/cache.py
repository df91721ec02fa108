"""The folder that keeps fetched weights."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vitral.errors import UnavailableError
from vitral.weights.sources.download import NotFetchedError, Progress, download


def cache_folder() -> Path:
    """Where fetched weights are kept: the system's place for such things, or $XDG_CACHE_HOME/vitral/weights."""
    if os.environ.get("XDG_CACHE_HOME"):
        base = Path(os.environ["XDG_CACHE_HOME"])
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path.home() / ".cache"
    return base / "vitral" / "weights"


def offline() -> bool:
    """Whether nothing may be asked of the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def kept(address: str, target: Path, what: str, progress: Progress) -> Path:
    """The file at `target`, fetched from `address` if it is not there yet.

    Raises:
        UnavailableError: it cannot be fetched; says which file to place where. StorageError: it cannot be written.
    """
    if target.is_file():
        return target
    place = f"place the file of {address} in {target.parent}."
    if offline():
        raise UnavailableError(f"{what} is not on this machine and HF_HUB_OFFLINE is set: {place}")
    try:
        download(address, target, progress)
    except NotFetchedError as error:
        raise UnavailableError(f"{what} cannot be fetched ({error}): {place}") from error
    return target
