"""The site builds without a warning, needs nothing from outside, and its commands and Python run as written."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pictures import picture, write_folder
from tests.serving.stopping import stopped_once_ready
from tests.test_readme import commands as of_readme
from vitral.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
SMOKE = ["--steps", "2", "--batch-size", "4", "--device", "cpu"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the pages' words stand for."""
    folder = tmp_path_factory.mktemp("docs")
    pictures = write_folder(folder / "PICTURES", {"train": 6, "val": 2, "test": 2})
    out = folder / "run"
    words = ["train", str(pictures), "--model", "ViT-mu/8", "--image-size", "32", *SMOKE, "--out", str(out), "--quiet"]
    assert main(words) == 0
    for name in ("MODEL", "MODEL_B", "WEIGHTS"):
        (folder / name).symlink_to(out / "model")
    picture("red", 1).save(folder / "picture.jpg")
    return folder


def blocks(kind: str) -> list[tuple[str, str]]:
    """(page, text) of every fenced block of a kind."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found += [(page.name, block) for block in re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)]
    return found


def commands() -> list[tuple[str, str]]:
    """(page, command) of every line that starts with a prompt, where it stands first; those of the README's table are
    run by its own test."""
    lines = [(page, line[2:]) for page, block in blocks("console") for line in block.splitlines() if line[:2] == "$ "]
    first = {command: page for page, command in reversed(lines) if command.startswith("vitral ")}
    elsewhere = of_readme()
    return [(page, command) for command, page in reversed(first.items()) if command not in elsewhere]


@pytest.mark.parametrize(("page", "command"), commands())
def test_commands_run_as_written(
    page: str, command: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    words = shlex.split(command)[1:]
    if words[0] in ("train", "finetune"):
        smoke = zip(SMOKE[::2], SMOKE[1::2], strict=True)
        taken = {*words, "--steps"} if {"--epochs", "linear-probe"} & set(words) else set(words)
        words += [word for option, value in smoke if option not in taken for word in (option, value)]
        words += ["--out", str(tmp_path / "run")]
    elif words[0] == "serve":
        words += ["--port", str(stopped_once_ready())]
    elif words[0] == "convert" and "--dry-run" not in words:
        words += ["--out", str(tmp_path / "converted")]
    assert main(words) == 0


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_python_runs_as_written(page: str, code: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    exec(compile(code, page, "exec"), {})


def test_the_site_builds_without_warnings_and_asks_for_nothing_outside(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: make setup")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert {f"{page.stem}.html" for page in PAGES} <= {page.name for page in pages}
    fetched = re.compile(r"<(?:script|img|iframe)[^>]+src=[\"']?(?:https?:)?//|<link[^>]+href=[\"']?(?:https?:)?//")
    for page in pages:
        assert not fetched.search(page.read_text(encoding="utf-8")), page.name
    for style in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style.name


def test_every_page_can_be_reached() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page.name for page in PAGES if f": {page.name}\n" not in navigation] == []
