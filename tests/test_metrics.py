"""How measured numbers are written."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest

from vitral.config import TrainingConfig
from vitral.metrics import name_of, written


@pytest.mark.parametrize(
    ("metric", "value", "said"),
    [
        ("top1", 0.91234, "top-1 91.23%"),
        ("balanced_accuracy", 0.5, "balanced accuracy 50.00%"),
        ("mean_average_precision", 0.5, "mean average precision 0.5000"),
        ("loss", 1.23456, "loss 1.2346"),
    ],
)
def test_numbers_that_choose_the_best_step_are_written_with_their_names(metric: str, value: float, said: str) -> None:
    allowed = get_args(get_args(get_type_hints(TrainingConfig)["metric"])[0])
    assert metric in allowed
    assert len(allowed) == 4
    assert f"{name_of(metric)} {written(metric, value)}" == said
