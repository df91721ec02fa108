"""The models of one server: loading, loading anew without a gap, and the one that a request asks for."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vitral.backends import AUTO
from vitral.errors import UsageError, VitralError
from vitral.registry import look_up
from vitral.serving.batcher import Batcher
from vitral.serving.limits import Limits
from vitral.serving.metrics import Metrics
from vitral.serving.process import Description, Order, Worker, WorkerLostError

WATCH_EVERY = 1.0
"""Seconds between two looks at a model's files."""


SIDE_BY_SIDE = 2
"""Processes that share a processor's cores, where nobody says how many. Two that compute on half of the cores each give
more answers than one on all of them, whose threads wait for each other at every layer, and for whatever else runs."""

Start = Callable[[Order], Worker]


@dataclass(frozen=True)
class Asked:
    """A model as the command line names it."""

    name: str
    order: Order


@dataclass
class Served:
    """A model that answers, or will once it is loaded."""

    asked: Asked
    batcher: Batcher | None = None
    loaded_at: float = 0.0
    refused: str | None = None
    retiring: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def name(self) -> str:
        """What requests call it."""
        return self.asked.name

    @property
    def ready(self) -> bool:
        """Whether it answers."""
        return self.batcher is not None and self.batcher.ready


class House:
    """Every model of one server.

    Args:
        replicas: processes per model; `None`: `SIDE_BY_SIDE` where a processor computes, one elsewhere.
        start: in the place of the usual one, starts one of them and waits until it has loaded, in a thread.
    """

    def __init__(
        self, asked: Sequence[Asked], replicas: int | None, limits: Limits, metrics: Metrics, start: Start | None = None
    ) -> None:
        self.models = {one.name: Served(one) for one in asked}
        self.replicas = replicas
        self.limits = limits
        self.metrics = metrics
        self._start = start or self._launch
        self._launched: list[subprocess.Popen[bytes]] = []
        self._reloading = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether every model answers."""
        return all(served.ready for served in self.models.values())

    def find(self, name: str | None) -> Served:
        """The model of that name; the first one where none is named.

        Raises:
            UsageError: there is none; the message names the nearest.
        """
        return next(iter(self.models.values())) if name is None else look_up("model", name, self.models)

    async def open(self) -> None:
        """Load every model.

        Raises:
            VitralError: one cannot be loaded.
        """
        loads = [self._load(served) for served in self.models.values()]
        for failure in await asyncio.gather(*loads, return_exceptions=True):
            if isinstance(failure, BaseException):
                raise failure

    async def reload(self, name: str) -> Description | None:
        """Load a model anew; the old one answers until the new one does, and goes on if the new one cannot.

        Returns:
            What serves now; `None` if it is what served before.
        """
        served = self.models[name]
        async with self._reloading:
            old = served.batcher
            try:
                await self._load(served)
            except (VitralError, WorkerLostError, OSError) as error:
                served.refused = str(error)
                self.metrics.reloaded(name, "refused")
                self.metrics.note(f"{name}: not replaced, the earlier model goes on serving ({error})")
                return None
            served.refused = None
            self.metrics.reloaded(name, "done")
            assert served.batcher is not None
            if old is not None:
                task = asyncio.create_task(old.close())  # requests that hold it are still answered by it
                served.retiring.add(task)
                task.add_done_callback(served.retiring.discard)
            self.metrics.note(f"{name}: now serving {served.batcher.description.sha256[:12]}")
            return served.batcher.description

    async def watch(self) -> None:
        """Reload a model whenever its files have changed, and have been still for `WATCH_EVERY`."""
        seen = {name: signature(served.asked.order.path) for name, served in self.models.items()}
        fresh = dict(seen)
        while True:
            await asyncio.sleep(WATCH_EVERY)
            for name, served in self.models.items():
                now = await asyncio.to_thread(signature, served.asked.order.path)
                still, fresh[name] = now == fresh[name], now
                if still and now and now != seen[name]:
                    seen[name] = now
                    await self.reload(name)

    async def close(self) -> None:
        """Answer what waits, then end every process."""
        for served in self.models.values():
            if served.batcher is not None:
                await served.batcher.close()
            await asyncio.gather(*served.retiring)

    def give_up(self) -> None:
        """End the processes that are being started, too."""
        self.kill()
        for process in self._launched:
            process.kill()

    def kill(self) -> None:
        """End every process at once."""
        for served in self.models.values():
            if served.batcher is not None:
                served.batcher.kill()

    def _launch(self, order: Order) -> Worker:
        self._launched = [process for process in self._launched if process.poll() is None]
        return Worker(order, self._launched.append)

    async def _replace(self, served: Served) -> None:
        old = served.batcher
        if await self.reload(served.name) is None and old is not None:
            await asyncio.sleep(WATCH_EVERY)
            old.try_again()

    async def _started(self, order: Order, count: int) -> list[Worker | BaseException]:
        starts = [asyncio.to_thread(self._start, order) for _ in range(count)]
        return list(await asyncio.gather(*starts, return_exceptions=True))

    async def _load(self, served: Served) -> None:
        order = served.asked.order
        wanted = self.replicas or (SIDE_BY_SIDE if order.device == "cpu" else None)
        results = await self._started(order, 1 if wanted is None or order.backend == AUTO else wanted)
        if not isinstance(results[0], BaseException):
            chosen = results[0].description
            wanted = wanted or (SIDE_BY_SIDE if chosen.device == "cpu" else 1)
            if order.backend == AUTO and chosen.precision == "float32":
                order = replace(order, backend=chosen.backend)  # measured once: two might settle on two engines
            results += await self._started(order, wanted - len(results))
        workers = [result for result in results if not isinstance(result, BaseException)]
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            for worker in workers:
                await asyncio.to_thread(worker.kill)
            raise failures[0]
        old = served.batcher.description.sha256 if served.batcher is not None else None

        def outdated() -> None:
            self.metrics.note(f"{served.name}: its files are of another model now, which is loaded")
            task = asyncio.create_task(self._replace(served))
            served.retiring.add(task)
            task.add_done_callback(served.retiring.discard)

        served.batcher = Batcher(served.name, workers, lambda: self._start(order), outdated, self.limits, self.metrics)
        served.loaded_at = time.time()
        self.metrics.serving(served.name, workers[0].description.sha256, old)


def signature(path: str) -> tuple[tuple[str, int, int, int], ...]:
    """Name, size, time and number of each file of a model: it changes when they do. Empty where nothing is there."""
    root = Path(path)
    try:
        folder = root / "model" if (root / "model" / "config.json").is_file() else root
        files = sorted(entry for entry in folder.iterdir() if entry.is_file()) if folder.is_dir() else [root]
        stats = [(file.name, os.stat(file)) for file in files]  # noqa: PTH116
    except OSError:
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in stats)


def named(words: Sequence[str]) -> list[tuple[str, str]]:
    """Names and paths of MODEL words: "name=path", or a path whose last folder is the name.

    Raises:
        UsageError: two have the same name, or a name is none.
    """
    pairs: list[tuple[str, str]] = []
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or "/" in name or os.sep in name:
            name, path = _name_of(word), word
        if not name or not path or not name.isprintable() or "/" in name or len(name) > 100:
            raise UsageError(f"{word!r} names no model: write NAME=PATH.")
        if name in dict(pairs):
            raise UsageError(f"two models are called {name}: name them, as in a={dict(pairs)[name]} b={path}.")
        pairs.append((name, path))
    return pairs


def _name_of(path: str) -> str:
    whole = Path(path)
    if whole.exists():
        whole = whole.resolve()
    name = whole.parent.name if whole.name == "model" and whole.parent.name else whole.name
    return name.removesuffix(whole.suffix) if whole.suffix in (".safetensors", ".npz", ".pth") else name
