"""Corruptions: pure functions, with the published constants, against plain loops and scipy's own filters."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest

from vitral.data.corruptions import CORRUPTIONS, LEVELS, blur, corrupt, noise, weather
from vitral.data.corruptions.filters import cloud, enlarge, spread, trail
from vitral.errors import UsageError

ndimage = pytest.importorskip("scipy.ndimage", reason="scipy is not installed")


def photograph(height: int = 48, width: int = 48) -> np.ndarray:
    """Smooth noise, as photographs are."""
    rng = np.random.default_rng(0)
    coarse = ndimage.zoom(rng.random((6, 6, 3)), (height / 6, width / 6, 1), order=1)
    return (255 * coarse).astype(np.uint8)[:height, :width]


def test_there_are_15_at_5_levels() -> None:
    assert len(CORRUPTIONS) == 15
    assert LEVELS == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_a_function_of_seed_sample_and_level(name: str) -> None:
    picture = photograph()
    before = picture.copy()
    first = corrupt(picture, name, 3, seed=1, sample=5)
    assert first.shape == picture.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, corrupt(picture, name, 3, seed=1, sample=5))
    assert np.array_equal(picture, before)
    assert not np.array_equal(first, picture)
    assert not np.array_equal(first, corrupt(picture, name, 5, seed=1, sample=5))


RANDOM = [name for name in CORRUPTIONS if name not in (
    "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")]  # fmt: skip


@pytest.mark.parametrize("name", RANDOM)
def test_what_is_random_differs_by_seed_and_by_picture(name: str) -> None:
    picture = photograph()
    first = corrupt(picture, name, 3, seed=1, sample=5)
    assert not np.array_equal(first, corrupt(picture, name, 3, seed=2, sample=5))
    assert not np.array_equal(first, corrupt(picture, name, 3, seed=1, sample=6))


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in ("elastic_transform", "frost", "fog")])
def test_a_higher_level_does_more_harm(name: str) -> None:
    picture = photograph().astype(float)
    harm = [np.abs(corrupt(picture.astype(np.uint8), name, level, 0, 0) - picture).mean() for level in (1, 5)]
    assert harm[0] < harm[1]


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (17, 9), (64, 40)])
def test_any_size_can_be_corrupted(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 130, dtype=np.uint8)
    for name in CORRUPTIONS:
        assert corrupt(picture, name, 5, 0, 0).shape == picture.shape


def test_an_unknown_one_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="defocus_blur"):
        corrupt(photograph(), "defocus_blurr", 1, 0, 0)


# Parts against other code ---------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1.0, 1.05, 1.26, 2.5, 4.5])
@pytest.mark.parametrize("size", [48, 61])
def test_enlarging_is_scipys_linear_zoom_of_the_middle(factor: float, size: int) -> None:
    image = np.random.default_rng(1).random((size, size, 3))
    inner = math.ceil(size / factor)
    top = (size - inner) // 2
    large = ndimage.zoom(image[top : top + inner, top : top + inner], (factor, factor, 1), order=1)
    cut = (large.shape[0] - size) // 2
    np.testing.assert_allclose(enlarge(image, factor), large[cut : cut + size, cut : cut + size], atol=1e-9)


def test_spreading_is_scipys_correlation_with_mirrored_edges() -> None:
    rng = np.random.default_rng(2)
    image, kernel = rng.random((40, 33)), rng.random((9, 9))
    kernel += kernel[::-1, ::-1]
    np.testing.assert_allclose(spread(image, kernel), ndimage.correlate(image, kernel, mode="mirror"), atol=1e-9)


def test_defocus_keeps_the_brightness_and_its_disk_has_the_published_radius() -> None:
    point = np.zeros((41, 41, 3))
    point[20, 20] = 1
    for level, (radius, _) in enumerate(blur.DEFOCUS):
        spot = blur.defocus(point, level, np.random.default_rng(0))[..., 0]
        assert spot.sum() == pytest.approx(1, abs=0.02)  # its edge is smoothed against a mirror, as the authors' is
        rows = np.flatnonzero(spot.max(axis=1) > spot.max() / 2)
        assert (rows.max() - rows.min()) // 2 in (radius - 1, radius)


def test_a_trail_is_the_mean_along_a_line() -> None:
    image = np.random.default_rng(3).random((12, 12, 3))
    angle, radius, sigma = 30.0, 3, 2.0
    weights = [math.exp(-(k**2) / (2 * sigma**2)) for k in range(2 * radius + 1)]
    found = trail(image, radius, sigma, angle)
    for row, column in ((0, 0), (5, 6), (11, 11), (3, 10)):
        total = np.zeros(3)
        for k, weight in enumerate(weights):
            down = math.ceil(k * math.sin(math.radians(angle)) - 0.5)
            right = math.ceil(k * math.cos(math.radians(angle)) - 0.5)
            total += weight * image[min(11, max(0, row + down)), min(11, max(0, column + right))]
        np.testing.assert_allclose(found[row, column], total / sum(weights), atol=1e-12)


def test_brightness_is_more_value_at_the_same_hue_and_saturation() -> None:
    rng = np.random.default_rng(4)
    image = rng.random((4, 5, 3))
    image[0, 0] = 0
    found = weather.brightness(image, 2, rng)
    for place in np.ndindex(4, 5):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[place])
        wanted = colorsys.hsv_to_rgb(hue, saturation, min(1, value + 0.3))
        np.testing.assert_allclose(found[place], wanted, atol=1e-12)


def test_noise_has_the_published_strength() -> None:
    grey = np.full((200, 200, 3), 0.5)
    for level in range(5):
        rng = np.random.default_rng(level)
        assert noise.gaussian(grey, level, rng).std() == pytest.approx(noise.GAUSSIAN[level], rel=0.02)
        photons = noise.SHOT[level]
        assert noise.shot(grey, level, rng).std() == pytest.approx(math.sqrt(0.5 * photons) / photons, rel=0.02)
        struck = noise.impulse(grey, level, rng)
        assert (struck != 0.5).mean() == pytest.approx(noise.IMPULSE[level], rel=0.05)
        assert (struck == 1).sum() == pytest.approx((struck == 0).sum(), rel=0.05)


def test_glass_takes_pixels_from_nearby_only() -> None:
    rows, columns = np.indices((40, 40))
    places = np.stack([rows / 40, columns / 40, np.zeros((40, 40))], axis=-1)
    moved = np.abs(blur.glass(places, 0, np.random.default_rng(0)) - places) * 40
    sigma, reach, times = blur.GLASS[0]
    assert 0 < moved[8:-8, 8:-8].max() <= reach * times * 4 + 4 * sigma  # a pixel may be carried on within a pass


def test_clouds_fill_the_range_and_get_smoother_with_decay() -> None:
    rough, smooth = (cloud(100, 120, decay, np.random.default_rng(5)) for decay in (1.4, 3.0))
    assert rough.shape == smooth.shape == (100, 120)
    assert min(rough.min(), smooth.min()) >= 0
    assert max(rough.max(), smooth.max()) <= 1
    steps = [np.abs(np.diff(land, axis=0)).mean() for land in (rough, smooth)]
    assert steps[0] > 3 * steps[1]
