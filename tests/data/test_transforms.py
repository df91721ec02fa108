"""A training picture is varied as the papers say, and by nothing but its generator."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy import stats

from vitral.config import AugmentationConfig, Preprocessing
from vitral.data.geometry import inception_box, mirrored
from vitral.data.preprocessing import prepare
from vitral.data.random_streams import sample_generator
from vitral.data.transforms import augment, cut, erase, grey_solarized_or_blurred, jitter
from vitral.errors import UsageError

# A sound sampler fails one of our few tests once in 10,000 changes of the code.
UNLIKELY = 1e-5

PLAIN = AugmentationConfig(crop="none", flip=False)
SMALL = Preprocessing(crop=(24, 24), resize=28)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_random_cut_may_be_taken_from_another_size_than_evaluation_s() -> None:
    """VTAB's training pictures are squashed to 448 x 448 and cut to 384, its test pictures squashed to 384."""
    image, preprocessing = picture(20, 50), Preprocessing((12, 12), (12, 12))
    larger = prepare(image, Preprocessing((14, 14), (14, 14)))
    windows = {larger[y : y + 12, x : x + 12].tobytes() for y in range(3) for x in range(3)}
    augmentation = AugmentationConfig(crop="resize-random", resize=(14, 14))
    found = {cut(image, np.random.default_rng(k), augmentation, preprocessing).tobytes() for k in range(100)}
    assert found == windows
    with pytest.raises(UsageError, match="resize must be 1 to 16384"):
        AugmentationConfig(resize=(14, 0))


def test_inception_boxes_lie_inside_within_area_and_aspect() -> None:
    rng = np.random.default_rng(0)
    for size in [(1000, 1000), (600, 800), (900, 500)]:
        for box in (inception_box(size, 0.05, rng) for _ in range(500)):
            assert 0 <= box.top <= size[0] - box.height
            assert 0 <= box.left <= size[1] - box.width
            # Sides are rounded to whole pixels, up to half a pixel of at least 150.
            assert 0.05 * 0.99 < box.height * box.width / (size[0] * size[1]) <= 1
            assert 0.75 * 0.99 < box.width / box.height < 4 / 3 * 1.01


def test_inception_area_and_aspect_are_uniform() -> None:
    # No box below half of a square picture's area can stick out: (1/2)(4/3) < 1, so none is drawn again there.
    rng = np.random.default_rng(1)
    boxes = [inception_box((8000, 8000), 0.05, rng) for _ in range(6000)]
    areas = np.array([box.height * box.width for box in boxes]) / 8000**2
    aspects = np.array([box.width / box.height for box in boxes])
    inner = areas < 0.5
    assert stats.kstest(areas[inner], stats.uniform(0.05, 0.45).cdf).pvalue > UNLIKELY
    assert stats.kstest(aspects[inner], stats.uniform(0.75, 4 / 3 - 0.75).cdf).pvalue > UNLIKELY


def test_inception_places_are_uniform() -> None:
    rng = np.random.default_rng(2)
    boxes = [inception_box((4000, 5000), 0.05, rng) for _ in range(4000)]
    # (k + u) / (n + 1) with u uniform spreads whole places k = 0..n evenly over (0, 1).
    places = np.array(
        [
            ((box.top + rng.random()) / (4001 - box.height), (box.left + rng.random()) / (5001 - box.width))
            for box in boxes
        ]
    )
    assert stats.kstest(places[:, 0], "uniform").pvalue > UNLIKELY
    assert stats.kstest(places[:, 1], "uniform").pvalue > UNLIKELY


def test_a_strip_that_no_box_fits_is_taken_whole() -> None:
    assert inception_box((4, 1000), 0.5, np.random.default_rng(0)) == (0, 0, 4, 1000)


def test_an_inception_cut_is_the_box_resized() -> None:
    image, augmentation = picture(90, 70), AugmentationConfig()
    for sample in range(10):
        box = inception_box((90, 70), 0.05, sample_generator(0, 0, sample))
        part = Image.fromarray(image[box.top : box.top + box.height, box.left : box.left + box.width])
        expected = np.asarray(part.resize((24, 24), Image.Resampling.BILINEAR)).astype(int)
        ours = cut(image, sample_generator(0, 0, sample), augmentation, SMALL)
        assert np.abs(ours - expected).max() <= 1


def test_crop_none_is_evaluations_preparation() -> None:
    image = picture(60, 50)
    assert np.array_equal(augment(image, np.random.default_rng(0), PLAIN, SMALL), prepare(image, SMALL))


