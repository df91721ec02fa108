"""Losses against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vitral.config import LossConfig
from vitral.errors import UsageError
from vitral.training.losses import build_loss, class_weights, hits, targets

CPU = torch.device("cpu")


def test_targets_have_a_one_at_each_label_and_smoothing_keeps_the_sum() -> None:
    made = targets([(2,), (0, 3), ()], 4, 0.0, CPU)
    assert made.tolist() == [[0, 0, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0]]
    smooth = targets([(2,)], 4, 0.2, CPU)
    torch.testing.assert_close(smooth, torch.tensor([[0.05, 0.05, 0.85, 0.05]]))


def test_softmax_loss_equals_torchs_with_smoothing() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 5), [0, 4, 2, 2, 1, 3]
    made = build_loss(LossConfig("softmax"))(logits, targets([(k,) for k in labels], 5, 0.1, CPU))
    expected = F.cross_entropy(logits, torch.tensor(labels), label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(made, expected)


def test_sigmoid_loss_is_the_sum_over_classes() -> None:
    logits = [0.3, -1.2, 2.0]
    made = build_loss(LossConfig("sigmoid"))(torch.tensor([logits]), torch.tensor([[1.0, 0.0, 1.0]]))
    sigmoid = [1 / (1 + math.exp(-z)) for z in logits]
    assert float(made) == pytest.approx(
        -math.log(sigmoid[0]) - math.log(1 - sigmoid[1]) - math.log(sigmoid[2]), rel=1e-6
    )


def test_an_unknown_loss_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="softmax"):
        build_loss(LossConfig("softmx"))  # type: ignore[arg-type]


def test_a_hit_is_a_class_that_the_picture_shows() -> None:
    aims = targets([(0,), (1, 2), (1, 2), (1, 2), ()], 3, 0.1, torch.device("cpu"))
    logits = torch.eye(3)[[0, 0, 1, 2, 1]]
    assert hits(logits, aims).tolist() == [True, False, True, True, False]
    mixed = 0.3 * targets([(0,)], 2, 0.0, torch.device("cpu")) + 0.7 * targets([(1,)], 2, 0.0, torch.device("cpu"))
    assert [bool(hits(row[None], mixed)) for row in torch.eye(2)] == [False, True]


def test_class_weights_are_those_of_torchs_losses() -> None:
    torch.manual_seed(0)
    logits, labels, weights = torch.randn(6, 4), torch.tensor([0, 3, 2, 2, 1, 3]), torch.tensor([0.5, 2.0, 0.0, 3.0])
    aims = targets([(int(k),) for k in labels], 4, 0.1, CPU)
    made = build_loss(LossConfig("softmax"), weights)(logits, aims)
    expected = F.cross_entropy(logits, labels, weight=weights, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(made, expected)
    made = build_loss(LossConfig("sigmoid"), weights)(logits, aims)
    expected = F.binary_cross_entropy_with_logits(logits, aims, pos_weight=weights, reduction="none").sum(dim=1)
    torch.testing.assert_close(made, expected)


def test_balanced_weights_are_scikit_learns() -> None:
    sklearn = pytest.importorskip("sklearn.utils.class_weight")
    labels = [0] * 9 + [1] * 2 + [2]
    made = class_weights(("balanced",), ("a", "b", "c"), [(k,) for k in labels])
    assert made is not None
    expected = sklearn.compute_class_weight("balanced", classes=np.array([0, 1, 2]), y=np.array(labels))
    np.testing.assert_allclose(made.numpy(), expected, rtol=1e-6)


def test_weights_by_name_leave_the_others_alone_and_mistakes_are_named() -> None:
    labels = [(0,), (1,)]
    assert class_weights((), ("rose", "a=b"), labels) is None
    assert class_weights(("a=b=2.5",), ("rose", "a=b"), labels).tolist() == [1.0, 2.5]  # type: ignore[union-attr]
    for said, answer in (("ros=2", "did you mean rose"), ("rose=-1", "0 to 1000"), ("rose", "NAME=WEIGHT"),
                         ("rose=nan", "0 to 1000"), ("rose=x", "NAME=WEIGHT")):  # fmt: skip
        with pytest.raises(UsageError, match=answer):
            class_weights((said,), ("rose", "tulip"), labels)
    with pytest.raises(UsageError, match="nothing would be learned"):
        class_weights(("rose=0", "tulip=0"), ("rose", "tulip"), labels)
