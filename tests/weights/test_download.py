"""One file over http, from a server on this machine with faults."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vitral.errors import StorageError
from vitral.weights.sources import download as module
from vitral.weights.sources.digest import Digest, digest_told
from vitral.weights.sources.download import NotFetchedError, download, require_safe

BODY = bytes(range(256)) * 400
TAG = '"first"'


class Server(http.server.BaseHTTPRequestHandler):
    """Answers with BODY; the next fault of `faults`, if any, spoils the answer."""

    body, tag = BODY, TAG
    faults: list[str] = []
    asked: list[tuple[str, str | None]] = []  # fault, Range
    extra: dict[str, str] = {}

    def do_GET(self) -> None:
        fault = self.faults.pop(0) if self.faults else ""
        self.asked.append((fault, self.headers.get("Range")))
        if fault.isdecimal():
            self.send_error(int(fault))
            return
        if fault.startswith("to "):
            self.send_response(302)
            self.send_header("Location", fault[3:])
            for name, value in self.extra.items():
                self.send_header(name, value)
            self.end_headers()
            return
        whole, start = self.body, 0
        wanted = self.headers.get("Range")
        if wanted and fault != "range ignored" and self.headers.get("If-Range") == self.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start + (fault == 'wrong range')}-{len(whole) - 1}/{len(whole)}")
        else:
            self.send_response(200)
        body = whole[start:]
        self.send_header("ETag", "W/" * (fault == "weak") + self.tag)
        if fault != "no length":
            self.send_header("Content-Length", str(len(body)))
        for name, value in self.extra.items():
            self.send_header(name, value)
        self.end_headers()
        if fault == "wrong bytes":
            body = b"\xff" * len(body)
        self.wfile.write(body[: len(body) // 2] if fault in ("short", "weak", "reset") else body)
        if fault == "reset":
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, format: str, *arguments: object) -> None: ...

    def handle(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # of a connection that was reset on purpose
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().finish()


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(module, "PAUSE", 0.0)
        monkeypatch.setattr(module, "TIMEOUT", 5.0)
        monkeypatch.setattr(module, "CHUNK", 1000)
        Server.body, Server.tag, Server.faults, Server.asked, Server.extra = BODY, TAG, [], [], {}
        yield f"http://127.0.0.1:{running.server_port}/weights.npz"
        running.shutdown()


def silent(name: str, done: int, size: int | None) -> None: ...


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.parametrize("fault", ["", "short", "reset", "503", "429", "weak", "no length", "wrong range"])
def test_a_passing_fault_is_got_over(address: str, tmp_path: Path, fault: str) -> None:
    Server.faults = ["short", fault] if fault == "wrong range" else [fault]
    download(address, tmp_path / "sub" / "w.npz", silent)
    assert (tmp_path / "sub" / "w.npz").read_bytes() == BODY
    assert names(tmp_path) == ["sub", "w.npz"]


@pytest.mark.parametrize("fault", ["short", "reset"])
def test_what_has_come_is_not_fetched_again(address: str, tmp_path: Path, fault: str) -> None:
    Server.faults = [fault]
    download(address, tmp_path / "w", silent)
    assert (tmp_path / "w").read_bytes() == BODY
    first, second = Server.asked
    assert first == (fault, None)
    assert second[1] is not None
    assert int(second[1].removeprefix("bytes=").removesuffix("-")) > 1000


def test_another_process_goes_on_where_one_was_stopped(address: str, tmp_path: Path) -> None:
    def stopped(name: str, done: int, size: int | None) -> None:
        assert size == len(BODY)
        if done > 30_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(address, tmp_path / "w", stopped)
    assert names(tmp_path) == [".w.part", ".w.tag"]
    told: list[int] = []
    download(address, tmp_path / "w", lambda name, done, size: told.append(done))
    assert told[0] > 30_000
    assert told[-1] == len(BODY)
    assert (tmp_path / "w").read_bytes() == BODY
    assert names(tmp_path) == ["w"]


@pytest.mark.parametrize("fault", ["", "range ignored"])
def test_a_file_that_changed_in_between_is_fetched_from_its_beginning(address: str, tmp_path: Path, fault: str) -> None:
    (tmp_path / ".w.part").write_bytes(b"x" * 5000)
    (tmp_path / ".w.tag").write_text('"older"' if fault == "" else TAG)
    Server.faults = [fault]
    download(address, tmp_path / "w", silent)
    assert Server.asked == [(fault, "bytes=5000-")]
    assert (tmp_path / "w").read_bytes() == BODY


def test_a_part_without_a_tag_is_not_believed(address: str, tmp_path: Path) -> None:
    (tmp_path / ".w.part").write_bytes(b"x" * 5000)
    download(address, tmp_path / "w", silent)
    assert Server.asked == [("", None)]
    assert (tmp_path / "w").read_bytes() == BODY


def test_a_part_longer_than_the_file_is_thrown_away(address: str, tmp_path: Path) -> None:
    (tmp_path / ".w.part").write_bytes(b"x" * 5000)
    (tmp_path / ".w.tag").write_text(TAG)
    Server.faults = ["416"]
    download(address, tmp_path / "w", silent)
    assert (tmp_path / "w").read_bytes() == BODY


def sums(body: bytes) -> dict[str, dict[str, str]]:
    """The headers of a server that tells a checksum of `body`, by its kind."""
    git = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
    return {
        "sha256": {"X-Linked-ETag": f'"{hashlib.sha256(body).hexdigest()}"'},
        "md5": {"X-Goog-Hash": "crc32c=AAAAAA==,md5=" + base64.b64encode(hashlib.md5(body).digest()).decode()},
        "git sha1": {"X-Repo-Commit": "0" * 40, "ETag": f'"{git}"'},
    }


@pytest.mark.parametrize("kind", ["sha256", "md5", "git sha1"])
def test_wrong_bytes_of_the_right_size_are_seen_by_the_checksum(address: str, tmp_path: Path, kind: str) -> None:
    Server.extra = dict(sums(BODY)[kind])
    Server.tag = Server.extra.pop("ETag", TAG)
    Server.faults = ["wrong bytes"]
    download(address, tmp_path / "once", silent)
    assert (tmp_path / "once").read_bytes() == BODY
    assert len(Server.asked) == 2
    Server.faults = ["wrong bytes"] * 9
    with pytest.raises(NotFetchedError, match=f"what came is not the file: its {kind} differs"):
        download(address, tmp_path / "always", silent)
    assert len(Server.asked) == 4
    assert names(tmp_path) == ["once"]


def test_a_checksum_told_by_a_redirect_counts(address: str, tmp_path: Path) -> None:
    Server.extra = sums(b"other bytes")["sha256"]
    Server.faults = [f"to {address}", "", f"to {address}"]
    with pytest.raises(NotFetchedError, match="its sha256 differs"):
        download(address, tmp_path / "w", silent)


@pytest.mark.parametrize(("code", "missing"), [(404, True), (403, False), (401, False)])
def test_a_refusal_is_not_asked_again(address: str, tmp_path: Path, code: int, missing: bool) -> None:
    Server.faults = [str(code)] * 2
    with pytest.raises(NotFetchedError, match=f"the server answers {code}") as caught:
        download(address, tmp_path / "w", silent)
    assert caught.value.missing == missing
    assert len(Server.asked) == 1
    assert names(tmp_path) == []


@pytest.mark.parametrize("fault", ["503", "short"])
def test_a_fault_that_does_not_pass_is_said(address: str, tmp_path: Path, fault: str) -> None:
    Server.faults, Server.tag = [fault] * 20, ""
    with pytest.raises(NotFetchedError, match="answers 503|of 102400 bytes came"):
        download(address, tmp_path / "w", silent)
    assert len(Server.asked) <= module.RETRIES + 2
    assert names(tmp_path) == []


def test_a_server_that_is_not_there_is_asked_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(NotFetchedError, match="refused"):
        download(f"http://127.0.0.1:{port}/w", tmp_path / "w", silent)


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/w", "http://example.org/w", "gopher:x"])
def test_a_redirect_to_anything_but_https_is_not_followed(address: str, tmp_path: Path, to: str) -> None:
    Server.faults = [f"to {to}"]
    with pytest.raises(NotFetchedError):
        download(address, tmp_path / "w", silent)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "address", ["http://example.org/w", "ftp://h/w", "file:///w", "https:///w", "w", "http://[", ""]
)
def test_an_address_that_is_not_safe_is_refused(address: str) -> None:
    with pytest.raises(NotFetchedError):
        require_safe(address)


def test_a_full_disk_is_said_before_it_is_full(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 100_000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match="has 0.1 MB free and needs 0.1: free some space"):
        download(address, tmp_path / "w", silent)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_said(address: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="cannot write to"):
        download(address, tmp_path / "sub" / "w", silent)
    tmp_path.chmod(0o700)


def test_a_file_in_the_place_of_the_folder_is_said(address: str, tmp_path: Path) -> None:
    (tmp_path / "sub").write_text("")
    with pytest.raises(StorageError, match="cannot write to"):
        download(address, tmp_path / "sub" / "w", silent)


def test_of_several_that_want_a_file_one_fetches_it(address: str, tmp_path: Path) -> None:
    failures: list[Any] = []

    def fetch() -> None:
        try:
            download(address, tmp_path / "w", silent)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(Server.asked) == 1
    assert names(tmp_path) == ["w"]


def test_checksums_that_are_none_are_not_taken_for_one() -> None:
    etag = {"etag": '"' + "0" * 40 + '"'}
    assert digest_told(etag, {}) is None  # only Hugging Face's tag is a checksum
    assert digest_told({"x-linked-etag": '"abc"'}, {}) is None
    assert digest_told({"x-goog-hash": "crc32c=AAAAAA=="}, {}) is None
    packed = {**sums(b"")["md5"], "x-goog-stored-content-encoding": "gzip"}
    assert digest_told({name.lower(): value for name, value in packed.items()}, {}) is None
    # behind a redirect to another server, the tag of the first is the checksum
    assert digest_told({"etag": '"1"'}, {**etag, "x-repo-commit": "1"}) == Digest("git sha1", "0" * 40)
