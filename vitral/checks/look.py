"""One look at each picture: everything that the cheap checks want to know, from one reading of its bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from PIL import Image

from vitral.data.decode import decode, read_bytes, read_header
from vitral.data.header import Header, jpeg_quality, orientation
from vitral.data.thumbnail import small_pixels
from vitral.datasets.dataset import Source
from vitral.errors import UnreadableImageError

CHUNK = 64
"""Pictures that a thread takes at a time."""

SIDE = 32
"""Pixels of a thumbnail, each way: the whole picture, squashed."""


class Look(NamedTuple):
    """What one picture shows.

    header: `None` where it cannot be read. orientation: of EXIF, 1 to 8. size: bytes of the file, 0 in memory.
    quality: of a JPEG, 1 to 100, else 0. digest: of the content. colour: mean red, green and blue, 0 to 255.
    thumbnail: grey, [32, 32] uint8. reason: why the picture cannot be read, if so; then there are no pixels.
    """

    header: Header | None = None
    orientation: int = 1
    size: int = 0
    quality: int = 0
    digest: bytes | None = None
    colour: tuple[float, float, float] | None = None
    thumbnail: np.ndarray | None = None
    reason: str | None = None

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in pixels as people see them."""
        assert self.header is not None
        width, height = self.header.width, self.header.height
        return (height, width) if self.orientation >= 5 else (width, height)


def look_at_all(
    sources: Sequence[Source], workers: int, max_pixels: int, tell: Callable[[int], object] = int
) -> list[Look]:
    """Look at every picture, in `workers` threads (0 counts as 1); `tell` hears how many are done."""

    def chunk(start: int) -> list[Look]:
        return [look(source, max_pixels) for source in sources[start : start + CHUNK]]

    looks: list[Look] = []
    with ThreadPoolExecutor(max(workers, 1), thread_name_prefix="vitral-check") as pool:
        for found in pool.map(chunk, range(0, len(sources), CHUNK)):
            looks += found
            tell(len(looks))
    return looks


def look(source: Source, max_pixels: int) -> Look:
    """Look at one picture; what is wrong with it is in the answer."""
    seen = Look()
    try:
        if isinstance(source, str | bytes | os.PathLike):
            data = read_bytes(source)
            seen = Look(digest=blake2b(data).digest(), size=len(data))
            header = read_header(data)
            quality = jpeg_quality(data) if header.format == "JPEG" else None
            seen = seen._replace(header=header, orientation=orientation(data, header), quality=quality or 0)
            pixels = small_pixels(data, source, max_pixels)
        else:
            pixels = decode(source, max_pixels)
            header = Header("memory", pixels.shape[1], pixels.shape[0], "RGB")
            digest = blake2b(repr(pixels.shape).encode() + pixels.tobytes()).digest()
            seen = Look(header=header, digest=digest)
    except UnreadableImageError as error:
        return seen._replace(reason=error.reason)
    red, green, blue = pixels.reshape(-1, 3).mean(axis=0, dtype=np.float32).tolist()
    return seen._replace(colour=(red, green, blue), thumbnail=_thumbnail(pixels))


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    """[height, width, 3] uint8 as [32, 32] grey: means over areas, or straight lines between too few pixels."""
    grey = Image.fromarray(pixels).convert("L")
    way = Image.Resampling.BOX if min(grey.size) >= SIDE else Image.Resampling.BILINEAR
    return np.asarray(grey.resize((SIDE, SIDE), way))
