"""Masked patch prediction against the paper's section B.1.2, written out in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vitral.errors import UsageError
from vitral.models import build_network
from vitral.models.masked_patch import (
    COLOURS,
    Corruption,
    MaskedPatchPredictor,
    colour_of,
    corruption,
    mean_colours,
)
from vitral.models.vit import ViTConfig

TINY = ViTConfig(4, 16, 2, 32, 2, (16, 16), COLOURS)


def predictor(config: ViTConfig = TINY) -> MaskedPatchPredictor:
    torch.manual_seed(0)
    return MaskedPatchPredictor(config).eval()


def test_half_are_corrupted_and_of_those_80_10_10() -> None:
    made = corruption(torch.rand(200, 3, 196, generator=torch.Generator().manual_seed(1)), 0.5)
    own = torch.arange(196)
    swapped = made.sources != own
    assert made.corrupted.sum(dim=1).tolist() == [98] * 200  # as many in every picture
    count = made.corrupted.sum().item()
    shares = [part.sum().item() / count for part in (made.masked, swapped, made.corrupted & ~made.masked & ~swapped)]
    for share, wanted in zip(shares, (0.8, 0.1, 0.1), strict=True):
        # five standard errors of a share of 19,600 patches
        assert share == pytest.approx(wanted, abs=5 * math.sqrt(wanted * (1 - wanted) / count))
    assert not (made.masked & swapped).any()
    assert not ((made.masked | swapped) & ~made.corrupted).any()


def test_any_other_patch_may_take_a_patchs_place_and_never_itself() -> None:
    numbers = torch.rand(4000, 3, 4, generator=torch.Generator().manual_seed(2))
    numbers[:, 1] = 0.85  # every corrupted patch is exchanged
    made = corruption(numbers, 0.5)
    for patch in range(4):
        sources = made.sources[made.corrupted[:, patch], patch]
        counts = torch.bincount(sources, minlength=4)
        assert counts[patch] == 0
        others = counts[counts > 0].double()
        assert len(others) == 3
        assert (others / others.sum() - 1 / 3).abs().max() < 5 * math.sqrt(2 / 9 / len(sources))
    ends = torch.tensor([[[0.9, 0.9, 0.1, 0.1], [0.85] * 4, [1 - 2**-24] * 4]])  # the largest float32 below 1
    assert corruption(ends, 0.5).sources.tolist() == [[3, 3, 2, 3]]


def test_colours_are_the_upper_bits_of_the_mean() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), dtype=np.uint8)
    pixels[0, :4, :4] = 255
    pixels[0, 4:, :4] = 0
    expected = []
    for picture in pixels:
        for y in range(0, 8, 4):
            for x in range(0, 12, 4):
                red, green, blue = (int(picture[y : y + 4, x : x + 4, c].astype(float).mean() // 32) for c in range(3))
                expected.append(red * 64 + green * 8 + blue)
    found = mean_colours(torch.from_numpy(pixels), 4)
    assert found.flatten().tolist() == expected
    assert (found[0, 0], found[0, 3]) == (511, 0)
    back = (colour_of(found) * 255).numpy()
    assert (back // 32 @ np.array([64, 8, 1])).astype(int).flatten().tolist() == expected


def test_corruption_comes_before_positions() -> None:
    model = predictor()
    images, count = torch.randn(2, 3, 16, 16), 16
    own = torch.arange(count).expand(2, -1)
    nothing = torch.zeros(2, count, dtype=torch.bool)
    plain = build_network(TINY).eval()
    plain.load_state_dict(model.encoder.state_dict())
    with torch.no_grad():
        untouched = model.encode(images, Corruption(nothing, nothing, own))
        torch.testing.assert_close(untouched, plain.encode(images)[:, 1:], atol=1e-6, rtol=1e-6)
        # the picture whose patches stand in another order is, before positions, the picture with exchanged embeddings
        order = torch.randperm(count, generator=torch.Generator().manual_seed(3)).expand(2, -1)
        patches = images.unflatten(3, (4, 4)).unflatten(2, (4, 4)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        moved = patches[:, order[0]].unflatten(1, (4, 4)).permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
        swapped = model.encode(images, Corruption(nothing, nothing, order))
        torch.testing.assert_close(swapped, plain.encode(moved)[:, 1:], atol=1e-6, rtol=1e-6)
        # where all are masked, nothing of the picture is left to see
        everything = torch.ones(2, count, dtype=torch.bool)
        blind = model.encode(images, Corruption(everything, everything, own))
        torch.testing.assert_close(blind[0], blind[1], atol=0, rtol=0)


def test_every_parameter_learns() -> None:
    model = predictor().train()
    torch.nn.init.normal_(model.encoder.head.weight, std=0.1)
    images = torch.randn(4, 3, 16, 16)
    result = model(images, torch.randint(0, COLOURS, (4, 16)), torch.rand(4, 3, 16))
    result.loss.mean().backward()
    assert [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()] == []


def test_what_pools_or_projects_is_refused() -> None:
    for changes in ({"pool": "map"}, {"representation_size": 16}):
        with pytest.raises(UsageError, match="looks at each patch"):
            MaskedPatchPredictor(ViTConfig(4, 16, 2, 32, 2, (16, 16), COLOURS, **changes))
    with pytest.raises(UsageError, match="512 colours"):
        MaskedPatchPredictor(ViTConfig(4, 16, 2, 32, 2, (16, 16), 10))
