"""Every answer that is not the one asked for: a status, a code for programs and a sentence for people."""

from __future__ import annotations

import json
from http import HTTPStatus

CODES = {
    400: "malformed",
    401: "unauthorised",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    411: "length_required",
    413: "too_large",
    415: "unsupported_media_type",
    421: "unknown_host",
    422: "undecodable",
    429: "overloaded",
    431: "headers_too_large",
    500: "internal",
    501: "not_offered",
    503: "unavailable",
    504: "timeout",
}
"""The code of each status that the server answers with."""


class Refusal(Exception):  # noqa: N818 - an answer more than a mistake
    """An answer {"error": {"code", "message", "request_id"}}; under /v2 {"error": message, "code", "request_id"}.

    Attributes:
        status: of HTTP; one of `CODES`. headers: further ones, such as Retry-After.
    """

    def __init__(self, status: int, message: str, code: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or CODES[status]
        self.message = message
        self.headers: dict[str, str] = {} if retry_after is None else {"retry-after": str(retry_after)}

    def entry(self) -> dict[str, str]:
        """Code and message."""
        return {"code": self.code, "message": self.message}

    def body(self, request_id: str, flat: bool = False) -> bytes:
        """The answer's JSON; `flat` as the Open Inference Protocol has it, where the error is a sentence."""
        if flat:
            return json.dumps({"error": self.message, "code": self.code, "request_id": request_id}).encode()
        return json.dumps({"error": self.entry() | {"request_id": request_id}}).encode()


def phrase(status: int) -> str:
    """What HTTP calls a status."""
    return HTTPStatus(status).phrase
