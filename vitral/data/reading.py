"""From a source to the part of it that a training picture is made of.

Three steps, each of which can be spared: the bytes are read, they are decoded, a part is cut out. A cache keeps what
came out of the first or the second. A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size for a fraction of the work,
each pixel then being about the mean of those it stands for; where a cut keeps at least the pixels that the network
gets, that loses next to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from vitral.config import MAX_PIXELS, AugmentationConfig, Preprocessing, Size
from vitral.data import scratch
from vitral.data.cache import Cache
from vitral.data.decode import check_budget, decode, describe, read_bytes, upright
from vitral.data.geometry import Box, Pixels, covering, inception_box, resize, shorter_side
from vitral.data.header import Header, jpeg_orientation, read_header
from vitral.data.transforms import cut
from vitral.datasets.dataset import Source
from vitral.datasets.stored import Stored
from vitral.errors import UnreadableImageError

SCALES = (8, 4, 2)
"""By how much libjpeg-turbo makes a picture smaller while it decodes, in code for vectors of numbers; what lies between
(7/8, 6/8 ...) takes longer than the whole picture."""

JPEG = b"\xff\xd8\xff"


@dataclass
class Reader:
    """Reads training pictures, from many threads at once.

    Args:
        max_pixels: as of `decode`.
        scaled: decode a JPEG at the least of 1/8, 1/4 and 1/2 that leaves the cut the pixels it is made into: other
            pixels, and less work. Boxes are drawn in the same places.
        shrink: shorter side to which larger pictures are brought first; `None` leaves them as they are.
        cache: what keeps pictures that were read; the pixels are the same with it and without.
        note: is told the seconds that each read took, and the seconds of what followed.
    """

    max_pixels: int = MAX_PIXELS
    scaled: bool = False
    shrink: int | None = None
    cache: Cache | None = None
    note: Callable[[float, float], object] = lambda _read, _made: None
    clock: Callable[[], float] = time.perf_counter

    def make(self, source: Source, finish: Callable[[Opened], Any]) -> Any:
        """What `finish` makes of the opened picture.

        Raises:
            UnreadableImageError: as `decode`.
        """
        began = self.clock()
        pixels = self.cache.pixels(source) if self.cache else None
        fetched = self._fetch(source) if pixels is None else pixels
        read = self.clock()
        try:
            made = finish(self._open(source, fetched, pixels is not None))
        except UnreadableImageError as error:
            raise UnreadableImageError(describe(source), error.reason) from None
        self.note(read - began, self.clock() - read)
        return made

    def _fetch(self, source: Source) -> Any:
        """The encoded bytes, or what is in memory already."""
        if isinstance(source, np.ndarray | Image.Image):
            return source
        kept = self.cache.encoded(source) if self.cache else None
        if kept is not None:
            return kept
        data = source.read() if isinstance(source, Stored) else read_bytes(source)
        if self.cache and isinstance(data, bytes):
            self.cache.keep_encoded(source, data)
        return data

    def _open(self, source: Source, fetched: Any, is_pixels: bool) -> Opened:
        if is_pixels:
            return Opened(fetched, self.max_pixels, False)
        if self.cache is not None and self.cache.keeps_pixels:
            pixels = decode(fetched, self.max_pixels) if self.shrink is None else self._shrunk(fetched)
            self.cache.keep_pixels(source, pixels)
            return Opened(pixels, self.max_pixels, False)
        if self.shrink is not None:
            return Opened(self._shrunk(fetched), self.max_pixels, False)
        return Opened(fetched, self.max_pixels, self.scaled)

    def _shrunk(self, fetched: Any) -> Pixels:
        """Pixels whose shorter side is at most `shrink`; a new array, or `fetched`."""
        assert self.shrink is not None
        jpeg = plain_jpeg(fetched, self.max_pixels)
        if jpeg is None:
            pixels = decode(fetched, self.max_pixels)
        else:
            size = upright_size(fetched, jpeg)
            by = _fitting((min(size), min(size)), (self.shrink, self.shrink))
            pixels, _ = _at_scale(fetched, jpeg, self.max_pixels, by, briefly=False)
        height, width = pixels.shape[0], pixels.shape[1]
        if min(height, width) <= self.shrink:
            return pixels
        return resize(pixels, shorter_side(height, width, self.shrink), "bilinear")


@dataclass(frozen=True)
class Opened:
    """A picture that was read but perhaps not decoded: encoded bytes, pixels, or a Pillow picture."""

    held: Any
    max_pixels: int
    scaled: bool

    def cut(self, rng: np.random.Generator, augmentation: AugmentationConfig, preprocessing: Preprocessing) -> Pixels:
        """`transforms.cut` of it: uint8 of `preprocessing.crop`, valid until the thread opens its next picture."""
        jpeg = plain_jpeg(self.held, self.max_pixels) if self.scaled and augmentation.crop != "none" else None
        if jpeg is None:
            return cut(decode(self.held, self.max_pixels, briefly=True), rng, augmentation, preprocessing)
        size = upright_size(self.held, jpeg)
        if augmentation.crop == "inception":
            box = inception_box(size, augmentation.min_area, rng)
            by = _fitting((box.height, box.width), preprocessing.crop)
            pixels, by = _at_scale(self.held, jpeg, self.max_pixels, by)
            return resize(_reduced(box, by, pixels).cut(pixels), preprocessing.crop, preprocessing.interpolation)
        by = _fitting(size, _resized(size, augmentation, preprocessing))
        pixels, _ = _at_scale(self.held, jpeg, self.max_pixels, by)
        return cut(pixels, rng, augmentation, preprocessing)


def plain_jpeg(held: Any, max_pixels: int) -> Header | None:
    """The header of what can be decoded at a smaller scale; `None` of anything else.

    Raises:
        UnreadableImageError: it has more than `max_pixels`, or no whole header.
    """
    if not (isinstance(held, bytes) and held.startswith(JPEG)):
        return None
    header = read_header(held)
    check_budget("<bytes>", header.width, header.height, max_pixels)
    return header if header.mode in ("RGB", "grey") else None


def upright_size(data: bytes, header: Header) -> Size:
    """Height and width of a JPEG as it is shown."""
    turned = jpeg_orientation(data) >= 5
    return (header.width, header.height) if turned else (header.height, header.width)


def _resized(size: Size, augmentation: AugmentationConfig, preprocessing: Preprocessing) -> Size:
    """What `resize_whole` makes of a picture of that size."""
    wanted = augmentation.resize or preprocessing.resize
    if wanted is None:
        return size
    return covering(wanted if isinstance(wanted, tuple) else shorter_side(*size, wanted), preprocessing.crop)


def _fitting(size: Size, least: Size) -> int:
    """The largest of `SCALES` that leaves both sides at least so many pixels, or 1."""
    return next((by for by in SCALES if size[0] // by >= least[0] and size[1] // by >= least[1]), 1)


def _at_scale(data: bytes, header: Header, max_pixels: int, by: int, briefly: bool = True) -> tuple[Pixels, int]:
    """Upright pixels at 1/by of the size, rounded up, and by; at 1/1 where the scaling decoder knows no way."""
    if by > 1:
        height, width = -(-header.height // by), -(-header.width // by)
        memory = scratch.for_decoding(height * width * 3) if briefly else None
        try:
            pixels = simplejpeg.decode_jpeg(
                data, colorspace="RGB", min_height=height, min_width=width, min_factor=by, buffer=memory
            )
        except ValueError:
            pass  # damaged, or of an unusual kind: the full decoder knows which
        else:
            return upright(pixels, jpeg_orientation(data)), by
    return decode(data, max_pixels, briefly=briefly), 1


def _reduced(box: Box, by: int, pixels: Pixels) -> Box:
    """The box in pixels that are `by` times as large, moved by at most half of one."""
    height, width = round(box.height / by), round(box.width / by)
    top = min(round(box.top / by), pixels.shape[0] - height)
    left = min(round(box.left / by), pixels.shape[1] - width)
    return Box(top, left, height, width)
