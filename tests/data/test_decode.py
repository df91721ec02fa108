"""Decoding: the same pixels whatever the file, and one named error for everything that cannot be read."""

import io
import os
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageFile, ImageOps

import vitral.data.decode as module
from vitral.data.decode import decode, read_header
from vitral.errors import UnreadableImageError

FORMATS = {"JPEG": {"quality": 95}, "PNG": {}, "WebP": {"lossless": True}, "BMP": {}, "GIF": {}}
LOSSLESS = {"PNG": {}, "WebP": {"lossless": True}, "BMP": {}}


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(list(shape)).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, depth: int, colour: int, rows: bytes, before: bytes = b"", after: bytes = b""
) -> bytes:
    """A PNG written by hand; each row starts with its filter byte, 0."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = before + chunk(b"IDAT", zlib.compress(rows)) + after + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


def exif(orientation: int, order: str = "<") -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def reason(source: object, **options: int) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        decode(source, **options)
    return caught.value.reason


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The definition, in exact rational arithmetic."""
    return np.floor((colour.astype(np.int64) * alpha + 255 * (255 - alpha.astype(np.int64))) / 255 + 0.5).astype(
        np.uint8
    )


# --- headers


@pytest.mark.parametrize("kind", FORMATS)
def test_header_gives_format_and_stored_size(kind: str) -> None:
    assert read_header(encoded(noise(5, 9, 3), kind, **FORMATS[kind]))[:3] == (kind, 9, 5)


def test_header_of_lossy_and_of_extended_webp_gives_the_size() -> None:
    lossy = encoded(noise(5, 9, 3), "WebP", quality=50)
    extended = encoded(noise(5, 9, 4), "WebP", quality=50, exif=exif(1))
    assert (lossy[12:16], extended[12:16]) == (b"VP8 ", b"VP8X")
    assert read_header(lossy)[1:3] == read_header(extended)[1:3] == (9, 5)


def test_header_of_an_upside_down_bmp_gives_a_positive_height() -> None:
    data = bytearray(encoded(noise(5, 9, 3), "BMP"))
    data[22:26] = struct.pack("<i", -5)
    assert read_header(bytes(data))[1:3] == (9, 5)
    np.testing.assert_array_equal(decode(bytes(data)), noise(5, 9, 3)[::-1])


@pytest.mark.parametrize(
    ("image", "kind", "mode"),
    [
        (noise(4, 4), "JPEG", "grey"),
        (noise(4, 4, 4), "PNG", "RGB+alpha"),
        (Image.new("1", (4, 4)), "PNG", "grey 1 bit"),
        (Image.new("P", (4, 4)), "PNG", "palette"),
        (Image.new("CMYK", (4, 4)), "JPEG", "CMYK"),
        (noise(4, 4, 4), "WebP", "RGB+alpha"),
    ],
)
def test_header_gives_the_colour_mode(image: Image.Image | np.ndarray, kind: str, mode: str) -> None:
    options = {"lossless": True} if kind == "WebP" else {}
    assert read_header(encoded(image, kind, **options)).mode == mode


def test_a_header_without_area_is_unreadable() -> None:
    with pytest.raises(UnreadableImageError, match="0 x 4 pixels"):
        read_header(png(0, 4, 8, 2, b""))


# --- forms of source


@pytest.mark.parametrize("kind", FORMATS)
def test_path_bytes_and_pillow_image_of_one_picture_give_equal_pixels(kind: str, tmp_path: Path) -> None:
    data = encoded(noise(13, 21, 3), kind, **FORMATS[kind])
    (tmp_path / "picture").write_bytes(data)
    forms = [tmp_path / "picture", str(tmp_path / "picture"), bytearray(data), Image.open(io.BytesIO(data))]
    for form in forms:
        np.testing.assert_array_equal(decode(form), decode(data))


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_give_the_pixels_that_were_stored(kind: str) -> None:
    found = decode(encoded(noise(13, 21, 3), kind, **LOSSLESS[kind]))
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, noise(13, 21, 3))


