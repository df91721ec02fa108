"""The training pictures of a run, without end: which, in which order, at which size, and how each is varied.

All of it is a function of configuration, pictures and step, so that a stream can begin at any step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitral.config import RunConfig, RuntimeConfig, Size
from vitral.console import Screen
from vitral.data.balance import BalancedOrder
from vitral.data.choices import drawn
from vitral.data.loader import Batch, Ids, Make, batches
from vitral.data.order import repeated_ids
from vitral.data.random_streams import borrowed_generator
from vitral.data.reading import Opened, Reader
from vitral.data.transforms import vary
from vitral.datasets.dataset import Split
from vitral.evaluation import threads
from vitral.keeping import build_cache, clear, put_away
from vitral.training.resolution import Resolution, at_size


@dataclass
class Stream:
    """The stream, and what is kept of pictures that were read.

    Args:
        folder: of the run.
        note: is told the seconds that each picture's reading took, and the seconds of what followed.
    """

    split: Split
    folder: Path
    screen: Screen
    note: Callable[[float, float], object]
    reader: Reader | None = None

    def batches(self, config: RunConfig, resolution: Resolution, step: int) -> Iterator[Batch]:
        """The training batches from `step` on; a pure function of seed and step."""
        runtime, data, ids = config.runtime, config.data, self.ids(config, step)
        if self.reader is None:
            cache = build_cache(runtime, data.shrink, self.folder, self.screen)
            self.reader = Reader(data.max_pixels, data.scaled_decoding, data.shrink, cache, self.note)
        for size, steps in resolution.parts(step):
            part = itertools.islice(ids, steps)
            make = self._make_at(size, config, self.reader)
            yield from batches(part, make, size, threads(runtime.workers), runtime.prefetch)

    def ids(self, config: RunConfig, step: int) -> Iterator[Ids]:
        """Epochs and sample ids of every batch from `step` on."""
        size, seed, balance = config.training.batch_size, config.training.seed, config.data.balance
        order = BalancedOrder([own[0] for own in self.split.labels], balance, seed) if balance else None
        for start in itertools.count(step * size, size):
            yield (
                order.sample_ids(start, size)
                if order
                else repeated_ids(start, size, len(self.split), seed, config.augmentation.repeats)
            )

    def put_away(self, runtime: RuntimeConfig, done: bool) -> None:
        """Let go of what was kept of pictures; `done` is false if the run will go on another time."""
        if self.reader is not None and self.reader.cache is not None:
            put_away(self.reader.cache, len(self.split), done, self.screen)
        if done:
            clear(runtime, self.folder)

    def _make_at(self, size: Size, config: RunConfig, reader: Reader) -> Make:
        """What makes a training picture of this size, varied or with the choices for it."""
        seed, on_device = config.training.seed, config.runtime.augment_on == "device"
        preprocessing, augmentation = at_size(size, config.preprocessing, config.augmentation)

        def make(epoch: int, sample: int) -> Any:
            rng = borrowed_generator(seed, epoch, sample)

            def varied(picture: Opened) -> Any:
                pixels = picture.cut(rng, augmentation, preprocessing)
                return (pixels, drawn(size, rng, augmentation)) if on_device else vary(pixels, rng, augmentation)

            return reader.make(self.split.sources[sample], varied)

        return make
