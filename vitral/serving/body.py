"""A request's body, read within limits on size and time and out of one purse of memory for all requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from vitral.errors import UsageError
from vitral.serving.limits import MIN_RATE, Limits
from vitral.serving.refusals import Refusal

Answer = TypeVar("Answer")

DEADLINE = "x-request-timeout"
"""A header: seconds that the client will wait, counted from when its headers came."""


class GoneError(Exception):
    """The client hung up; nobody is there to answer."""


class Bodies:
    """Reads bodies; all that are held together stay below `limits.body_budget`."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The body, held until the context is left.

        Raises:
            Refusal: 400, 408, 413, 415 or 429. GoneError: the client hung up.
        """
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise Refusal(415, "compressed bodies are not taken: pictures are compressed already.")
        claimed = request.headers.get("content-length", "")
        if claimed.isdecimal() and int(claimed) > self.limits.max_body:
            raise self._too_large()
        taken = 0
        started = time.monotonic()
        parts: list[bytes] = []
        try:
            stream = request.stream().__aiter__()
            while True:
                left = self.limits.read_timeout + taken / MIN_RATE - (time.monotonic() - started)
                try:
                    part = await asyncio.wait_for(anext(stream), max(0.001, left))
                except StopAsyncIteration:
                    break
                except TimeoutError:
                    raise Refusal(408, f"the body came slower than {MIN_RATE >> 10} KB a second.") from None
                except ClientDisconnect:
                    raise GoneError from None
                taken += len(part)
                self.held += len(part)
                parts.append(part)
                if taken > self.limits.max_body:
                    raise self._too_large()
                if self.held > self.limits.body_budget:
                    raise Refusal(429, "the server holds as much as it can: try again.", retry_after=1)
            yield b"".join(parts)
        finally:
            self.held -= taken

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the body is larger than the limit of {self.limits.max_body:,} bytes.")


async def within(request: Request, limits: Limits, work: Callable[[], Awaitable[Answer]]) -> Answer:
    """Do the work while the client waits for it; then drop it, wherever it stands.

    Raises:
        Refusal: 504, its deadline passed. GoneError: the client hung up.
    """
    task = asyncio.ensure_future(work())
    leaving = asyncio.create_task(_hung_up(request))
    try:
        await asyncio.wait({task, leaving}, timeout=remaining(request, limits), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if leaving.done():
            raise GoneError
        raise Refusal(504, "the deadline passed before the answer was there.")
    finally:
        for unfinished in (task, leaving):
            unfinished.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


def remaining(request: Request, limits: Limits) -> float:
    """Seconds until the request is to be given up.

    Raises:
        Refusal: 400, its header holds no time.
    """
    given = request.headers.get(DEADLINE)
    try:
        asked = limits.timeout if given is None else float(given)
        if not 0.001 <= asked < 1e6:
            raise UsageError(DEADLINE)
    except ValueError:
        raise Refusal(400, f"{DEADLINE} must be seconds, 0.001 or more, not {given!r:.40}.") from None
    began: float = request.state.began
    return max(0.0, began + min(asked, limits.timeout) - time.monotonic())


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
