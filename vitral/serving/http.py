"""The server: everything put together, and its life from the first bind to the last answer.

    bind the address -> answer /livez -> load the models -> /readyz says ready -> ...
    SIGTERM or Ctrl-C -> /readyz says no -> wait `drain_delay` -> accept nothing new -> answer what was accepted -> end

A second signal ends it at once. SIGHUP loads every model anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import uvicorn
from starlette.routing import Router

from vitral.errors import VitralError
from vitral.serving.answers import Answering
from vitral.serving.api import Api
from vitral.serving.body import Bodies
from vitral.serving.connection import limited
from vitral.serving.examples import Example, Examples
from vitral.serving.front import Front
from vitral.serving.guard import Guard
from vitral.serving.health import Health
from vitral.serving.house import Asked, House, Start
from vitral.serving.limits import Limits
from vitral.serving.metrics import Metrics
from vitral.serving.process import WorkerLostError
from vitral.serving.protocol import Protocol
from vitral.serving.site import Site

AFTER_CLOSING = 2.0
"""Seconds for a first request on connections that were accepted before no more were."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What a server is started with.

    Attributes:
        models: in the order of the page; the first answers requests that name none.
        replicas: processes per model, see `House`. decoders: threads that decode.
        examples: pictures that the page offers.
        watch: reload a model whose files change. drain_delay: see the module.
    """

    models: Sequence[Asked]
    guard: Guard
    limits: Limits = field(default_factory=Limits)
    replicas: int | None = 1
    decoders: int = 2
    examples: Sequence[Example] = ()
    watch: bool = False
    drain_delay: float = 1.0
    debug: bool = False


class Life(uvicorn.Server):
    """uvicorn's server with signals, draining and exit codes of our own.

    Attributes:
        stopped_by: the first signal that came. forced: not every accepted request was answered.
    """

    def __init__(self, settings: Settings, say: Say, warn: Say, start: Start | None = None) -> None:
        self.settings = settings
        self.say = say
        self.metrics = Metrics(warn)
        limits = settings.limits
        self.house = House(settings.models, settings.replicas, limits, self.metrics, start)
        self.answering = Answering(settings.decoders, limits, self.metrics)
        api = Api(self.house, Bodies(limits), self.answering, limits)
        self.health = Health(self.house, self.metrics)
        routes = [
            *Site().routes(),
            *self.health.routes(),
            *api.routes(),
            *Examples(list(settings.examples)).routes(),
            *Protocol(api, self.health).routes(),
        ]
        self.front = Front(Router(routes, redirect_slashes=False), settings.guard, self.metrics, settings.debug)
        self.stopped_by: signal.Signals | None = None
        self.forced = False
        self._tasks: set[asyncio.Task[object]] = set()
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        super().__init__(
            uvicorn.Config(
                self.front,
                http=limited(limits),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=True,
                proxy_headers=False,
                timeout_keep_alive=max(1, round(limits.keep_alive)),
                timeout_graceful_shutdown=max(1, round(limits.drain)),
                backlog=min(2048, 2 * limits.max_connections),
            )
        )

    async def live(self, bound: socket.socket, ready: Callable[[], None]) -> None:
        """Serve until a signal comes, and end what was begun.

        Args:
            ready: called once every model answers.

        Raises:
            VitralError: a model cannot be loaded.
        """
        serving = asyncio.create_task(self.serve([bound]))
        opening = asyncio.create_task(self.house.open())
        watching: asyncio.Task[None] | None = None
        try:
            await asyncio.wait({serving, opening}, return_when=asyncio.FIRST_COMPLETED)
            if opening.done() and not self.should_exit:
                try:
                    opening.result()
                except WorkerLostError as lost:
                    raise VitralError(
                        f"the process of a model ended while it was loaded ({lost}): is there memory?"
                    ) from None
                ready()
                if self.settings.watch:
                    watching = asyncio.create_task(self.house.watch())
            await serving
        finally:
            self.should_exit = True
            if not opening.done():
                self.house.give_up()
            for task in (opening, watching):
                if task is not None:
                    task.cancel()
            await asyncio.gather(serving, *(t for t in (opening, watching) if t), return_exceptions=True)
            if self.forced:
                self.house.kill()
            else:
                await self.house.close()
            self.answering.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle signals on the event loop while serving."""
        if threading.current_thread() is not threading.main_thread():  # Python allows no handlers there
            yield
            return
        loop = asyncio.get_running_loop()
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: lambda: self.stop(signal.SIGTERM),
            signal.SIGINT: lambda: self.stop(signal.SIGINT),
        }
        if hasattr(signal, "SIGHUP"):
            handlers[signal.SIGHUP] = self.reload
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    def stop(self, number: signal.Signals) -> None:
        """Begin to stop; a second time, stop at once."""
        if self.stopped_by is not None:
            self.forced = self.force_exit = self.should_exit = True
            return
        self.stopped_by = number
        self.health.draining = self.front.draining = True
        self.say("stopping: what was accepted is answered first (once more to stop at once)")
        delay = self.settings.drain_delay if number == signal.SIGTERM else 0.0
        asyncio.get_running_loop().call_later(delay, self._exit)

    def reload(self) -> None:
        """Load every model anew, one after the other."""
        if self.stopped_by is None:
            self._keep(asyncio.create_task(self._reload()))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, answer what is there, then let uvicorn close what is left."""
        waiting = [accepted for bound in sockets or [] for accepted in _accept_all(bound)]
        for server in self.servers:
            server.close()
        await self._greet(waiting)
        started = time.monotonic()
        await super().shutdown(sockets)
        if time.monotonic() - started >= self.config.timeout_graceful_shutdown - 0.1:  # type: ignore[operator]
            self.forced = True

    async def _greet(self, accepted: Sequence[socket.socket]) -> None:
        """Take these connections in, and give all that have asked nothing yet some time for a first request."""
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            return self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=loop
            )

        for one in accepted:
            await loop.connect_accepted_socket(protocol, one)
        ends = loop.time() + AFTER_CLOSING
        while not self.force_exit and loop.time() < ends:
            await asyncio.sleep(0.05)
            if all(getattr(connection, "cycle", None) for connection in self.server_state.connections):
                break

    def _exit(self) -> None:
        self.should_exit = True

    async def _reload(self) -> None:
        for name in self.house.models:
            await self.house.reload(name)

    def _keep(self, task: asyncio.Task[object]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _accept_all(bound: socket.socket) -> Generator[socket.socket, None, None]:
    """The connections that wait at a listening socket: closing it would reset them."""
    with contextlib.suppress(OSError):
        while True:
            accepted, _ = bound.accept()
            accepted.setblocking(False)
            yield accepted
