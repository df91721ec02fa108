"""An order of samples in which every class comes equally often, or nearer to that than the data has it; computed, not
stored, like `vitral.data.order`.

An epoch still has as many places as there are samples. Each class gets a share of them; which places they are is a
shuffle of the epoch, and each class fills its own with one pass over its samples after the other, each pass shuffled
anew. So within a class no sample is shown a second time before all others were shown once, and the whole state of the
stream is still one integer, the number of samples consumed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vitral.data.order import permuted
from vitral.data.random_streams import mix64


class BalancedOrder:
    """The stream of a data set with one label per sample.

    Args:
        labels: the class of each sample [n], at least 0.
        balance: class k has a share of the places in proportion to n_k^(1 - balance), n_k being its samples: 0 as they
            are, 1 all classes alike, 0.5 the square root (arXiv 1805.00932).
        seed: of the order.
    """

    def __init__(self, labels: Sequence[int] | np.ndarray, balance: float, seed: int) -> None:
        classes = np.asarray(labels)
        self.seed = seed
        self.size = len(classes)
        self.members = [np.flatnonzero(classes == k) for k in np.unique(classes)]
        self.quotas = _apportioned(np.array([len(own) for own in self.members]), balance, self.size)
        self._ends = np.cumsum(self.quotas)
        words = mix64(np.array([seed], dtype=np.uint64)) + np.arange(1, len(self.members) + 1, dtype=np.uint64)
        self._seeds = [int(word) for word in mix64(words)]  # an order of its own for every class

    def sample_ids(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples number `start` to `start + count - 1` of the endless stream.

        Returns:
            For each sample which pass over it this is, counted from 0, and its id: int64 [count] each. No pair comes
            twice. Cutting the stream into batches of any length never changes it.
        """
        epochs, places = np.divmod(np.arange(start, start + count, dtype=np.int64), self.size)
        passes, ids = np.empty_like(places), np.empty_like(places)
        for epoch in np.unique(epochs):
            now = np.flatnonzero(epochs == epoch)
            seats = permuted(places[now], self.size, self.seed, int(epoch))
            owners = np.searchsorted(self._ends, seats, side="right")
            for k in np.unique(owners):
                mine = owners == k
                first = self._ends[k] - self.quotas[k]
                passes[now[mine]], ids[now[mine]] = self._of_class(int(k), int(epoch), seats[mine] - first)
        return passes, ids

    def _of_class(self, k: int, epoch: int, seats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pass and id for seats [n] among those that class k has in this epoch."""
        own = self.members[k]
        passes, places = np.divmod(epoch * self.quotas[k] + seats, len(own))
        ids = np.empty_like(places)
        for number in np.unique(passes):
            now = passes == number
            ids[now] = own[permuted(places[now], len(own), self._seeds[k], int(number))]
        return passes, ids


def _apportioned(counts: np.ndarray, balance: float, places: int) -> np.ndarray:
    """Places for each class, which sum to `places`: in proportion, and what rounding leaves to the largest rests."""
    shares = counts.astype(np.float64) ** (1 - balance)
    exact = places * shares / shares.sum()
    whole = np.floor(exact).astype(np.int64)
    rests = np.argsort(whole - exact, kind="stable")
    whole[rests[: places - whole.sum()]] += 1
    return whole
