"""How long batches take, learned while they run, and how many of the pictures that wait the next batch should hold.

A batch of n pictures takes about a + b n seconds. a and b are the least-squares line through the batches so far, the
late ones counting more. What a batch costs beside its pictures, a, is what batching saves; what it costs is time: all
of a batch wait for its last picture. Take the q that wait at once, and each is answered after a + b q; take them in two
halves, and the mean is 1.5 (a + b q / 2). One batch is better up to q = 2 a / b: dozens on a GPU, none on a processor,
whose cost is all in the pictures. There, half of what waits (of the places that answer side by side, an equal share)
keeps answers coming while batches still grow with the queue.
"""

from __future__ import annotations

import math

KEPT = 0.98
"""What the memory of a batch is worth after another one: about 50 batches count."""


class Pace:
    """The line a + b n of one model's batches, in seconds."""

    def __init__(self) -> None:
        self._weight = self._n = self._t = self._nn = self._nt = 0.0

    def took(self, count: int, seconds: float) -> None:
        """A batch of `count` pictures was answered."""
        for name, value in (("weight", 1.0), ("n", count), ("t", seconds), ("nn", count**2), ("nt", count * seconds)):
            setattr(self, f"_{name}", KEPT * getattr(self, f"_{name}") + value)

    @property
    def line(self) -> tuple[float, float]:
        """a and b, neither below 0; before batches of two sizes were seen, all of it is the pictures'."""
        if not self._weight:
            return 0.0, 0.0
        n, t = self._n / self._weight, self._t / self._weight
        spread = self._nn / self._weight - n * n
        slope = (self._nt / self._weight - n * t) / spread if spread > 1e-9 * n * n else t / n
        slope = min(max(slope, 0.0), t / n)
        return t - slope * n, slope

    @property
    def picture(self) -> float:
        """Seconds for each picture of late, batches as large as they came."""
        return self._t / self._n if self._n else 0.0

    @property
    def batch(self) -> float:
        """Seconds for each batch of late."""
        return self._t / self._weight if self._weight else 0.0

    def size(self, waiting: int, places: int, most: int) -> int:
        """Pictures that the next batch should hold, at least 1.

        Args:
            waiting: pictures in the queue. places: processes that answer side by side. most: a batch may hold.
        """
        fixed, each = self.line
        worth = most if 2 * fixed >= most * each and fixed > 0 else int(2 * fixed / each) if each else 1
        return max(1, min(most, max(worth, math.ceil(waiting / max(2, places)))))
