"""The running average of the weights."""

from __future__ import annotations

import torch

from vitral.training.averaging import Average


def test_weights_are_averaged_and_statistics_taken_over() -> None:
    model = torch.nn.BatchNorm1d(2)
    average = Average(model, 0.5)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.running_mean.fill_(7.0)
        model.num_batches_tracked.fill_(4)
    average.update(model, 1000)
    assert average.model.weight.tolist() == [2.0, 2.0]
    assert average.model.running_mean.tolist() == [7.0, 7.0]
    assert int(average.model.num_batches_tracked) == 4
