"""Fetching published weights, from a server on this machine."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vitral.catalogue import PUBLISHED
from vitral.errors import UnavailableError, UsageError
from vitral.serving.loading import load
from vitral.weights.published import fetch, located
from vitral.weights.sources import download
from vitral.weights.sources.cache import cache_folder
from vitral.weights.sources.hugging_face import FILES


class Server(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []
    fault = ""

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.fault == "missing":
            self.send_error(404)
            return
        body = b"content of " + self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: 3 if self.fault == "short" else None])

    def log_message(self, format: str, *arguments: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Server]]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{running.server_port}")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as if it were not installed
        monkeypatch.setattr(download, "PAUSE", 0.0)
        Server.asked, Server.fault = [], ""
        yield Server
        running.shutdown()


def test_files_are_fetched_once_into_the_cache(server: type[Server], tmp_path: Path) -> None:
    folder = fetch("ViT-B/16")
    assert tmp_path in folder.parents
    for file in FILES:
        assert (folder / file).read_text() == f"content of /{PUBLISHED['ViT-B/16']}/resolve/main/{file}"
    assert fetch("ViT-B/16") == folder
    assert len(server.asked) == len(FILES)


@pytest.mark.parametrize("fault", ["missing", "short"])
def test_a_failed_download_leaves_nothing_and_says_what_to_place_where(
    server: type[Server], fault: str, tmp_path: Path
) -> None:
    server.fault = fault
    with pytest.raises(UnavailableError, match=r"place config.json and model.safetensors of timm/.* in "):
        fetch("ViT-Ti/16")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_offline_asks_nobody(server: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UnavailableError, match="HF_HUB_OFFLINE"):
        fetch("ViT-Ti/16")
    assert server.asked == []


def test_an_unpublished_name_lists_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean ViT-B/16"):
        fetch("ViT-B/61")


def test_a_name_that_fetches_nothing_says_what_does() -> None:
    with pytest.raises(UsageError, match=r"name the weights themselves, timm/swin_tiny_patch4_window7_224.ms_in1k\."):
        fetch("Swin-T")


def test_a_name_stands_for_its_weights_and_a_path_for_itself(
    server: type[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert located("ViT-B/16") == cache_folder() / PUBLISHED["ViT-B/16"].replace("/", "--")
    for path in ("runs/model", "models/vit-16", str(tmp_path), "./ViT-B/16"):
        assert located(path) == Path(path)
    asked = len(server.asked)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ViT-S" / "16").mkdir(parents=True)
    assert located("ViT-S/16") == Path("ViT-S/16")
    assert len(server.asked) == asked


def test_load_takes_a_name(server: type[Server]) -> None:
    server.fault = "missing"
    with pytest.raises(UnavailableError, match="the weights of ViT-Ti/16 cannot be fetched"):
        load("ViT-Ti/16")
    with pytest.raises(UsageError, match="did you mean ViT-B/16"):
        load("ViT-B/61")


@pytest.mark.parametrize("endpoint", ["mirror.example", "http://[", "file:///nowhere", "http://mirror.example"])
def test_an_endpoint_that_is_no_address_is_said(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UnavailableError, match="cannot be fetched"):
        fetch("ViT-Ti/16")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
