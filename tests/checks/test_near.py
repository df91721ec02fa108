"""The report on near duplicates, odd pictures and sizes names what was planted."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.checks.photographs import CHANGES, dataset, encoded, mirrored, resized, textured
from vitral.checks import CheckReport, check
from vitral.data.decode import decode
from vitral.data.header import jpeg_quality, orientation, read_header
from vitral.data.thumbnail import small_pixels
from vitral.errors import UnreadableImageError


def original(seed: int) -> bytes:
    return encoded(textured(seed), quality=90)


def changed(seed: int, change: str) -> bytes:
    return encoded(CHANGES[change](textured(seed), random.Random(seed)), quality=85)


def kinds(report: CheckReport) -> set[str]:
    return {sentence.split(": ")[0] for sentence in (*report.problems(), *report.remarks())}


def test_near_leaks_come_with_what_was_done() -> None:
    train = [(original(seed), (seed % 2,)) for seed in range(6)]
    test = [
        (encoded(mirrored(textured(0)), quality=80), (0,)),
        (encoded(resized(textured(1), 0.6), quality=80), (1,)),
        (encoded(textured(2), quality=40), (0,)),
        (encoded(textured(3).crop((0, 0, 108, 96)), quality=80), (1,)),
    ]
    found = check(dataset(train=train, test=test), workers=1)
    assert [row[:5] for row in found.near_leaks] == [
        ("train", "train[0]", "test", "test[0]", "mirrored"),
        ("train", "train[1]", "test", "test[1]", "resized"),
        ("train", "train[2]", "test", "test[2]", "encoded anew"),
        ("train", "train[3]", "test", "test[3]", "cropped"),
    ]
    assert all(0.9 <= row[5] <= 1 for row in found.near_leaks)
    assert (found.near_duplicates, found.near_conflicts, found.leaks) == ((), (), ())


def test_near_copies_within_a_split_and_of_another_label_are_told_apart() -> None:
    rows = [
        (original(0), (0,)),
        (changed(0, "half the size"), (0,)),
        (original(1), (0,)),
        (changed(1, "mirrored"), (1,)),
    ]
    found = check(dataset(train=rows), workers=1)
    assert [row[1::2][:2] for row in found.near_duplicates] == [("train[0]", "train[1]"), ("train[2]", "train[3]")]
    assert found.near_conflicts == (("train[2]", "cat", "train[3]", "dog"),)
    assert kinds(found) == {
        "1 near copy with other labels than the original",
        "2 near copies within one split",
        "2 classes of train with fewer than 10 pictures",
    }


def test_equal_bytes_are_no_near_copies() -> None:
    found = check(dataset(train=[(original(0), (0,))] * 3, test=[(original(0), (0,))]), workers=1)
    assert (found.near_leaks, found.near_duplicates) == ((), ())
    assert (len(found.leaks), len(found.duplicates)) == (1, 2)


def test_each_picture_is_named_with_the_first_of_its_near_copies() -> None:
    rows = [(encoded(textured(0), quality=50 + k), (0,)) for k in range(6)]
    found = check(dataset(train=rows), workers=1)
    assert [row[1::2][:2] for row in found.near_duplicates] == [("train[0]", f"train[{k}]") for k in range(1, 6)]


def test_tiny_pictures_are_compared_byte_for_byte_only() -> None:
    rows = [(encoded(textured(0, (24, 24)), quality=q), (0,)) for q in (70, 90)]
    found = check(dataset(train=rows), workers=1)
    assert (found.near_duplicates, found.tiny) == ((), 2)
    larger = check(
        dataset(train=[(encoded(textured(0, (40, 40))), (0,)), (changed(0, "half the size"), (0,))]), workers=1
    )
    assert larger.tiny == 0


def test_odd_modes_rotations_sizes_and_flat_pictures_are_remarks(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures = {f"{seed}.png": encoded(textured(seed), "PNG") for seed in range(12)}
    pictures |= {
        "cmyk.jpg": encoded(textured(20).convert("CMYK")),
        "palette.png": encoded(textured(21).convert("P"), "PNG"),
        "alpha.png": encoded(textured(22).convert("RGBA"), "PNG"),
        "deep.png": encoded(Image.fromarray(np.asarray(textured(23).convert("L")).astype(np.uint16) * 257), "PNG"),
        "turned.jpg": encoded(textured(24), exif=exif),
        "turned.png": encoded(textured(25), "PNG", exif=exif),
        "turned.webp": encoded(textured(26), "WebP", exif=exif),
        "banner.png": encoded(textured(27, (700, 50)), "PNG"),
        "huge.jpg": encoded(textured(28, (900, 800))),
        "flat.png": encoded(Image.new("RGB", (100, 100), (3, 4, 5)), "PNG"),
    }
    for name, data in pictures.items():
        (tmp_path / name).write_bytes(data)
    found = check(dataset(train=[(str(tmp_path / name), (0,)) for name in pictures]), workers=1)
    assert {(Path(name).name, mode) for name, mode in found.odd_modes} == {
        ("cmyk.jpg", "CMYK"),
        ("palette.png", "palette"),
        ("alpha.png", "RGB+alpha"),
        ("deep.png", "grey 16 bit"),
    }
    assert found.rotated == 3
    assert {Path(name).name for name, *_ in found.size_outliers} == {"banner.png", "huge.jpg"}
    assert [Path(name).name for name in found.flat] == ["flat.png"]
    assert found.problems() == []
    assert len(found.remarks()) == 5


def test_small_classes_are_named_smallest_first() -> None:
    rows = [(encoded(textured(seed, (40, 40))), (int(seed > 2) + int(seed > 7),)) for seed in range(20)]
    assert check(dataset(("a", "b", "c"), train=rows), workers=1).small_classes == {"a": 3, "b": 5}


@pytest.mark.parametrize("turn", range(1, 9))
def test_small_pixels_are_those_of_the_whole_picture(turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(textured(3, (400, 300)), quality=95, exif=exif)
    small, whole = small_pixels(data, "x", 10**6), decode(data)
    assert small.shape[:2] == ((100, 75) if turn >= 5 else (75, 100))
    shrunk = np.asarray(Image.fromarray(whole).resize((small.shape[1], small.shape[0]), Image.Resampling.BOX))
    assert np.abs(small.astype(int) - shrunk).mean() < 3
    assert orientation(data, read_header(data)) == turn


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_what_decode_refuses_is_refused_for_small_pixels_too(share: float) -> None:
    data = encoded(textured(4, (400, 300)))
    cut = data[: round(len(data) * share)]
    with pytest.raises(UnreadableImageError) as whole:
        decode(cut)
    with pytest.raises(UnreadableImageError) as small:
        small_pixels(cut, "x", 10**6)
    assert small.value.reason == whole.value.reason
    with pytest.raises(UnreadableImageError, match="limit of 1,000"):
        small_pixels(data, "x", 1000)


@pytest.mark.parametrize("quality", [20, 50, 75, 90, 95])
def test_the_quality_of_a_jpeg_is_that_it_was_saved_with(quality: int) -> None:
    assert jpeg_quality(encoded(textured(5), quality=quality)) == pytest.approx(quality, abs=1)
    assert jpeg_quality(encoded(textured(5), "PNG")) is None
