"""From a picture in any form that a user may hold to upright RGB pixels.

One conversion for training, evaluation, prediction and serving:

    stored as                               becomes
    --------------------------------------  ------------------------------------------------------------
    RGB                                     itself
    grey, 1 bit (0 or 255)                  the value in all three channels
    16 bits per channel                     the high byte (value >> 8), then as for 8 bits
    palette                                 the palette's colours
    alpha, or one transparent colour        laid over white: round((c * a + 255 * (255 - a)) / 255)
    CMYK, YCCK (Adobe's inverted values)    Pillow's conversion: 255 - min(255, ink + black) per channel
    animation                               its first frame
    EXIF orientation 1 to 8                 turned upright (JPEG, PNG, WebP); an invalid one counts as 1

A picture that cannot be read in full is an `UnreadableImageError`, never another exception, a grey area or
another picture. Pillow's plug-ins are called directly, by content: `Image.open` would consult process-wide
limits, and warn.
"""

from __future__ import annotations

import io
import os
import stat
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from vitral.config import MAX_PIXELS
from vitral.data import scratch
from vitral.data.header import Header, exif_orientation, jpeg_orientation, jpeg_segments, read_header, still_png
from vitral.datasets.dataset import Source
from vitral.datasets.stored import Stored
from vitral.errors import UnreadableImageError

__all__ = ["Header", "decode", "describe", "read_bytes", "read_header"]

PLUGINS: dict[str, Any] = {"PNG": PngImageFile, "WebP": WebPImageFile, "BMP": BmpImageFile, "GIF": GifImageFile}
PNG_END = b"IEND\xaeB`\x82"  # type and checksum of the chunk that ends every PNG


