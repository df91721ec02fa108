"""The sweep over learning rates: what it chooses, that its final run is the run one would type, and exact resume."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from tests.pictures import write_folder
from tests.test_run import SETTINGS, Stop, digest
from vitral import trials
from vitral.cli import main
from vitral.config import Duration, RunConfig
from vitral.console import Screen
from vitral.data.loader import Batch
from vitral.errors import NonFiniteError, UsageError
from vitral.overrides import override
from vitral.planning import plan
from vitral.recipes import RECIPES, Grid
from vitral.run import Result, start
from vitral.session import Session
from vitral.sweep import members, sweep
from vitral.training.interrupt import Interrupt
from vitral.training.loop import Progress

SHORT: dict[str, object] = {
    **SETTINGS, "schedule.duration": Duration(6, "steps"), "schedule.warmup": Duration(1, "steps"),
    "optimizer.name": "sgd", "optimizer.weight_decay": 0.0, "data.validation_fraction": 0.25, "augmentation.mixup": 0.0, "augmentation.cutmix": 0.0,
}  # fmt: skip

RATES = [1e-4, 0.3, 500.0]
"""Too low, about right, and so high that the loss becomes infinite."""


@pytest.fixture(autouse=True, scope="module")
def _a_high_rate_diverges() -> Iterator[None]:
    """As large networks do; one of this size saturates instead."""
    real = Session.loss

    def overflown(self: Session, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        loss, right = real(self, batch, step)
        return (
            (loss * float("inf"), right) if self.config.optimizer.learning_rate > 100 and step == 2 else (loss, right)
        )

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Session, "loss", overflown)
        yield


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), {"train": 12, "test": 2})


def swept(pictures: Path, folder: Path, rates: list[float] = RATES, **changes: object) -> tuple[Result, dict[str, Any]]:
    words = {**SHORT, "data.path": str(pictures), **{name.replace("__", "."): v for name, v in changes.items()}}
    planned = plan("scratch-small", words)
    return sweep(planned, members(None, rates, planned.config, False), folder, Screen(quiet=True))


@pytest.fixture(scope="module")
def done(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweeps") / "whole"
    result, _ = swept(pictures, folder)
    assert result.finished
    return folder


def table(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "sweep.json").read_text())


def test_the_best_on_held_out_pictures_is_chosen_and_a_diverged_one_is_not(done: Path) -> None:
    rows = table(done)["tried"]
    measured = [json.loads((done / row["run"] / "model" / "metrics.json").read_text()) for row in rows[:2]]
    assert [row["value"] for row in rows] == [*(found["validation"]["top1"] for found in measured), None]
    assert [found["validation"]["count"] for found in measured] == [9, 9]
    assert all("test" not in found for found in measured)  # no member sees the test split
    best = max(rows[:2], key=lambda row: (row["value"], -row["loss"]))
    assert table(done)["chosen"] == best["run"]
    assert "not finite" in rows[2]["error"]
    assert not list(done.glob("sweep/*/checkpoints/*"))


def test_the_final_run_is_the_one_on_all_pictures_at_that_rate(pictures: Path, done: Path, tmp_path: Path) -> None:
    rate = next(row["learning_rate"] for row in table(done)["tried"] if row["run"] == table(done)["chosen"])
    words = {**SHORT, "data.path": str(pictures), "optimizer.learning_rate": rate, "data.validation_fraction": 0.0}
    # the length of an epoch counts nowhere here, so the same words plan the same run
    start(plan("scratch-small", words), tmp_path / "typed", Screen(quiet=True))
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (done, tmp_path / "typed"))
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    assert json.loads((done / "data.json").read_text())["splits"]["train"]["count"] == 36
    metrics = json.loads((done / "model" / "metrics.json").read_text())
    won = json.loads((done / table(done)["chosen"] / "model" / "metrics.json").read_text())
    assert metrics["calibration"] == won["calibration"]
    assert metrics["sweep"]["learning_rate"] == rate
    assert "validation" not in metrics


def test_a_sweep_stopped_again_and_again_ends_bit_for_bit_the_same(
    pictures: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, begun = 0, 0
    real = Session.batches

    def impatient(self: Interrupt) -> bool:
        nonlocal asked
        asked += 1
        if asked % 11 == 0:
            self.received = signal.SIGTERM
        return self.received is not None

    def counted(self: Session, step: int) -> object:
        nonlocal begun
        begun += step == 0
        return real(self, step)

    monkeypatch.setattr(Interrupt, "__call__", impatient)
    monkeypatch.setattr(Session, "batches", counted)
    starts = 0
    while not swept(pictures, tmp_path / "run")[0].finished:
        starts += 1
        assert starts < 30
    assert starts > 1
    assert begun <= 4 + starts  # three members and the final run, and those that were stopped before a first step
    assert digest(tmp_path / "run") == digest(done)
    assert table(tmp_path / "run") == table(done)


def test_a_killed_member_goes_on_and_finished_ones_are_not_run_again(
    pictures: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int]] = []

    def die(self: Session, progress: Progress, size: int, waited: float) -> None:
        steps.append((self.folder.name, progress.step))
        if steps[-1] == ("lr-0.3", 4) and steps.count(steps[-1]) == 1:
            raise Stop

    monkeypatch.setattr(Session, "tick", die)
    with pytest.raises(Stop):
        swept(pictures, tmp_path / "run")
    assert swept(pictures, tmp_path / "run")[0].finished
    assert [step for name, step in steps if name == "lr-0.0001"] == [1, 2, 3, 4, 5, 6]
    assert [step for name, step in steps if name == "lr-0.3"] == [1, 2, 3, 4, 4, 5, 6]  # from the checkpoint at 3
    assert digest(tmp_path / "run") == digest(done)
    steps.clear()
    assert swept(pictures, tmp_path / "run")[0].finished
    assert steps == []


def test_other_settings_pictures_or_a_plain_run_in_the_folder_are_refused(
    pictures: Path, done: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"training.batch_size: 7 -> 8"):
        swept(pictures, done, training__batch_size=8)
    words = {**SHORT, "data.path": str(pictures)}
    start(plan("scratch-small", words), tmp_path / "plain", Screen(quiet=True))
    with pytest.raises(UsageError, match="holds a run without a sweep"):
        swept(pictures, tmp_path / "plain")
    (done / "sweep.json").write_text((done / "sweep.json").read_text().replace('"tried"', '"tired"'))
    with pytest.raises(UsageError, match="cannot be read"):
        swept(pictures, done)
    (done / "sweep.json").write_text((done / "sweep.json").read_text().replace('"tired"', '"tried"'))


def test_when_all_diverge_it_says_so(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="every learning rate of the grid diverged"):
        swept(pictures, tmp_path / "run", [500.0])


def test_a_validation_split_of_the_datas_own_is_learned_from_in_the_end(tmp_path: Path) -> None:
    pictures = write_folder(tmp_path / "pictures", {"train": 4, "val": 2})
    result, _ = swept(pictures, tmp_path / "run", [0.3])
    assert result.finished
    data = json.loads((tmp_path / "run" / "data.json").read_text())
    assert {name: split["count"] for name, split in data["splits"].items()} == {"train": 18}


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"training__patience": 2}, "leave --training.patience out"),
        ({"data__validation_fraction": 0.0}, "above 0"),
        ({"optimizer__find_rate": True}, "--find-lr and --lr-grid"),
    ],
)
def test_what_cannot_be_swept_is_refused(
    pictures: Path, tmp_path: Path, changes: dict[str, object], answer: str
) -> None:
    words = {**SHORT, "data.path": str(pictures), **{name.replace("__", "."): v for name, v in changes.items()}}
    del words["optimizer.learning_rate"]
    planned = plan("scratch-small", words)
    with pytest.raises(UsageError, match=answer):
        sweep(planned, members(None, RATES, planned.config, False), tmp_path / "run", Screen(quiet=True))
    assert not list(tmp_path.glob("run/sweep/*"))


def test_the_recipes_grid_is_tried_with_its_lengths_unless_the_user_says_how_long() -> None:
    config = override(RunConfig(), {"optimizer.learning_rate": 3e-4})
    lengths = tuple((Duration(n, "steps"), Duration(n // 5, "steps")) for n in (500, 2500))
    tried = members(Grid((0.001, 0.01), lengths), [], config, True)
    assert [member.name for member in tried] == [
        "lr-0.001-500-steps", "lr-0.001-2500-steps", "lr-0.01-500-steps", "lr-0.01-2500-steps",
    ]  # fmt: skip
    assert str(tried[1].config(config).schedule.warmup) == "500 steps"
    assert [m.name for m in members(Grid((0.001, 0.01), lengths), [], config, False)] == ["lr-0.001", "lr-0.01"]
    assert [m.learning_rate for m in members(None, [], config, True)] == [1e-4, 3e-4, 9e-4]
    assert [m.learning_rate for m in members(RECIPES["table4-imagenet"].grid, [], config, True)] == [
        0.003, 0.01, 0.03, 0.06,
    ]  # fmt: skip
    for rates in ([0.1, 0.1], [-1.0], [float("nan")]):
        with pytest.raises(UsageError):
            members(None, rates, config, True)


def test_the_command_carries_the_table_in_its_document(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["finetune", str(pictures), "--recipe", "scratch-small", "--model.name", "ViT-Ti/4", "--model.width", "16",
             "--model.depth", "1", "--model.num-heads", "2", "--model.mlp-dim", "32", "--steps", "2", "--device", "cpu",
             "--batch-size", "4", "--out", str(tmp_path / "run"), "--json"]  # fmt: skip
    assert main([*words, "--lr-grid", ".001,.01"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["learning_rate"] for row in document["sweep"]["tried"]] == [0.001, 0.01]
    assert document["sweep"]["chosen"] in {row["run"] for row in document["sweep"]["tried"]}
    assert document["finished"] is True
    assert main(words) == 2
    assert "holds a sweep: add --lr-grid" in json.loads(capsys.readouterr().out)["error"]["message"]
    for mistake, answer in (
        (["--lr-grid", "high"], "takes learning rates"),
        (["--lr-grid", "--training.patience", "3"], "training.patience"),
        (["--lr-grid", "1", "--learning-rate", "1"], "give one"),
    ):
        assert main([*words, *mistake]) == 2
        assert answer in json.loads(capsys.readouterr().out)["error"]["message"]


def test_precision_is_settled_once_for_all_members_and_the_final_run(
    pictures: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []
    # each further trial would choose otherwise
    monkeypatch.setattr(
        trials, "_precision", lambda *_: tried.append(1) or ("float32" if len(tried) % 2 else "bfloat16")
    )
    words = {**SHORT, "data.path": str(pictures), "model.weights": str(done / "model"), "training.precision": None}
    words = {name: value for name, value in words.items() if name == "model.weights" or not name.startswith("model.")}
    planned = plan("finetune", words)
    real = Session.evaluate

    def stop_in_the_second(self: Session, progress: Progress) -> bool:
        if len(list((tmp_path / "run" / "sweep").iterdir())) == 2:
            raise Stop
        return real(self, progress)

    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(Session, "evaluate", stop_in_the_second)
        sweep(planned, members(None, [0.01, 0.02], planned.config, False), tmp_path / "run", Screen(quiet=True))
    again = members(None, [0.01, 0.02, 0.03], planned.config, False)
    assert sweep(planned, again, tmp_path / "run", Screen(quiet=True))[0].finished
    runs = [tmp_path / "run", *(tmp_path / "run" / "sweep").iterdir()]
    found = [json.loads((run / "config.json").read_text())["training"]["precision"] for run in runs]
    assert found == ["float32"] * 4
    assert len(tried) == 1


def test_a_dry_run_of_a_sweep_shows_what_is_left_to_try_and_writes_nothing(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["finetune", str(pictures), "--recipe", "scratch-small", "--model.name", "ViT-Ti/4", "--model.width", "16",
             "--model.depth", "1", "--model.num-heads", "2", "--model.mlp-dim", "32", "--steps", "2", "--device", "cpu",
             "--batch-size", "4", "--out", str(tmp_path / "run"), "--lr-grid", ".001,.01"]  # fmt: skip
    assert main([*words, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "2 runs find the learning rate" in shown
    assert not list(tmp_path.iterdir())
    real = Session.evaluate

    def stop_in_the_second(self: Session, progress: Progress) -> bool:
        if len(list((tmp_path / "run" / "sweep").iterdir())) == 2:
            raise Stop
        return real(self, progress)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "evaluate", stop_in_the_second)
        main([*words, "--quiet"])
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    capsys.readouterr()
    assert main([*words, "--dry-run", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["learning_rate"] for row in document["sweep"]["tried"]] == [0.001]
    assert document["config"]["optimizer"]["learning_rate"] == 0.01
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before
    assert main([*words, "--quiet"]) == 0
    capsys.readouterr()
    assert main([*words, "--dry-run"]) == 0
    assert "would go on at step 2" in capsys.readouterr().out
    assert main([*words[:-1], "high", "--dry-run"]) == 2


def test_a_sweeps_final_run_is_measured_again_when_asked(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan("scratch-small", {**SHORT, "data.path": str(pictures)})
    tried = members(None, [0.01], planned.config, False)
    result, _ = sweep(planned, tried, tmp_path / "run", Screen(quiet=True))
    numbers = tmp_path / "run" / "model" / "metrics.json"
    spoilt = json.loads(numbers.read_text())
    spoilt["test"]["top1"] = 0.123
    numbers.write_text(json.dumps(spoilt))
    again, _ = sweep(planned, tried, tmp_path / "run", Screen(quiet=True))
    assert again.metrics["test"]["top1"] == 0.123
    again, _ = sweep(planned, tried, tmp_path / "run", Screen(quiet=True), measure_again=True)
    assert again.metrics == result.metrics


def test_a_chosen_members_numbers_that_cannot_be_read_are_said(pictures: Path, done: Path, tmp_path: Path) -> None:
    shutil.copytree(done, tmp_path / "run")
    (tmp_path / "run" / table(done)["chosen"] / "model" / "metrics.json").write_text("{")
    with pytest.raises(UsageError, match="metrics.json cannot be read"):
        swept(pictures, tmp_path / "run")
