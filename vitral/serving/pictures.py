"""The pictures and words of a request, whichever way they were sent.

multipart/form-data      each file is a picture; other fields are words
application/json         {"images": [BASE64 or {"data": BASE64, "name": "..."}, ...]}, beside it words
image/*, octet-stream    the body is one picture
anything without a type  likewise

Addresses are never fetched: bytes only.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from vitral.registry import nearest
from vitral.serving.limits import Limits
from vitral.serving.refusals import Refusal

LONGEST_NAME = 255
LONGEST_WORD = 4096
MOST_COMMAS = 10_000
"""In JSON that holds pictures: millions of values would keep the whole server waiting while they are read."""


@dataclass(frozen=True)
class Picture:
    """Encoded bytes, and what the client calls them."""

    data: bytes
    name: str | None = None


@dataclass(frozen=True)
class Asked:
    """What a request holds: pictures, and words by name."""

    pictures: list[Picture]
    words: dict[str, str]


async def pictures_of(request: Request, body: bytes, limits: Limits, known: tuple[str, ...]) -> Asked:
    """Take a request apart. Words come from its address and its body.

    Args:
        known: the words that it may have.

    Raises:
        Refusal: 400 malformed, 413 too many pictures, 415 an unknown type, 422 no picture.
    """
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        pictures, words = await _multipart(request.headers, body, limits)
    elif kind == "application/json":
        pictures, words = _json(body, limits)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        pictures, words = [Picture(body)] if body else [], {}
    else:
        raise Refusal(415, f"{kind!r:.80} is no picture: send multipart/form-data, image/*, or application/json.")
    words = dict(request.query_params) | words
    for word in words:
        if word not in known:
            close = nearest(word, known)
            way_out = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}."
            raise Refusal(400, f"unknown parameter {word!r:.80}: {way_out}")
    if not pictures:
        raise Refusal(422, "there is no picture in the request.", code="no_picture")
    if len(pictures) > limits.max_pictures:
        raise _too_many(len(pictures), limits)
    return Asked(pictures, words)


async def _multipart(headers: Headers, body: bytes, limits: Limits) -> tuple[list[Picture], dict[str, str]]:
    parser = MultiPartParser(
        headers, _once(body), max_files=limits.max_pictures, max_fields=16, max_part_size=LONGEST_WORD
    )
    parser.spool_max_size = len(body) + 1  # the body is in memory and limited: nothing goes to the disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        many = error.message.startswith("Too many files")
        said = f"more than {limits.max_pictures} pictures in one request." if many else f"multipart: {error.message}"
        raise Refusal(413 if many else 400, said) from None
    except Exception as error:  # the parser meets arbitrary bytes
        raise Refusal(400, f"this is no multipart/form-data ({type(error).__name__}).") from None
    pictures, words = [], {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            with value.file:
                pictures.append(Picture(value.file.read(), _named(value.filename)))
        else:
            words[name] = value
    return pictures, words


def _json(body: bytes, limits: Limits) -> tuple[list[Picture], dict[str, str]]:
    if body.count(b",") > MOST_COMMAS:
        raise Refusal(413, f"the JSON has more values than {limits.max_pictures} pictures need.")
    document = json_object(body)
    images = document.pop("images", None)
    one = document.pop("image", None)
    if images is None and one is not None:
        images = [one]
    if not isinstance(images, list):
        raise Refusal(400, 'the JSON needs "images": a list of pictures in base64.')
    if len(images) > limits.max_pictures:
        raise _too_many(len(images), limits)
    words = {}
    for name, value in document.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            hint = ": pictures are sent as bytes, addresses are not fetched" if name in ("url", "urls") else ""
            raise Refusal(400, f"{name!r:.80} must be a word or a number{hint}.")
        words[name] = str(value)
    return [_picture(item, k) for k, item in enumerate(images)], words


def _too_many(count: int, limits: Limits) -> Refusal:
    return Refusal(413, f"{count} pictures in one request, the limit is {limits.max_pictures}.")


def _picture(item: Any, k: int) -> Picture:
    name = None
    if isinstance(item, dict):
        others = sorted(set(item) - {"data", "name"})
        if others or "data" not in item:
            hint = " Addresses are not fetched." if "url" in others else ""
            raise Refusal(400, f"images[{k}] needs data, and may have a name.{hint}")
        name = _named(item.get("name"))
        item = item["data"]
    return Picture(from_base64(item, f"images[{k}]"), name)


def from_base64(value: Any, what: str) -> bytes:
    """Bytes of a base64 string, with or without "data:...;base64," before it.

    Raises:
        Refusal: 400, it is none.
    """
    if not isinstance(value, str):
        raise Refusal(400, f"{what} must be a string in base64.")
    if value[:8].lower().startswith(("http://", "https://")):
        raise Refusal(400, f"{what} is an address: addresses are not fetched, send the picture's bytes in base64.")
    if value.startswith("data:"):
        value = value.partition(",")[2]
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(400, f"{what} is not base64.") from None


def json_object(body: bytes | bytearray) -> dict[str, Any]:
    """A JSON object.

    Raises:
        Refusal: 400, it is none.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        said = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise Refusal(400, f"the body is not JSON ({said:.200}).") from None
    if not isinstance(document, dict):
        raise Refusal(400, "the JSON must be an object.")
    return document


def number(words: Mapping[str, str], name: str, default: float, least: float, most: float, whole: bool = True) -> float:
    """A word that is a number from `least` to `most`.

    Raises:
        Refusal: 400, it is none.
    """
    given = words.get(name)
    if given is None:
        return default
    try:
        value = int(given) if whole else float(given)
        if least <= value <= most:
            return value
    except ValueError:
        pass
    kind = "whole number" if whole else "number"
    raise Refusal(400, f"{name} must be a {kind} from {least:g} to {most:g}, not {given!r:.40}.")


def _named(name: Any) -> str | None:
    return name[:LONGEST_NAME] if isinstance(name, str) and name else None


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), 1 << 20):
        yield body[start : start + (1 << 20)]