def test_resize_random_may_resize_otherwise_than_evaluation_does() -> None:
    image, whole = picture(40, 60), Preprocessing((16, 16), (16, 16))
    augmentation = AugmentationConfig(crop="resize-random", flip=False, resize=(20, 20))
    larger = prepare(image, Preprocessing((20, 20), (20, 20)))
    made = [augment(image, sample_generator(0, 0, i), augmentation, whole) for i in range(40)]
    places = [larger[top : top + 16, left : left + 16] for top in range(5) for left in range(5)]
    assert all(any((cut == place).all() for place in places) for cut in made)
    assert len({cut.tobytes() for cut in made}) > 10


def test_resize_random_cuts_every_place_equally_often() -> None:
    image = np.zeros((10, 9, 3), dtype=np.uint8)
    image[..., 0], image[..., 1] = np.arange(10)[:, None], np.arange(9)
    augmentation, preprocessing = AugmentationConfig(crop="resize-random"), Preprocessing((8, 8), None)
    rng = np.random.default_rng(0)
    corners = np.array([cut(image, rng, augmentation, preprocessing)[0, 0] for _ in range(3000)])
    counts = np.bincount(corners[:, 0] * 2 + corners[:, 1])
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > UNLIKELY


def test_padding_is_zeros_on_each_side() -> None:
    image = np.full((8, 8, 3), 200, dtype=np.uint8)
    augmentation = AugmentationConfig(crop="resize-random", padding=3)
    rng = np.random.default_rng(0)
    tops, lefts = set(), set()
    for _ in range(300):
        part = cut(image, rng, augmentation, Preprocessing((8, 8), None))
        inside = part[..., 0] == 200
        assert (part[~inside] == 0).all()
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        assert inside.sum() == len(rows) * len(columns)
        tops.add((int(rows[0]), len(rows)))
        lefts.add((int(columns[0]), len(columns)))
    assert tops == lefts == {(0, 5), (0, 6), (0, 7), (0, 8), (1, 7), (2, 6), (3, 5)}


def test_half_of_the_pictures_are_mirrored() -> None:
    image = picture(24, 24)
    augmentation = AugmentationConfig(crop="none")
    flipped = 0
    for sample in range(2000):
        view = augment(image, sample_generator(0, 0, sample), augmentation, SMALL_AS_IS)
        mirrored = np.array_equal(view, image[:, ::-1])
        assert mirrored or np.array_equal(view, image)
        flipped += mirrored
    assert stats.binomtest(flipped, 2000, 0.5).pvalue > UNLIKELY


SMALL_AS_IS = Preprocessing(crop=(24, 24), resize=None)


class Scripted(np.random.Generator):
    """A generator that answers with the numbers it was given."""

    def __init__(self, order: list[int], factors: list[float]) -> None:
        super().__init__(np.random.PCG64(0))
        self.order, self.factors, self.ranges = order, iter(factors), []

    def permutation(self, count: int) -> list[int]:
        assert count == 3
        return self.order

    def uniform(self, low: float, high: float) -> float:
        self.ranges.append((low, high))
        return next(self.factors)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
@pytest.mark.parametrize("factors", [[1.4, 0.6, 1.2], [0.7, 1.3, 0.5]])
def test_jitter_is_pillows_enhancements_in_the_drawn_order(order: list[int], factors: list[float]) -> None:
    image = picture(20, 30)
    script = Scripted(order, factors)
    ours = jitter(image, script, 0.5).astype(int)
    assert script.ranges == [(0.5, 1.5)] * 3
    theirs = Image.fromarray(image)
    for kind, factor in zip(order, factors, strict=True):
        enhancer = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[kind]
        theirs = enhancer(theirs).enhance(factor)
    # Each of three steps truncates, and Pillow rounds its grey otherwise: within 4 units.
    assert np.abs(ours - np.asarray(theirs)).max() <= 4


