"""Small upright pixels of a picture, for looking at very many: JPEG is scaled while it is decoded."""

from __future__ import annotations

import io

import numpy as np
import simplejpeg
from PIL import Image

from vitral.data.decode import decode, describe, upright
from vitral.data.header import jpeg_orientation, read_header
from vitral.datasets.dataset import Source
from vitral.errors import UnreadableImageError

ROOMY = 64
"""Pixels of the shorter side that are enough for every measure taken of small pixels."""


def small_pixels(data: bytes, source: Source, max_pixels: int) -> np.ndarray:
    """Upright RGB [height, width, 3] uint8 with a shorter side of at least 64 pixels, or of what the picture has.

    All of the file is read: what `decode` refuses is refused here, with the same reason.

    Args:
        data: the encoded picture.
        source: what it is called in an error.
        max_pixels: stored height times width above which nothing is decoded.

    Raises:
        UnreadableImageError: as `decode`.
    """
    header = read_header(data, describe(source))
    plain = header.format == "JPEG" and header.mode in ("RGB", "grey")
    if plain and min(header.width, header.height) >= 2 * ROOMY and header.width * header.height <= max_pixels:
        try:
            pixels = simplejpeg.decode_jpeg(data, colorspace="RGB", min_height=ROOMY, min_width=ROOMY)
        except ValueError:
            pass  # damaged, or of an unusual kind: the full decoder knows which
        else:
            return upright(pixels, jpeg_orientation(data))
    try:
        return decode(data, max_pixels)
    except UnreadableImageError as error:
        raise UnreadableImageError(describe(source), error.reason) from None


def preview(source: Source, max_pixels: int, side: int) -> bytes | None:
    """A JPEG of the picture with a longer side of at most `side` pixels, for a page; `None` if it cannot be read."""
    try:
        image = Image.fromarray(decode(source, max_pixels))
    except UnreadableImageError:
        return None
    image.thumbnail((side, side), Image.Resampling.BOX)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=72, optimize=True)
    return file.getvalue()
