"""Weights in an .npz file: a zip archive of .npy members, as `numpy.savez` writes it.

Only plain numbers are read, by the header's own grammar; nothing is evaluated or unpickled. Each member is
checked against the archive's CRC-32.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from vitral.errors import DataError
from vitral.weights.stored.directory import members_of, unpacked
from vitral.weights.stored.memory import fresh, no_truth_values, size_of, unlikely

MAGIC = b"\x93NUMPY"

HEADER = re.compile(
    r"\{'descr': '(?P<kind>[^']*)', 'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>(?:[0-9]{1,15}, ?)*(?:[0-9]{1,15})?)\), ?\} *\n?"
)
"""The dictionary that numpy writes before the numbers."""

LONGEST_HEADER = 10_000
"""Bytes; numpy's own limit."""

DTYPES = {
    "<f8": torch.float64, "<f4": torch.float32, "<f2": torch.float16, "<i8": torch.int64, "<i4": torch.int32,
    "<i2": torch.int16, "|i1": torch.int8, "|u1": torch.uint8, "|b1": torch.bool,
    "|V2": torch.bfloat16, "<V2": torch.bfloat16,  # numpy has no bfloat16 and keeps its two bytes without a type
}  # fmt: skip
"""By numpy's words for them."""


@dataclass(frozen=True)
class Member:
    """An array in the archive; the first `skip` of the member's bytes are its header."""

    info: zipfile.ZipInfo
    skip: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    fortran: bool


class NpzFile:
    """An opened .npz file; see `vitral.weights.stored.Stored`. Names are those of the members without ".npy"."""

    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members: dict[str, Member] = {}
        try:
            with path.open("rb") as file:
                infos = members_of(file)
                if not infos:
                    raise ValueError("it holds no arrays")
                files = {info.filename for info in infos}
                for info in infos:
                    name = info.filename.removesuffix(".npy")
                    if name == info.filename:
                        raise ValueError(f"{name} is no array")
                    if name in self._members or name in files:  # numpy gives either for both
                        raise ValueError(f"{name} is there twice")
                    self._members[name] = _member(file, info)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise self._damaged(error) from error
        self.shapes = {name: member.shape for name, member in self._members.items()}

    def tensor(self, name: str) -> Tensor:
        """The numbers of one array, in memory of their own."""
        member = self._members[name]
        # an array in Fortran's order is one in C's order with the dimensions reversed
        tensor, view = fresh(member.shape[::-1] if member.fortran else member.shape, member.dtype)
        try:
            with self.path.open("rb") as file:
                place = -member.skip
                for piece in unpacked(file, member.info):
                    numbers = memoryview(piece)[max(0, -place) :]
                    place += len(piece)
                    view[place - len(numbers) : place] = numbers
            if no_truth_values(tensor):
                raise ValueError(f"{name} is of truth values and has others")
        except (OSError, ValueError) as error:
            raise self._damaged(error) from error
        return tensor.permute(*reversed(range(tensor.ndim))).contiguous() if member.fortran else tensor

    def _damaged(self, error: Exception) -> DataError:
        return DataError(
            f"{self.path} cannot be read as .npz ({error}): it is damaged, or of another kind; copy or download it "
            f"again."
        )


def _member(file: BinaryIO, info: zipfile.ZipInfo) -> Member:
    head = next(unpacked(file, info, 12 + LONGEST_HEADER), b"")
    if head[:6] != MAGIC or len(head) < 10 or head[6] not in (1, 2, 3) or head[7]:
        raise ValueError(f"member {info.filename!r} is no array")
    width = 2 if head[6] == 1 else 4  # bytes of the header's length
    length = int.from_bytes(head[8 : 8 + width], "little")
    skip = 8 + width + length
    if length > LONGEST_HEADER or skip > len(head):
        raise ValueError(f"{info.filename} has a header of {length} bytes")
    text = head[8 + width : skip].decode("latin-1")
    match = HEADER.fullmatch(text)
    if match is None or match["kind"] not in DTYPES:
        kind = match["kind"] if match else text[:80]
        if kind == "|O":
            raise ValueError(f"{info.filename} holds Python objects, which are never unpickled")
        raise ValueError(f"{info.filename} is not of plain numbers: {kind!r}")
    shape = tuple(int(size) for size in match["shape"].split(",") if size.strip())
    dtype = DTYPES[match["kind"]]
    if unlikely(shape) or skip + size_of(shape, dtype) != info.file_size:
        raise ValueError(f"{info.filename} claims shape {list(shape)} and has {info.file_size - skip} bytes")
    return Member(info, skip, shape, dtype, match["fortran"] == "True" and len(shape) > 1)
