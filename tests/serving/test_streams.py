"""Two streams of batches give, in order, what one gives, to the bit; and leave torch's threads as they were."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from vitral.config import Preprocessing
from vitral.data.loader import Batch
from vitral.errors import DataError, UnreadableImageError
from vitral.models.vit import VisionTransformer, ViTConfig
from vitral.serving.predictor import Model
from vitral.serving.streams import in_streams

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def batch(*values: int) -> Batch:
    samples = np.array(values, dtype=np.int64)
    return Batch(np.broadcast_to(samples.astype(np.uint8)[:, None], (len(values), 3)), samples * 0, samples)


def test_batches_come_in_order_whole_and_computed_by_one_thread_each() -> None:
    seen = []

    def compute(images: np.ndarray) -> torch.Tensor:
        seen.append((len(images), torch.get_num_threads()))
        return torch.from_numpy(images.astype(np.float32)).sum(dim=1)

    given = [batch(*range(k, k + size)) for k, size in ((0, 32), (32, 32), (64, 5), (69, 0), (69, 1))]
    made = list(in_streams(given, compute, CPU))
    assert [b for b, _ in made] == given
    assert [rows.tolist() for b, rows in made if len(b)] == [(3.0 * b.samples).tolist() for b in given if len(b)]
    assert sorted(seen) == [(1, 1), (2, 1), (3, 1), *[(16, 1)] * 4]


def test_a_network_says_the_same_bits_in_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = ViTConfig(image_size=(32, 32), patch_size=8, width=48, depth=2, num_heads=3, mlp_dim=96, num_classes=5)
    network = VisionTransformer(config)
    torch.nn.init.normal_(network.head.weight)
    model = Model(network, Preprocessing(crop=(32, 32), resize=32), list("abcde"))
    pictures = list(np.random.default_rng(0).integers(0, 256, (75, 32, 32, 3), dtype=np.uint8))
    streamed = model.features(pictures)
    scores = torch.cat([rows for _, rows in model.over(model.batches(pictures), model.logits)])
    torch.set_num_threads(1)
    assert np.array_equal(model.features(pictures), streamed)
    assert torch.equal(torch.cat([model.logits(b.images) for b in model.batches(pictures)]), scores)
    torch.set_num_threads(2)


def test_what_goes_wrong_in_a_stream_is_raised_where_its_batch_is_due() -> None:
    def compute(images: np.ndarray) -> torch.Tensor:
        if images.max() == 3:
            raise DataError("not a number")
        return torch.zeros(len(images))

    answered = in_streams([batch(k) for k in range(9)], compute, CPU)
    assert [next(answered)[0].samples[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="not a number"):
        next(answered)


def test_a_reader_that_stops_early_leaves_nothing_behind() -> None:
    asked = []

    def endless() -> Iterator[Batch]:
        for k in range(200):
            asked.append(k)
            yield batch(k, k)

    answered = in_streams(endless(), lambda images: torch.zeros(len(images)), CPU)
    next(answered)
    answered.close()  # type: ignore[attr-defined]
    assert len(asked) < 6


def test_an_engine_of_its_own_is_asked_whole_batches() -> None:
    sizes = []

    def compute(images: np.ndarray) -> torch.Tensor:
        sizes.append(len(images))
        return torch.zeros(len(images))

    list(in_streams([batch(1, 2, 3, 4)], compute, None))
    assert sizes == [4]


def test_an_unreadable_picture_is_raised_by_features() -> None:
    config = ViTConfig(image_size=(8, 8), patch_size=8, width=8, depth=1, num_heads=1, mlp_dim=8, num_classes=2)
    model = Model(VisionTransformer(config), Preprocessing(crop=(8, 8), resize=8), ("a", "b"))
    with pytest.raises(UnreadableImageError):
        model.features([b"no picture"] * 40, workers=2)
