"""One split of a published data set, as its archive or its prepared copy holds it: a number of records that are
read by position."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import md5
from typing import Any, NamedTuple

from vitral.datasets.dataset import Source


class Example(NamedTuple):
    """A picture and what is known of it, by the names that TensorFlow Datasets gives them; a class is a number."""

    picture: Source
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Records:
    """Examples of one split.

    Attributes:
        count: how many there are.
        read: the examples at these positions, in their order.
        keys: what TensorFlow Datasets calls each of them, in the archive's order; `None` where the records already
            are in its order.
    """

    count: int
    read: Callable[[Sequence[int]], list[Example]]
    keys: Sequence[str | int] | None = None

    def in_published_order(self, split: str) -> Sequence[int]:
        """The archive's positions in the order of TensorFlow Datasets, which VTAB's splits count in.

        It stores the examples of a split sorted by the MD5 of the split's name and the example's key
        (tensorflow_datasets/core/hashing.py), so that order can be had without it.
        """
        if self.keys is None:
            return range(self.count)
        salted = md5(split.encode(), usedforsecurity=False)

        def place(position: int) -> bytes:
            digest = salted.copy()
            digest.update(str(self.keys[position] if self.keys is not None else position).encode())
            return digest.digest()

        return sorted(range(self.count), key=place)
