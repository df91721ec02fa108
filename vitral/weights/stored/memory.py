"""Fresh memory for the numbers of a file: of its own, aligned, and of a size that was checked before."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MOST_DIMENSIONS = 16
"""No tensor of a network has more."""

LARGEST = 2**48
"""No tensor has more elements, empty dimensions counted as one."""


def fresh(shape: Sequence[int], dtype: torch.dtype) -> tuple[Tensor, memoryview]:
    """A tensor whose numbers are still to come, and its bytes to read them into."""
    tensor = torch.empty(tuple(shape), dtype=dtype)
    return tensor, memoryview(tensor.reshape(-1).view(torch.uint8).numpy().data)


def size_of(shape: Sequence[int], dtype: torch.dtype) -> int:
    """Bytes of a tensor."""
    return math.prod(shape) * dtype.itemsize


def unlikely(shape: Sequence[int]) -> bool:
    """Whether no tensor of a network has such a shape: too many dimensions, or too many elements to count."""
    return len(shape) > MOST_DIMENSIONS or math.prod(max(size, 1) for size in shape) > LARGEST


def no_truth_values(tensor: Tensor) -> bool:
    """Whether a tensor of truth values has bytes other than 0 and 1, which torch must not meet."""
    return tensor.dtype == torch.bool and bool((tensor.view(torch.uint8) > 1).any())