def test_jpeg_pixels_are_those_of_an_independent_decoder() -> None:
    data = encoded(noise(40, 60, 3), "JPEG", quality=90)
    np.testing.assert_array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_the_ending_of_the_name_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "really_a_png.jpg").write_bytes(encoded(noise(4, 6, 3), "PNG"))
    np.testing.assert_array_equal(decode(tmp_path / "really_a_png.jpg"), noise(4, 6, 3))


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
def test_grey_array_fills_three_channels(shape: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(decode(noise(*shape)), np.stack([noise(*shape).reshape(4, 6)] * 3, axis=-1))


def test_array_with_alpha_is_laid_over_white() -> None:
    pixels = noise(4, 6, 4)
    np.testing.assert_array_equal(decode(pixels), over_white(pixels[..., :3], pixels[..., 3:]))


def test_strided_rgb_array_becomes_contiguous() -> None:
    found = decode(noise(8, 6, 3)[::2, ::-1])
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, noise(8, 6, 3)[::2, ::-1])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), "float32, not uint8"),
        (np.zeros((4, 4, 2), np.uint8), "4 x 4 x 2"),
        (np.zeros((2, 4, 4, 3), np.uint8), "2 x 4 x 4 x 3"),
        (np.zeros((0, 4, 3), np.uint8), "holds no pixel"),
    ],
)
def test_array_of_another_form_is_refused_with_what_it_is(array: np.ndarray, words: str) -> None:
    assert words in reason(array)


def test_something_that_is_no_picture_source_is_refused_by_its_type() -> None:
    assert "int is not a path" in reason(3)


# --- conversions, each to the pixel


def test_grey_fills_three_channels() -> None:
    np.testing.assert_array_equal(decode(encoded(noise(5, 7), "PNG")), np.stack([noise(5, 7)] * 3, axis=-1))


def test_one_bit_becomes_0_and_255() -> None:
    np.testing.assert_array_equal(decode(png(8, 1, 1, 0, b"\0\x0f"))[0, :, 1], [0] * 4 + [255] * 4)


def test_two_and_four_bits_fill_the_range() -> None:
    np.testing.assert_array_equal(decode(png(4, 1, 2, 0, b"\0\x1b"))[0, :, 0], [0, 85, 170, 255])
    np.testing.assert_array_equal(decode(png(2, 1, 4, 0, b"\0\x1f"))[0, :, 0], [17, 255])


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
def test_palette_gives_its_colours(kind: str) -> None:
    palette, places = noise(16, 3), noise(5, 7) % 16
    image = Image.new("P", (7, 5))
    image.putdata(places.ravel().tolist())
    image.putpalette(palette.tobytes())
    np.testing.assert_array_equal(decode(encoded(image, kind)), palette[places])


def test_palette_with_transparency_is_laid_over_white() -> None:
    palette, places, alpha = noise(16, 3), noise(5, 7) % 16, noise(16)
    image = Image.new("P", (7, 5))
    image.putdata(places.ravel().tolist())
    image.putpalette(palette.tobytes())
    data = encoded(image, "PNG", transparency=alpha.tobytes())
    np.testing.assert_array_equal(decode(data), over_white(palette[places], alpha[places][..., None]))


@pytest.mark.parametrize("kind", ["PNG", "WebP"])
def test_alpha_is_laid_over_white_with_exact_rounding(kind: str) -> None:
    colour, alpha = np.meshgrid(np.arange(256), np.arange(256))  # every pair there is
    pixels = np.stack([colour, 255 - colour, colour // 2, alpha], axis=-1).astype(np.uint8)
    data = encoded(pixels, kind, **({"lossless": True, "exact": True} if kind == "WebP" else {}))
    np.testing.assert_array_equal(decode(data), over_white(pixels[..., :3], pixels[..., 3:]))


def test_grey_with_alpha_is_laid_over_white() -> None:
    pixels = noise(5, 7, 2)
    expected = np.repeat(over_white(pixels[..., :1], pixels[..., 1:]), 3, axis=2)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(pixels, "LA"), "PNG")), expected)


