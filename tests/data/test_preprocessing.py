"""Evaluation's pixels agree with Pillow's, normalisation with its formula, and the file says all of it."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vitral.config import Preprocessing
from vitral.data.geometry import central_box, covering, resize, shorter_side
from vitral.data.preprocessing import from_json, normalise, prepare, to_json
from vitral.errors import DataError

PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_pillow(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size[::-1], PILLOW[interpolation]))


SIZES = pytest.mark.parametrize("size", [(24, 31), (90, 20), (200, 150), (1, 1), (61, 47)])


@SIZES
def test_nearest_resize_is_pillows(size) -> None:
    image = picture(61, 47)
    assert np.array_equal(resize(image, size, "nearest"), by_pillow(image, size, "nearest"))


@SIZES
def test_bilinear_resize_is_pillows_within_one_unit(size) -> None:
    image = picture(61, 47)
    ours = resize(image, size, "bilinear").astype(int)
    assert np.abs(ours - by_pillow(image, size, "bilinear")).max() <= 1


@SIZES
def test_bicubic_resize_is_pillows_within_two_units_where_nothing_overshoots(size) -> None:
    image = picture(61, 47) // 2 + 64
    ours = resize(image, size, "bicubic").astype(int)
    assert np.abs(ours - by_pillow(image, size, "bicubic")).max() <= 2


def test_resize_to_the_same_size_is_the_same_array() -> None:
    image = picture(20, 30)
    assert resize(image, (20, 30), "bicubic") is image


def test_resize_takes_read_only_and_cut_pictures_and_leaves_them_alone() -> None:
    image = picture(50, 60)
    before = image.copy()
    image.flags.writeable = False
    part = image[3:40, 5:50]
    expected = by_pillow(np.ascontiguousarray(part), (16, 18), "bilinear").astype(int)
    assert np.abs(resize(part, (16, 18), "bilinear") - expected).max() <= 1
    assert np.array_equal(image, before)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads where Linux lists them")
@pytest.mark.skipif("AVX" not in torch.backends.cpu.get_cpu_capability(), reason="torch's uint8 path of x86")
def test_resizing_in_a_thread_starts_no_further_threads() -> None:
    image = picture(700, 900)
    after: list[int] = []

    def work() -> None:
        before = len(list(Path("/proc/self/task").iterdir()))
        resize(image[3:600, 5:800], (224, 224), "bilinear")
        resize(image, (500, 500), "bicubic")
        after.append(len(list(Path("/proc/self/task").iterdir())) - before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert after == [0]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 600))
def test_the_shorter_side_gets_its_size_and_the_aspect_stays(height, width, size) -> None:
    new = shorter_side(height, width, size)
    assert min(new) == size
    assert abs(max(new) - max(height, width) * size / min(height, width)) <= 0.5


def test_a_central_cut_halves_the_rest_and_rounds_down() -> None:
    image = picture(11, 8)
    assert np.array_equal(central_box((11, 8), (4, 3)).cut(image), image[3:7, 2:5])


def test_evaluation_resizes_the_shorter_side_and_cuts_the_centre() -> None:
    image = picture(120, 90)
    expected = by_pillow(image, (64, 48), "bilinear")[12:52, 4:44].astype(int)
    prepared = prepare(image, Preprocessing(crop=(40, 40), resize=48))
    assert np.abs(prepared - expected).max() <= 1


def test_evaluation_can_squash() -> None:
    image = picture(80, 90)
    expected = by_pillow(image, (32, 40), "bicubic").astype(int)
    prepared = prepare(image, Preprocessing(crop=(32, 40), resize=(32, 40), interpolation="bicubic"))
    assert np.abs(prepared - expected).max() <= 1


def test_evaluation_without_resize_only_cuts() -> None:
    image = picture(40, 33)
    assert np.array_equal(prepare(image, Preprocessing(crop=(32, 32), resize=None)), image[4:36, :32])


def test_a_picture_smaller_than_the_cut_is_scaled_to_cover_it() -> None:
    image = picture(10, 16)
    assert covering((10, 16), (32, 32)) == (32, 51)
    expected = by_pillow(image, (32, 51), "bilinear")[:, 9:41].astype(int)
    assert np.abs(prepare(image, Preprocessing(crop=(32, 32), resize=None)) - expected).max() <= 1


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.none() | st.integers(1, 60) | st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.sampled_from(["nearest", "bilinear", "bicubic"]),
)
def test_every_picture_comes_out_at_the_size_of_the_cut(size, crop, resize_to, interpolation) -> None:
    preprocessing = Preprocessing(crop=crop, resize=resize_to, interpolation=interpolation)
    prepared = prepare(picture(*size), preprocessing)
    assert prepared.shape == (*crop, 3)
    assert prepared.dtype == np.uint8


def test_a_very_long_picture_does_not_blow_up() -> None:
    assert prepare(picture(1, 60_000), Preprocessing(crop=(24, 24), resize=32)).shape == (24, 24, 3)


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_normalise_is_its_formula() -> None:
    images = picture(32, 24).reshape(4, 8, 24, 3)
    expected = ((images.astype(np.float64) / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    values = normalise(torch.from_numpy(images), MEAN, STD)
    assert values.dtype == torch.float32
    assert values.is_contiguous()
    np.testing.assert_allclose(values.numpy(), expected, rtol=0, atol=1e-6)


def test_normalise_gives_a_picture_the_same_bits_in_every_batch() -> None:
    images = torch.from_numpy(picture(7 * 33, 35).reshape(7, 33, 35, 3))
    together = normalise(images, MEAN, STD)
    for i in range(7):
        assert torch.equal(normalise(images[i : i + 1], MEAN, STD)[0], together[i])


preprocessings = st.builds(
    Preprocessing,
    crop=st.tuples(st.integers(1, 999), st.integers(1, 999)),
    resize=st.none() | st.integers(1, 999) | st.tuples(st.integers(1, 999), st.integers(1, 999)),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic"]),
    mean=st.tuples(*[st.floats(-5, 5)] * 3),
    std=st.tuples(*[st.floats(0.01, 5)] * 3),
)


@settings(max_examples=50, deadline=None)
@given(preprocessings)
def test_the_file_brings_back_what_was_written(preprocessing: Preprocessing) -> None:
    assert from_json(json.loads(json.dumps(to_json(preprocessing)))) == preprocessing


def test_the_file_holds_every_field() -> None:
    assert list(to_json(Preprocessing())) == [field.name for field in dataclasses.fields(Preprocessing)]


def test_an_unknown_key_is_answered_with_the_nearest() -> None:
    with pytest.raises(DataError, match="'interpolate'.*interpolation"):
        from_json({**to_json(Preprocessing()), "interpolate": "bicubic"})


def test_a_missing_key_is_named() -> None:
    record = to_json(Preprocessing())
    del record["std"]
    with pytest.raises(DataError, match="lacks std"):
        from_json(record)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("crop", 224),
        ("crop", [224]),
        ("crop", [224.5, 224]),
        ("crop", [0, 224]),
        ("resize", True),
        ("resize", "256"),
        ("interpolation", "lanczos"),
        ("mean", [0.5, 0.5]),
        ("mean", [0.5, 0.5, float("nan")]),
        ("std", [0.5, 0.5, "0.5"]),
        ("std", [0.5, 0.5, 0]),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(DataError, match=key if key != "crop" or value != [0, 224] else "sizes"):
        from_json({**to_json(Preprocessing()), key: value})
