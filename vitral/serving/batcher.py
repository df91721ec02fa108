"""From single pictures to batches: one bounded queue per model, and a loop that is never idle while one waits.

A batch is taken from what waits when the model becomes free, so a lone picture is never held back to wait for company,
and batches grow by themselves when pictures come faster than the model answers; `vitral.serving.pace` says how large.
All of it runs on the event loop; only the question to the model's process blocks, in a thread of its own.

A picture that nobody waits for any more (its deadline passed, its client left) is dropped before it costs anything.
A batch whose process dies, or hangs for `batch_timeout`, fails; the process is started anew and the queue goes on.
A batch that the model refuses is asked again picture by picture, so only the picture that it cannot answer fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vitral.serving.limits import Limits
from vitral.serving.metrics import Metrics
from vitral.serving.pace import Pace
from vitral.serving.process import Description, ModelFailedError, Worker, WorkerLostError

BACK_OFF = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before the first, second ... start of a process that keeps dying; the last one repeats."""

STALLED = 2.0
"""Seconds beyond twenty usual batches after which a model that has not answered is not called ready."""


LOOK_EVERY = 0.5
"""Seconds between two looks at an idle process: has it died?"""


class OverloadedError(Exception):
    """The queue is full. `retry_after`: seconds until it should have room."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the queue is full: try again in {retry_after} s")
        self.retry_after = retry_after


@dataclass(eq=False)
class Job:
    """One picture that waits for one kind of answer; `times` is (queued, started, answered)."""

    kind: str
    pixels: np.ndarray
    options: dict[str, Any]
    answer: asyncio.Future[tuple[dict[str, Any], list[np.ndarray]]]
    times: list[float] = field(default_factory=lambda: [time.monotonic()])


class Batcher:
    """A queue before one or several processes of one model.

    Args:
        workers: running processes of the same model.
        start: makes another in the place of one that died; it blocks.
        outdated: called when that one turns out to be another model, which must not answer in this one's name.
    """

    def __init__(
        self,
        name: str,
        workers: Sequence[Worker],
        start: Callable[[], Worker],
        outdated: Callable[[], None],
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self.name = name
        self.limits = limits
        self.metrics = metrics
        self.workers: list[Worker | None] = list(workers)
        self.description: Description = workers[0].description
        self.admitted = 0
        self._largest_batch = limits.batch_on(self.description.device)
        self._start = start
        self._outdated = outdated
        self._replaced = False
        self._queue: deque[Job] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self._threads = ThreadPoolExecutor(len(workers), thread_name_prefix=f"ask-{name}")
        self._busy_since: list[float | None] = [None] * len(workers)
        self._pace = Pace()
        self._pumps = [asyncio.create_task(self._pump(k)) for k in range(len(workers))]

    # Admission ----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def admit(self, count: int) -> Any:
        """A place for `count` pictures until the context is left.

        Raises:
            OverloadedError: there is none.
        """
        if self.admitted and self.admitted + count > self.limits.queue:
            raise OverloadedError(self.retry_after())
        self.admitted += count
        self.metrics.admitted(self.name, self.admitted)
        try:
            yield
        finally:
            self.admitted -= count
            self.metrics.admitted(self.name, self.admitted)
            if self._closing:
                self._arrived.set()

    @property
    def full(self) -> bool:
        """Whether not even one more picture has a place."""
        return self.admitted >= self.limits.queue

    def retry_after(self) -> int:
        """Whole seconds until what waits should be answered, at least 1."""
        return max(1, min(60, round(self.admitted * self._pace.picture / max(1, len(self.workers)))))

    # Answers ------------------------------------------------------------------------------------------

    async def ask(self, kind: str, pixels: np.ndarray, options: dict[str, Any] | None = None) -> Job:
        """Wait for the answer to one picture [height, width, 3] uint8; cancelling takes it out of the queue.

        Raises:
            WorkerLostError: the model's process ended with it. ModelFailedError: the model raised.
            UsageError: wrong options.
        """
        job = Job(kind, pixels, options or {}, asyncio.get_running_loop().create_future())
        self._queue.append(job)
        self._arrived.set()
        await job.answer  # cancelled together with whoever waits here
        return job

    @property
    def ready(self) -> bool:
        """Whether a process is there that answers in the usual time."""
        now = time.monotonic()
        slack = STALLED + 20 * self._pace.batch
        return any(
            worker is not None and worker.alive and (since is None or now - since < slack)
            for worker, since in zip(self.workers, self._busy_since, strict=True)
        )

    def try_again(self) -> None:
        """Start lost processes anew after all: what they should have given way to does not load."""
        self._replaced = False

    async def close(self) -> None:
        """Answer what waits, then end the processes."""
        self._closing = True
        self._arrived.set()
        await asyncio.gather(*self._pumps)
        await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in self.workers if worker is not None))
        self._threads.shutdown(wait=False)

    def kill(self) -> None:
        """End everything at once."""
        for pump in self._pumps:
            pump.cancel()
        for worker in self.workers:
            if worker is not None:
                worker.kill()
        self._threads.shutdown(wait=False)

    # The loop -----------------------------------------------------------------------------------------

    async def _pump(self, place: int) -> None:
        while True:
            worker = self.workers[place]
            if not self._replaced and (worker is None or not worker.alive):  # it died between two batches
                await self._restart(place)
            if self._replaced and not self._lives(place) and any(map(self._lives, range(len(self.workers)))):
                if self._closing and not self.admitted:
                    return
                await asyncio.sleep(LOOK_EVERY / 10)  # the others answer until the new model does
                continue
            batch = self._next_batch()
            if not batch:
                if self._closing and not self.admitted:
                    return
                self._arrived.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), LOOK_EVERY)
                continue
            self._busy_since[place] = time.monotonic() + (self.limits.batch_timeout if batch[0].options else 0)
            try:
                await self._answer(place, batch)
            except WorkerLostError as lost:
                _fail(batch, lost)
                self._busy_since[place] = None
                if not self._replaced:
                    await self._restart(place)
            except Exception as error:  # a mistake of ours fails its batch; the queue must go on
                _fail(batch, error)
            finally:
                self._busy_since[place] = None

    def _lives(self, place: int) -> bool:
        worker = self.workers[place]
        return worker is not None and worker.alive

    def _next_batch(self) -> list[Job]:
        """The oldest picture that somebody waits for, and others of its kind from the queue's front."""
        batch: list[Job] = []
        size = self._pace.size(len(self._queue), len(self.workers), self._largest_batch)
        while self._queue and len(batch) < size:
            job = self._queue[0]
            if job.answer.done():
                self._queue.popleft()
                self.metrics.dropped(self.name)
            elif batch and (job.kind != batch[0].kind or job.options or batch[0].options):
                break
            else:
                batch.append(self._queue.popleft())
        return batch

    async def _answer(self, place: int, batch: list[Job]) -> None:
        started = time.monotonic()
        for job in batch:
            job.times.append(started)
        self.metrics.batch(self.name, len(batch))
        pixels = np.stack([job.pixels for job in batch])
        try:
            said, arrays = await self._ask(place, batch[0].kind, pixels, batch[0].options)
        except ModelFailedError:
            if len(batch) == 1:
                raise
            for job in batch:
                if job.answer.done():
                    continue
                try:
                    await self._answer(place, [job])
                except ModelFailedError as error:
                    _fail([job], error)
            return
        took = time.monotonic() - started
        if not batch[0].options:
            self._pace.took(len(batch), took)
        for k, job in enumerate(batch):
            job.times[1:] = [started, started + took]
            if not job.answer.done():
                job.answer.set_result((said, [array[k : k + 1] for array in arrays] if not job.options else arrays))

    async def _ask(self, place: int, kind: str, pixels: np.ndarray, options: dict[str, Any]) -> Any:
        worker = self.workers[place]
        if worker is None:
            raise WorkerLostError("it is being started")
        question = asyncio.get_running_loop().run_in_executor(self._threads, worker.ask, kind, pixels, options)
        try:
            return await asyncio.wait_for(asyncio.shield(question), self.limits.batch_timeout)
        except TimeoutError:
            worker.kill()
            with contextlib.suppress(WorkerLostError, ModelFailedError):
                await question
            raise WorkerLostError(f"it did not answer within {self.limits.batch_timeout:g} s") from None

    async def _restart(self, place: int) -> None:
        """Start the process at `place` anew, as often as it takes; what waits in the queue waits on."""
        old, self.workers[place] = self.workers[place], None
        if old is not None:
            await asyncio.to_thread(old.kill)
        for attempt in range(1 << 30):
            self.metrics.restarted(self.name)
            await asyncio.sleep(BACK_OFF[min(attempt, len(BACK_OFF) - 1)])
            if self._closing and not self.admitted:
                return
            try:
                worker = await asyncio.to_thread(self._start)
                if worker.description.sha256 == self.description.sha256:
                    self.workers[place] = worker
                else:
                    await asyncio.to_thread(worker.stop)
                    self._replaced = True
                    self._outdated()
                return
            except Exception as error:
                self.metrics.note(f"{self.name}: its process cannot be started again ({error}); trying on")


def _fail(batch: Sequence[Job], error: Exception) -> None:
    for job in batch:
        if not job.answer.done():
            job.answer.set_exception(error)
