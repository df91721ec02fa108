"""Which evaluation is the best."""

from __future__ import annotations

import pytest
import torch

from vitral.training.loop import Progress


@pytest.mark.parametrize(
    ("value", "loss", "better"),
    [
        (0.9, 0.1, False), (0.95, 9.0, True), (0.94, 0.5, False), (0.94, 0.4, True), (0.94, 0.3, True),
        (0.94, None, True), (0.93, 0.1, False),
    ],
)  # fmt: skip
def test_the_higher_value_wins_and_between_equals_the_lower_loss(
    value: float, loss: float | None, better: bool
) -> None:
    network = torch.nn.Linear(2, 2)
    progress = Progress(network, torch.optim.SGD(network.parameters(), lr=0.1), None)
    assert progress.improves(0.0, None)
    progress.best, progress.best_loss = 0.94, 0.4
    assert progress.improves(value, loss) is better
