"""Each operation is its formula, written out pixel by pixel; and the sixteen come as the papers' did."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from vitral.data.randaugment import OPERATIONS, greyscale, randaugment

MAGNITUDES = [0.0, 0.7, 2.0, 3.0, 7.0, 10.0, 17.0, 20.0, 30.0]


def picture(height: int, width: int, seed: int = 0, low: int = 0, high: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (height, width, 3), dtype=np.uint8)


def apply(name: str, image: np.ndarray, magnitude: float = 0.0, seed: int = 0) -> np.ndarray:
    return OPERATIONS[name](image, magnitude / 10, np.random.default_rng(seed))


def per_value(image: np.ndarray, formula) -> np.ndarray:
    return np.array([formula(int(value)) for value in image.ravel()], dtype=np.uint8).reshape(image.shape)


def blended(degraded: np.ndarray, image: np.ndarray, magnitude: float) -> np.ndarray:
    factor = 1.8 * magnitude / 10 + 0.1
    exact = degraded + factor * (image.astype(float) - degraded)
    return np.floor(np.clip(exact, 0, 255))


def assert_blended(ours: np.ndarray, degraded: np.ndarray, image: np.ndarray, magnitude: float) -> None:
    """Equal, but where the exact sum is whole, so that the last bit of a float decides."""
    expected = blended(degraded, image, magnitude)
    difference = np.abs(ours - expected)
    assert difference.max() <= 1
    exact = degraded + (1.8 * magnitude / 10 + 0.1) * (image.astype(float) - degraded)
    assert np.abs(exact - np.round(exact))[difference > 0].max(initial=0) < 1e-4


def test_autocontrast_is_pillows_within_one_unit() -> None:
    image = picture(30, 40, low=31, high=200)
    ours = apply("autocontrast", image).astype(int)
    assert np.abs(ours - np.asarray(ImageOps.autocontrast(Image.fromarray(image)))).max() <= 1


def test_autocontrast_reaches_both_ends_and_leaves_a_flat_channel() -> None:
    image = picture(30, 40, low=31, high=200)
    image[..., 1] = 77
    ours = apply("autocontrast", image)
    assert (ours[..., 0].min(), ours[..., 0].max()) == (0, 255)
    assert (ours[..., 1] == 77).all()


@pytest.mark.parametrize("size", [(64, 64), (30, 41), (9, 9)])
def test_equalize_is_pillows(size) -> None:
    image = (picture(*size).astype(float) ** 2 / 255).astype(np.uint8)
    assert np.array_equal(apply("equalize", image), np.asarray(ImageOps.equalize(Image.fromarray(image))))


def test_equalize_leaves_a_picture_of_one_value() -> None:
    image = np.full((20, 20, 3), 7, dtype=np.uint8)
    assert np.array_equal(apply("equalize", image), image)


def test_invert_is_255_minus_the_value() -> None:
    image = picture(9, 9)
    assert np.array_equal(apply("invert", image), per_value(image, lambda value: 255 - value))


@pytest.mark.parametrize("magnitude", MAGNITUDES)
def test_posterize_keeps_the_highest_bits(magnitude: float) -> None:
    image = picture(16, 16)
    step = 2 ** (8 - min(8, int(4 * magnitude / 10)))
    assert np.array_equal(apply("posterize", image, magnitude), per_value(image, lambda value: value // step * step))


@pytest.mark.parametrize("magnitude", MAGNITUDES)
def test_solarize_inverts_from_the_threshold_up(magnitude: float) -> None:
    image = picture(16, 16)
    threshold = int(25.6 * magnitude)
    expected = per_value(image, lambda value: value if value < threshold else 255 - value)
    assert np.array_equal(apply("solarize", image, magnitude), expected)


@pytest.mark.parametrize("magnitude", MAGNITUDES)
def test_solarize_add_lightens_the_darker_half(magnitude: float) -> None:
    image = picture(16, 16)
    added = int(110 * (magnitude / 10))
    expected = per_value(image, lambda value: min(value + added, 255) if value < 128 else value)
    assert np.array_equal(apply("solarize_add", image, magnitude), expected)


@pytest.mark.parametrize("magnitude", MAGNITUDES)
def test_colour_blends_with_the_greys(magnitude: float) -> None:
    image = picture(16, 17)
    greys = np.round(image @ np.array([0.2989, 0.5870, 0.1140]))[..., None]
    assert_blended(apply("colour", image, magnitude), greys, image, magnitude)


@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize(("size", "grey"), [((224, 224), 196), ((32, 32), 4), ((300, 300), 255), ((3, 5), 0)])
def test_contrast_blends_with_a_grey_of_the_pixel_count(magnitude: float, size, grey: int) -> None:
    image = picture(*size)
    assert_blended(apply("contrast", image, magnitude), np.array(grey), image, magnitude)


@pytest.mark.parametrize("magnitude", MAGNITUDES)
def test_brightness_blends_with_black(magnitude: float) -> None:
    image = picture(16, 17)
    assert_blended(apply("brightness", image, magnitude), np.array(0), image, magnitude)


@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("size", [(12, 13), (3, 3), (2, 9), (1, 1)])
def test_sharpness_blends_with_the_smoothed_inside(magnitude: float, size) -> None:
    image = picture(*size)
    smooth = image.astype(int)
    for y, x in itertools.product(range(1, size[0] - 1), range(1, size[1] - 1)):
        window = image[y - 1 : y + 2, x - 1 : x + 2].astype(int)
        smooth[y, x] = (window.sum((0, 1)) + 4 * window[1, 1]) // 13
    assert_blended(apply("sharpness", image, magnitude), smooth, image, magnitude)


@pytest.mark.parametrize(("name", "enhancer"), [("colour", ImageEnhance.Color), ("sharpness", ImageEnhance.Sharpness)])
def test_blends_are_near_those_of_pillow(name: str, enhancer) -> None:
    image = picture(20, 20)
    theirs = np.asarray(enhancer(Image.fromarray(image)).enhance(1.36)).astype(int)
    # Greys and smoothed values are rounded otherwise there: 1 unit, and the rounding of the blend.
    assert np.abs(apply(name, image, 7.0) - theirs).max() <= 2


def moved(image: np.ndarray, source) -> tuple[np.ndarray, np.ndarray]:
    """Pixel (y, x) is the one nearest to `source(y, x)`, else grey; and which pixels are no near ties."""
    height, width = image.shape[:2]
    result, sure = np.full_like(image, 128), np.ones((height, width), dtype=bool)
    for y, x in itertools.product(range(height), range(width)):
        places = source(y, x)
        row, column = (math.floor(place + 0.5) for place in places)
        sure[y, x] = all(abs(place % 1 - 0.5) > 0.01 for place in places)
        if 0 <= row < height and 0 <= column < width:
            result[y, x] = image[row, column]
    return result, sure


def assert_moved_either_way(name: str, image: np.ndarray, magnitude: float, source) -> None:
    """Over several generators both signs occur, and nothing else."""
    seen = set()
    for seed in range(10):
        ours = apply(name, image, magnitude, seed)
        for sign in (1, -1):
            expected, sure = moved(image, lambda y, x, sign=sign: source(y, x, sign))
            assert sure.mean() > 0.6
            if np.array_equal(ours[sure], expected[sure]):
                seen.add(sign)
                break
        else:
            pytest.fail(f"{name} is neither way")
    assert len(seen) == (2 if magnitude else 1)


@pytest.mark.parametrize("magnitude", [0.0, 3.0, 10.0, 20.0, 30.0])
@pytest.mark.parametrize("size", [(21, 35), (16, 16)])
def test_rotate_turns_about_the_centre(magnitude: float, size) -> None:
    angle, (cy, cx) = math.radians(3 * magnitude), ((size[0] - 1) / 2, (size[1] - 1) / 2)

    def source(y: int, x: int, sign: int) -> tuple[float, float]:
        sin, cos = math.sin(sign * angle), math.cos(angle)
        return cy + sin * (x - cx) + cos * (y - cy), cx + cos * (x - cx) - sin * (y - cy)

    assert_moved_either_way("rotate", picture(*size), magnitude, source)


@pytest.mark.parametrize("magnitude", [0.0, 3.0, 11.0])
def test_shears_move_by_the_distance_from_the_corner(magnitude: float) -> None:
    image, slope = picture(23, 31), 0.03 * magnitude
    assert_moved_either_way("shear_x", image, magnitude, lambda y, x, sign: (y, x + sign * slope * y))
    assert_moved_either_way("shear_y", image, magnitude, lambda y, x, sign: (y + sign * slope * x, x))


@pytest.mark.parametrize("magnitude", [0.0, 3.0, 7.0, 20.0])
def test_translations_shrink_with_pictures_below_224(magnitude: float) -> None:
    image = picture(28, 40)
    shift = 10 * magnitude * 28 / 224
    assert_moved_either_way("translate_x", image, magnitude, lambda y, x, sign: (y, x + sign * shift))
    assert_moved_either_way("translate_y", image, magnitude, lambda y, x, sign: (y + sign * shift, x))


def test_a_large_picture_is_translated_by_the_papers_length() -> None:
    image = picture(224, 300)
    ours = apply("translate_x", image, 7.0)
    left, right = np.full_like(image, 128), np.full_like(image, 128)
    left[:, :-70], right[:, 70:] = image[:, 70:], image[:, :-70]
    assert np.array_equal(ours, left) or np.array_equal(ours, right)


@pytest.mark.parametrize(("side", "half"), [(224, 28), (448, 28), (32, 4)])
def test_cutout_greys_a_square_around_a_pixel_as_far_as_it_lies_inside(side: int, half: int) -> None:
    image = np.zeros((side, side, 3), dtype=np.uint8)
    full = 0
    for seed in range(30):
        cut = apply("cutout", image, 7.0, seed)
        rows, columns = (np.flatnonzero(cut.any(axis=(axis, 2))) for axis in (1, 0))
        assert (cut[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 128).all()
        for found in (rows, columns):
            at_edge = found[0] == 0 or found[-1] == side - 1
            assert len(found) == 2 * half or (at_edge and half - 1 < len(found) < 2 * half)
        full += len(rows) == len(columns) == 2 * half
    assert full > 0


def test_magnitude_0_blackens_inverts_and_fades() -> None:
    image = picture(20, 20)
    assert not apply("posterize", image, 0).any()
    assert np.array_equal(apply("solarize", image, 0), 255 - image)
    assert np.array_equal(apply("brightness", image, 0), np.floor(image * 0.1 + 1e-6))


def test_magnitude_0_moves_and_cuts_nothing() -> None:
    image = picture(20, 20)
    for name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y", "cutout", "solarize_add"):
        assert np.array_equal(apply(name, image, 0), image), name


def test_each_of_the_sixteen_is_drawn_equally_often(monkeypatch) -> None:
    drawn: list[str] = []
    for name in list(OPERATIONS):
        monkeypatch.setitem(OPERATIONS, name, lambda image, *_, name=name: drawn.append(name) or image)
    randaugment(picture(2, 2), np.random.default_rng(0), 3200, 5.0)
    counts = [drawn.count(name) for name in OPERATIONS]
    assert len(counts) == 16
    # Binomial(3200, 1/16): mean 200, standard deviation 13.7.
    assert all(abs(count - 200) < 5 * 13.7 for count in counts)


@pytest.mark.parametrize("magnitude", [0.0, 9.5, 30.0])
@pytest.mark.parametrize("name", list(OPERATIONS))
def test_an_operation_keeps_size_type_and_its_input(name: str, magnitude: float) -> None:
    for size in [(1, 1), (5, 3), (40, 30)]:
        image = picture(*size)
        before = image.copy()
        image.flags.writeable = False
        after = apply(name, image, magnitude)
        assert after.shape == before.shape
        assert after.dtype == np.uint8
        assert np.array_equal(image, before)


def test_the_same_generator_gives_the_same_bytes() -> None:
    image = picture(48, 40)
    first, second = ([randaugment(image, np.random.default_rng(seed), 3, 12.5) for seed in range(40)] for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    assert len({one.tobytes() for one in first}) > 30


def test_no_layers_is_the_picture_itself() -> None:
    image = picture(8, 8)
    assert randaugment(image, np.random.default_rng(0), 0, 10.0) is image


def test_greys_are_the_weighted_sum_rounded() -> None:
    image = picture(60, 60)
    expected = np.round(image @ np.array([2989, 5870, 1140]) / 10_000)
    # numpy rounds halves to even, ours up: the sum is never a half within 1/10000.
    assert np.abs(greyscale(image) - expected).max() <= 1
    assert (greyscale(image) != expected).mean() < 1e-3
