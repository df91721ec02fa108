"""The stream of training pictures: whole epochs, wherever it begins."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from vitral.config import RunConfig
from vitral.console import Screen
from vitral.datasets.dataset import Split
from vitral.overrides import override
from vitral.stream import Stream

PICTURES, BATCH = 10, 4


@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_it_begins_with_a_whole_epoch_and_at_any_step_is_the_rest(balance: float, tmp_path: Path) -> None:
    labels = [(k % 2,) for k in range(PICTURES)]
    stream = Stream(Split(list(range(PICTURES)), labels), tmp_path, Screen(quiet=True), lambda *_: None)  # type: ignore[arg-type]
    config = override(RunConfig(), {"training.batch_size": BATCH, "data.balance": balance})
    whole = list(itertools.islice(stream.ids(config, 0), 5))
    epochs, samples = (np.concatenate([ids[part] for ids in whole]) for part in (0, 1))
    for epoch in (0, 1):
        assert (epochs == epoch).tolist() == [place // PICTURES == epoch for place in range(2 * PICTURES)]
        assert balance or sorted(samples[epochs == epoch]) == list(range(PICTURES))
    for step in (1, 3):
        later = list(itertools.islice(stream.ids(config, step), 5 - step))
        assert np.array_equal(later, whole[step:])
