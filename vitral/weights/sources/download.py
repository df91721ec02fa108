"""One file over https, whole or not at all.

It is written aside and takes its name only when its size, and its checksum where the server tells one, are right.
What a broken connection leaves is gone on with, if the server confirms that the file is still the same (`If-Range`
with its `ETag`, RFC 9110 sections 13.1.5 and 14.2); passing failures are tried again after a growing pause.
"""

from __future__ import annotations

import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from vitral.errors import StorageError
from vitral.version import VERSION
from vitral.weights.sources.digest import Digest, differs, digest_told
from vitral.weights.sources.lock import locked
from vitral.weights.sources.progress import Progress

__all__ = ["NotFetchedError", "Progress", "download", "require_safe"]

TIMEOUT = 20.0
"""Seconds without an answer after which a connection is given up."""

RETRIES = 4
"""Failures in a row, each without a further megabyte, that are borne."""

PAUSE = 0.5
"""Seconds before the first new attempt; each next pause is twice as long."""

CHUNK = 1 << 20
"""Bytes read at a time, at most."""

PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers of HTTP that another attempt may not get."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class NotFetchedError(Exception):
    """A file could not be fetched, and why. `missing`: the server has no such file."""

    def __init__(self, reason: str, missing: bool = False) -> None:
        super().__init__(reason)
        self.missing = missing


class _PassingError(Exception):
    """A failure that another attempt may not meet."""


@dataclass(frozen=True)
class _Told:
    """What a server says of a file: size in bytes, checksum, and the tag by which it knows this version."""

    size: int | None
    digest: Digest | None
    tag: str | None


def download(address: str, target: Path, progress: Progress) -> None:
    """Fetch a file. Of several processes that want it one fetches, and the others wait.

    Raises:
        NotFetchedError: it did not come, or not as it should be. StorageError: it cannot be written.
    """
    require_safe(address)
    part = target.with_name(f".{target.name}.part")
    tag = target.with_name(f".{target.name}.tag")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f".{target.name}.lock")):
            if not target.is_file():
                try:
                    _fetch_whole(address, part, tag, progress)
                    part.replace(target)
                finally:
                    if target.is_file() or not tag.is_file():  # without a tag it cannot be gone on with
                        part.unlink(missing_ok=True)
                        tag.unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"cannot write to {target.parent} ({error.strerror}): free some space or set XDG_CACHE_HOME."
        ) from error


def require_safe(address: str) -> None:
    """Refuse an address that is not https, this machine's own apart.

    Raises:
        NotFetchedError: it is another, or none.
    """
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError as error:
        raise NotFetchedError(str(error)) from error
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK)):
        raise NotFetchedError(f"{address[:200]} is no https address")


def _fetch_whole(address: str, part: Path, tag: Path, progress: Progress) -> None:
    furthest, failures, damaged = 0, 0, False
    while True:
        try:
            told = _attempt(address, part, tag, progress)
        except _PassingError as error:
            size = _size(part)
            failures = 1 if size >= furthest + CHUNK else failures + 1
            furthest = max(furthest, size)
            if failures > RETRIES:
                raise NotFetchedError(str(error)) from error
            time.sleep(PAUSE * 2 ** (failures - 1))
            continue
        if told.digest is None or not differs(part, told.digest):
            return
        part.unlink()  # what came has the right size and other bytes: once more from the beginning
        tag.unlink(missing_ok=True)
        if damaged:
            raise NotFetchedError(f"what came is not the file: its {told.digest.kind} differs")
        damaged = True


def _attempt(address: str, part: Path, tag: Path, progress: Progress) -> _Told:
    """One connection; it goes on where the part ends, if it is of the same file."""
    headers = {"User-Agent": f"vitral/{VERSION}"}
    if _size(part) and tag.is_file():
        headers |= {"Range": f"bytes={_size(part)}-", "If-Range": tag.read_text()}
    redirects = _Redirects()
    with _opened(urllib.request.Request(address, headers=headers), redirects, part, tag) as answer:
        told = _told(answer.headers, redirects.headers)
        start = _start_of(answer)
        if start not in (0, _size(part)):
            tag.unlink(missing_ok=True)
            raise _PassingError("another part came than was asked for")
        size = None if told.size is None else start + told.size
        _require_room(part.parent, told.size)
        if told.tag:
            tag.write_text(told.tag)
        else:
            tag.unlink(missing_ok=True)
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            _copy(answer, file, address, size, progress)
            done = file.tell()
    if size is not None and done != size:
        raise _PassingError(f"{done} of {size} bytes came")
    return told


def _opened(request: urllib.request.Request, redirects: _Redirects, part: Path, tag: Path) -> Any:
    opener = urllib.request.OpenerDirector()  # of urllib's handlers only these: no files, no ftp
    context = ssl.create_default_context()
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPDefaultErrorHandler(), redirects, urllib.request.HTTPErrorProcessor(),
    ):  # fmt: skip
        opener.add_handler(handler)
    try:
        return opener.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the part is longer than the file
            part.unlink(missing_ok=True)
            tag.unlink(missing_ok=True)
        if error.code in (*PASSING, 416):
            raise _PassingError(f"the server answers {error.code}") from error
        raise NotFetchedError(f"the server answers {error.code}", missing=error.code in (404, 410)) from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, (ConnectionResetError, ConnectionAbortedError, TimeoutError, HTTPException)):
            raise _PassingError(str(reason) or type(reason).__name__) from error
        raise NotFetchedError(str(getattr(reason, "strerror", None) or reason)) from error


def _copy(answer: Any, file: IO[bytes], address: str, size: int | None, progress: Progress) -> None:
    name = urlsplit(address).path.rpartition("/")[2]
    while True:
        progress(name, file.tell(), size)
        try:
            chunk = answer.read1(CHUNK)
        except (OSError, HTTPException) as error:
            raise _PassingError(str(error) or type(error).__name__) from error
        if not chunk:
            return
        file.write(chunk)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to safe addresses alone, and keeps what the servers on the way say of the file."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        require_safe(newurl)
        self.headers |= {name.lower(): value for name, value in headers.items()}
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _told(headers: Message, before: Mapping[str, str]) -> _Told:
    length, tag = headers.get("Content-Length", ""), headers.get("ETag", "")
    last = {name.lower(): ", ".join(headers.get_all(name, [])) for name in headers}
    strong = re.fullmatch(r'"[\x21\x23-\x7e]*"', tag) is not None  # a weak one does not promise the same bytes
    return _Told(int(length) if length.isdecimal() else None, digest_told(last, before), tag if strong else None)


def _start_of(answer: Any) -> int:
    """The byte of the file that an answer begins with."""
    if answer.status != 206:
        return 0
    match = re.match(r"bytes (\d{1,18})-", answer.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _require_room(folder: Path, size: int | None) -> None:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:  # a file system that does not say
        return
    if size is not None and size > free:
        raise StorageError(f"{folder} has {free / 1e6:.1f} MB free and needs {size / 1e6:.1f}: free some space.")
