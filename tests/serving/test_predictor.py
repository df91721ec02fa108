"""A model in use: the same bits in every batch, and everything that belongs to it kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.pictures import picture
from vitral.cli import main
from vitral.config import Preprocessing
from vitral.errors import DataError, UnreadableImageError, UsageError
from vitral.models.vit import VisionTransformer, ViTConfig
from vitral.serving.loading import load
from vitral.serving.predictor import Model


def model(patch: int, width: int, heads: int, size: int, classes: int, **changes: object) -> Model:
    torch.manual_seed(0)
    network = VisionTransformer(ViTConfig(patch, width, 2, 2 * width, heads, (size, size), classes, **changes))
    torch.nn.init.normal_(network.head.weight)
    return Model(network, Preprocessing((size, size), size), [f"c{k}" for k in range(classes)])


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Two threads, also where the tests' process was given one."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        ((4, 16, 2, 8, 3), {}), ((2, 96, 3, 8, 10), {"pool": "gap"}), ((4, 128, 4, 32, 10), {}),
        ((16, 192, 3, 64, 1000), {"representation_size": 192}), ((8, 64, 2, 32, 5), {"pool": "map"}),
        ((16, 192, 3, 224, 12), {}),
    ],
)  # fmt: skip
def test_a_picture_gets_the_same_bits_alone_and_in_any_batch(
    shape: tuple[int, ...], changes: dict[str, object]
) -> None:
    made = model(*shape, **changes)  # type: ignore[arg-type]
    pixels = np.random.default_rng(0).integers(0, 256, (33, shape[3], shape[3], 3)).astype(np.uint8)
    together = made.logits(pixels)
    for size in (1, 2, 7, 16, 32):
        count = min(33, 4 * size)
        apart = torch.cat([made.logits(pixels[i : i + size]) for i in range(0, count, size)])
        assert torch.equal(apart[:count], together[:count]), size


def test_scores_are_the_networks_own() -> None:
    made = model(4, 32, 2, 16, 5)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).double() / 127.5 - 1
    with torch.no_grad():
        torch.testing.assert_close(made.logits(pixels).double(), made.network.double()(images), atol=1e-5, rtol=1e-5)


def test_a_saved_model_answers_the_same_bits(tmp_path: Path) -> None:
    made = model(4, 32, 2, 16, 5)
    image = picture("red", 1, (20, 30))
    assert load(made.save(tmp_path / "m")).predict(image) == made.predict(image)


def test_guesses_are_sorted_and_sum_to_one() -> None:
    guesses = model(4, 32, 2, 16, 5).predict(picture("red", 1), top=5)
    probabilities = [guess.probability for guess in guesses]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-6)


def test_several_pictures_give_a_list_of_lists() -> None:
    made = model(4, 32, 2, 16, 5)
    images = [picture("red", 1), picture("blue", 2)]
    assert made.predict(images) == [made.predict(image) for image in images]
    assert made.predict([]) == []


def test_features_are_what_the_head_sees() -> None:
    made = model(4, 32, 2, 16, 5)
    images = [picture("red", 1), picture("blue", 2)]
    scores = torch.from_numpy(made.features(images)) @ made.network.head.weight.T + made.network.head.bias
    expected = np.log(made.predict_proba(images))
    np.testing.assert_allclose(scores.detach().log_softmax(dim=1), expected, atol=1e-5)


def test_an_unreadable_picture_is_an_error_not_an_answer() -> None:
    with pytest.raises(UnreadableImageError):
        model(4, 32, 2, 16, 5).predict(b"not a picture")


def test_names_must_fit_the_head() -> None:
    network = model(4, 32, 2, 16, 5).network
    with pytest.raises(UsageError, match="2 class names for a head of 5"):
        Model(network, Preprocessing(), ["a", "b"])


def test_saving_replaces_a_model_and_nothing_else(tmp_path: Path) -> None:
    made = model(4, 32, 2, 16, 5)
    (tmp_path / "empty").mkdir()
    for place in ("new", "empty", "new"):
        made.save(tmp_path / place)
    mine = tmp_path / "results"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("x")
    weights = tmp_path / "theirs"
    weights.mkdir()
    (weights / "config.json").write_text('{"architecture": "vit_tiny_patch16_224"}')
    for place in (mine, tmp_path / "file", weights):
        with pytest.raises(UsageError, match="is not a model of vitral's, so it is not replaced"):
            made.save(place)
    assert (mine / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("temperature", [1e-300, 1e300, 0, float("nan"), "1", True])
def test_a_temperature_that_none_is_fitted_to_is_refused(temperature: object, tmp_path: Path) -> None:
    folder = model(4, 32, 2, 16, 5).save(tmp_path / "m")
    (folder / "metrics.json").write_text(json.dumps({"calibration": {"temperature": temperature}}))
    with pytest.raises(DataError, match="temperature from 0.01 to 100"):
        load(folder)


def test_a_tiny_standard_deviation_is_refused(tmp_path: Path) -> None:
    folder = model(4, 32, 2, 16, 5).save(tmp_path / "m")
    rule = json.loads((folder / "preprocessing.json").read_text()) | {"std": [1e-30] * 3}
    (folder / "preprocessing.json").write_text(json.dumps(rule))
    with pytest.raises(DataError, match="std must be 1e-6 or more"):
        load(folder)


@pytest.mark.parametrize("value", [1e38, float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_an_error(value: float, tmp_path: Path, capsys: Any) -> None:
    made = model(4, 32, 2, 16, 5)
    torch.nn.init.constant_(made.network.head.bias, value)
    with pytest.raises(DataError, match="infinite or not numbers"):
        made.predict(picture("red", 1))
    torch.nn.init.constant_(made.network.head.bias, 1e38)  # a file with others is refused when it is read
    picture("red", 1).save(tmp_path / "p.png")
    assert main(["predict", str(made.save(tmp_path / "m")), str(tmp_path / "p.png"), "--json"]) == 65
    assert "infinite or not numbers" in json.loads(capsys.readouterr().out)["error"]["message"]
