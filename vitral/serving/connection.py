"""One connection: uvicorn's own protocol, with limits on time and number, and JSON for requests that are none."""

from __future__ import annotations

import asyncio
import socket
import sys
import uuid
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from vitral.serving.limits import Limits
from vitral.serving.refusals import Refusal, phrase

MAX_HEADERS = 32_768
"""Bytes of a request's line and headers."""

FEWEST_PER_PIECE = 64
"""Bytes that the chunks of a body must hold on average, once there are `MANY_PIECES`: each costs time of its own."""

MANY_PIECES = 2048

LOOK_EVERY = 0.1
"""Seconds between two looks whether a client that sends no more is still there to read."""


class _Reader(h11.Connection):
    """h11's reader, that refuses a body in very many very small chunks, one whose length is said twice over, and long
    headers also where they come at once."""

    pieces = 0
    length = 0

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self.pieces = self.length = 0
            _require_plain(event)
        elif isinstance(event, h11.Data):
            self.pieces += 1
            self.length += len(event.data)
            if self.pieces > MANY_PIECES and self.length < FEWEST_PER_PIECE * self.pieces:
                raise h11.RemoteProtocolError("too many small chunks", error_status_hint=413)
        return event


def _require_plain(request: h11.Request) -> None:
    """Refuse headers that are too long, and a body with a length and in chunks: another server before this one might
    see two requests where this one sees one (RFC 9112, section 6.1)."""
    if len(request.target) + sum(len(name) + len(value) + 4 for name, value in request.headers) > MAX_HEADERS:
        raise h11.RemoteProtocolError("too long", error_status_hint=431)
    if {b"content-length", b"transfer-encoding"} <= {name for name, _ in request.headers}:
        raise h11.RemoteProtocolError("both Content-Length and Transfer-Encoding")


class Connection(H11Protocol):
    """A client's connection. `limits` is set by `limited`."""

    limits: Limits

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.conn = _Reader(h11.SERVER, MAX_HEADERS)
        self._slow: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self._deaf: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Greet a client, or send it away where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse(Refusal(503, "too many connections are open.", retry_after=1))
        else:
            self._slow = self.loop.call_later(self.limits.read_timeout, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._cancel()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; a request's headers must be whole within the time limit of their first byte."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        waiting = self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE
        if not waiting and self._slow is not None:
            self._slow.cancel()
            self._slow = None
        elif waiting and self._slow is None and self.conn.trailing_data[0]:
            self._slow = self.loop.call_later(self.limits.read_timeout, self._too_slow)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """The client sends no more: it is gone, or waits for the answer to a request that came whole.

        Which of the two, an interim answer tells: a machine that reads no more refuses it.
        """
        asked = self.cycle is not None and not self.cycle.response_started and self.conn.their_state is h11.DONE
        if not asked or self.conn.our_state is not h11.SEND_RESPONSE or self.cycle.scope["http_version"] == "1.0":
            return None
        going_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
        self.transport.write(self.conn.send(going_on) or b"")
        self._deaf = self.loop.call_later(LOOK_EVERY, self._look)
        return True

    def _look(self) -> None:
        own = self.transport.get_extra_info("socket")
        if own is not None and own.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
        else:
            self._deaf = self.loop.call_later(LOOK_EVERY, self._look)

    def pause_writing(self) -> None:
        """The client does not read: it gets some time, then the connection is cut."""
        super().pause_writing()
        self._stuck = self.loop.call_later(self.limits.read_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Go on with the next request; where none may follow, what is left to send gets some time only.

        A client that is still sending the body of a request that is answered is hung up on: uvicorn would read on for
        as long as a byte comes now and then.
        """
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self.transport.close()
        super().on_response_complete()
        if self._deaf is not None and self.cycle.response_complete:  # nothing more can come
            self.transport.close()
        if self.transport.is_closing():
            self.loop.call_later(self.limits.read_timeout, self.transport.abort)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, also where its client has not read everything."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(self.limits.read_timeout, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        said = str(error) if error else msg
        if status == 431:
            self._refuse(Refusal(431, f"the headers are longer than {MAX_HEADERS} bytes."))
        elif status == 413:
            self._refuse(Refusal(413, "the body comes in too many small chunks: send larger ones."))
        else:
            self._refuse(Refusal(400, f"this is not a request that HTTP knows ({said})."))

    def _too_slow(self) -> None:
        self._slow = None
        if self.conn.trailing_data[0]:
            self._refuse(Refusal(408, f"the request's headers took more than {self.limits.read_timeout:g} s."))
        else:  # it never said anything
            self.transport.close()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer without a request that could be handed on, where nothing was answered yet, and hang up."""
        self._cancel()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and not self._answering():
            body = refusal.body(uuid.uuid4().hex)
            headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
            lines = [f"{name}: {value}" for name, value in (headers | refusal.headers).items()]
            head = "\r\n".join([f"HTTP/1.1 {refusal.status} {phrase(refusal.status)}", *lines, "", ""])
            self.transport.write(head.encode() + body)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # whoever works on the earlier request need not go on
            self.cycle.message_event.set()
        self.transport.close()
        self.loop.call_later(self.limits.read_timeout, self.transport.abort)

    def _answering(self) -> bool:
        return self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete

    def _cancel(self) -> None:
        for timer in (self._slow, self._stuck, self._deaf):
            if timer is not None:
                timer.cancel()
        self._slow = self._stuck = self._deaf = None


def limited(limits: Limits) -> type[Connection]:
    """The protocol with these limits."""
    return type("LimitedConnection", (Connection,), {"limits": limits})
