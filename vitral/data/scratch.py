"""Memory that a thread uses again for one picture after the other.

A fresh array of half a megabyte for each picture costs as much as a third of its decoding, where the allocator gives
memory back to the system and gets it again page by page.
"""

from __future__ import annotations

import threading

import numpy as np

LARGEST = 1 << 25
"""Bytes that a thread keeps at most; what is larger gets memory of its own, which is then a small part of its cost."""


class _Kept(threading.local):
    def __init__(self) -> None:
        self.decoded = np.empty(0, dtype=np.uint8)
        self.packed = np.empty(0, dtype=np.uint8)


_kept = _Kept()


def for_decoding(count: int) -> np.ndarray:
    """[count] uint8 for the decoded pixels of one picture: the thread's next call gives the same memory again."""
    if count > LARGEST:
        return np.empty(count, dtype=np.uint8)
    if len(_kept.decoded) < count:
        _kept.decoded = np.empty(count, dtype=np.uint8)
    return _kept.decoded[:count]


def packed(image: np.ndarray) -> np.ndarray:
    """The same pixels without gaps between rows and writable, as torch wants them: `image` itself, or a copy that lasts
    until the thread's next call."""
    if (image.flags.c_contiguous and image.flags.writeable) or image.nbytes > LARGEST:
        return np.require(image, requirements=["C", "W"])
    if len(_kept.packed) < image.size:
        _kept.packed = np.empty(image.size, dtype=np.uint8)
    copy = _kept.packed[: image.size].reshape(image.shape)
    np.copyto(copy, image)
    return copy
