"""Batches of pixels, made ahead by threads.

Which samples a batch holds and what their pixels are is decided by the caller's pure functions; the number of
threads and of batches made ahead changes only the time it takes. Threads suffice because decoding, resizing
and most of augmentation release Python's lock; they start at once and share memory.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitral.errors import UnreadableImageError

CHUNK = 8
"""Pictures made by one thread at a time: enough to hide the cost of handing work over."""


@dataclass(frozen=True)
class Batch:
    """Pictures with their places in the stream.

    images [n, height, width, 3] uint8 RGB; epochs and samples [n] int64, the sample's pass and id; unreadable
    says which samples of the batch are *not* among the n, and why; choices [n] is what else `make` gave, if anything.
    """

    images: np.ndarray
    epochs: np.ndarray
    samples: np.ndarray
    unreadable: tuple[tuple[int, UnreadableImageError], ...] = ()
    choices: tuple[Any, ...] = ()

    def __len__(self) -> int:
        return len(self.images)


Make = Callable[[int, int], Any]
"""(epoch, sample id) -> pixels [height, width, 3] uint8, which are copied before the thread makes the next ones, or a
pair of such and of what the batch shall carry beside them; raises `UnreadableImageError`."""

Ids = tuple[np.ndarray, np.ndarray]
"""Epochs and sample ids of one batch, int64 [n] each."""


def batches(ids: Iterable[Ids], make: Make, size: tuple[int, int], workers: int, prefetch: int) -> Iterator[Batch]:
    """One `Batch` for each element of `ids`, in order.

    Args:
        ids: which samples make up each batch; may be endless, is read `prefetch` ahead at most.
        size: height and width in pixels of what `make` returns.
        workers: threads; 0 works in the caller's own.
    """
    if workers == 0:
        for epochs, samples in ids:
            yield _assemble(
                epochs, samples, [_fill(make, epochs, samples, _empty(len(samples), size), 0, len(samples))]
            )
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="vitral-data")
    source = iter(ids)
    waiting: deque[tuple[np.ndarray, np.ndarray, list[Future[_Part]]]] = deque()
    try:
        while True:
            for epochs, samples in itertools.islice(source, prefetch + 1 - len(waiting)):
                images = _empty(len(samples), size)
                starts = range(0, len(samples), CHUNK)
                parts = [pool.submit(_fill, make, epochs, samples, images, at, at + CHUNK) for at in starts]
                waiting.append((epochs, samples, parts))
            if not waiting:
                return
            epochs, samples, parts = waiting.popleft()
            yield _assemble(epochs, samples, [part.result() for part in parts])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_Part = tuple[np.ndarray, list[tuple[int, UnreadableImageError]], list[Any]]
"""The batch's pixels, which of its pictures cannot be read, and what a part of its pictures brought along."""


def _empty(count: int, size: tuple[int, int]) -> np.ndarray:
    return np.empty((count, *size, 3), dtype=np.uint8)


def _fill(make: Make, epochs: np.ndarray, samples: np.ndarray, images: np.ndarray, start: int, stop: int) -> _Part:
    bad, choices = [], []
    for i in range(start, min(stop, len(samples))):
        try:
            made = make(int(epochs[i]), int(samples[i]))
        except UnreadableImageError as error:
            bad.append((i, error))
        else:
            if isinstance(made, tuple):
                made, chosen = made
                choices.append(chosen)
            images[i] = made
    return images, bad, choices


def _assemble(epochs: np.ndarray, samples: np.ndarray, parts: list[_Part]) -> Batch:
    images = parts[0][0]
    bad = [pair for _, part, _ in parts for pair in part]
    choices = tuple(chosen for _, _, part in parts for chosen in part)
    if not bad:
        return Batch(images, epochs, samples, (), choices)
    kept = np.setdiff1d(np.arange(len(samples)), [i for i, _ in bad])
    unreadable = tuple((int(samples[i]), error) for i, error in bad)
    return Batch(images[kept], epochs[kept], samples[kept], unreadable, choices)