def decode(source: Source, max_pixels: int = MAX_PIXELS, briefly: bool = False) -> np.ndarray:
    """Pixels [height, width, 3] uint8, RGB, upright and contiguous, in [0, 255]. Safe to call from many threads.

    Args:
        source: a path, encoded bytes (JPEG, PNG, WebP, BMP or GIF by content), a picture inside an archive, a
            `PIL.Image.Image`, or an array [height, width] or [height, width, 1, 3 or 4] uint8. An RGB array may be
            returned as it is.
        max_pixels: height times width above which nothing is decoded.
        briefly: the pixels are needed only until the thread decodes its next picture, so they may lie in memory that it
            uses again, which is faster.

    Raises:
        UnreadableImageError: the picture cannot be read, or has more than `max_pixels`.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, Image.Image):
        return _guarded("<picture>", lambda: _from_pillow(source, source.info.get("exif"), max_pixels))
    if isinstance(source, Stored):
        data = source.read()
        if isinstance(data, np.ndarray):
            return _from_array(data, max_pixels)
    else:
        data = source if isinstance(source, bytes) else read_bytes(source)
    header = read_header(data, describe(source))
    check_budget(describe(source), header.width, header.height, max_pixels)
    if header.format == "JPEG":
        return _from_jpeg(data, header, source, max_pixels, briefly)
    return _from_other(data, header, describe(source), max_pixels)


def describe(source: Source) -> str:
    """What a picture is called in messages: its path (unprintable characters escaped), or its type in <>."""
    if isinstance(source, str | os.PathLike | Stored):
        path = str(source) if isinstance(source, Stored) else os.fsdecode(source)
        return path if path.isprintable() else ascii(path)[1:-1]
    if isinstance(source, Image.Image):
        return "<picture>"
    return f"<{type(source).__name__}>"


def read_bytes(source: Source) -> bytes:
    """The encoded bytes of a path or of anything like `bytes`.

    Raises:
        UnreadableImageError: the file cannot be read, or `source` is something else.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, Stored):
        return _encoded(source.read())
    if not isinstance(source, str | os.PathLike):
        kind = type(source).__name__
        raise UnreadableImageError(describe(source), f"a {kind} is not a path, bytes, a PIL image or a numpy array")
    try:
        # Opening a pipe or a device would wait for ever.
        if stat.S_ISREG(os.stat(source).st_mode):  # noqa: PTH116 - a Path would cost more than the call
            with open(source, "rb", buffering=0) as file:  # noqa: PTH123
                return file.readall()
        reason = "not a file"
    except FileNotFoundError:
        reason = "no such file"
    except PermissionError:
        reason = "permission denied"
    except (OSError, ValueError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    raise UnreadableImageError(describe(source), reason)


def _encoded(stored: bytes | np.ndarray) -> bytes:
    """Pixels as PNG, which loses nothing; bytes as they are."""
    if isinstance(stored, bytes):
        return stored
    file = io.BytesIO()
    Image.fromarray(stored).save(file, "PNG", compress_level=1)
    return file.getvalue()


def check_budget(name: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise UnreadableImageError(
            name, f"{width} x {height} is {width * height:,} pixels, more than the limit of {max_pixels:,}"
        )


def _from_jpeg(data: bytes, header: Header, source: Source, max_pixels: int, briefly: bool) -> np.ndarray:
    try:
        if header.mode in ("CMYK", "YCCK"):
            ink = 255 - simplejpeg.decode_jpeg(data, colorspace="CMYK")
            size = (header.width, header.height)
            pixels = np.asarray(Image.frombuffer("CMYK", size, ink, "raw", "CMYK", 0, 1).convert("RGB"))
        else:
            memory = scratch.for_decoding(header.height * header.width * 3) if briefly else None
            pixels = simplejpeg.decode_jpeg(data, colorspace="RGB", buffer=memory)
    except Exception as error:
        if "subsampling" in str(error):
            return _from_unusual_jpeg(data, describe(source), max_pixels)
        raise UnreadableImageError(describe(source), _reason(error)) from None
    return upright(pixels, jpeg_orientation(data))


def _from_unusual_jpeg(data: bytes, name: str, max_pixels: int) -> np.ndarray:
    """A JPEG whose subsampling TurboJPEG's simple interface does not know, by Pillow.

    Pillow gets the segments that make up the pixels only: it would look into EXIF for a resolution, and warn.
    """
    needed = [b"\xff\xd8"]
    for marker, start, end in jpeg_segments(data):
        if not 0xE1 <= marker <= 0xEF or marker == 0xEE:  # 0xEE is Adobe's mark of the colour transform
            needed.append(data[start - 4 : end])
        if marker == 0xDA:
            needed.append(data[end:])
            break
    else:
        raise UnreadableImageError(name, "truncated")
    orientation = jpeg_orientation(data)

    def work() -> np.ndarray:
        return upright(_from_pillow(JpegImageFile(io.BytesIO(b"".join(needed))), None, max_pixels), orientation)

    return _guarded(name, work)


def _from_other(data: bytes, header: Header, name: str, max_pixels: int) -> np.ndarray:
    # Pillow reads a PNG whose end is missing, and pads other formats if some library asked it to.
    riff_size = int.from_bytes(data[4:8], "little") + 8
    if (header.format == "PNG" and PNG_END not in data) or (header.format == "WebP" and len(data) < riff_size):
        raise UnreadableImageError(name, "truncated")

    def work() -> np.ndarray:
        image = PLUGINS[header.format](io.BytesIO(still_png(data) if header.format == "PNG" else data))
        # The first frame of a GIF may claim a larger area than its header.
        check_budget(name, image.width, image.height, max_pixels)
        image.load()  # also reads what follows the pixels, where a PNG's EXIF may be
        if header.format == "PNG":
            _scale_transparent_colour(image, data[24])
        return _from_pillow(image, image.info.get("exif"), max_pixels)

    return _guarded(name, work)


def _scale_transparent_colour(image: Image.Image, depth: int) -> None:
    """Bring a PNG's transparent colour from `depth` bits to the 8 bits of the pixels; Pillow leaves it as stored."""
    colour = image.info.get("transparency")
    if image.mode == "L" and isinstance(colour, int):
        image.info["transparency"] = colour * {2: 85, 4: 17}.get(depth, 1)
    elif image.mode == "RGB" and isinstance(colour, tuple) and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in colour)


def _guarded(name: str, work: Callable[[], np.ndarray]) -> np.ndarray:
    try:
        return work()
    except UnreadableImageError:
        raise
    except Exception as error:  # arbitrary bytes raise nearly anything within Pillow
        raise UnreadableImageError(name, _reason(error)) from None


def _reason(error: Exception) -> str:
    message = str(error) or type(error).__name__
    cut = any(word in message.lower() for word in ("truncated", "premature end", "unexpected end"))
    if cut or isinstance(error.__cause__ or error, struct.error | IndexError | EOFError):  # read past the end
        return "truncated"
    return f"damaged ({message})"


def _from_pillow(image: Image.Image, exif: Any, max_pixels: int) -> np.ndarray:
    check_budget("<picture>", image.width, image.height, max_pixels)
    pixels = _over_white(_with_alpha(image))
    return upright(pixels, exif_orientation(exif) if isinstance(exif, bytes) else 1)


def _with_alpha(image: Image.Image) -> np.ndarray:
    """[height, width, 3 or 4] uint8 of a Pillow image of any mode."""
    if image.mode == "F" or (image.mode == "I" and not _is_16_bit(image)):
        raise ValueError(f"pixels of Pillow's mode {image.mode} have no fixed range: convert them to 8 bits first")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        grey = (values >> 8).astype(np.uint8)
        opaque = (values != image.info.get("transparency", -1)).astype(np.uint8) * np.uint8(255)
        return np.stack([grey, grey, grey, opaque], axis=-1)
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _is_16_bit(image: Image.Image) -> bool:
    values = np.asarray(image)
    return bool(values.min() >= 0 and values.max() <= 0xFFFF)


def _over_white(pixels: np.ndarray) -> np.ndarray:
    """Lay [height, width, 4] over white; three channels pass."""
    if pixels.shape[2] == 3:
        return pixels
    colour, alpha = np.split(pixels.astype(np.uint16), [3], axis=2)
    # At most 255 * 255 + 127, which uint16 holds. 255 is odd, so there is never a tie to round.
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _from_array(array: np.ndarray, max_pixels: int) -> np.ndarray:
    shape = " x ".join(map(str, array.shape))
    if array.dtype != np.uint8:
        raise UnreadableImageError("<array>", f"its type is {array.dtype}, not uint8 with values 0 to 255")
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise UnreadableImageError("<array>", f"its shape is {shape}, not height x width (x 1, 3 or 4)")
    if array.size == 0:
        raise UnreadableImageError("<array>", f"its shape {shape} holds no pixel")
    check_budget("<array>", array.shape[1], array.shape[0], max_pixels)
    if array.shape[2:] in ((), (1,)):
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(_over_white(array))


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels the way the EXIF orientation says; contiguous."""
    if orientation >= 5:  # rows and columns change places
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):  # the stored rows (5 to 8: columns) run upwards
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):  # the stored columns (5 to 8: rows) run leftwards
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
