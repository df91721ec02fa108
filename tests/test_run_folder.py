"""A run's folder: held by one process, begun safely, taken up again wherever that changes nothing."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from tests.pictures import write_folder
from tests.test_run import SETTINGS, train
from vitral import run as run_module
from vitral.cli import main
from vitral.config import Duration
from vitral.console import Screen
from vitral.errors import StorageError, UsageError
from vitral.planning import plan
from vitral.run import Result, start
from vitral.run_folder import alone
from vitral.serving.loading import load

SHORT = {"schedule__duration": Duration(6, "steps")}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), {"": 20})


@pytest.fixture(scope="module")
def finished(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert train(pictures, folder, **SHORT).finished
    return folder


def test_a_second_start_changes_nothing_in_a_folder_that_is_held(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with alone(folder):
        (folder / "config.json").write_text("the first one's")
        (folder / ".model-aside").mkdir()
        with pytest.raises(UsageError, match="another vitral is running"):
            train(pictures, folder, **SHORT)
        assert (folder / "config.json").read_text() == "the first one's"
        assert (folder / ".model-aside").is_dir()


@pytest.mark.parametrize("left", [["data.json"], ["data.json.tmp", ".lock"], ["data.json", "environment.json"]])
def test_a_start_that_died_at_once_is_done_again(pictures: Path, tmp_path: Path, left: list[str]) -> None:
    (tmp_path / "run").mkdir()
    for name in left:
        (tmp_path / "run" / name).write_text("{}")
    assert train(pictures, tmp_path / "run", **SHORT).finished


def test_what_a_run_holds_counts_as_space_for_it(
    pictures: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    usage = namedtuple("usage", "total used free")
    held = sum(path.stat().st_size for part in ("checkpoints", "model") for path in (finished / part).rglob("*.*"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, held // 2 + 100))
    assert train(pictures, tmp_path / "run", **SHORT).finished
    with pytest.raises(StorageError, match="checkpoints, which need"):
        train(pictures, tmp_path / "new", **SHORT)


def again(pictures: Path, folder: Path, measure_again: bool = False) -> Result:
    words = {name.replace("__", "."): value for name, value in {**SETTINGS, **SHORT}.items()}
    made = plan("scratch-small", words | {"data.path": str(pictures)})
    return start(made, folder, Screen(), measure_again=measure_again)


def test_a_finished_run_gives_its_stored_numbers_and_computes_nothing(
    pictures: Path,
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    stored = (finished / "model" / "metrics.json").read_bytes()
    monkeypatch.setattr(run_module, "build_network", lambda _: pytest.fail("a network was built"))
    found = again(pictures, tmp_path / "run")
    assert found.finished
    assert found.metrics == json.loads(stored)
    assert (tmp_path / "run" / "model" / "metrics.json").read_bytes() == stored
    said = capsys.readouterr().out
    assert "already finished (step 6)" in said
    assert "resuming" not in said


def test_a_finished_run_is_measured_again_when_that_is_asked(
    pictures: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    written = tmp_path / "run" / "model" / "metrics.json"
    metrics = json.loads(written.read_text())
    written.write_text(json.dumps(metrics | {"validation": metrics["validation"] | {"top1": 2.0}}))
    assert again(pictures, tmp_path / "run").metrics["validation"]["top1"] == 2.0
    assert again(pictures, tmp_path / "run", measure_again=True).metrics == metrics
    assert "its best model is measured" in capsys.readouterr().out


@pytest.mark.parametrize("lost", ["intervals", "step", "weights"])
def test_a_run_that_was_stopped_before_its_numbers_were_whole_is_measured(
    pictures: Path, finished: Path, tmp_path: Path, lost: str
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    written = tmp_path / "run" / "model" / "metrics.json"
    metrics = json.loads(written.read_text())
    if lost == "intervals":
        del metrics["validation"]["intervals"]
    elif lost == "step":
        metrics["step"] = 5
    written.write_text(json.dumps(metrics))
    if lost == "weights":
        shutil.rmtree(tmp_path / "run" / "model")
    found = again(pictures, tmp_path / "run").metrics
    whole = json.loads((finished / "model" / "metrics.json").read_text())
    assert found == json.loads(written.read_text())
    assert found["validation"].keys() == whole["validation"].keys()
    assert found["step"] == 6


@pytest.mark.parametrize("changed", [{"data__on_bad_image": "skip"}, {"training__keep_checkpoints": 5}])
def test_settings_that_change_no_step_may_change(
    pictures: Path, finished: Path, tmp_path: Path, changed: dict[str, object]
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    assert train(pictures, tmp_path / "run", **SHORT, **changed).finished


def test_sgd_without_momentum_goes_on_too(pictures: Path, tmp_path: Path) -> None:
    plain = {"optimizer__name": "sgd", "optimizer__momentum": 0.0, "optimizer__weight_decay": 0.0, **SHORT}
    assert train(pictures, tmp_path / "run", **plain).finished
    assert train(pictures, tmp_path / "run", **plain).finished


def test_one_plan_started_twice_gives_the_same_run(pictures: Path, finished: Path, tmp_path: Path) -> None:
    words = {name: value for name, value in SETTINGS.items() if not name.startswith("model.")}
    words |= {
        "data.path": str(pictures),
        "model.weights": str(finished / "model"),
        "schedule.duration": Duration(3, "steps"),
    }
    made = plan("finetune", words)
    for name in ("a", "b"):
        start(made, tmp_path / name, Screen(quiet=True))
    first, second = (load(tmp_path / name / "model").network.state_dict() for name in ("a", "b"))
    assert all((first[name] == second[name]).all() for name in first)


def test_evaluate_holds_out_the_same_pictures_again(
    pictures: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(finished / "model"), "--device", "cpu", "--json"]
    known = json.loads((finished / "model" / "metrics.json").read_text())["validation"]
    assert main([*words, str(pictures)]) == 0
    out, err = capsys.readouterr()
    measured = json.loads(out)
    assert measured["split"] == "validation"
    assert {key: measured[key] for key in known} == known
    sentence = "the model was trained on these pictures, but for the 6 that were held out"
    assert err.index("evaluated on split validation") < err.index(sentence)
    assert main([*words, str(pictures), "--split", "train"]) == 0
    assert json.loads(capsys.readouterr().out)["count"] == 54
    other = write_folder(tmp_path / "other", {"": 4})
    assert main([*words, str(other)]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["count"] == 12
    assert "all: top-1" in err


def test_a_test_split_is_not_called_pictures_of_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = write_folder(tmp_path / "pictures", {"train": 10, "test": 2})
    assert train(pictures, tmp_path / "run", **SHORT).finished
    assert main(["evaluate", str(tmp_path / "run" / "model"), str(pictures), "--device", "cpu", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["split"] == "test"
    assert "evaluated on split test (of train, validation, test)" in err
    assert "the model was trained on these pictures" not in err


def test_a_named_model_is_that_model(pictures: Path) -> None:
    words = {"data.path": str(pictures), "runtime.device": "cpu", "model.name": "ViT-S/4"}
    made = plan("scratch-small", words)
    assert (made.config.model.width, made.config.model.depth, made.config.model.pool) == (None, None, None)
    assert made.config.model.image_size == (16, 16)
    assert not any("blocks of width" in sentence for sentence in made.decisions)
    own = plan("scratch-small", words | {"model.depth": 2})
    assert (own.config.model.width, own.config.model.depth) == (None, 2)


@pytest.mark.parametrize("verb", ["scratch-small", "finetune"])
def test_a_length_of_ones_own_sets_warm_up_and_cadences(pictures: Path, finished: Path, verb: str) -> None:
    words: dict[str, object] = {"data.path": str(pictures), "runtime.device": "cpu"}
    if verb == "finetune":
        words["model.weights"] = str(finished / "model")
    made = plan(verb, words | {"schedule.duration": "20 epochs"}).config
    assert made.schedule.warmup.amount == (1 if verb == "scratch-small" else 2)
    assert str(made.training.evaluate_every) == "2 epochs"
    short = plan(verb, words | {"schedule.duration": Duration(5, "epochs")}).config
    assert short.schedule.warmup.amount <= 0.5
    assert str(short.training.evaluate_every) == "1 epochs"
    steps = plan(verb, words | {"schedule.duration": Duration(200, "steps")}).config
    assert str(steps.training.evaluate_every) == "20 steps"