def test_erasing_fills_one_rectangle_and_no_other_pixel() -> None:
    image = np.zeros((40, 60, 3), dtype=np.uint8)
    for seed in range(200):
        erased = erase(image, np.random.default_rng(seed))
        rows, columns = (np.flatnonzero(erased.any(axis=(axis, 2))) for axis in (1, 0))
        height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        # Sides are rounded, hence up to half a pixel more or less.
        assert (height + 0.5) * (width + 0.5) >= 0.02 * 2400
        assert (height - 0.5) * (width - 0.5) <= 0.33 * 2400
        assert (height + 0.5) / (width - 0.5) >= 0.3
        assert (height - 0.5) / (width + 0.5) <= 3.3
        # A uniform byte is 0 once in 256.
        inside = erased[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (inside > 0).mean() > 0.9
    assert not image.any()


def test_erased_aspects_are_log_uniform_and_bytes_uniform() -> None:
    rng = np.random.default_rng(0)
    aspects, values = [], []
    image = np.zeros((120, 120, 3), dtype=np.uint8)
    for _ in range(800):
        erased = erase(image, rng)
        rows, columns = (np.flatnonzero(erased.any(axis=(axis, 2))) for axis in (1, 0))
        if len(rows) * len(columns) < 0.3 * 120**2:  # 0.3 * 3.3 < 1: these always fit
            aspects.append(math.log(len(rows) / len(columns)))
        values.append(int(erased[60, 60, 0]))
    low, high = math.log(0.3), math.log(3.3)
    smooth = np.array(aspects) + rng.uniform(-0.02, 0.02, len(aspects))  # undoes the rounding to whole pixels
    assert stats.kstest(smooth, stats.uniform(low, high - low).cdf).pvalue > UNLIKELY
    inside = np.array([value for value in values if value > 0])
    assert stats.kstest((inside + rng.random(len(inside)) - 1) / 255, "uniform").pvalue > UNLIKELY


def test_erasing_happens_with_its_probability() -> None:
    image = np.zeros((24, 24, 3), dtype=np.uint8)
    augmentation = AugmentationConfig(crop="none", flip=False, erasing=0.3)
    changed = sum(
        bool(augment(image, sample_generator(1, 0, sample), augmentation, SMALL_AS_IS).any()) for sample in range(2000)
    )
    assert stats.binomtest(changed, 2000, 0.3).pvalue > UNLIKELY


ALL = AugmentationConfig(randaugment_layers=2, randaugment_magnitude=15.0, colour_jitter=0.4, erasing=0.5, mixup=0.2)


def test_the_pixels_are_a_function_of_seed_epoch_and_sample() -> None:
    image = picture(50, 60)
    keys = [(seed, epoch, sample) for seed in range(3) for epoch in range(3) for sample in range(3)]
    forwards = {key: augment(image, sample_generator(*key), ALL, SMALL).tobytes() for key in keys}
    backwards = {key: augment(image, sample_generator(*key), ALL, SMALL).tobytes() for key in reversed(keys)}
    assert forwards == backwards
    assert len(set(forwards.values())) == 27


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.none() | st.integers(1, 50) | st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.sampled_from(["inception", "resize-random", "none"]),
    st.sampled_from(["nearest", "bilinear", "bicubic"]),
    st.integers(0, 5),
    st.integers(0, 10**6),
)
def test_any_picture_comes_out_at_the_cuts_size_and_stays_unchanged(
    size, crop, resize_to, mode, interpolation, padding, seed
) -> None:
    image = picture(*size)
    before = image.copy()
    image.flags.writeable = False
    augmentation = AugmentationConfig(
        crop=mode,
        padding=padding,
        randaugment_layers=2,
        randaugment_magnitude=9.0,
        colour_jitter=0.3,
        erasing=0.7,
    )
    preprocessing = Preprocessing(crop=crop, resize=resize_to, interpolation=interpolation)
    view = augment(image, np.random.default_rng(seed), augmentation, preprocessing)
    assert view.shape == (*crop, 3)
    assert view.dtype == np.uint8
    assert np.array_equal(image, before)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (224, 224), (500, 375), (2, 20_000)])
def test_mirrored_is_left_for_right(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = mirrored(image)
    assert found.flags.c_contiguous
    assert np.array_equal(found, image[:, ::-1])
    image.flags.writeable = False
    assert np.array_equal(mirrored(image[:, :1]), image[:, :1])


def test_three_augment_makes_one_of_three_pictures() -> None:
    """Pillow's own grey, solarize and Gaussian blur, as the authors of arXiv 2204.07118 call them."""
    from PIL import ImageFilter, ImageOps

    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    counts = [0, 0, 0]
    for seed in range(300):
        made = grey_solarized_or_blurred(pixels, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        kind = int(rng.integers(3))
        counts[kind] += 1
        if kind == 0:
            assert (made == made[..., :1]).all()
            assert np.abs(made[..., 0].astype(int) - np.asarray(picture.convert("L"))).max() <= 1  # Pillow's weights
        elif kind == 1:
            assert np.array_equal(made, np.asarray(ImageOps.solarize(picture)))
        else:
            blurred = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.1, 2.0)))
            assert np.array_equal(made, np.asarray(blurred))
    assert min(counts) > 70
    assert augment(
        pixels, np.random.default_rng(1), AugmentationConfig(three_augment=True), Preprocessing((8, 8), 8)
    ).shape == (8, 8, 3)


def test_padding_may_mirror() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    augmentation = AugmentationConfig("resize-random", padding=2, padding_mode="reflect")
    padded = np.pad(pixels, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    cuts = {cut(pixels, np.random.default_rng(s), augmentation, Preprocessing((6, 6), 6)).tobytes() for s in range(200)}
    assert cuts == {padded[y : y + 6, x : x + 6].tobytes() for y in range(5) for x in range(5)}
