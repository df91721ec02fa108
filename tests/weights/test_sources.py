"""What names stand for, and what is fetched for them, from a server on this machine."""

from __future__ import annotations

import csv
import hashlib
import http.server
import io
import json
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from vitral.errors import DataError, MissingInputError, UnavailableError, UsageError
from vitral.weights import read
from vitral.weights.published import located
from vitral.weights.sources import cache, download, google, hugging_face, progress
from vitral.weights.sources.cache import cache_folder

COLUMNS = "name ds filename final_val adapt_ds adapt_resolution adapt_final_val adapt_filename"


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `files` by path, with the headers of Hugging Face; everything else is missing."""

    files: dict[str, bytes] = {}
    asked: list[str] = []

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def answer(self, body: bool) -> None:
        self.asked.append(self.path)
        content = self.files.get(self.path)
        self.send_response(404 if content is None else 200)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
            content = b""
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        self.send_header("ETag", f'"{git}"')
        self.send_header("X-Repo-Commit", "1" * 40)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        here = f"http://127.0.0.1:{running.server_port}"
        monkeypatch.setenv("HF_ENDPOINT", here)
        monkeypatch.setattr(google, "STORAGE", here)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        monkeypatch.setattr(download, "PAUSE", 0.0)
        monkeypatch.chdir(tmp_path)
        Server.files, Server.asked = {}, []
        yield here
        running.shutdown()


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Hugging Face --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "parsed"),
    [
        ("google/vit-base-patch16-224", ("google/vit-base-patch16-224", "main")),
        ("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", ("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", "main")),
        ("facebook/deit-tiny@v1.0", ("facebook/deit-tiny", "v1.0")),
        ("hf:someone/model", ("someone/model", "main")),
        ("someone/model", None),
        ("google/a/b", None),
        ("google/../x", None),
        ("hf:../x", None),
        ("hf:x", None),
        ("google/", None),
    ],
)
def test_what_a_repository_is_called(words: str, parsed: object) -> None:
    assert hugging_face.parsed(words) == parsed


def test_a_repository_is_fetched_once(server: str) -> None:
    base = "/google/vit-x/resolve/main/"
    files = {"config.json": b"{}", "preprocessor_config.json": b'{"a": 1}', "model.safetensors": b"numbers"}
    Server.files = {base + name: content for name, content in files.items()}
    folder = located("google/vit-x")
    assert content_of(folder) == files
    assert folder == cache_folder() / "google--vit-x"
    assert located("google/vit-x") == located("hf:google/vit-x") == folder
    assert Server.asked == [base + name for name in files]


def test_what_a_repository_lacks_is_done_without(server: str) -> None:
    base = "/someone/old/resolve/v2/"
    Server.files = {base + "config.json": b"{}", base + "pytorch_model.bin": b"pickle"}
    folder = located("hf:someone/old@v2")
    assert sorted(content_of(folder)) == ["config.json", "pytorch_model.bin"]
    asked = len(Server.asked)
    assert located("hf:someone/old@v2") == folder
    assert len(Server.asked) == asked


def test_a_repository_that_is_not_there_says_what_to_place_where(server: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        read("google/vit-y")
    assert re.fullmatch(
        r"the weights of google/vit-y cannot be fetched \(the server answers 404\): "
        r"place config.json and model.safetensors of google/vit-y in .*google--vit-y, or name a folder of weights instead.",
        str(caught.value),
    )


def test_a_model_in_transformers_cache_or_fetched_by_its_package_is_used(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "huggingface_hub")
    hub = pytest.importorskip("huggingface_hub")
    constants = pytest.importorskip("huggingface_hub.constants")
    errors = pytest.importorskip("huggingface_hub.errors")  # of an earlier import, so not the package's attribute yet
    monkeypatch.setattr(hub, "errors", errors, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # read from the environment when it was imported
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    base = "/google/vit-x/resolve/main/"
    Server.files = {base + "config.json": b"{}", base + "model.safetensors": b"numbers"}
    folder = located("google/vit-x")
    assert tmp_path / "hub" in folder.parents
    assert content_of(folder) == {"config.json": b"{}", "model.safetensors": b"numbers"}
    with pytest.raises(UnavailableError, match="place config.json and model.safetensors of google/vit-y in"):
        located("google/vit-y")
    asked = len(Server.asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert located("google/vit-x") == folder
    with pytest.raises(UnavailableError, match="HF_HUB_OFFLINE is set: place"):
        located("google/vit-y")
    assert len(Server.asked) == asked
    assert hub is not None


# The authors' files --------------------------------------------------------------------------------


def index(*rows: str) -> bytes:
    made = io.StringIO()
    writer = csv.writer(made)
    writer.writerow(COLUMNS.split())
    writer.writerows(row.split() for row in rows)
    return made.getvalue().encode()


ROWS = (
    "S/16 i21k S_16-a 0.50 imagenet2012 224 0.90 S_16-a--best_after_a_worse_pretraining-res_224",
    "S/16 i21k S_16-b 0.60 imagenet2012 224 0.80 S_16-b--good-res_224",
    "S/16 i21k S_16-b 0.60 imagenet2012 224 0.70 S_16-b--less-res_224",
    "S/16 i21k S_16-b 0.60 imagenet2012 384 0.85 S_16-b--large-res_384",
    "S/16 i21k S_16-b 0.60 cifar100 224 0.99 S_16-b--cifar-res_224",
    "S/16 i1k S_16-c 0.70 imagenet2012 224 0.95 S_16-c--of_i1k-res_224",
    "S/16 i21k S_16-n nan imagenet2012 224 nan S_16-n--failed-res_224",
    "R50+L/32 i21k R50_L_32-a 0.6 imagenet2012 384 0.86 R50_L_32-a--only-res_384",
)


@pytest.mark.parametrize(
    ("words", "file"),
    [
        ("augreg/ViT-S/16", "S_16-b--good-res_224"),
        ("augreg/ViT-S/16@224", "S_16-b--good-res_224"),
        ("augreg/ViT-S/16@384", "S_16-b--large-res_384"),
        ("augreg/R50+ViT-L/32@384", "R50_L_32-a--only-res_384"),
    ],
)
def test_the_authors_choice_is_fetched(server: str, words: str, file: str) -> None:
    place = f"/vit_models/augreg/{file}.npz"
    Server.files = {"/vit_models/augreg/index.csv": index(*ROWS), place: b"numbers"}
    found = located(words)
    assert found.name == f"{file}.npz"
    assert found.read_bytes() == b"numbers"
    assert located(words) == found
    assert Server.asked == ["/vit_models/augreg/index.csv", place]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("augreg/ViT-S/61@224", "did you mean S/16"),
        ("augreg/R50+ViT-L/32@224", "fine-tuned no R50"),
        ("augreg/ViT-S/16@300", "write augreg/MODEL@SIDE"),
        ("augreg/everything", "write augreg/MODEL@SIDE"),
        ("bit/R50x2", "did you mean R50x3 or R50x1"),
        ("bit/BiT-S-R50x1-ILSVRC2012", "did you mean"),
    ],
)
def test_a_name_that_the_authors_have_not_is_said(server: str, words: str, said: str) -> None:
    Server.files = {"/vit_models/augreg/index.csv": index(*ROWS)}
    with pytest.raises(UsageError, match=said):
        located(words)


@pytest.mark.parametrize("name", ["../../elsewhere", "a/b", "https://example.org/w", ""])
def test_an_index_can_only_name_what_stands_beside_it(server: str, name: str) -> None:
    row = f"S/16 i21k S_16-b 0.6 imagenet2012 224 0.8 {name}"
    Server.files = {"/vit_models/augreg/index.csv": index(row)}
    with pytest.raises(DataError, match="is not the authors' list of models"):
        located("augreg/ViT-S/16")
    assert len(Server.asked) == 1


def test_an_index_of_something_else_is_said(server: str) -> None:
    Server.files = {"/vit_models/augreg/index.csv": b"<html>\n<p>\n"}
    with pytest.raises(DataError, match="remove it to fetch it anew"):
        located("augreg/ViT-S/16")


@pytest.mark.parametrize(
    ("words", "file"),
    [
        ("bit/R50x1-ILSVRC2012", "BiT-M-R50x1-ILSVRC2012"),
        ("bit/BiT-M-R50x1-ILSVRC2012", "BiT-M-R50x1-ILSVRC2012"),
        ("bit/R152x4", "BiT-M-R152x4"),
        ("bit/S-R101x3", "BiT-S-R101x3"),
    ],
)
def test_bit_by_its_names(server: str, words: str, file: str) -> None:
    Server.files = {f"/bit_models/{file}.npz": b"numbers"}
    assert located(words).name == f"{file}.npz"


# Addresses and paths -------------------------------------------------------------------------------


def test_an_address_is_fetched_once_and_read(server: str, tmp_path: Path) -> None:
    made = io.BytesIO()
    np.savez(made, a=np.ones(3, dtype=np.float32))
    Server.files = {"/some/weights.npz": made.getvalue()}
    found = located(f"{server}/some/weights.npz")
    assert found.name == "weights.npz"
    assert located(f"{server}/some/weights.npz") == found
    assert len(Server.asked) == 1
    with pytest.raises(DataError, match="of no known layout"):
        read(f"{server}/some/weights.npz")


@pytest.mark.parametrize("address", ["http://example.org/w.npz", "ftp://example.org/w.npz", "file:///w.npz"])
def test_an_address_that_is_not_safe_is_refused(server: str, address: str) -> None:
    with pytest.raises(UsageError, match="is no https address: download it yourself"):
        located(address)


@pytest.mark.parametrize("address", ["/", "/a/", "/%2e%2e", "/a%2Fb/.."])
def test_an_address_without_a_file_is_refused(server: str, address: str) -> None:
    with pytest.raises(UsageError, match="does not end in a file's name"):
        located(server + address)
    assert Server.asked == []


def test_offline_asks_nobody_for_anything(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for words in ("google/vit-x", "augreg/ViT-S/16", "bit/R50x1", f"{server}/w.npz"):
        with pytest.raises(UnavailableError, match=r"HF_HUB_OFFLINE is set: place .* in .*cache"):
            located(words)
    assert Server.asked == []


def test_a_path_stays_a_path(server: str, tmp_path: Path) -> None:
    (tmp_path / "google" / "vit-x").mkdir(parents=True)
    (tmp_path / "runs").mkdir()
    for words in ("google/vit-x", "google/vit-y", "runs/model", "someone/model", "w.npz", "/nowhere/w.npz"):
        assert located(words) == Path(words)
    assert located(Path("timm/vit")) == Path("timm/vit")
    with pytest.raises(MissingInputError, match="or write hf:someone/model for a repository of Hugging Face"):
        read("someone/model")
    assert Server.asked == []


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "~/.cache/vitral/weights"),
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/vitral/weights"),
        ("darwin", {}, "~/Library/Caches/vitral/weights"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/vitral/weights"),
        ("win32", {}, "~/AppData/Local/vitral/weights"),
    ],
)
def test_the_cache_is_where_the_system_wants_it(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str
) -> None:
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cache.sys, "platform", platform)
    assert cache_folder() == Path(expected).expanduser()


def test_a_real_layout_is_read_through_a_name(server: str, tmp_path: Path) -> None:
    from tests.weights.test_weights import CONFIG

    torch.manual_seed(0)
    tensors: dict[str, Any] = {"norm.weight": torch.ones(192)}
    base = "/timm/vit_tiny_patch16_224/resolve/main/"
    Server.files = {base + "config.json": json.dumps(CONFIG).encode(), base + "model.safetensors": save(tensors)}
    assert read("timm/vit_tiny_patch16_224").layout == "timm"


@pytest.mark.parametrize("live", [True, False])
def test_progress_is_said_on_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: live, raising=False)
    show = progress.to_stderr()
    for done in (0, 10_000_000, 20_000_000, 30_000_000):
        show("w.npz", done, 30_000_000)
    show("config.json", 100, 100)  # too small to be spoken of
    out, said = capsys.readouterr()
    assert out == ""
    lines = re.split(r"[\r\n]+", said.strip())
    assert lines[-1] == "fetching w.npz: 30 of 30 MB"
    assert len(lines) == (4 if live else 2)
    assert "config" not in said
