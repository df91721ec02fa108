"""A server within the tests' process, on a real socket, and plain clients for it.

Its model is a real process, or a `StandIn` that takes a known time, fails on demand and counts what it was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from vitral.config import Preprocessing
from vitral.engine import Engine
from vitral.models.vit import VisionTransformer, ViTConfig
from vitral.serving.address import bind
from vitral.serving.guard import Guard
from vitral.serving.house import Asked
from vitral.serving.http import Life, Settings
from vitral.serving.limits import Limits
from vitral.serving.predictor import Model
from vitral.serving.process import Description, ModelFailedError, Order, WorkerLostError, description_of

SIZE = 16


def tiny_model(seed: int = 0, classes: int = 5, labels: list[str] | None = None) -> Model:
    """A small network whose answers differ from picture to picture."""
    torch.manual_seed(seed)
    network = VisionTransformer(ViTConfig(4, 32, 2, 64, 2, (SIZE, SIZE), classes))
    torch.nn.init.normal_(network.head.weight)
    return Model(network, Preprocessing((SIZE, SIZE), SIZE), labels or [f"c{k}" for k in range(classes)])


def encoded(seed: int, kind: str = "PNG", size: tuple[int, int] = (20, 24)) -> bytes:
    """A picture of noise, encoded."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


class StandIn:
    """In the place of a model's process: picture n has the scores of its first pixel's red value.

    Attributes:
        seconds: that a batch takes. seen: red values of all pictures it was asked about. gate: closed, it waits.
        fail_on: red values on which it raises. die_on: on which it is lost.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.seen: list[int] = []
        self.sizes: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.fail_on: set[int] = set()
        self.die_on: set[int] = set()
        self.starts = 0
        self.alive = True
        self.description = Description(
            "vit", 1, "cpu", "torch", Preprocessing((2, 2), None), tuple(f"c{k}" for k in range(256)), {}, False, 1.0, False, {},
            "", "0" * 64, 32,
        )  # fmt: skip

    def __call__(self, order: Order) -> StandIn:
        """Start: each process is this very object."""
        self.starts += 1
        self.alive = True
        return self

    def ask(self, kind: str, pixels: np.ndarray, options: dict[str, Any] | None = None) -> Any:
        """The class named by the red value has probability 1."""
        values = [int(value) for value in pixels[:, 0, 0, 0]]
        self.seen += values
        self.sizes.append(len(values))
        self.entered.set()
        self.gate.wait()
        time.sleep(self.seconds)
        if self.die_on & set(values):
            self.alive = False
            raise WorkerLostError("planted")
        if self.fail_on & set(values):
            raise ModelFailedError("planted")
        found = np.zeros((len(values), 256), dtype=np.float32)
        found[np.arange(len(values)), values] = 1
        return {}, [found, found]

    def kill(self) -> None:
        """Be gone."""
        self.alive = False
        self.gate.set()

    stop = kill


class InProcess:
    """A real model that answers within the tests' process: no second process has to load torch."""

    def __init__(self, order: Order) -> None:
        self.engine = Engine(order.path, order.device, order.preprocessing, order.backend)
        self.engine.warm_up()
        self.description = description_of(json.loads(json.dumps(self.engine.described())))
        self.alive = True

    def ask(self, kind: str, pixels: np.ndarray, options: dict[str, Any] | None = None) -> Any:
        """As the process would."""
        return self.engine.answer(kind, pixels, options or {})

    def kill(self) -> None:
        """Be gone."""
        self.alive = False

    stop = kill


def red(value: int) -> bytes:
    """A 2 x 2 picture for `StandIn`."""
    file = io.BytesIO()
    Image.fromarray(np.full((2, 2, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


class Answer(NamedTuple):
    """Of one request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Running:
    """A server that lives as long as the context."""

    def __init__(
        self,
        models: Mapping[str, str | Order] | None = None,
        start: Callable[[Order], Any] | None = None,
        limits: Limits | None = None,
        guard: Guard | None = None,
        **settings: Any,
    ) -> None:
        found = (models or {"m": "stand-in"}).items()
        asked = [Asked(name, model if isinstance(model, Order) else Order(model)) for name, model in found]
        self.notes: list[str] = []
        self.bound = bind("127.0.0.1", 0)
        self.port: int = self.bound.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        settings = {"drain_delay": 0.0, **settings}
        whole = Settings(asked, guard or Guard(None, None), limits or Limits(), **settings)
        self.life = Life(whole, self.notes.append, self.notes.append, start)
        self.error: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:
            self.error = error
        finally:
            self._ready.set()

    async def _live(self) -> None:
        self.loop = asyncio.get_running_loop()
        await self.life.live(self.bound, self._ready.set)

    def __enter__(self) -> Running:
        self._thread.start()
        self._ready.wait()
        if self.error is not None:
            raise self.error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._thread.join()
        if self.error is not None and error is None:
            raise self.error

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """As the signal would."""
        if self._thread.is_alive() and self.life.stopped_by is None:
            with contextlib.suppress(RuntimeError):  # it has just ended
                self.loop.call_soon_threadsafe(self.life.stop, number)

    def call(self, work: Any) -> Any:
        """The result of a coroutine on the server's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request on a connection of its own; underscores in names of headers become dashes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def classify(self, picture: bytes, words: str = "", **headers: str) -> Answer:
        """One picture."""
        return self.ask("POST", f"/v1/classify{words}", picture, **headers)

    def count(self, name: str, **labels: str) -> float:
        """A number of /metrics, read by the server's own library's parser."""
        from prometheus_client.parser import text_string_to_metric_families

        for family in text_string_to_metric_families(self.ask("GET", "/metrics").body.decode()):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return 0.0


def form(pictures: dict[str, bytes], **words: str) -> tuple[bytes, str]:
    """multipart/form-data and its type."""
    parts = [
        b'--edge\r\nContent-Disposition: form-data; name="f"; filename="%s"\r\n\r\n%s\r\n' % (name.encode(), data)
        for name, data in pictures.items()
    ]
    parts += [
        b'--edge\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value.encode())
        for name, value in words.items()
    ]
    return b"".join([*parts, b"--edge--\r\n"]), "multipart/form-data; boundary=edge"


def saved(model: Model, folder: Path) -> str:
    """The path of a model folder."""
    return str(model.save(folder))


def until(condition: Callable[[], Any], seconds: float = 120.0) -> None:
    """Wait until it is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.01)
