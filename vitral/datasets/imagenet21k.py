"""ImageNet-21k, the release of fall 2011, in its tars: fall11_whole.tar, a tar of a tar for each synset, or these tars
in a folder. 14.2 million pictures are kept as a few numbers each, and nothing is unpacked.

Classes are those of the published models: 21,841 synsets and two that have lost their pictures, sorted. The authors'
validation split is positions in a copy that was never published (their test is examples 0 to 25,599, validation the
next 25,600); here it is as many pictures, drawn by the rule that orders such copies: by the MD5 of the file's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np

from vitral.datasets.collection import open_collection
from vitral.datasets.dataset import TEST, TRAIN, VALIDATION, Dataset, Split
from vitral.datasets.stored import Part, Plain
from vitral.errors import DataError, MissingInputError

WHOLE = "fall11_whole.tar"
WHERE = "fall11_whole.tar, the release of fall 2011, from https://image-net.org, or the tars in it (n*.tar)"

EMPTY = ("n03931044", "n09859684")
"""Synsets of the published models that have no pictures in the release."""

CLASSES = 21_843
HELD_OUT = 25_600
"""Pictures of the test split, and as many of validation (big_vision's configs/vit_i21k.py)."""

BLOCK = 512
"""Bytes; a tar's headers begin at multiples of it (POSIX.1-1988, ustar)."""

SIZE = re.compile(rb"[0-7]{1,12}")
"""A member's bytes in a tar's header, octal."""

REGULAR = (b"0", b"\0")
"""Types of a tar's member that are files; others are passed over."""

READERS = 16
"""Threads that read tables of contents, to wait for the disk together."""


@dataclass(frozen=True)
class Contents:
    """Pictures inside tars: for each [n] the tar, where its bytes begin, how many they are, and its number.

    A picture is called by the synset of its tar and its number: n00004475_6590.JPEG.
    """

    tars: tuple[Part, ...]
    synsets: tuple[str, ...]
    tar: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    number: np.ndarray

    def names(self) -> Iterator[str]:
        """What the pictures are called."""
        for tar, number in zip(self.tar.tolist(), self.number.tolist(), strict=True):
            yield f"{self.synsets[tar]}_{number}.JPEG"

    def take(self, positions: np.ndarray) -> Contents:
        """The pictures at these positions."""
        arrays = (array[positions] for array in (self.tar, self.offset, self.length, self.number))
        return Contents(self.tars, self.synsets, *arrays)


class Pictures(Sequence[Part]):
    """The pictures of `Contents`, each made when it is asked for."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents

    def __len__(self) -> int:
        return len(self.contents.tar)

    @overload
    def __getitem__(self, index: int) -> Part: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Part]: ...
    def __getitem__(self, index: int | slice) -> Any:
        found = self.contents
        if isinstance(index, slice):
            return Pictures(found.take(np.arange(len(self))[index]))
        tar = int(found.tar[index])
        name = f"{found.synsets[tar]}_{int(found.number[index])}.JPEG"
        return Part(found.tars[tar].whole, name, int(found.offset[index]), int(found.length[index]))


def read_imagenet21k(folder: Path) -> Dataset | None:
    """The three splits; `None` if no such tar is in the folder.

    Raises:
        DataError: a tar is damaged, or the synsets are not those of the release. MissingInputError: it cannot be read.
    """
    tars = _tars(folder)
    if not tars:
        return None
    synsets = tuple(sorted(tars))
    classes = tuple(sorted({*synsets, *EMPTY}))
    if len(classes) != CLASSES:
        raise DataError(
            f"{str(folder)!r} has the tars of {len(synsets):,} synsets: with the two empty ones that is "
            f"{len(classes):,} classes, but the release of fall 2011 has {CLASSES:,}. It is not whole, or another one."
        )
    contents = _contents(tuple(tars[name] for name in synsets), synsets)
    places = {name: (place,) for place, name in enumerate(classes)}
    labels = [places[name] for name in synsets]
    order = _first(contents, 2 * HELD_OUT)
    rest = np.ones(len(contents.tar), dtype=bool)
    rest[order] = False
    parts = {TRAIN: np.flatnonzero(rest), VALIDATION: order[HELD_OUT:], TEST: order[:HELD_OUT]}
    splits = {}
    for name, positions in parts.items():
        own = contents.take(positions)
        splits[name] = Split(Pictures(own), [labels[tar] for tar in own.tar.tolist()])
    note = (
        f"imagenet21k: {len(contents.tar):,} pictures; the authors merged those that are there under several synsets, "
        "and held out others"
    )
    return Dataset("imagenet21k", folder, classes, splits, notes=(note,), source=str(folder))


def _tars(folder: Path) -> dict[str, Part]:
    """The tar of each synset, from the release's own or from the folder."""
    whole = folder / WHOLE
    if whole.is_file():
        found = open_collection(whole).parts
    else:
        found = {
            path.name: Part(Plain(path), "", 0, path.stat().st_size)
            for path in folder.glob("n*.tar")
            if path.is_file() and not path.is_symlink()
        }
    tars = {name: part for name, part in found.items() if name.endswith(".tar")}
    named = {name.rsplit("/", 1)[-1].removesuffix(".tar"): part for name, part in tars.items()}
    return {name: part for name, part in named.items() if re.fullmatch(r"n\d{8}", name)}


def _contents(tars: tuple[Part, ...], synsets: tuple[str, ...]) -> Contents:
    with ThreadPoolExecutor(READERS) as pool:
        rows = list(pool.map(_members, tars, synsets))
    counts = [len(found) for found in rows]
    table = np.concatenate([found.reshape(-1, 3) for found in rows]) if rows else np.zeros((0, 3), np.int64)
    tar = np.repeat(np.arange(len(tars), dtype=np.int32), counts)
    return Contents(tars, synsets, tar, table[:, 0], table[:, 1].astype(np.int32), table[:, 2].astype(np.int32))


def _members(tar: Part, synset: str) -> np.ndarray:
    """Offset, length and number of each picture of a tar, in the order of the numbers, int64 [n, 3]."""
    try:
        with tar.whole.path.open("rb") as file:
            found = sorted(_walk(file, tar, synset), key=lambda row: row[2])
    except OSError as error:
        raise MissingInputError(f"cannot read {tar}: {error.strerror or error}.") from None
    return np.array(found, dtype=np.int64).reshape(-1, 3)


def _walk(file: BinaryIO, tar: Part, synset: str) -> Iterator[tuple[int, int, int]]:
    name_of = re.compile(rf"(?:.*/)?{synset}_(\d{{1,9}})\.JPEG")
    place, end = tar.offset, tar.offset + tar.length
    while place + BLOCK <= end:
        file.seek(place)
        header = file.read(BLOCK)
        if header == bytes(BLOCK):
            return
        digits, name = header[124:136].strip(b" \0"), header[:100].rstrip(b"\0")
        if SIZE.fullmatch(digits) is None or not name.isascii():  # a size below zero would lead back
            raise DataError(f"{tar} is damaged or no archive: fetch it again.")
        size = int(digits, 8)
        if len(header) < BLOCK or place + BLOCK + size > end:
            raise DataError(f"{tar} is truncated: fetch it again.")
        match = name_of.fullmatch(name.decode())
        if header[156:157] in REGULAR and match is not None:
            yield place + BLOCK, size, int(match[1])
        place += BLOCK + -(-size // BLOCK) * BLOCK
    raise DataError(f"{tar} is truncated: fetch it again.")  # a tar ends with a block of zeros


def _first(contents: Contents, count: int) -> np.ndarray:
    """Positions of the first `count` pictures in the order of the MD5 of "full" and the file's name, as TensorFlow
    Datasets orders a split."""
    salted = md5(b"full", usedforsecurity=False)

    def place(name: str) -> bytes:
        digest = salted.copy()
        digest.update(name.encode())
        return digest.digest()

    digests = np.fromiter((int.from_bytes(place(name)[:8], "big") for name in contents.names()), np.uint64)
    count = min(count, len(digests) // 2)
    return np.argsort(digests, kind="stable")[:count] if count else np.zeros(0, np.int64)