@pytest.mark.parametrize(
    ("depth", "colour", "rows", "transparent", "expected"),
    [
        (8, 0, b"\0\x07\x08", b"\0\x07", [255, 8]),
        (1, 0, b"\0\x40", b"\0\0", [255, 255]),
        (2, 0, b"\0\x60", b"\0\1", [255, 170]),
        (4, 0, b"\0\x12", b"\0\1", [255, 34]),
        (16, 0, b"\0\x12\x34\x12\x35", b"\x12\x34", [255, 0x12]),
        (8, 2, b"\0" + b"\7" * 3 + b"\x08" * 3, b"\0\7" * 3, [255, 8]),
        (16, 2, b"\0" + b"\x12\x34" * 3 + b"\x56\x34" * 3, b"\x12\x34" * 3, [255, 0x56]),
    ],
)
def test_one_transparent_colour_becomes_white_at_every_depth(
    depth: int, colour: int, rows: bytes, transparent: bytes, expected: list[int]
) -> None:
    found = decode(png(2, 1, depth, colour, rows, before=chunk(b"tRNS", transparent)))
    np.testing.assert_array_equal(found[0], np.repeat(expected, 3).reshape(2, 3))


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3)])
def test_16_bits_become_their_high_byte(colour: int, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (3, 4, channels)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    expected = np.broadcast_to((values >> 8).astype(np.uint8), (3, 4, 3))
    np.testing.assert_array_equal(decode(png(4, 3, 16, colour, rows)), expected)


def test_16_bit_pillow_image_becomes_its_high_byte() -> None:
    values = np.array([[0, 255, 256, 65535]], np.uint16)
    for image in (Image.fromarray(values), Image.fromarray(values.astype(np.int32))):
        np.testing.assert_array_equal(decode(image)[0, :, 0], [0, 0, 1, 255])


def test_pillow_image_without_a_fixed_range_is_refused() -> None:
    assert "mode F" in reason(Image.new("F", (2, 2)))
    assert "mode I" in reason(Image.fromarray(np.array([[70000]], np.int32)))


@pytest.mark.parametrize("transform", [0, 2], ids=["CMYK", "YCCK"])
def test_cmyk_jpeg_is_converted_as_by_pillow(transform: int) -> None:
    data = bytearray(
        encoded(Image.merge("CMYK", [Image.fromarray(noise(16, 24) // (i + 1)) for i in range(4)]), "JPEG")
    )
    data[data.index(b"Adobe") + 11] = transform
    expected = np.asarray(Image.open(io.BytesIO(bytes(data))).convert("RGB"))
    np.testing.assert_array_equal(decode(bytes(data)), expected)


def test_unprinted_cmyk_paper_is_white() -> None:
    assert (decode(encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG")) == 255).all()


def test_grey_jpeg_fills_three_channels() -> None:
    found = decode(encoded(noise(16, 16), "JPEG"))
    assert found.shape == (16, 16, 3)
    assert (found[..., :1] == found).all()


@pytest.mark.parametrize("kind", ["GIF", "WebP", "PNG"])
def test_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ((250, 10, 20), (0, 0, 255))]
    options = {"lossless": True} if kind == "WebP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (decode(data) == (250, 10, 20)).all()


def test_jpeg_of_unusual_subsampling_is_decoded_as_by_pillow() -> None:
    data = bytearray(encoded(noise(32, 32, 3), "JPEG", subsampling=0))
    frame = data.index(b"\xff\xc0")
    for component, sampling in enumerate((0x21, 0x21, 0x11)):
        data[frame + 11 + 3 * component] = sampling
    with pytest.raises(ValueError, match="subsampling"):
        simplejpeg.decode_jpeg(bytes(data))
    expected = np.asarray(Image.open(io.BytesIO(bytes(data))))
    np.testing.assert_array_equal(decode(bytes(data)), expected)


# --- orientation


def stored_as(upright: np.ndarray, orientation: int) -> np.ndarray:
    """What a camera stores, from the definition in the EXIF standard: where row 0 and column 0 lie."""
    row0, column0 = {
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("left", "top"),
        6: ("right", "top"),
        7: ("right", "bottom"),
        8: ("left", "bottom"),
    }[orientation]
    height, width = upright.shape[:2]
    sideways = row0 in ("left", "right")
    stored = np.zeros((width, height, 3) if sideways else (height, width, 3), np.uint8)
    for r in range(stored.shape[0]):
        for c in range(stored.shape[1]):
            y, x = (c, r) if sideways else (r, c)
            if "bottom" in (row0, column0):
                y = height - 1 - y
            if "right" in (row0, column0):
                x = width - 1 - x
            stored[r, c] = upright[y, x]
    return stored


@pytest.mark.parametrize("kind", ["PNG", "WebP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture_upright(orientation: int, kind: str) -> None:
    data = encoded(stored_as(noise(5, 7, 3), orientation), kind, exif=exif(orientation), **LOSSLESS[kind])
    np.testing.assert_array_equal(decode(data), noise(5, 7, 3))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_a_jpeg_as_pillow_does(orientation: int, order: str) -> None:
    data = encoded(noise(24, 40, 3), "JPEG", exif=b"Exif\0\0" + exif(orientation, order))
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode(data), np.asarray(expected))
    np.testing.assert_array_equal(decode(Image.open(io.BytesIO(data))), np.asarray(expected))


def test_png_orientation_after_the_pixels_counts() -> None:
    data = png(2, 1, 8, 0, b"\0\x01\x02", after=chunk(b"eXIf", exif(2)))
    np.testing.assert_array_equal(decode(data)[0, :, 0], [2, 1])


def test_an_opened_picture_that_was_already_turned_upright_is_not_turned_again() -> None:
    data = encoded(noise(24, 40, 3), "JPEG", exif=b"Exif\0\0" + exif(6))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode(upright), np.asarray(upright))


@pytest.mark.parametrize(
    "block",
    [
        exif(0),
        exif(9),
        exif(6)[:-8],
        b"II*\0" + struct.pack("<I", 2**32 - 1),
        b"II*\0" + struct.pack("<IH", 8, 65535),
        b"garbage!",
        b"",
        exif(6).replace(struct.pack("<HHI", 0x0112, 3, 1), struct.pack("<HHI", 0x0112, 2, 1)),
    ],
)
def test_invalid_exif_counts_as_upright(block: bytes) -> None:
    plain = encoded(noise(24, 40, 3), "JPEG")
    payload = b"Exif\0\0" + block
    data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + plain[2:]
    np.testing.assert_array_equal(decode(data), decode(plain))


# --- what cannot be read


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"hello, world", "not a JPEG, PNG, WebP, BMP or GIF picture"),
        (b"\n<!DOCTYPE html>", "text such as HTML"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"\0\0\0\x18ftypheic\0\0", "HEIC"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
    ],
)
def test_what_is_no_picture_says_what_it_is(data: bytes, words: str) -> None:
    assert words in reason(data)


def test_tiff_is_refused_by_content_though_pillow_reads_it(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "x.jpg", "TIFF")
    assert "TIFF" in reason(tmp_path / "x.jpg")


def test_missing_file_folder_and_impossible_name_are_unreadable(tmp_path: Path) -> None:
    assert reason(tmp_path / "none.jpg") == "no such file"
    assert reason(tmp_path) == "not a file"
    assert "null" in reason("a\0b.jpg")
    assert "name too long" in reason("a" * 5000).lower()


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason(tmp_path / "pipe.jpg") == "not a file"


def test_a_file_that_may_not_be_opened_says_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.png").write_bytes(encoded(noise(4, 4, 3), "PNG"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "open", refuse, raising=False)  # as root, no file is refused
    assert reason(tmp_path / "x.png") == "permission denied"


def test_the_error_names_the_picture_with_unprintable_characters_escaped(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError) as caught:
        decode(os.fsencode(tmp_path).decode() + "/new\nline\udcff.jpg")
    assert "new\\nline\\udcff.jpg" in str(caught.value)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}], ids=str)
def test_jpeg_cut_at_any_length_is_unreadable(options: dict[str, object]) -> None:
    data = encoded(noise(16, 24, 3), "JPEG", **options)
    for length in range(len(data)):
        assert reason(data[:length])


@pytest.mark.parametrize("kind", LOSSLESS)
def test_other_formats_cut_at_any_length_are_unreadable(kind: str) -> None:
    data = encoded(noise(8, 12, 3), kind, **LOSSLESS[kind])
    for length in range(len(data)):
        assert reason(data[:length])


def test_gif_cut_before_its_last_pixel_is_unreadable() -> None:
    data = encoded(noise(8, 12, 3), "GIF")
    for length in range(len(data) - 2):  # the end mark carries no pixel
        assert reason(data[:length])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP"])
def test_a_cut_picture_stays_unreadable_when_another_library_asks_pillow_for_leniency(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(noise(16, 24, 3), kind, **FORMATS[kind])
    assert reason(data[: len(data) // 2]) == "truncated"


@pytest.mark.parametrize("kind", FORMATS)
def test_mutated_pictures_decode_or_are_unreadable_and_nothing_else(kind: str) -> None:
    rng = np.random.default_rng(7)
    seeds = [encoded(noise(16, 24, 3), kind, **FORMATS[kind]), encoded(noise(16, 24), kind, **FORMATS[kind])]
    if kind == "JPEG":
        seeds += [
            encoded(Image.new("CMYK", (16, 16), (9, 50, 3, 80)), kind),
            encoded(noise(16, 8, 3), kind, exif=exif(6)),
        ]
    if kind in ("PNG", "WebP", "GIF"):
        frames = [Image.fromarray(noise(8, 8, 3)), Image.fromarray(255 - noise(8, 8, 3))]
        seeds += [encoded(noise(9, 8, 4), kind), encoded(frames[0], kind, save_all=True, append_images=frames[1:])]
    readable = 0
    for turn in range(400):
        data = bytearray(seeds[turn % len(seeds)])
        for _ in range(rng.integers(1, 5)):
            at = int(rng.integers(0, min(len(data), 2 ** rng.integers(4, 13))))  # headers matter most
            data[at] ^= 1 << rng.integers(0, 8)
        if turn % 3 == 0:
            del data[rng.integers(0, len(data)) :]
        try:
            found = decode(bytes(data), max_pixels=1_000_000)
        except UnreadableImageError:
            continue
        readable += 1
        assert found.dtype == np.uint8
        assert found.ndim == 3
        assert found.shape[2] == 3
    assert 0 < readable < 400


def test_an_unreadable_picture_raises_instead_of_becoming_another_one(tmp_path: Path) -> None:
    # timm's folder reader returns the next sample, of another class perhaps.
    (tmp_path / "a.jpg").write_bytes(encoded(noise(16, 16, 3), "JPEG")[:300])
    (tmp_path / "b.jpg").write_bytes(encoded(noise(16, 16, 3), "JPEG"))
    with pytest.raises(UnreadableImageError, match=r"a\.jpg"):
        decode(tmp_path / "a.jpg")


# --- budgets


BOMBS = {
    "PNG": png(50_000, 50_000, 1, 0, bytes(10_000)),
    "JPEG": encoded(noise(8, 8, 3), "JPEG"),
    "GIF": b"GIF89a" + struct.pack("<HH", 65_500, 65_500) + bytes(20),
    "BMP": b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 60_000, 60_000, 1, 24, 0) + bytes(20),
    "WebP": b"RIFF"
    + struct.pack("<I", 30)
    + b"WEBPVP8X"
    + struct.pack("<II", 10, 0)
    + b"\xff\xff\x01\xff\xff\x01"
    + bytes(8),
}
_FRAME = BOMBS["JPEG"].index(b"\xff\xc0") + 5
BOMBS["JPEG"] = BOMBS["JPEG"][:_FRAME] + struct.pack(">HH", 65_500, 65_500) + BOMBS["JPEG"][_FRAME + 4 :]


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_from_its_header_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: object, **__: object) -> None:
        raise AssertionError("its pixels were asked for")

    monkeypatch.setattr("simplejpeg.decode_jpeg", decoded)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    assert "more than the limit of 89,478,485" in reason(BOMBS[kind])


def test_the_budget_error_carries_both_numbers() -> None:
    assert reason(encoded(noise(10, 20, 3), "PNG"), max_pixels=199) == (
        "20 x 10 is 200 pixels, more than the limit of 199"
    )


@pytest.mark.parametrize("source", [noise(10, 20, 3), Image.new("RGB", (20, 10))], ids=["array", "pillow"])
def test_the_budget_holds_for_pictures_in_memory(source: object) -> None:
    assert "limit of 199" in reason(source, max_pixels=199)
    assert decode(source, max_pixels=200).shape == (10, 20, 3)


def test_a_gif_frame_larger_than_its_screen_is_within_the_budget_or_refused() -> None:
    data = bytearray(encoded(Image.new("P", (60, 60)), "GIF"))
    data[6:10] = struct.pack("<HH", 2, 2)
    assert "limit of 100" in reason(bytes(data), max_pixels=100)


def test_a_raised_budget_reads_a_large_picture_without_a_warning() -> None:
    # Pillow's own limit is 89,478,485 pixels; beyond it Image.open warns, and warnings are errors here.
    rows = zlib.compress(bytes((9_472 // 8 + 1) * 9_472), 1)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9_472, 9_472, 1, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    assert decode(data, max_pixels=90_000_000).shape == (9_472, 9_472, 3)


def test_a_large_text_bomb_is_unreadable_not_a_crash() -> None:
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000), 1))
    assert reason(png(2, 1, 8, 0, b"\0\1\2", before=text))


# --- threads, warnings, import


def test_many_threads_give_the_pixels_of_one() -> None:
    pictures = [encoded(noise(16 + i, 24, 3), kind, **FORMATS[kind]) for i in range(4) for kind in FORMATS]
    expected = [decode(data) for data in pictures]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(5):
            wrong.extend(i for i, data in enumerate(pictures) if not np.array_equal(decode(data), expected[i]))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_invalid_animated_png_gives_its_picture_without_a_warning() -> None:
    twice = chunk(b"acTL", struct.pack(">II", 0, 0)) + chunk(b"acTL", struct.pack(">II", 5, 0))
    np.testing.assert_array_equal(decode(png(2, 1, 8, 0, b"\0\1\2", before=twice))[0, :, 0], [1, 2])


def test_decoding_leaves_pillows_settings_alone() -> None:
    script = (
        "import io, numpy as np; from PIL import Image, ImageFile\n"
        "def settings(): return Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK\n"
        "before = settings(); from vitral.data.decode import decode\n"
        "file = io.BytesIO(); Image.new('RGB', (9, 9)).save(file, 'PNG'); decode(file.getvalue(), 10**10)\n"
        "assert settings() == before"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
