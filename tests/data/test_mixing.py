"""Mixup and CutMix are their formulas in numpy, and targets follow the pixels exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from vitral.data.mixing import cutmix, mix, mixup
from vitral.data.random_streams import batch_generator

UNLIKELY = 1e-5


def batch(n: int = 5, height: int = 12, width: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.normal(size=(n, 3, height, width)).astype(np.float32))
    return images, torch.eye(7)[torch.from_numpy(rng.integers(0, 7, n))]


def numbered(n: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Picture i holds the number i everywhere, and its target is class i."""
    return torch.arange(float(n))[:, None, None, None].expand(n, 1, height, width).clone(), torch.eye(n)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_mixup_is_its_formula_with_the_picture_before(alpha: float) -> None:
    images, targets = batch()
    for seed in range(20):
        a = np.random.default_rng(seed).beta(alpha, alpha)
        a = max(a, 1 - a)
        mixed, mixed_targets = mixup(images, targets, np.random.default_rng(seed), alpha)
        for i in range(5):
            expected = a * images[i].numpy() + (1 - a) * images[i - 1].numpy()
            np.testing.assert_allclose(mixed[i].numpy(), expected, atol=1e-6)
            np.testing.assert_allclose(
                mixed_targets[i].numpy(), a * targets[i].numpy() + (1 - a) * targets[i - 1].numpy(), atol=1e-6
            )


def test_mixup_weights_are_the_larger_half_of_a_beta() -> None:
    images, targets = numbered(2, 1, 1)
    rng = np.random.default_rng(0)
    weights = np.array([float(mixup(images, targets, rng, 0.4)[1][0, 0]) for _ in range(2000)])
    folded = stats.beta(0.4, 0.4)
    assert stats.kstest(weights, lambda x: 2 * folded.cdf(x) - 1).pvalue > UNLIKELY


def test_cutmix_pastes_one_box_of_the_picture_before_and_weighs_it_by_its_exact_area() -> None:
    images, targets = numbered(4, 11, 14)
    for seed in range(200):
        mixed, mixed_targets = cutmix(images, targets, np.random.default_rng(seed), 1.0)
        pasted = mixed != images
        assert torch.equal(pasted.any(0), pasted.all(0))
        rows, columns = pasted[0, 0].any(1).sum(), pasted[0, 0].any(0).sum()
        assert pasted[0].sum() == rows * columns
        assert torch.equal(mixed[pasted], images.roll(1, 0)[pasted])
        share = float(rows * columns) / (11 * 14)
        expected = (1 - share) * np.eye(4) + share * np.roll(np.eye(4), 1, axis=0)
        np.testing.assert_allclose(mixed_targets.numpy(), expected, atol=1e-6)


def test_cutmix_boxes_have_the_area_and_centre_of_the_paper() -> None:
    # Alpha 1: l is uniform. A box of side share s = sqrt(1 - l) around a uniform centre keeps, per axis, the mean
    # share s - s^2 / 4 after the cut at both borders. E[(s - s^2/4)^2] with s^2 uniform is 1/2 - 1/5 + 1/48.
    images, targets = numbered(2, 100, 100)
    rng = np.random.default_rng(0)
    shares = np.array([1 - float(cutmix(images, targets, rng, 1.0)[1][0, 0]) for _ in range(2000)])
    assert abs(shares.mean() - (1 / 2 - 1 / 5 + 1 / 48)) < 5 * shares.std() / np.sqrt(2000) + 0.005


def test_with_both_on_a_fair_coin_decides_for_the_batch() -> None:
    images, targets = numbered(3, 16, 16)
    cut = 0
    for step in range(1000):
        mixed, _ = mix(images, targets, batch_generator(0, step), 0.8, 1.0)
        values = [len(picture.unique()) for picture in mixed]
        cut += max(values) > 1
    # A box that covers nothing or all of a picture counts for Mixup here; with alpha 1 it is rare.
    assert stats.binomtest(cut, 1000, 0.5).pvalue > UNLIKELY


@pytest.mark.parametrize(("mixup_alpha", "cutmix_alpha"), [(0.5, 0.0), (0.0, 0.5)])
def test_the_one_that_is_on_is_used(mixup_alpha: float, cutmix_alpha: float) -> None:
    images, targets = batch()
    expected = (
        mixup(images, targets, np.random.default_rng(3), 0.5)
        if mixup_alpha
        else cutmix(images, targets, np.random.default_rng(3), 0.5)
    )
    found = mix(images, targets, np.random.default_rng(3), mixup_alpha, cutmix_alpha)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_both_off_returns_the_same_objects() -> None:
    images, targets = batch()
    mixed, mixed_targets = mix(images, targets, np.random.default_rng(0), 0.0, 0.0)
    assert mixed is images
    assert mixed_targets is targets


def test_a_single_picture_stays_as_it_is() -> None:
    images, targets = batch(1)
    mixed, mixed_targets = mix(images, targets, np.random.default_rng(0), 1.0, 1.0)
    assert mixed is images
    assert mixed_targets is targets


@pytest.mark.parametrize("method", [mixup, cutmix])
def test_the_batch_handed_in_is_left_alone_and_its_type_kept(method) -> None:
    images, targets = batch()
    images = images.bfloat16()
    before = images.clone(), targets.clone()
    mixed, mixed_targets = method(images, targets, np.random.default_rng(1), 1.0)
    assert mixed.dtype == torch.bfloat16
    assert mixed_targets.dtype == torch.float32
    assert torch.equal(images, before[0])
    assert torch.equal(targets, before[1])


def test_targets_keep_their_sum() -> None:
    images, targets = batch()
    for step in range(50):
        _, mixed = mix(images, targets, batch_generator(0, step), 0.8, 1.0)
        np.testing.assert_allclose(mixed.sum(1).numpy(), 1, atol=1e-6)
