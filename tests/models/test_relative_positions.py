"""Relative position bias against its definition, and its tables of other sizes against the authors' rules."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.interpolate
import torch

from vitral.errors import DataError
from vitral.models.relative_positions import (
    offsets,
    relative_bias,
    require_offsets,
    resized_bicubic,
    resized_geometric,
)


@pytest.mark.parametrize("window", [(3, 3), (2, 4), (1, 3), (1, 1)])
def test_the_bias_of_two_tokens_is_the_tables_row_of_their_offset(window: tuple[int, int]) -> None:
    rows, columns = window
    table = torch.randn(offsets(window), 2)
    bias = relative_bias(table, window)
    tokens = list(itertools.product(range(rows), range(columns)))
    assert bias.shape == (2, len(tokens), len(tokens))
    for a, (i, j) in enumerate(tokens):
        for b, (y, x) in enumerate(tokens):
            row = (i - y + rows - 1) * (2 * columns - 1) + (j - x + columns - 1)
            assert torch.equal(bias[:, a, b], table[row])


def cubic(side: int, new: int) -> np.ndarray:
    """Keys' cubic convolution (a = -3/4, as torch's and OpenCV's bicubic) as a matrix, edges repeated."""
    matrix = np.zeros((new, side))
    for i in range(new):
        centre = (i + 0.5) * side / new - 0.5
        left = int(np.floor(centre))
        for k in range(left - 1, left + 3):
            x, a = abs(centre - k), -0.75
            inner = (a + 2) * x**3 - (a + 3) * x**2 + 1
            matrix[i, min(max(k, 0), side - 1)] += inner if x <= 1 else a * (x**3 - 5 * x**2 + 8 * x - 4)
    return matrix


@pytest.mark.parametrize(("old", "new"), [((7, 7), (12, 12)), ((12, 12), (7, 7)), ((4, 7), (6, 5))])
def test_swins_tables_resize_bicubically(old: tuple[int, int], new: tuple[int, int]) -> None:
    table = torch.randn(offsets(old), 2)
    sides = [(2 * a - 1, 2 * b - 1) for a, b in zip(old, new, strict=True)]
    rows, columns = (cubic(*side) for side in sides)
    grid = table.double().numpy().reshape(sides[0][0], sides[1][0], 2)
    expected = np.einsum("ai,bj,ijk->abk", rows, columns, grid).reshape(-1, 2)
    np.testing.assert_allclose(resized_bicubic(table, old, new).numpy(), expected, atol=2e-5)


def laid(old: int, new: int) -> list[float]:
    """Where microsoft/unilm's run_class_finetuning.py lays the old offsets: its loop, with its names' meanings."""
    half_old, half_new = (2 * old - 1) // 2, (2 * new - 1) // 2
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        q = (low + high) / 2.0
        if (1.0 - q**half_old) / (1.0 - q) > half_new:
            high = q
        else:
            low = q
    outer, position = [], 1.0
    for i in range(half_old):
        outer.append(position)
        position += q ** (i + 1)
    return [-x for x in reversed(outer)] + [0.0] + outer


@pytest.mark.parametrize(
    ("old", "new"), [((14, 14), (24, 24)), ((14, 14), (32, 32)), ((24, 24), (14, 14)), ((4, 6), (9, 5))]
)
def test_beits_tables_resize_as_scipys_splines(old: tuple[int, int], new: tuple[int, int]) -> None:
    table = torch.randn(offsets(old), 2)
    resized = resized_geometric(table, old, new)
    assert resized.shape == (offsets(new), 2)
    places = [laid(a, b) for a, b in zip(old, new, strict=True)]
    wanted = [np.arange(1 - side, side) for side in new]
    for head in range(2):
        grid = table[:, head].double().numpy().reshape(len(places[0]), len(places[1]))
        # interp2d, which the authors used and scipy removed, is this spline
        expected = scipy.interpolate.RectBivariateSpline(*places, grid)(*wanted)
        np.testing.assert_allclose(resized[:, head].numpy(), expected.ravel(), atol=2e-6)


def test_an_axis_of_the_same_length_is_left_alone() -> None:
    table = torch.randn(offsets((5, 4)), 2)
    stretched = resized_geometric(table, (5, 4), (9, 4)).unflatten(0, (17, 7))
    assert torch.equal(stretched[8], table.unflatten(0, (9, 7))[4])  # offset 0 down, any offset across
    assert torch.equal(resized_geometric(table, (5, 4), (5, 4)), table)


@pytest.mark.parametrize("side", [1, 2])
def test_tables_with_fewer_offsets_than_a_cubic_needs_keep_those_they_have(side: int) -> None:
    table = torch.randn(offsets((side, side)), 1)
    resized = resized_geometric(table, (side, side), (4, 4)).unflatten(0, (7, 7))
    middle = slice(4 - side, 3 + side)
    torch.testing.assert_close(resized[middle, middle].flatten(0, 1), table)


def test_a_table_of_another_window_is_not_guessed_around() -> None:
    with pytest.raises(DataError, match="24 relative positions where a window of 3x3 makes 25"):
        require_offsets("table", torch.zeros(24, 1), 25, (3, 3))
