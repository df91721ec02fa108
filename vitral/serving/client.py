"""A client for `vitral serve`, with Python's standard library alone.

    client = Client("http://127.0.0.1:8000")
    answer = client.classify(["cat.jpg", "dog.jpg"])
    print(answer[0].predictions[0].label)

An overloaded server is asked again, after the time that it names.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from vitral.errors import MissingInputError, UnavailableError, UsageError, VitralError

RETRIES = 3

Source = str | os.PathLike[str] | bytes


class RefusedError(VitralError):
    """The server answered with an error.

    Attributes:
        status: of HTTP. code: for programs, like "undecodable". request_id: under which the server's log has more.
    """

    def __init__(self, status: int, code: str, message: str, request_id: str = "") -> None:
        super().__init__(f"{message} ({status} {code})")
        self.status, self.code, self.request_id = status, code, request_id


class Prediction(NamedTuple):
    """A class with its probability in [0, 1], and words for it where its name is an identifier."""

    label: str
    probability: float
    description: str | None = None


class Answer(NamedTuple):
    """Of one picture: predictions or an embedding, or the error that it met."""

    name: str | None
    predictions: list[Prediction]
    embedding: list[float] | None = None
    error: RefusedError | None = None


class Client:
    """A server to ask.

    Args:
        address: as `vitral serve` prints it.
        key: what its --api-key-file holds; never part of the address.
        timeout: seconds for an answer; the server drops what takes longer.
    """

    def __init__(self, address: str = "http://127.0.0.1:8000", key: str | None = None, timeout: float = 30.0) -> None:
        if urlsplit(address).scheme not in ("http", "https"):
            raise UsageError(f"{address!r} is not the address of a server: it begins with http:// or https://.")
        self.address = address.rstrip("/")
        self.timeout = timeout
        self._headers = {"x-request-timeout": f"{timeout:g}"}
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"

    def models(self) -> list[dict[str, Any]]:
        """What is served, as /v1/models says."""
        return list(json.loads(self._send("GET", "/v1/models"))["models"])

    def ready(self) -> bool:
        """Whether the server answers questions now."""
        try:
            self._send("GET", "/readyz", retries=0)
        except (RefusedError, UnavailableError):
            return False
        return True

    def classify(self, pictures: Source | Sequence[Source], model: str | None = None, top: int = 5) -> list[Answer]:
        """The `top` likeliest classes of each picture.

        Args:
            pictures: paths, or encoded bytes.

        Raises:
            RefusedError: the server answered with an error for all of them. UnavailableError: there is no server.
        """
        return self._answers("/v1/classify", pictures, {"model": model, "top": top})

    def embed(self, pictures: Source | Sequence[Source], model: str | None = None) -> list[Answer]:
        """What the network's head sees of each picture; errors as `classify`."""
        return self._answers("/v1/embed", pictures, {"model": model})

    def explain(self, picture: Source, model: str | None = None, **options: Any) -> bytes:
        """A PNG: the picture as the network sees it, under a map of where the answer comes from.

        Args:
            options: method, label, layer, head, opacity.
        """
        body, kind = _multipart([picture])
        return self._send("POST", _with_words("/v1/explain", {"model": model} | options), body, kind)

    def _answers(self, path: str, pictures: Source | Sequence[Source], words: Mapping[str, Any]) -> list[Answer]:
        one = isinstance(pictures, str | bytes | os.PathLike)
        body, kind = _multipart([pictures] if one else pictures)  # type: ignore[list-item, arg-type]
        document = json.loads(self._send("POST", _with_words(path, words), body, kind))
        return [_answer(entry, document["request_id"]) for entry in document["results"]]

    def _send(
        self, method: str, path: str, body: bytes | None = None, kind: str | None = None, retries: int = RETRIES
    ) -> bytes:
        headers = self._headers | ({} if kind is None else {"content-type": kind})
        request = urllib.request.Request(self.address + path, data=body, headers=headers, method=method)
        opener = urllib.request.build_opener(_NoRedirect)
        try:
            with opener.open(request, timeout=self.timeout + 5) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                refused = _refused(error.code, error.read())
            wait = error.headers.get("retry-after", "")
            if error.code not in (429, 503) or not retries or not wait.isdecimal():
                raise refused from None
            time.sleep(min(int(wait), 60))
        except (OSError, urllib.error.URLError) as error:
            reason = getattr(error, "reason", error)
            raise UnavailableError(
                f"no answer from {self.address} ({reason}): is `vitral serve` running there?"
            ) from error
        return self._send(method, path, body, kind, retries - 1)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The server never sends elsewhere; a key must not follow somebody who does."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _answer(entry: Mapping[str, Any], request_id: str) -> Answer:
    error = entry.get("error")
    refused = None if error is None else RefusedError(entry["status"], error["code"], error["message"], request_id)
    guesses = [
        Prediction(one["label"], one["probability"], one.get("description")) for one in entry.get("predictions", [])
    ]
    return Answer(entry["name"], guesses, entry.get("embedding"), refused)


def _refused(status: int, body: bytes) -> RefusedError:
    try:
        error = json.loads(body)["error"]
        return RefusedError(status, str(error["code"]), str(error["message"]), str(error["request_id"]))
    except (ValueError, KeyError, TypeError):
        return RefusedError(status, "unknown", "the answer is not of vitral's form")


def _with_words(path: str, words: Mapping[str, Any]) -> str:
    given = {name: value for name, value in words.items() if value is not None}
    return f"{path}?{urlencode(given, quote_via=quote)}" if given else path


def _multipart(pictures: Sequence[Source]) -> tuple[bytes, str]:
    boundary = uuid.uuid4().hex
    parts = []
    for picture in pictures:
        data, name = (picture, "picture") if isinstance(picture, bytes) else (_read(picture), os.path.basename(picture))  # noqa: PTH119
        said = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        for character, code in (("\\", "\\\\"), ('"', '\\"'), ("\r", "%0D"), ("\n", "%0A")):
            said = said.replace(character, code)
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="picture"; filename="{said}"\r\n\r\n'
        parts.append(head.encode() + data + b"\r\n")
    return b"".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise MissingInputError(f"cannot read {path} ({error.strerror}): check the path.") from error
