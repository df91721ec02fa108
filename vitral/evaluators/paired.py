"""Two models on the same pictures: is one better, or was it luck?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vitral.evaluators.intervals import difference_interval


def paired(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """What two models' hits [n] on the same n > 0 pictures say of the models.

    Returns:
        `difference` of the shares, second less first, with its bootstrap `interval`; `lost` and `gained`: pictures
        that only the first, only the second has right; `p`: how likely a difference at least as large is between
        equally good models, by McNemar's exact test.
    """
    lost, gained = int((first & ~second).sum()), int((second & ~first).sum())
    return {
        "difference": (gained - lost) / len(first),
        "interval": difference_interval(first, second),
        "lost": lost,
        "gained": gained,
        "p": mcnemar(lost, gained),
    }


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided exact p-value: pictures that one model alone has right are fair coins (McNemar 1947, exact form)."""
    total, fewer = lost + gained, min(lost, gained)
    # In logarithms: 2^-total underflows beyond a thousand coins.
    tail = [_log_choose(total, k) - total * math.log(2) for k in range(fewer + 1)]
    return min(1.0, 2 * math.fsum(map(math.exp, tail)))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
