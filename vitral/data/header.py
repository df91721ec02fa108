"""What the first bytes of a picture say: its format, its size and which way is up. Nothing is decoded here.

The format is found by content; the ending of a file's name never counts. Reading a header allocates nothing
that depends on the claimed size, so a budget can be checked before any pixel is made.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import simplejpeg

from vitral.errors import UnreadableImageError

ORIENTATION_TAG = 0x0112
SHORT, LONG = 3, 4  # EXIF field types: unsigned integers of 16 and 32 bits

OTHER_KINDS: dict[bytes, str] = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"%PDF": "PDF",
    b"<": "text such as HTML or SVG",
    b"version https://git-lfs": "a Git LFS pointer",
}
"""First bytes of files that are often mistaken for a picture that can be read."""

PNG_MODES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey+alpha", 6: "RGB+alpha"}
JPEG_MODES = {"Gray": "grey", "YCbCr": "RGB"}


class Header(NamedTuple):
    """What a picture claims to be.

    format: "JPEG", "PNG", "WebP", "BMP" or "GIF". width, height: pixels as stored, at least 1, before the
    EXIF orientation is applied. mode: "grey", "RGB", "palette", "RGB+alpha", "CMYK", with " 16 bit" or
    " 1 bit" added where the channels of a PNG have that depth.
    """

    format: str
    width: int
    height: int
    mode: str


class _HeaderError(Exception):
    """Carries the reason until the source is known."""


def read_header(data: bytes, source: str = "<bytes>") -> Header:
    """Format, stored size and colour mode of an encoded picture, by content alone.

    Args:
        data: the whole file, or as much of it as holds the header.
        source: what to call the picture in an error.

    Raises:
        UnreadableImageError: no header of a JPEG, PNG, WebP, BMP or GIF is there, or it is cut or has no area.
    """
    try:
        header = _read(data)
    except _HeaderError as error:
        raise UnreadableImageError(source, str(error)) from None
    except (struct.error, IndexError):
        raise UnreadableImageError(source, "truncated within its header") from None
    if header.width < 1 or header.height < 1:
        raise UnreadableImageError(source, f"its header says {header.width} x {header.height} pixels")
    return header


def _read(data: bytes) -> Header:
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        width, height = struct.unpack_from("<HH", data, 6)
        return Header("GIF", width, height, "palette")
    if data.startswith(b"BM"):
        return _bmp(data)
    raise _HeaderError(_what_else(data))


def _what_else(data: bytes) -> str:
    if not data:
        return "the file is empty"
    reason = "not a JPEG, PNG, WebP, BMP or GIF picture"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"avif", b"avis"):
        return f"{reason} but HEIC or AVIF: convert it first"
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    for signature, kind in OTHER_KINDS.items():
        if start.startswith(signature):
            return f"{reason} but {kind}"
    return reason


def _jpeg(data: bytes) -> Header:
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        return Header("JPEG", width, height, JPEG_MODES.get(colours, colours))
    except ValueError as error:
        # TurboJPEG's header call refuses legal but unusual subsamplings, and says the same of a cut header.
        for marker, start, end in jpeg_segments(data):
            is_frame = 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
            if is_frame and end - start >= 6:
                height, width, channels = struct.unpack_from(">HHB", data, start + 1)
                return Header("JPEG", width, height, {1: "grey", 3: "RGB"}.get(channels, "CMYK"))
            if marker == 0xDA:
                raise _HeaderError(f"damaged ({error})") from None
        raise _HeaderError("truncated within its header") from None


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of the payload of each JPEG segment, up to the start of the scan (0xDA)."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if end > len(data):
            return
        yield marker, at + 4, end
        if marker == 0xDA:
            return
        at = end


def _png(data: bytes) -> Header:
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    if data[12:16] != b"IHDR" or colour not in PNG_MODES:
        raise _HeaderError("damaged (the header of the PNG is not valid)")
    suffix = " 16 bit" if depth == 16 else " 1 bit" if depth == 1 and colour == 0 else ""
    return Header("PNG", width, height, PNG_MODES[colour] + suffix)


def still_png(data: bytes) -> bytes:
    """The PNG without its animation chunks, which the default picture does not need and Pillow warns of."""
    if b"acTL" not in data and b"fcTL" not in data:
        return data
    kept, at = [data[:8]], 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        if data[at + 4 : at + 8] not in (b"acTL", b"fcTL", b"fdAT"):
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _webp(data: bytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        if data[23:26] != b"\x9d\x01\x2a":
            raise _HeaderError("damaged (the header of the WebP is not valid)")
        return Header("WebP", width & 0x3FFF, height & 0x3FFF, "RGB")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        mode = "RGB+alpha" if bits >> 28 & 1 else "RGB"
        return Header("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, mode)
    if kind == b"VP8X":
        if len(data) < 30:
            raise _HeaderError("truncated within its header")
        width, height = int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        return Header("WebP", width, height, "RGB+alpha" if data[20] & 0x10 else "RGB")
    raise _HeaderError("truncated within its header" if len(data) < 30 else "damaged (an unknown kind of WebP)")


def _bmp(data: bytes) -> Header:
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
    # A negative height says that the rows are stored from the top.
    return Header("BMP", width, abs(height), "palette" if bits <= 8 else "RGB+alpha" if bits == 32 else "RGB")


def jpeg_orientation(data: bytes) -> int:
    """EXIF orientation of a JPEG, 1 to 8; 1 (upright) where there is none or it is not valid."""
    for marker, start, end in jpeg_segments(data):
        if marker == 0xE1 and data.startswith(b"Exif\0\0", start):
            return exif_orientation(data[start:end])
    return 1


def exif_orientation(block: bytes) -> int:
    """The orientation in an EXIF block, 1 to 8; 1 (upright) where there is none or it is not valid."""
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, directory)
        for at in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(f"{order}HHI", block, at)
            if tag == ORIENTATION_TAG and count == 1 and kind in (SHORT, LONG):
                (value,) = struct.unpack_from(f"{order}{'H' if kind == SHORT else 'I'}", block, at + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass  # a cut or lying block says nothing
    return 1


def orientation(data: bytes, header: Header) -> int:
    """EXIF orientation of an encoded picture, 1 to 8; 1 (upright) where there is none or it is not valid."""
    if header.format == "JPEG":
        return jpeg_orientation(data)
    mark, skipped = {"PNG": (b"eXIf", 4), "WebP": (b"EXIF", 8)}.get(header.format, (b"", 0))
    at = data.find(mark, 12) if mark else -1
    return exif_orientation(data[at + skipped :]) if at >= 0 else 1


LUMINANCE_SUM = 3688
"""Sum of the 64 steps of JPEG's luminance table (ITU-T T.81, Table K.1), which quality 50 uses as it stands."""


def jpeg_quality(data: bytes) -> int | None:
    """The quality (1 to 100, by libjpeg's scale) that made the first table of steps of a JPEG, to a few units.

    Encoders with tables of their own get the quality whose steps are as coarse on average. `None`: no such table.
    """
    for marker, start, end in jpeg_segments(data):
        if marker == 0xDB and end > start:
            wide = data[start] >> 4  # 16 bits for each step
            steps = data[start + 1 : min(end, start + 1 + (128 if wide else 64))]
            total = sum(struct.unpack(f">{len(steps) // 2}H", steps[: len(steps) // 2 * 2])) if wide else sum(steps)
            scale = 100 * total / LUMINANCE_SUM  # per cent: 5000 / quality below 50, 200 - 2 quality above
            return round(min(max(5000 / scale if scale > 100 else (200 - scale) / 2, 1), 100)) if scale else 100
    return None
