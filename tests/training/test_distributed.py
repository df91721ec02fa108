"""Several processes at one task: what they count is what one counts, to the bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pictures import write_folder
from vitral.cli import main
from vitral.errors import UsageError
from vitral.training.distributed import ALONE, Group, group_of

TINY = ["--model", "ViT-Ti/4", "--image-size", "8", "--model.width", "16", "--model.depth", "1", "--model.num-heads", "2",
        "--model.mlp-dim", "32", "--batch-size", "8", "--device", "cpu", "--workers", "0"]  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_folder(tmp_path_factory.mktemp("pictures"), {"train": 12, "val": 10, "test": 31})
    sorted((folder / "test").glob("*/*"))[40].write_bytes(b"torn")
    return folder


@pytest.fixture(scope="module")
def model(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    assert main(["train", str(pictures), *TINY, "--steps", "10", "--out", str(out), "--quiet"]) == 0
    return out / "model"


def shared(processes: int, *words: object) -> subprocess.CompletedProcess[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*torchrun, "-m", "vitral", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def alone(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_processes_count_what_one_counts(
    pictures: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """93 pictures are three batches, the last of them short: of two processes one has twice as much to do."""
    words = ["evaluate", model, pictures, "--conformal", "0.9", "--corruption", "contrast"]
    of_one = alone(capsys, *words, "--predictions", tmp_path / "one.csv")
    of_all = shared(2, *words, "--json", "--predictions", tmp_path / "all.csv")
    assert of_all.returncode == 0, of_all.stderr
    assert json.loads(of_all.stdout) == of_one  # also that there is one document
    assert (of_one["count"], of_one["unreadable"]) == (93, 1)
    assert (tmp_path / "all.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    assert of_all.stderr.count("counted as wrong") == 1


def test_features_are_shared_too_even_by_a_process_that_gets_none(
    pictures: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Validation has 30 pictures, one batch."""
    of_all = shared(2, "probe", model, pictures, "--json")
    assert of_all.returncode == 0, of_all.stderr
    assert json.loads(of_all.stdout) == alone(capsys, "probe", model, pictures)


def test_verbs_that_are_the_work_of_one_process_say_so(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert main(["train", str(pictures), *TINY, "--out", str(tmp_path / "run")]) == 2
    assert "`vitral train` is the work of one" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_goes_wrong_in_all_is_one_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    said = {}
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert main(["evaluate", str(tmp_path / "nowhere"), str(tmp_path), "--json"]) == 66
        said[rank] = capsys.readouterr()
    assert json.loads(said["0"].out)["error"]["code"] == 66
    assert said["1"].out == ""
    assert "nowhere" in said["1"].err  # a fault of this process alone would be told by nobody else


@pytest.mark.parametrize(("count", "block", "size"), [(93, 32, 2), (93, 32, 5), (7, 1, 3), (0, 32, 2), (64, 32, 1)])
def test_every_picture_is_exactly_one_s(count: int, block: int, size: int) -> None:
    dealt = [Group(0, size).dealt(count, block, rank) for rank in range(size)]
    assert sorted(np.concatenate(dealt).tolist()) == list(range(count))
    for own in dealt:
        for batch in np.split(own, range(block, len(own), block)):
            assert len(batch) == 0 or batch[0] % block == 0  # batches are those of one process


def test_the_environment_tells_which_process_this_is() -> None:
    assert group_of({}) == ALONE
    assert ALONE.leads
    found = group_of({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"})
    assert found == Group(3, 4, 1, 2)
    assert not found.leads
    for wrong in ({"RANK": "4", "WORLD_SIZE": "4"}, {"RANK": "-1"}, {"WORLD_SIZE": "two"}, {"LOCAL_RANK": "1"}):
        with pytest.raises(UsageError, match="torchrun sets them"):
            group_of(wrong)
