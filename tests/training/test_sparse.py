"""Sparse targets against the dense ones, and that nothing of the size [pictures, classes] is made for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vitral import run
from vitral.config import LossConfig
from vitral.console import Screen
from vitral.data.loader import Batch
from vitral.data.mixing import mix
from vitral.datasets.dataset import TRAIN, VALIDATION, Dataset, Split
from vitral.planning import plan
from vitral.training import memory
from vitral.training.losses import build_loss, hits, targets
from vitral.training.sparse import LOSSES, SparseTargets

CPU, K = torch.device("cpu"), 50
LABELS = [(3,), (7, 9, 11), (), (3, 49), (0,), (7,)]


class Largest(TorchDispatchMode):
    """The most numbers of a tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return made


@contextmanager
def watched() -> Iterator[Largest]:
    with Largest() as mode:
        yield mode


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("alphas", [(0.0, 0.0), (0.4, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_gradients_and_hits_are_those_of_dense_targets(
    name: str, alphas: tuple[float, float], smoothing: float
) -> None:
    torch.manual_seed(0)
    images = torch.randn(6, 3, 8, 8)
    dense, sparse = targets(LABELS, K, smoothing, CPU), SparseTargets.of(LABELS, K, smoothing, CPU)
    _, dense = mix(images, dense, np.random.default_rng(1), *alphas)
    _, sparse = mix(images, sparse, np.random.default_rng(1), *alphas)
    found = []
    for loss_of, aims in ((build_loss(LossConfig(name)), dense), (LOSSES[name], sparse)):  # type: ignore[arg-type]
        logits = (3 * torch.randn(6, K, generator=torch.Generator().manual_seed(2))).requires_grad_()
        losses = torch.cat([loss_of(z, t) for z, t in zip(logits.split(4), aims.split(4), strict=True)])
        losses.sum().backward()
        found.append((losses.detach(), logits.grad))
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-6)
    for k in range(K):
        guess = torch.eye(K)[[k] * 6]
        assert torch.equal(sparse.hits(guess), hits(guess, dense))


def test_making_and_mixing_targets_of_imagenet_21k_makes_no_dense_rows() -> None:
    labels = [(k, k + 20_000) for k in range(64)]
    with watched() as largest:
        made = SparseTargets.of(labels, 21_843, 0.1, CPU)
        _, made = mix(torch.zeros(64, 1, 2, 2), made, np.random.default_rng(0), 0.5, 0.0)
        parts = made.split(16)
    assert len(parts) == 4
    assert largest.numbers <= 64 * 4  # pictures by labels of two
    with watched() as largest:
        targets(labels, 21_843, 0.1, CPU)
    assert largest.numbers == 64 * 21_843  # and this is what it would see


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_keeps_the_scores_and_nothing_else_of_their_size(name: str) -> None:
    logits = torch.randn(32, 21_843, requires_grad=True)
    made = SparseTargets.of([(k,) for k in range(32)], 21_843, 0.0, CPU)
    dense = targets([(k,) for k in range(32)], 21_843, 0.0, CPU)
    assert memory.saved_bytes(lambda: LOSSES[name](logits, made)) < 1.1 * logits.nbytes
    theirs = memory.saved_bytes(lambda: build_loss(LossConfig(name))(logits, dense))  # type: ignore[arg-type]
    assert theirs > 1.9 * logits.nbytes


def test_a_run_with_many_classes_has_no_dense_target(tmp_path: Path) -> None:
    """The batch of a whole session, with labels of ImageNet-21k's number; pictures may have several."""
    classes = tuple(f"n{k:08d}" for k in range(21_843))
    pictures = list(np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8))
    labels: list[tuple[int, ...]] = [(k * 1_000, 21_842) for k in range(12)]
    splits = {TRAIN: Split(pictures[:8], labels[:8]), VALIDATION: Split(pictures[8:], labels[8:])}
    dataset = Dataset("many", None, classes, splits, multi_label=True)
    words = {
        "data.multi_label": True, "loss.name": "sigmoid", "model.name": "ViT-Ti/4", "model.image_size": (8, 8),
        "model.width": 8, "model.depth": 1, "model.num_heads": 1, "model.mlp_dim": 8, "model.head_bias": -10.0,
        "augmentation.mixup": 0.5, "training.batch_size": 8, "runtime.device": "cpu", "runtime.workers": 0,
        "loss.label_smoothing": 0.0,
    }  # fmt: skip
    progress, session, _ = run._prepared(plan("scratch-small", words, dataset), tmp_path, Screen(quiet=True), bool)
    batch = Batch(np.stack(pictures[:8]), np.zeros(8, np.int64), np.arange(8))
    with watched() as largest:
        session._mixed(batch, 0)
    assert largest.numbers <= 8 * 8 * 8 * 3  # the pictures
    loss, _ = session.loss(batch, 0)
    # A head of zeros with bias -10: 21,843 log(1 + e^-10) + 10 for each of two labels, whatever is mixed.
    expected = 8 * (21_843 * np.log1p(np.exp(-10.0)) + 20)
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert progress.model.head.bias.grad is not None
