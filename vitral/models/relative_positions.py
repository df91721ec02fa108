"""Relative position bias: a table of numbers by the offset between two tokens, added to their attention logits.

Used by Swin (arXiv 2103.14030, Eq. 4) and BEiT (arXiv 2106.08254); both tables are laid out row by row of offsets.

Letters: h, w rows and columns of the window (of the grid), t = h w its tokens, k heads, o = (2h - 1)(2w - 1) offsets.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vitral.errors import DataError

Window = tuple[int, int]

RATIOS, RATIO_WIDTH = (1.01, 1.5), 1e-6
"""Where BEiT's authors look for q of `resized_geometric`, and how narrow they make that (`run_class_finetuning.py`).
Other numbers would place the offsets otherwise, and resized models would not be theirs."""


def offsets(window: Window) -> int:
    """How many offsets there are between two tokens of a window."""
    return (2 * window[0] - 1) * (2 * window[1] - 1)


def relative_bias(table: Float[Tensor, "o k"], window: Window) -> Float[Tensor, "k t t"]:
    """B of Eq. 4: B[k, (i, j), (i', j')] = table[offset (i - i', j - j'), k].

    As a view of the table that slides over it, and one copy: there is no index to keep on the right device, and the
    gradient is a sum over windows instead of a scatter.
    """
    rows, columns = window
    by_offset = table.t().unflatten(1, (2 * rows - 1, 2 * columns - 1))
    slid = by_offset.unfold(1, rows, 1).unfold(2, columns, 1)  # k, i, j, and i', j' from the last to the first
    return slid.flip(3, 4).flatten(3, 4).flatten(1, 2)


def require_offsets(name: str, table: Tensor, wanted: int, window: Window) -> None:
    """Refuse a table that is not of this window.

    Raises:
        DataError: it has other rows.
    """
    if table.shape[0] != wanted:
        raise DataError(
            f"{name} has {table.shape[0]} relative positions where a window of {window[0]}x{window[1]} makes {wanted}: "
            "config.json is wrong."
        )


# Another window ------------------------------------------------------------------------------------


def resized_bicubic(table: Float[Tensor, "o k"], old: Window, new: Window) -> Float[Tensor, "p k"]:
    """The table of another window as Swin's authors make it (`load_pretrained` in their utils.py): bicubic, the
    outermost offsets kept outermost."""
    by_offset = table.t().unflatten(1, (2 * old[0] - 1, 2 * old[1] - 1))[None].to(torch.float32)
    by_offset = F.interpolate(by_offset, size=(2 * new[0] - 1, 2 * new[1] - 1), mode="bicubic", align_corners=False)
    return by_offset[0].flatten(1).t().to(table.dtype).contiguous()


def resized_geometric(table: Float[Tensor, "o k"], old: Window, new: Window) -> Float[Tensor, "p k"]:
    """The table of another grid as BEiT's authors make it (`run_class_finetuning.py` of their code).

    Old offsets are laid at 0, 1, 1 + q, 1 + q + q^2, ... and mirrored, with the q that lets the outermost come to the
    new grid's; a cubic spline through them is read at the whole numbers. Small offsets so keep their meaning in
    patches, and only large ones are stretched. Theirs is `scipy.interpolate.interp2d`, a product of two cubic splines
    without a knot next to the ends; here are its matrices. An axis of the same length is left alone.
    """
    by_offset = table.t().unflatten(1, (2 * old[0] - 1, 2 * old[1] - 1)).to(torch.float64)
    for axis in (0, 1):
        if old[axis] != new[axis]:
            wanted = torch.arange(1 - new[axis], new[axis], dtype=torch.float64)
            spline = _spline(_geometric(old[axis], new[axis]), wanted)
            by_offset = torch.tensordot(by_offset, spline, dims=([1], [1]))  # the resized axis goes last
        else:
            by_offset = by_offset.transpose(1, 2)
    return by_offset.flatten(1).t().to(table.dtype).contiguous()


def _geometric(old: int, new: int) -> Tensor:
    """Where the 2 old - 1 offsets are laid for a side of `new`; q is found by halving, as the authors find it."""
    low, high = RATIOS
    while high - low > RATIO_WIDTH:
        q = (low + high) / 2
        low, high = (low, q) if (1 - q ** (old - 1)) / (1 - q) > new - 1 else (q, high)
    steps = q ** torch.arange(old - 1, dtype=torch.float64)
    outer = steps.cumsum(0)
    return torch.cat([-outer.flip(0), torch.zeros(1, dtype=torch.float64), outer])


def _spline(points: Float[Tensor, " a"], wanted: Float[Tensor, " b"]) -> Float[Tensor, "b a"]:
    """The matrix from values at `points` to the cubic spline's at `wanted`; beyond the ends it stays as at the end.

    Second derivatives m at the points follow from equal slopes on both sides of each, and from equal third
    derivatives at the first and last but one. Fewer than four points make one polynomial.
    """
    count = len(points)
    wanted = wanted.clamp(points[0], points[-1])
    if count < 4:
        powers = torch.arange(count, dtype=torch.float64)
        return torch.linalg.solve(points[:, None] ** powers, wanted[:, None] ** powers, left=False)
    gap = points.diff()
    equations, values = torch.zeros(count, count, dtype=torch.float64), torch.zeros(count, count, dtype=torch.float64)
    for i in range(1, count - 1):
        before, after = gap[i - 1], gap[i]
        equations[i, i - 1 : i + 2] = torch.stack([before, 2 * (before + after), after])
        values[i, i - 1 : i + 2] = 6 * torch.stack([1 / before, -1 / before - 1 / after, 1 / after])
    equations[0, :3] = torch.stack([gap[1], -gap[0] - gap[1], gap[0]])
    equations[-1, -3:] = torch.stack([gap[-1], -gap[-1] - gap[-2], gap[-2]])
    m = torch.linalg.solve(equations, values)
    left = (torch.searchsorted(points, wanted, right=True) - 1).clamp(0, count - 2)
    width, here = gap[left, None], torch.eye(count, dtype=torch.float64)
    down, up = (points[left + 1] - wanted)[:, None], (wanted - points[left])[:, None]
    return (
        (m[left] * down**3 + m[left + 1] * up**3) / (6 * width)
        + (here[left] / width - m[left] * width / 6) * down
        + (here[left + 1] / width - m[left + 1] * width / 6) * up
    )
