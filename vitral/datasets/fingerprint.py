"""Is it the same data as before, and do its splits share pictures? Both without decoding anything."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, NamedTuple

from vitral.datasets.dataset import Source, Split

HEAD = 16 * 1024
"""Bytes that tell nearly all pictures of one size apart, for a fraction of the reading."""

Pair = tuple[str, Source, str, Source]
"""Split and source of a picture, split and source of its copy."""


class Place(NamedTuple):
    """Where a picture stands: the split's name and the position in it."""

    split: str
    position: int


def fingerprint(split: Split, root: Path | None) -> str:
    """SHA-256, in hexadecimal, over each picture's path, size in bytes and labels, in their order.

    Paths count relative to `root`, so a moved data set keeps its fingerprint. Of pictures in memory the content
    counts. A file that does not exist has a size of its own.
    """
    digest = sha256()
    prefix = None if root is None else f"{root}{os.sep}"
    for source, labels in zip(split.sources, split.labels, strict=True):
        name, size = _identity(source, prefix)
        digest.update(len(name).to_bytes(8, "little") + name)
        digest.update(f"{size} {' '.join(map(str, labels))}\n".encode())
    return digest.hexdigest()


def _identity(source: Source, prefix: str | None) -> tuple[bytes, int]:
    """Name and size of a picture, or content and length of one in memory."""
    if not isinstance(source, str | os.PathLike):
        content = _content(source)
        return content, len(content)
    path = os.fspath(source)
    name = path.removeprefix(prefix) if prefix is not None else path
    try:
        size = os.stat(path).st_size  # noqa: PTH116 - a Path per picture would double the time
    except (OSError, ValueError):
        size = -1
    return name.replace(os.sep, "/").encode("utf-8", "surrogatepass"), size


def _content(source: Any) -> bytes:
    """The bytes of a picture in memory, with its shape and type before those of pixels."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    form = getattr(source, "shape", None) or getattr(source, "size", None)
    kind = getattr(source, "dtype", None) or getattr(source, "mode", None)
    return f"{form} {kind} ".encode() + bytes(source.tobytes())


def overlaps(splits: Mapping[str, Split], limit: int, within: bool = False) -> list[Pair]:
    """Up to `limit` pairs of pictures with the same bytes in two splits, in the order of the first of each pair.

    Each copy is paired with the first of its kind in another split (with `within`: in the same split). Files are
    compared by size, then by their first 16 KiB, and only then as a whole; those that cannot be read are left out.
    """
    pictures = [(Place(name, i), source) for name, split in splits.items() for i, source in enumerate(split.sources)]
    groups = _regroup([pictures], _size, within)
    for length in (HEAD, None):
        groups = _regroup(groups, lambda source, length=length: _digest(source, length), within)  # type: ignore[misc]
    found = pairs([[place for place, _ in group] for group in groups], within)[:limit]
    return [
        (a.split, splits[a.split].sources[a.position], b.split, splits[b.split].sources[b.position]) for a, b in found
    ]


def pairs(groups: Iterable[Sequence[Place]], within: bool) -> list[tuple[Place, Place]]:
    """Of groups of equal pictures, each copy with the first of its kind in another split, or in the same one."""
    found = []
    for group in groups:
        firsts: dict[str, Place] = {}
        for place in group:
            earlier = [first for split, first in firsts.items() if (split == place.split) == within]
            if earlier:
                found.append((earlier[0], place))
            firsts.setdefault(place.split, place)
    return found


Group = list[tuple[Place, Source]]


def _regroup(groups: Iterable[Group], key_of: Callable[[Source], Hashable], within: bool) -> list[Group]:
    """Split each group by `key_of`; keep what still can be a pair. A picture whose key is None is left out."""
    kept: list[Group] = []
    for group in groups:
        by_key: defaultdict[Hashable, Group] = defaultdict(list)
        for place, source in group:
            by_key[key_of(source)].append((place, source))
        by_key.pop(None, None)
        kept += [same for same in by_key.values() if len(same) > 1]
    return [group for group in kept if within or len({place.split for place, _ in group}) > 1]


def _size(source: Source) -> tuple[bool, int] | None:
    is_file = isinstance(source, str | os.PathLike)
    try:
        return is_file, os.stat(source).st_size if is_file else len(_content(source))  # noqa: PTH116
    except (OSError, ValueError):
        return None


def content_digest(source: Source) -> bytes | None:
    """64 bytes that stand for a picture's content; None if it cannot be read."""
    return _digest(source, None)


def _digest(source: Source, length: int | None) -> bytes | None:
    """Of the first `length` bytes, or of all; None if they cannot be read."""
    if not isinstance(source, str | os.PathLike):
        return blake2b(_content(source)[:length]).digest()
    try:
        with open(source, "rb", buffering=0) as file:  # noqa: PTH123
            return blake2b(file.read(-1 if length is None else length)).digest()
    except (OSError, ValueError):
        return None
