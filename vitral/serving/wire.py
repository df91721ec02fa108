"""Frames between the server and the process of a model: a JSON header, then the numbers of some arrays.

A frame is a length (4 bytes, little endian), that many bytes of JSON, and the arrays' bytes one after the other. The
header's "arrays" has dtype and shape of each. Nothing is pickled, so a frame can hold numbers and words only.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

LENGTH = struct.Struct("<I")

Frame = tuple[dict[str, Any], list[np.ndarray]]


def write(file: IO[bytes], header: dict[str, Any], arrays: Sequence[np.ndarray] = ()) -> None:
    """Write one frame.

    Raises:
        OSError: nobody reads at the other end.
    """
    whole = [np.ascontiguousarray(array) for array in arrays]
    described = header | {"arrays": [[array.dtype.str, array.shape] for array in whole]}
    words = json.dumps(described).encode()
    file.write(LENGTH.pack(len(words)) + words)
    for array in whole:
        file.write(array.reshape(-1).view(np.uint8).data)
    file.flush()


def read(file: IO[bytes]) -> Frame | None:
    """The next frame; `None` where the other end is gone, also in the middle of one."""
    try:
        header = json.loads(_exactly(file, LENGTH.unpack(_exactly(file, LENGTH.size))[0]))
        arrays = []
        for kind, shape in header.pop("arrays"):
            dtype = np.dtype(kind)
            data = _exactly(file, dtype.itemsize * math.prod(shape))
            arrays.append(np.frombuffer(data, dtype).reshape(shape))
    except EOFError:
        return None
    return header, arrays


def _exactly(file: IO[bytes], count: int) -> bytearray:
    data = bytearray(count)
    view = memoryview(data)
    while view:
        got = file.readinto(view)  # type: ignore[attr-defined]
        if not got:
            raise EOFError
        view = view[got:]
    return data
