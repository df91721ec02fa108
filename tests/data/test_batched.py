"""A batch varied at once is, to the bit, its pictures varied one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from vitral.config import AugmentationConfig
from vitral.data import batched
from vitral.data.choices import drawn
from vitral.data.loader import batches
from vitral.data.randaugment import OPERATIONS
from vitral.data.random_streams import sample_generator
from vitral.data.transforms import vary

EVERYTHING = AugmentationConfig(
    crop="none", randaugment_layers=3, randaugment_magnitude=9.0, colour_jitter=0.4, erasing=0.5
)


def pictures(count: int, height: int, width: int) -> np.ndarray:
    """Noise of little and of full contrast, and one flat picture: what tables of values are most sensitive to."""
    rng = np.random.default_rng(0)
    made = rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    made[::3] = 100 + made[::3] // 8
    made[0] = 77
    return made


@pytest.mark.parametrize("size", [(24, 24), (19, 30), (64, 48)])
@pytest.mark.parametrize("magnitude", [0.0, 5.0, 9.7, 20.0])
def test_whatever_chance_decides_the_batch_is_its_pictures_one_by_one(size: tuple[int, int], magnitude: float) -> None:
    images, augmentation = pictures(48, *size), replace(EVERYTHING, randaugment_magnitude=magnitude)
    alone = np.stack([vary(image, sample_generator(1, 2, i), augmentation) for i, image in enumerate(images)])
    choices = [drawn(size, sample_generator(1, 2, i), augmentation) for i in range(len(images))]
    together = batched.vary(torch.from_numpy(images.copy()), choices, magnitude)
    assert {name for own in choices for name, _ in own.operations} == set(OPERATIONS)
    differing = [i for i in range(len(images)) if not np.array_equal(alone[i], together[i].numpy())]
    assert not differing, [(i, choices[i].operations) for i in differing]


def test_drawing_choices_leaves_the_generator_where_varying_leaves_it() -> None:
    for i in range(20):
        first, second = sample_generator(0, 0, i), sample_generator(0, 0, i)
        vary(pictures(1, 24, 24)[0], first, EVERYTHING)
        drawn((24, 24), second, EVERYTHING)
        assert first.random() == second.random()


def test_nothing_is_read_back_from_the_device() -> None:
    """The meta device has no numbers: whatever asked for one would fail."""
    choices = [drawn((24, 24), sample_generator(0, 0, i), EVERYTHING) for i in range(48)]
    images = torch.empty(48, 24, 24, 3, dtype=torch.uint8, device="meta")
    varied = batched.vary(images, choices, EVERYTHING.randaugment_magnitude)
    assert (varied.device.type, varied.dtype, varied.shape) == ("meta", torch.uint8, images.shape)


@pytest.mark.parametrize("workers", [0, 2])
def test_choices_stay_beside_their_pictures_where_others_cannot_be_read(workers: int) -> None:
    from vitral.errors import UnreadableImageError

    def make(epoch: int, sample: int) -> tuple[np.ndarray, int]:
        if sample % 5 == 2:
            raise UnreadableImageError(f"picture {sample}", "torn")
        return np.full((2, 3, 3), sample, dtype=np.uint8), sample

    (batch,) = batches([(np.zeros(20, int), np.arange(20))], make, (2, 3), workers, 1)
    assert batch.choices == tuple(batch.samples) == tuple(batch.images[:, 0, 0, 0])
    assert len(batch) == 16
