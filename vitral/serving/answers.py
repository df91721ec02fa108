"""From the pictures of a request to their answers: decoding beside the event loop, then the model's batches.

A picture that cannot be read, or that the model cannot answer, has an entry with an error; the others are answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vitral.data.decode import decode
from vitral.data.preprocessing import prepare
from vitral.errors import DataError, UnreadableImageError, UsageError
from vitral.serving.batcher import Batcher, Job, OverloadedError
from vitral.serving.limits import Limits
from vitral.serving.metrics import Metrics
from vitral.serving.pictures import Picture
from vitral.serving.process import ModelFailedError, WorkerLostError
from vitral.serving.refusals import Refusal

Form = Callable[[Job], dict[str, Any]]


@dataclass
class Timing:
    """The longest that a picture of a request spent in each stage, in seconds."""

    stages: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, seconds: float) -> None:
        """Count one picture."""
        self.stages[stage] = max(seconds, self.stages.get(stage, 0.0))

    def header(self) -> str:
        """As the header Server-Timing has it, in milliseconds."""
        return ", ".join(f"{stage};dur={1000 * seconds:.1f}" for stage, seconds in self.stages.items())


class Answering:
    """Asks a model about pictures.

    Args:
        decoders: threads that decode. (simplejpeg, Pillow and torch let go of Python's lock while they work.)
    """

    def __init__(self, decoders: int, limits: Limits, metrics: Metrics) -> None:
        self.limits = limits
        self.metrics = metrics
        self._pool = ThreadPoolExecutor(decoders, thread_name_prefix="decode")

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def entries(
        self,
        batcher: Batcher,
        kind: str,
        pictures: Sequence[Picture],
        form: Form,
        options: dict[str, Any] | None = None,
    ) -> tuple[list[dict[str, Any]], Timing]:
        """An entry for each picture, in order: its place, name and status, with what `form` makes of its answer, or
        an error.

        Raises:
            Refusal: 429, or what all of the pictures have in common.
        """
        timing = Timing()
        with self.admitted(batcher, len(pictures)):
            asked = [self._entry(batcher, kind, k, one, form, options or {}, timing) for k, one in enumerate(pictures)]
            entries = await _all(asked)
        statuses = {entry["status"] for entry in entries}
        if 200 not in statuses:
            refusal: Refusal = next(entry["error"] for entry in entries if entry["status"] == max(statuses))
            raise refusal
        for entry in entries:
            if "error" in entry:
                entry["error"] = entry["error"].entry()
        return entries, timing

    @contextlib.contextmanager
    def admitted(self, batcher: Batcher, count: int) -> Iterator[None]:
        """A place in the queue for `count` pictures until the context is left.

        Raises:
            Refusal: 429, there is none.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(batcher.admit(count))
            except OverloadedError as full:
                raise Refusal(429, f"{full}.", retry_after=full.retry_after) from None
            yield

    async def pixels(self, batcher: Batcher, source: bytes | np.ndarray, timing: Timing) -> np.ndarray:
        """A picture as the model sees it before normalisation, made in a thread.

        Raises:
            Refusal: 422, it cannot be decoded, or is larger than the limit.
        """
        started = time.monotonic()
        preprocessing, most = batcher.description.preprocessing, self.limits.max_pixels
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, lambda: prepare(decode(source, most), preprocessing))
        except UnreadableImageError as error:
            self.metrics.picture(batcher.name, "undecodable")
            raise Refusal(422, f"the picture cannot be read: {error.reason}.") from None
        finally:
            self._timed(batcher, timing, "decode", time.monotonic() - started)

    async def ask(
        self, batcher: Batcher, kind: str, pixels: np.ndarray, options: dict[str, Any], timing: Timing
    ) -> Job:
        """The model's answer to one picture.

        Raises:
            Refusal: 400 wrong options, 500 the model failed, 503 its process was lost.
        """
        try:
            job = await batcher.ask(kind, pixels, options)
        except WorkerLostError:
            self.metrics.picture(batcher.name, "failed")
            raise Refusal(503, "the model's process was lost and is started anew: try again.", retry_after=1) from None
        except ModelFailedError as error:
            self.metrics.picture(batcher.name, "failed")
            self.metrics.note(f"{batcher.name}: {error}")
            raise Refusal(500, "the model failed on this picture.", code="model_failed") from None
        except (UsageError, DataError) as error:
            raise Refusal(400, str(error)) from None
        self.metrics.picture(batcher.name, "answered")
        queued, started, answered = job.times
        self._timed(batcher, timing, "queue", started - queued)
        self._timed(batcher, timing, "inference", answered - started)
        return job

    async def _entry(
        self,
        batcher: Batcher,
        kind: str,
        place: int,
        picture: Picture,
        form: Form,
        options: dict[str, Any],
        timing: Timing,
    ) -> dict[str, Any]:
        entry: dict[str, Any] = {"index": place, "name": picture.name, "status": 200}
        try:
            pixels = await self.pixels(batcher, picture.data, timing)
            return entry | form(await self.ask(batcher, kind, pixels, options, timing))
        except Refusal as refusal:
            return entry | {"status": refusal.status, "error": refusal}

    def _timed(self, batcher: Batcher, timing: Timing, stage: str, seconds: float) -> None:
        timing.add(stage, seconds)
        self.metrics.stage(batcher.name, stage, seconds)


async def _all(work: Sequence[Any]) -> list[dict[str, Any]]:
    """The results of all, in order; cancelling this cancels each of them, and waits for it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
    return [task.result() for task in tasks]
