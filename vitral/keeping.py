"""The cache of a run's training pictures: made as its configuration says, and put away when it ends."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from vitral.config import RuntimeConfig
from vitral.console import Screen
from vitral.data.cache import Cache, Disk, Memory, remove
from vitral.training.memory import free_bytes

OWN = "cache"
"""Folder of a run that its own cache on disk is in, until the run is done."""

UNKNOWN = 8 * 10**9
"""Bytes of memory that are taken to be free where the system does not say."""


def build_cache(runtime: RuntimeConfig, shrink: int | None, folder: Path, screen: Screen) -> Cache | None:
    """What `runtime` asks for, if anything; says where it is and how large it may grow.

    Args:
        shrink: see `DataConfig`.
        folder: of the run.

    Raises:
        StorageError: its folder cannot be made.
    """
    if runtime.cache == "none":
        return None
    asked = None if runtime.cache_size is None else int(runtime.cache_size * 1e9)
    if runtime.cache == "ram":
        where = "memory"
        made: Cache = Memory(runtime.cache_of, asked or (free_bytes(torch.device("cpu")) or UNKNOWN) // 4)
    else:
        place = Path(runtime.cache_folder or folder / OWN)
        size = asked or shutil.disk_usage(next(p for p in (place, *place.absolute().parents) if p.exists())).free // 2
        where, made = str(place), Disk(runtime.cache_of, size, place, shrink, runtime.cache_folder is None)
    screen.decide(f"{runtime.cache_of} of training pictures are kept in {where}, up to {made.size / 1e9:,.2f} GB")
    return made


def put_away(cache: Cache, pictures: int, done: bool, screen: Screen) -> None:
    """Say what the cache held of a run's training pictures, and let it go.

    Args:
        done: the run is over; else it will go on another time.
    """
    if isinstance(cache, Disk) and cache.failure is not None:
        screen.warn(f"no more pictures could be kept in {cache.folder} ({cache.failure}): they were read every time.")
    held = f"{cache.pictures:,} pictures ({pictures:,} to train on) in {cache.bytes / 1e9:,.2f} GB"
    full = ": it was full, and --runtime.cache-size gives it more room" * cache.full
    screen.decide(f"the cache holds {held}{full}")
    cache.close(done)


def clear(runtime: RuntimeConfig, folder: Path) -> None:
    """Take away what earlier starts of a run that is done left of its own cache: one that was killed, or had another
    kind of cache.

    Args:
        folder: of the run.
    """
    if runtime.cache_folder is None:  # a named one is the user's, wherever it is
        remove(folder / OWN)
