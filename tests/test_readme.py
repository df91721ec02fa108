"""What the README says is what happens: its commands and its Python run as written, at smoke scale."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.pictures import picture, write_folder
from tests.serving.stopping import stopped_once_ready
from vitral.cli import VERBS, main
from vitral.datasets.bundled import write_digits

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMOKE = ["--steps", "2", "--batch-size", "4", "--device", "cpu"]
SMOKES = {"train": SMOKE, "finetune": SMOKE, "speed": ["--rounds", "1", "--seconds", "0.01"]}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the README's words stand for."""
    folder = tmp_path_factory.mktemp("readme")
    pictures = write_folder(folder / "PICTURES", {"train": 6, "val": 2, "test": 2})
    assert main(["train", str(pictures), *SMOKE, "--out", str(folder / "demo" / "run"), "--quiet"]) == 0
    (folder / "MODEL").symlink_to(folder / "demo" / "run" / "model")
    (folder / "MODEL_B").symlink_to(folder / "demo" / "run" / "model")
    (folder / "WEIGHTS").symlink_to(folder / "demo" / "run" / "model")
    digit = folder / re.search(r"demo/digits/[\w/.-]+", README)[0]  # type: ignore[index]
    digit.parent.mkdir(parents=True)
    picture("red", 1).save(digit)
    picture("red", 1).save(folder / "picture.jpg")
    return folder


def commands() -> list[str]:
    """Every `vitral ...` in the table of jobs."""
    rows = [row for row in README.splitlines() if row.startswith("|")]
    return [command for row in rows for command in re.findall(r"`(vitral [^`]+)`", row)]


def test_the_table_of_jobs_names_every_verb() -> None:
    assert {command.split()[1] for command in commands()} == set(VERBS)


@pytest.mark.parametrize("command", commands())
def test_commands_run_as_written(command: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    words = shlex.split(command)[1:]
    if words[0] == "serve":
        words += ["--port", str(stopped_once_ready())]
    assert main([*words, *SMOKES.get(words[0], [])]) == 0


def test_the_python_example_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert re.match(r"\w+ \d+\.\d%\n", capsys.readouterr().out)


def test_the_digit_of_the_python_example_is_one_that_the_demo_writes(tmp_path: Path) -> None:
    named = re.search(r"demo/digits/([\w/.-]+)", README)
    assert named is not None
    assert (write_digits(tmp_path / "digits") / named[1]).is_file()


def test_options_that_the_readme_names_exist(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in VERBS:
        with pytest.raises(SystemExit):
            main([verb, "--help-all" if verb in ("train", "finetune") else "--help"])
    known = set(re.findall(r"--[a-z][\w.-]*", capsys.readouterr().out))
    assert set(re.findall(r"(?<![\w-])--[a-z][\w.-]*[\w]", README)) <= known


def test_files_that_the_readme_names_exist() -> None:
    map_ = README[README.index("## The files") :]
    for name in re.findall(r"(?<=\s)([\w/]+(?:\.py|/))(?=\s)", map_):
        assert (ROOT / "vitral" / name).exists() or (ROOT / name).exists(), name


def test_make_targets_that_the_readme_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_readme_is_short_enough_to_read() -> None:
    assert len(README.splitlines()) < 200
