"""Pixels in memory that a reading thread uses again: whoever asks for them has a copy before it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitral import run
from vitral.config import Duration, Preprocessing
from vitral.console import Screen
from vitral.data import scratch
from vitral.data.decode import decode
from vitral.data.preprocessing import prepare
from vitral.datasets.dataset import Split
from vitral.datasets.pictures import Picture
from vitral.evaluation import evaluate_split, represent_split
from vitral.exporters.sample import some_pixels
from vitral.features import Store, key_of, represent
from vitral.models import build_network
from vitral.models.vit import ViTConfig
from vitral.planning import plan
from vitral.serving.predictor import Model

AS_IT_IS = Preprocessing(crop=(24, 24), resize=None)
"""Neither resized nor cut smaller than the pictures: what is prepared is what was decoded."""

CLASSES = ("a", "b")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 JPEGs of noise, all of one size, in two classes: more than one thread makes at a time."""
    root = tmp_path_factory.mktemp("pictures")
    for i in range(20):
        place = root / CLASSES[i % 2] / f"{i:02d}.jpg"
        place.parent.mkdir(exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(noise).save(place, quality=95)
    return root


@pytest.fixture(scope="module")
def paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.jpg"))


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    network = build_network(ViTConfig(8, 16, 1, 32, 2, (24, 24), 2)).eval()
    torch.nn.init.normal_(network.head.weight)
    return Model(network, AS_IT_IS, CLASSES)


def test_what_is_prepared_briefly_may_be_the_memory_itself(paths: list[Path]) -> None:
    """Or the tests below would say nothing."""
    first = prepare(decode(paths[0], briefly=True), AS_IT_IS)
    kept = first.copy()
    second = prepare(decode(paths[1], briefly=True), AS_IT_IS)
    assert np.shares_memory(first, scratch.for_decoding(24 * 24 * 3))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, kept)


def logits(model: Model, paths: list[Path], _: Path, workers: int) -> np.ndarray:
    found = evaluate_split(model, Split(paths, [(0,)] * len(paths)), workers, 10**6)
    assert found is not None
    return found.logits


def representations(model: Model, paths: list[Path], _: Path, workers: int) -> np.ndarray:
    return represent_split(model, Split(paths, [(0,)] * len(paths)), workers, 10**6)[0]


def stored(model: Model, paths: list[Path], folder: Path, workers: int) -> np.ndarray:
    found = represent(model, Split(paths, [(0,)] * len(paths)), Store(folder, key_of(model)), workers, 10**6)
    assert found is not None
    return found.rows


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize(("found", "scores"), [(logits, True), (representations, False), (stored, False)])
def test_a_network_sees_each_picture_and_no_later_one(
    found: Callable[..., np.ndarray], scores: bool, workers: int, model: Model, paths: list[Path], tmp_path: Path
) -> None:
    pixels = np.stack([decode(path) for path in paths])
    wanted = (model.logits if scores else model.representations)(pixels).numpy()
    assert len(np.unique(wanted, axis=0)) == len(paths)
    assert np.array_equal(found(model, paths, tmp_path, workers), wanted)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_sample_holds_each_picture_once(workers: int, model: Model, paths: list[Path]) -> None:
    pictures = (Picture(path.name, path) for path in paths)
    found, unreadable = some_pixels(model, pictures, len(paths), len(paths), workers, 10**6)
    assert not unreadable
    assert {pixels.tobytes() for pixels in found} == {decode(path).tobytes() for path in paths}


@pytest.mark.parametrize("augment_on", ["host", "device"])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_training_batch_holds_each_picture_as_it_was_read(
    workers: int, augment_on: str, folder: Path, tmp_path: Path
) -> None:
    words = {
        "data.path": str(folder), "model.name": "ViT-mu/8", "preprocessing.crop": (24, 24), "schedule.duration": Duration(2, "steps"),
        "preprocessing.resize": None, "augmentation.crop": "none", "augmentation.flip": False, "augmentation.mixup": 0.0,
        "augmentation.randaugment_layers": 0, "augmentation.three_augment": False, "augmentation.colour_jitter": 0.0,
        "augmentation.erasing": 0.0, "training.batch_size": 8, "runtime.workers": workers, "runtime.device": "cpu",
        "runtime.augment_on": augment_on,
    }  # fmt: skip
    session = run._prepared(plan("scratch-small", words), tmp_path, Screen(quiet=True), lambda: False)[1]
    stream = session.batches(0)
    for _ in range(3):
        batch = next(stream)
        wanted = [decode(session.train_split.sources[sample]) for sample in batch.samples]
        assert np.array_equal(batch.images, wanted)
    stream.close()
