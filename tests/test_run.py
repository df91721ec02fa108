"""Whole runs: learning, exact resume after any kind of stop, the same numbers from every way in."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.pictures import picture, write_folder
from vitral import run as run_module
from vitral.cli import main
from vitral.config import Duration
from vitral.console import Screen
from vitral.data.loader import Batch
from vitral.errors import DataError, NonFiniteError, UsageError
from vitral.planning import plan
from vitral.run import Result, start
from vitral.serving.loading import load
from vitral.session import Session
from vitral.training.interrupt import Interrupt
from vitral.training.loop import Progress

SETTINGS: dict[str, object] = {
    # Everything that could break a resume is on: several epochs, uneven batches, mixing, dropout, average, accumulation.
    "model.name": "ViT-Ti/4", "model.image_size": (8, 8), "model.width": 16, "model.depth": 2, "model.num_heads": 2,
    "model.mlp_dim": 32, "model.dropout": 0.1, "model.stochastic_depth": 0.2, "model.pool": "token",
    "augmentation.mixup": 0.3, "augmentation.cutmix": 1.0, "augmentation.randaugment_layers": 1,
    "augmentation.randaugment_magnitude": 5.0, "augmentation.erasing": 0.3,
    "training.batch_size": 7, "training.micro_batch_size": 3, "training.average": 0.9,
    "training.log_every": Duration(4, "steps"), "training.evaluate_every": Duration(5, "steps"),
    "training.checkpoint_every": Duration(3, "steps"), "schedule.duration": Duration(20, "steps"),
    "schedule.warmup": Duration(3, "steps"), "optimizer.learning_rate": 1e-3, "runtime.workers": 2, "runtime.device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), {"train": 9, "val": 3, "test": 4})


def train(pictures: Path, folder: Path, **changes: object) -> Result:
    words = {**SETTINGS, "data.path": str(pictures), **{name.replace("__", "."): v for name, v in changes.items()}}
    return start(plan("scratch-small", words), folder, Screen(quiet=True))


def digest(folder: Path) -> dict[str, str]:
    """SHA-256 of everything that must be the same: weights, optimizer, average, numbers, metrics."""
    names = ["metrics.jsonl", "config.json", "data.json", *(str(p.relative_to(folder)) for p in folder.glob("model/*"))]
    names += [str(p.relative_to(folder)) for p in sorted(folder.glob("checkpoints/*/*"))[-3:]]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


@pytest.fixture(scope="module")
def uninterrupted(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert train(pictures, folder).finished
    return folder


def test_a_run_learns_what_can_be_learned(pictures: Path, tmp_path: Path) -> None:
    plain = {"augmentation__mixup": 0.0, "augmentation__cutmix": 0.0, "augmentation__erasing": 0.0,
             "augmentation__randaugment_layers": 0, "schedule__duration": Duration(60, "steps"),
             "training__evaluate_every": Duration(60, "steps"), "optimizer__learning_rate": 3e-3}  # fmt: skip
    result = train(pictures, tmp_path / "run", **plain)
    assert result.metrics["test"]["top1"] > 0.9
    assert result.metrics["test"]["count"] == 12


@pytest.mark.parametrize("changes", [{"runtime__workers": 0}, {"runtime__workers": 4, "runtime__prefetch": 1}])
def test_the_number_of_workers_changes_no_byte(
    pictures: Path, uninterrupted: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    train(pictures, tmp_path / "run", **changes)
    ours, theirs = digest(tmp_path / "run"), digest(uninterrupted)
    assert {k: v for k, v in ours.items() if k != "config.json"} == {
        k: v for k, v in theirs.items() if k != "config.json"
    }


class Stop(Exception):
    """As if the process had died: nothing is cleaned up by the run itself."""


@pytest.mark.parametrize("step", [1, 3, 4, 5, 7, 13, 19, 20])
def test_a_run_killed_after_any_step_continues_bit_for_bit(
    pictures: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    def die(self: Session, progress: Progress, size: int, waited: float) -> None:
        if progress.step == step:
            raise Stop

    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(Session, "tick", die)
        train(pictures, tmp_path / "run")
    assert train(pictures, tmp_path / "run").finished
    assert digest(tmp_path / "run") == digest(uninterrupted)


SKEWED: dict[str, object] = {
    # what skewed pictures ask for, and a run that ends before its planned length
    "data__balance": 1.0, "loss__class_weights": ("red=2.5",), "training__metric": "loss", "training__patience": 2,
    "optimizer__learning_rate": 0.5, "schedule__decay": "constant", "schedule__duration": Duration(60, "steps"),
    "training__evaluate_every": Duration(2, "steps"),
}  # fmt: skip


@pytest.fixture(scope="module")
def stopped_early(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "early"
    result = train(pictures, folder, **SKEWED)
    assert result.finished
    assert result.metrics["stopped_early"] is True
    assert result.metrics["step"] == result.metrics["best_step"] + 4 < 60  # two evaluations, two steps apart
    return folder


def test_the_best_by_the_chosen_metric_is_kept_and_patience_ends_the_run(stopped_early: Path) -> None:
    lines = [json.loads(line) for line in (stopped_early / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["validation_loss"] for line in lines if "validation_loss" in line}
    kept = json.loads((stopped_early / "model" / "metrics.json").read_text())
    assert kept["best_step"] == min(losses, key=lambda step: losses[step])
    assert kept["validation"]["loss"] == losses[kept["best_step"]]


@pytest.mark.parametrize("after", [1, 5, "last"])
def test_a_balanced_weighted_run_that_ends_early_continues_bit_for_bit(
    pictures: Path, stopped_early: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int | str
) -> None:
    ended = json.loads((stopped_early / "model" / "metrics.json").read_text())["step"]

    def die(self: Session, progress: Progress, size: int, waited: float) -> None:
        if progress.step == (ended if after == "last" else after):
            raise Stop

    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(Session, "tick", die)
        train(pictures, tmp_path / "run", **SKEWED)
    assert train(pictures, tmp_path / "run", **SKEWED).finished
    assert digest(tmp_path / "run") == digest(stopped_early)
    assert train(pictures, tmp_path / "run", **SKEWED).finished  # once more only reports
    assert digest(tmp_path / "run") == digest(stopped_early)


def test_balance_shows_a_rare_class_as_often_as_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "pictures", {"train": 16, "val": 2})
    for path in sorted((tmp_path / "pictures" / "train" / "red").iterdir())[2:]:
        path.unlink()
    shown: list[int] = []
    real = Session.loss

    def watched(self: Session, batch: Batch, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        shown.extend(self.train_split.labels[sample][0] for sample in batch.samples)
        return real(self, batch, step)

    monkeypatch.setattr(Session, "loss", watched)
    short = {"training__batch_size": 34, "training__micro_batch_size": None, "schedule__duration": Duration(3, "steps")}
    assert train(tmp_path / "pictures", tmp_path / "run", data__balance=1.0, **short).finished
    assert np.bincount(shown).tolist() == [36, 33, 33]  # 34 places in each of 3 epochs, of which red's pictures fill 2


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"training__metric": "mean_average_precision"}, "is one of top1, loss, balanced_accuracy"),
        ({"training__patience": 3, "data__validation_fraction": 0.0}, "there are none: hold some out"), ({"data__balance": 2.0}, "0 to 1"),
        ({"loss__class_weights": ("purple=2",)}, "unknown class 'purple'"), ({"training__patience": 0}, "at least 1"),
        ({"optimizer__clip_norm": float("inf")}, "clip_norm"), ({"model__head_bias": float("nan")}, "head_bias"),
    ],
)  # fmt: skip
def test_what_cannot_go_together_is_refused(
    pictures: Path, tmp_path: Path, changes: dict[str, object], answer: str
) -> None:
    if "data__validation_fraction" in changes:
        pictures = write_folder(tmp_path / "pictures", {"train": 3})
    with pytest.raises(UsageError, match=answer):
        train(pictures, tmp_path / "run", **changes)


def test_a_signal_during_any_step_or_evaluation_saves_and_continues_bit_for_bit(
    pictures: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = 0
    asked = 0

    def impatient(self: Interrupt) -> bool:
        nonlocal asked
        asked += 1
        if asked % 7 == 0:
            self.received = signal.SIGTERM
        return self.received is not None

    monkeypatch.setattr(Interrupt, "__call__", impatient)
    while not (result := train(pictures, tmp_path / "run")).finished:
        assert result.signal == signal.SIGTERM
        starts += 1
        assert starts < 40
    assert starts > 3
    assert digest(tmp_path / "run") == digest(uninterrupted)


def test_a_finished_run_started_again_only_reports(pictures: Path, uninterrupted: Path) -> None:
    before = digest(uninterrupted)
    assert train(pictures, uninterrupted).finished
    assert digest(uninterrupted) == before


def test_another_configuration_is_refused_with_the_difference(pictures: Path, uninterrupted: Path) -> None:
    with pytest.raises(UsageError, match=r"optimizer.learning_rate: 0.001 -> 0.5.*--out"):
        train(pictures, uninterrupted, optimizer__learning_rate=0.5)


def test_a_mistake_before_the_first_checkpoint_can_be_mended(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="matches no parameter"):
        train(pictures, tmp_path / "run", model__freeze=("blocs.*",))
    assert train(pictures, tmp_path / "run", schedule__duration=Duration(2, "steps")).finished


def test_other_pictures_are_refused(pictures: Path, uninterrupted: Path, tmp_path: Path) -> None:
    changed = tmp_path / "pictures"
    shutil.copytree(pictures, changed)
    next((changed / "train" / "red").iterdir()).unlink()
    with pytest.raises(UsageError, match="pictures of train: 27 -> 26"):
        train(changed, uninterrupted)


def test_a_folder_with_other_things_in_it_is_refused(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("ten years of work")
    with pytest.raises(UsageError, match="holds no run"):
        train(pictures, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_torn_checkpoint_is_passed_over_for_the_one_before(
    pictures: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    shutil.copytree(uninterrupted, tmp_path / "run")
    newest = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))[-1]
    (newest / "tensors.safetensors").write_bytes(b"torn")
    assert train(pictures, tmp_path / "run").finished
    assert digest(tmp_path / "run") == digest(uninterrupted)


def test_a_record_that_lost_lines_is_said_and_the_run_goes_on(
    pictures: Path, uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(uninterrupted, tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    assert train(pictures, tmp_path / "run").finished
    assert "has lost lines from before step 20" in capsys.readouterr().out


def test_records_of_speed_are_cut_back_too(pictures: Path, uninterrupted: Path, tmp_path: Path) -> None:
    shutil.copytree(uninterrupted, tmp_path / "run")
    for newest in sorted((tmp_path / "run" / "checkpoints").glob("step-*"))[1:]:
        shutil.rmtree(newest)
    assert train(pictures, tmp_path / "run").finished
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "speed.jsonl").read_text().splitlines()]
    assert steps == [4, 8, 12, 16, 20]


def test_what_the_user_sets_is_not_explained_as_a_choice(pictures: Path) -> None:
    words = {"data.path": str(pictures), "runtime.device": "cpu"}
    chosen = " ".join(plan("scratch-small", words).decisions)
    assert "epochs" in chosen
    assert "blocks of width" in chosen
    own = plan("scratch-small", words | {"schedule.duration": Duration(1, "epochs"), "model.width": 48})
    assert "epochs" not in " ".join(own.decisions)
    assert "blocks of width" not in " ".join(own.decisions)


def test_a_non_finite_loss_stops_before_the_update_and_names_step_and_samples(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Session.loss

    def poisoned(self: Session, batch: object, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        loss, right = real(self, batch, step)  # type: ignore[arg-type]
        return (loss * float("nan"), right) if step == 6 else (loss, right)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "loss", poisoned)
        with pytest.raises(NonFiniteError, match=r"the loss of step 6 .*train/.*\.png"):
            train(pictures, tmp_path / "run")
    assert "<svg" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    saved = load_file(tmp_path / "run" / "checkpoints" / "step-00000006" / "tensors.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in saved.values())


def test_gradient_accumulation_is_the_whole_batch(pictures: Path, tmp_path: Path) -> None:
    still = {"model__dropout": 0.0, "model__stochastic_depth": 0.0, "schedule__duration": Duration(4, "steps")}
    weights = []
    for name, size in (("whole", None), ("parts", 2)):
        train(pictures, tmp_path / name, training__micro_batch_size=size, **still)
        weights.append(load_file(tmp_path / name / "checkpoints" / "step-00000004" / "tensors.safetensors"))
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], atol=1e-5, rtol=1e-4, msg=name)


def test_frozen_parameters_keep_their_values(pictures: Path, tmp_path: Path) -> None:
    train(
        pictures,
        tmp_path / "run",
        model__freeze=("blocks.*",),
        schedule__duration=Duration(3, "steps"),
        training__average=0.0,
    )
    torch.manual_seed(0)
    network = run_module._network(plan("scratch-small", {**SETTINGS, "data.path": str(pictures)}), Screen(quiet=True))
    trained = load_file(tmp_path / "run" / "model" / "model.safetensors")
    for name, value in network.state_dict().items():
        assert torch.equal(value, trained[name]) == (name.startswith("blocks.")), name


def test_an_unreadable_training_picture_stops_the_run_or_is_left_out(pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures, tmp_path / "pictures")
    bad = sorted((tmp_path / "pictures" / "train" / "red").iterdir())[0]
    bad.write_bytes(bad.read_bytes()[:40])
    with pytest.raises(DataError, match=rf"{bad.name} cannot be read .*--on-bad-image skip"):
        train(tmp_path / "pictures", tmp_path / "run")
    assert train(tmp_path / "pictures", tmp_path / "run2", data__on_bad_image="skip").finished
    listed = (tmp_path / "run2" / "unreadable.jsonl").read_text().splitlines()
    assert [Path(json.loads(line)["path"]).name for line in listed] == [bad.name]


def test_a_batch_of_which_nothing_can_be_read_is_passed_over(pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures, tmp_path / "pictures")
    for path in (tmp_path / "pictures" / "train").rglob("*.png"):
        if path.parent.name != "red":
            path.write_bytes(b"")
    small = {"training__batch_size": 1, "training__micro_batch_size": None, "data__on_bad_image": "skip"}
    assert train(tmp_path / "pictures", tmp_path / "run", **small).finished


def test_a_second_run_in_the_same_folder_is_refused(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start_another(self: Session, progress: Progress, size: int, waited: float) -> None:
        monkeypatch.undo()
        with pytest.raises(UsageError, match="another vitral is running"):
            train(pictures, tmp_path / "run")

    monkeypatch.setattr(Session, "tick", start_another)
    assert train(pictures, tmp_path / "run").finished


def test_training_evaluate_and_predict_agree_to_the_bit(
    pictures: Path, uninterrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = json.loads((uninterrupted / "model" / "metrics.json").read_text())
    assert main(["evaluate", str(uninterrupted / "model"), str(pictures), "--json", "--device", "cpu"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert {k: measured[k] for k in ("top1", "top5", "loss", "count", "per_class")} == {
        k: kept["test"][k] for k in ("top1", "top5", "loss", "count", "per_class")
    }
    paths = sorted((pictures / "test").rglob("*.png"))
    assert main(["predict", str(uninterrupted / "model"), *map(str, paths), "--json", "--device", "cpu"]) == 0
    together = json.loads(capsys.readouterr().out)
    right = [
        answer["predictions"][0]["label"] == path.parent.name for answer, path in zip(together, paths, strict=True)
    ]
    assert np.mean(right) == measured["top1"]
    model = load(uninterrupted / "model")
    for answer, path in zip(together, paths, strict=True):
        alone = model.predict(path, top=3)
        assert [(g["label"], g["probability"]) for g in answer["predictions"]] == alone


COMMAND = [
    sys.executable, "-m", "vitral", "train", "--model", "ViT-Ti/4", "--model.width", "16",
    "--model.depth", "1", "--model.num-heads", "2", "--model.mlp-dim", "32", "--steps", "200", "--batch-size", "4",
    "--training.checkpoint-every", "10 steps", "--training.evaluate-every", "50 steps", "--device", "cpu", "--json",
]  # fmt: skip


@pytest.fixture(scope="module")
def commanded(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, str]]:
    """What `COMMAND` says and writes when nothing stops it."""
    folder = tmp_path_factory.mktemp("whole")
    done = subprocess.run([*COMMAND, str(pictures), "--out", "whole"], cwd=folder, capture_output=True, check=True)
    return json.loads(done.stdout), digest(folder / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_the_real_command_stopped_by_a_signal_goes_on_with_the_same_command(
    pictures: Path, commanded: tuple[Any, dict[str, str]], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    words = [*COMMAND, str(pictures), "--out", "cut"]
    running = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (tmp_path / "cut" / "checkpoints" / "latest").exists():
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.01)
    os.kill(running.pid, number)
    out, said = running.communicate(timeout=60)
    assert running.returncode == code
    if number != signal.SIGKILL:
        assert json.loads(out)["finished"] is False
        assert b"To go on: vitral train" in said.replace(b"\n", b" ")
    again = subprocess.run(words, cwd=tmp_path, capture_output=True, check=True)
    assert b"resuming at step" in again.stderr
    whole, digested = commanded
    assert json.loads(again.stdout)["metrics"] == whole["metrics"]
    assert digest(tmp_path / "cut") == digested


def test_the_picture_itself_decides_not_its_way_in(uninterrupted: Path, tmp_path: Path) -> None:
    model = load(uninterrupted / "model")
    image = picture("green", 77, (30, 20))
    image.save(tmp_path / "p.png")
    ways = [tmp_path / "p.png", str(tmp_path / "p.png"), (tmp_path / "p.png").read_bytes(), image, np.asarray(image)]
    rows = model.predict_proba(ways)
    assert all((row == rows[0]).all() for row in rows)
    assert all((model.predict_proba(way) == rows[0]).all() for way in ways)
