"""What stands before every route: a request's number, the guard, the count, and one form for every refusal."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from vitral.serving.body import GoneError
from vitral.serving.guard import HEADERS, Guard
from vitral.serving.metrics import Metrics
from vitral.serving.refusals import CODES, Refusal

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""A number of the client's own that is taken over."""

REST = 1 << 18
"""Bytes of a refused request's body that are read and thrown away, so that its client gets to read the answer."""

REST_SECONDS = 1.0


class Front:
    """An ASGI application around `routes`.

    Attributes:
        draining: the server is about to stop: every answer asks its client to hang up.
    """

    def __init__(self, routes: App, guard: Guard, metrics: Metrics, debug: bool = False) -> None:
        self.routes = routes
        self.guard = guard
        self.metrics = metrics
        self.debug = debug
        self.draining = False

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http", "websockets and lifespan are off"
        started = time.monotonic()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope["app"] = self  # starlette's routes then raise what they refuse
        scope.setdefault("state", {}).update(request_id=request_id, began=started)
        answer = _Answer(send, {"x-request-id": request_id} | HEADERS, self.draining)
        heard = _Heard(receive)
        self.metrics.opened(1)
        try:
            refusal = await self._attempt(scope, heard, answer, headers)
            if refusal is not None and not answer.begun:
                body = refusal.body(request_id, flat=scope["path"].startswith("/v2"))
                await _refuse(refusal, body, headers, heard, answer)
        finally:
            self.metrics.opened(-1)
            route = getattr(scope.get("endpoint"), "__name__", "none")
            self.metrics.answered(route, answer.status, time.monotonic() - started)

    async def _attempt(
        self, scope: MutableMapping[str, Any], receive: Receive, answer: _Answer, headers: Headers
    ) -> Refusal | None:
        """Answer, or say why not."""
        try:
            self.guard.check(scope["method"], scope["path"], headers)
            await self.routes(scope, receive, answer)
        except Refusal as refusal:
            return refusal
        except GoneError:
            return None
        except HTTPException as error:
            return _of_starlette(error, scope)
        except Exception as error:
            request_id = scope["state"]["request_id"]
            self.metrics.note(
                f"request {request_id} failed by a mistake of vitral's own: {type(error).__name__}: {error}"
            )
            if self.debug:
                traceback.print_exception(error)
            return Refusal(500, "the server made a mistake; its log has more under this request_id.")
        return None


class _Heard:
    """`receive`, that remembers whether the body has been read to its end."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.whole = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self.whole = message["type"] != "http.request" or not message.get("more_body")
        return message


class _Answer:
    """`send`, with headers added and the status remembered."""

    def __init__(self, send: Send, headers: dict[str, str], last: bool) -> None:
        self._send = send
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        if last:
            self._headers.append((b"connection", b"close"))
        self.begun = False
        self.status = 499  # nobody was there any more to answer

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            self.status = message["status"]
            message["headers"] = [*message.get("headers", []), *self._headers]
        await self._send(message)


async def _refuse(refusal: Refusal, body: bytes, headers: Headers, heard: _Heard, send: Send) -> None:
    """Send a refusal at once, then read a little of what the client may still be sending.

    To hang up on unread bytes would reset the connection, and the client might never see the answer.
    """
    extra = [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
    if refusal.status == 401:
        extra.append((b"www-authenticate", b"Bearer"))
    whole = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *extra]
    await send({"type": "http.response.start", "status": refusal.status, "headers": whole})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    if refusal.status != 408 and headers.get("expect", "").lower() != "100-continue":
        with contextlib.suppress(TimeoutError):
            await _read_rest(heard)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _read_rest(heard: _Heard) -> None:
    left = REST
    async with asyncio.timeout(REST_SECONDS):
        while left > 0 and not heard.whole:
            left -= len((await heard()).get("body", b""))


def _of_starlette(error: HTTPException, scope: MutableMapping[str, Any]) -> Refusal:
    if error.status_code == 405:
        allowed = (error.headers or {}).get("allow", (error.headers or {}).get("Allow", ""))
        refusal = Refusal(405, f"{scope['method']} is not for this address: use {allowed}.")
        refusal.headers["allow"] = allowed
        return refusal
    if error.status_code == 404:
        return Refusal(404, "there is nothing at this address: see /openapi.json.")
    return Refusal(error.status_code if error.status_code in CODES else 400, str(error.detail))
