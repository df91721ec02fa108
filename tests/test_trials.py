"""Runs that choose for themselves: LoRA, precision, memory, learning rate, the head first, and the dry run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.pictures import write_folder
from tests.test_run import SETTINGS, Stop, digest
from tests.test_run import train as from_scratch
from vitral import presets, trials
from vitral.cli import main
from vitral.config import Duration
from vitral.console import Screen
from vitral.errors import UsageError
from vitral.models import VARIANTS
from vitral.planning import plan
from vitral.run import Result, preview, start
from vitral.serving.loading import load
from vitral.session import Session
from vitral.training import memory, precision, rate_finder
from vitral.training.loop import Progress
from vitral.training.precision import Timing

SHORT = {
    "schedule.duration": Duration(8, "steps"), "training.checkpoint_every": Duration(3, "steps"),
    "training.evaluate_every": Duration(4, "steps"), "training.log_every": Duration(1, "steps"),
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), {"train": 9, "val": 3})


@pytest.fixture(scope="module")
def weights(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("weights") / "run"
    from_scratch(pictures, run, schedule__duration=Duration(4, "steps"))
    return run / "model"


@pytest.fixture
def words(pictures: Path, weights: Path) -> dict[str, object]:
    """A fine-tuning of eight steps in which everything that could break a resume is on."""
    kept = {name: value for name, value in SETTINGS.items() if not name.startswith("model.")}
    dropout = {"model.dropout": 0.1, "model.stochastic_depth": 0.2}
    return {**kept, **dropout, **SHORT, "data.path": str(pictures), "model.weights": str(weights)}


def finetune(words: dict[str, object], folder: Path, screen: Screen | None = None) -> Result:
    return start(plan("finetune", words), folder, screen or Screen(quiet=True))


def killed(words: dict[str, object], folder: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(self: Session, progress: Progress, size: int, waited: float) -> None:
        if progress.step == step:
            raise Stop

    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(Session, "tick", die)
        finetune(words, folder)


def config(folder: Path) -> dict[str, dict[str, object]]:
    return json.loads((folder / "config.json").read_text())


def learned(folder: Path) -> dict[str, str]:
    """What a run made, whatever it was told: all but its configuration."""
    return {name: value for name, value in digest(folder).items() if name != "config.json"}


# LoRA -----------------------------------------------------------------------------------------------


def test_lora_killed_and_resumed_is_bit_for_bit_undisturbed_and_writes_plain_weights(
    words: dict[str, object], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words |= {"lora.rank": 2, "lora.matrices": ("q", "v", "out"), "optimizer.learning_rate": 1e-2}
    words["training.first_look"] = False  # or the head alone may win, and then nothing else has changed
    finetune(words, tmp_path / "whole")
    killed(words, tmp_path / "cut", 5, monkeypatch)
    assert finetune(words, tmp_path / "cut").finished
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")

    before, after = (load_file(folder / "model.safetensors") for folder in (weights, tmp_path / "whole" / "model"))
    assert after.keys() == before.keys()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    attention = {name for name in before if "attention" in name and name.endswith("weight")}
    assert attention <= changed <= attention | {"head.weight", "head.bias"}
    saved = load_file(sorted((tmp_path / "whole" / "checkpoints").glob("step-*"))[-1] / "tensors.safetensors")
    optimised = {name.split("/")[2] for name in saved if name.startswith("optimizer/")}
    assert optimised == {"head.weight", "head.bias"} | {
        f"blocks.{block}.attention.{layer}.parametrizations.weight.0.{matrix}"
        for block in range(2) for layer in ("qkv", "out") for matrix in "ab"
    }  # fmt: skip


def test_what_lora_measured_is_what_its_model_folder_gives(words: dict[str, object], tmp_path: Path) -> None:
    words |= {"lora.rank": 2, "training.average": 0.0}
    words |= {"data.path": str(write_folder(tmp_path / "pictures", {"train": 6, "val": 2, "test": 3}))}
    run = finetune(words, tmp_path / "run")
    model = load(run.model)
    paths = sorted((tmp_path / "pictures" / "test").rglob("*.png"))
    right = [guess[0].label == path.parent.name for guess, path in zip(model.predict(paths), paths, strict=True)]
    assert np.mean(right) == run.metrics["test"]["top1"]


def test_lora_needs_pretrained_weights(pictures: Path) -> None:
    with pytest.raises(UsageError, match="LoRA learns beside pretrained weights: name them with --model"):
        plan("finetune", {**SETTINGS, "data.path": str(pictures), "lora.rank": 2})


@pytest.mark.parametrize("recipe", ["head-only", "linear-probe"])
def test_lora_with_a_recipe_that_learns_the_head_alone_is_refused(
    pictures: Path, weights: Path, tmp_path: Path, recipe: str
) -> None:
    with pytest.raises(UsageError, match="LoRA learns in the attention too, but this recipe"):
        plan(recipe, {"data.path": str(pictures), "model.weights": str(weights), "lora.rank": 2})


def test_loras_rate_is_its_own_and_said(words: dict[str, object]) -> None:
    free = {name: value for name, value in words.items() if name != "optimizer.learning_rate"}
    made = plan("finetune", {**free, "lora.rank": 2})
    assert (made.config.optimizer.learning_rate, made.config.optimizer.layer_decay) == (presets.LORA_RATE, 1.0)
    assert any("only LoRA learns" in sentence for sentence in made.decisions)


# Memory ---------------------------------------------------------------------------------------------


def forgetful(monkeypatch: pytest.MonkeyPatch, most: int, error: BaseException, since: int = 0) -> None:
    """Let memory run out wherever more than `most` pictures go in at once, from step `since` on."""
    real, step_of = Session._learn, {"now": 0}
    mixed = Session._mixed

    def at(self: Session, batch: object, step: int) -> object:
        step_of["now"] = step
        return mixed(self, batch, step)  # type: ignore[arg-type]

    def learn(self: Session, images: torch.Tensor, aim: torch.Tensor) -> object:
        found = real(self, images, aim)
        if len(images) > most and step_of["now"] >= since:
            raise error
        return found

    monkeypatch.setattr(Session, "_mixed", at)
    monkeypatch.setattr(Session, "_learn", learn)


def test_memory_that_runs_out_halves_the_parts_and_the_step_is_made_again(
    words: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words["training.micro_batch_size"] = 7
    with monkeypatch.context() as patched:
        forgetful(patched, 2, torch.OutOfMemoryError("CUDA out of memory."))
        assert finetune(words, tmp_path / "run").finished
    said = capsys.readouterr().out
    assert "7 pictures at once are too many for the memory: from now on batches go in parts of 4" in said
    assert "4 pictures at once are too many for the memory: from now on batches go in parts of 2" in said
    assert config(tmp_path / "run")["training"]["micro_batch_size"] == 2
    finetune({**words, "training.micro_batch_size": 2}, tmp_path / "small")
    assert learned(tmp_path / "run") == learned(tmp_path / "small")


def test_a_resume_keeps_the_smaller_parts(
    words: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        forgetful(patched, 2, MemoryError(), since=4)
        finetune(words, tmp_path / "whole")
        killed(words, tmp_path / "cut", 7, patched)
    assert config(tmp_path / "cut")["training"]["micro_batch_size"] == 2
    assert finetune(words, tmp_path / "cut").finished  # the same words, which ask for parts of 3
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


def test_one_picture_that_does_not_fit_is_the_known_message(
    words: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forgetful(monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory."))
    command = ["finetune", str(words["data.path"]), "--model", str(words["model.weights"]), "--device", "cpu"]
    assert main([*command, "--batch-size", "4", "--out", str(tmp_path / "run")]) == 1
    assert "out of memory: try --training.micro-batch-size" in capsys.readouterr().err


def test_another_error_is_not_taken_for_memory(
    words: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgetful(monkeypatch, 0, RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        finetune(words, tmp_path / "run")


def test_parts_are_what_fits_into_the_memory_that_is_free(
    words: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del words["training.micro_batch_size"]
    monkeypatch.setattr(trials, "_bytes_per_picture", lambda *_: 1e6)
    learning = sum(
        value.nbytes for value in load_file(Path(str(words["model.weights"])) / "model.safetensors").values()
    )
    room = (4.5e6 + 3 * learning) / memory.SHARE  # for four of the seven pictures
    monkeypatch.setattr(memory, "free_bytes", lambda _: room)
    finetune(words, tmp_path / "run", Screen())
    assert "batches of 7 go in parts of 4: a picture takes about 1 MB" in capsys.readouterr().out
    assert config(tmp_path / "run")["training"]["micro_batch_size"] == 4


# Precision ------------------------------------------------------------------------------------------


def test_the_chosen_precision_is_kept_and_a_resume_asks_no_more(
    words: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(precision, "SHARE", 10.0)
    with monkeypatch.context() as patched:
        patched.setattr(precision, "compare", lambda step, count, _: step("float32") or Timing(count, 2.0, 1.0))
        killed(words, tmp_path / "run", 5, patched)
    assert config(tmp_path / "run")["training"]["precision"] == "bfloat16"
    monkeypatch.setattr(precision, "compare", lambda *_: pytest.fail("tried again"))
    assert finetune(words, tmp_path / "run", Screen()).finished
    with pytest.raises(UsageError, match=r"training.precision: bfloat16 -> float32"):
        finetune({**words, "training.precision": "float32"}, tmp_path / "run")
    finetune({**words, "training.precision": "bfloat16"}, tmp_path / "given")
    assert learned(tmp_path / "run") == learned(tmp_path / "given")


def test_trials_leave_no_trace(words: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del words["training.micro_batch_size"]
    with monkeypatch.context() as patched:
        for name, value in (("SHARE", 10.0), ("LEAST_SECONDS", 0.0), ("CLEARLY", 1e9)):
            patched.setattr(precision, name, value)
        finetune(words, tmp_path / "tried")
    sizes = {"training.micro_batch_size": 7, "training.precision": "float32"}
    finetune(words | sizes, tmp_path / "told")
    assert learned(tmp_path / "tried") == learned(tmp_path / "told")


def test_short_runs_and_runs_from_scratch_stay_in_float32(
    words: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "compare", lambda *_: pytest.fail("tried"))
    finetune(words, tmp_path / "run")
    assert config(tmp_path / "run")["training"]["precision"] == "float32"
    scratch = plan("scratch-small", {"data.path": words["data.path"], "runtime.device": "cpu"})
    assert scratch.config.training.precision == "float32"


def test_where_only_the_head_learns_there_is_nothing_to_try(
    words: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del words["training.micro_batch_size"]
    monkeypatch.setattr(precision, "SHARE", 10.0)
    for name in ("_precision", "_fit"):
        monkeypatch.setattr(trials, name, lambda *_: pytest.fail("tried"))
    frozen = ("blocks.*", "patch_embedding.*", "class_token", "position_embedding", "norm.*")
    finetune(words | {"model.freeze": frozen}, tmp_path / "run")
    assert config(tmp_path / "run")["training"]["precision"] == "float32"


# Learning rate --------------------------------------------------------------------------------------


def test_a_found_rate_is_that_rate_and_nothing_else_of_the_run_changes(
    words: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del words["optimizer.learning_rate"]
    monkeypatch.setattr(rate_finder, "STEPS", 30)
    finding = words | {"optimizer.find_rate": True}
    killed(finding, tmp_path / "found", 1, monkeypatch)  # before the first checkpoint: all of it is done again
    killed(finding, tmp_path / "found", 5, monkeypatch)
    curve = json.loads((tmp_path / "found" / trials.RANGE_TEST).read_text())
    assert curve["picked"] == pytest.approx(curve["rates"][int(np.argmin(curve["smoothed"]))] / 10, rel=0.05)
    assert config(tmp_path / "found")["optimizer"]["learning_rate"] == curve["picked"]
    with monkeypatch.context() as patched:
        patched.setattr(trials, "_find_rate", lambda *_: pytest.fail("swept again"))
        assert finetune(finding, tmp_path / "found").finished
    finetune(words | {"optimizer.learning_rate": curve["picked"]}, tmp_path / "told")
    assert learned(tmp_path / "found") == learned(tmp_path / "told")


def test_a_rate_is_found_or_given(words: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="--find-lr finds the rate that --learning-rate says"):
        plan("finetune", {**words, "optimizer.find_rate": True})


# The head first -------------------------------------------------------------------------------------


def test_the_head_learns_alone_first_and_a_resume_knows(
    words: dict[str, object], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words |= {"schedule.head_first": Duration(4, "steps"), "training.keep_checkpoints": 9, "training.average": 0.0}
    finetune(words, tmp_path / "whole")
    before = load_file(weights / "model.safetensors")
    for step, moved in ((3, False), (6, True)):
        saved = load_file(tmp_path / "whole" / "checkpoints" / f"step-{step:08d}" / "tensors.safetensors")
        for name, value in before.items():
            assert torch.equal(saved[f"model/{name}"], value) == (not moved and not name.startswith("head.")), name
    rates = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    rates = [line["learning_rate"] for line in rates if "learning_rate" in line]
    assert rates[:5] == [1e-3] * 4 + [0.0]  # at the peak, then the warm-up from 0
    for step in (3, 5):
        killed(words, tmp_path / f"cut{step}", step, monkeypatch)
        finetune(words, tmp_path / f"cut{step}")
        assert digest(tmp_path / f"cut{step}") == digest(tmp_path / "whole")


# Choices without training ---------------------------------------------------------------------------


def test_a_dry_run_shows_what_the_run_then_does_and_writes_nothing(
    words: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["finetune", str(words["data.path"]), "--model", str(words["model.weights"]), "--device", "cpu"]
    command += ["--steps", "2", "--batch-size", "4", "--out", "run"]
    assert main([*command, "--dry-run", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert list(tmp_path.iterdir()) == []
    assert main([*command, "-q"]) == 0
    assert config(tmp_path / "run") == shown["config"]
    before = digest(tmp_path / "run")
    capsys.readouterr()
    assert main([*command, "--dry-run"]) == 0
    assert "the run in run would go on at step 2" in capsys.readouterr().out
    assert digest(tmp_path / "run") == before
    assert main([*command, "--dry-run", "--learning-rate", "0.5"]) == 2
    assert "started differently (optimizer.learning_rate" in capsys.readouterr().err


def test_a_dry_run_does_not_look_for_the_rate(
    words: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del words["optimizer.learning_rate"]
    monkeypatch.setattr(trials, "_find_rate", lambda *_: pytest.fail("swept"))
    made, step = preview(plan("finetune", words | {"optimizer.find_rate": True}), tmp_path / "run", Screen())
    assert step is None
    assert made.optimizer.find_rate
    assert "found by a range test before the first step" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("device", "gigabytes", "name"),
    [("cpu", None, "ViT-Ti/16"), ("mps", None, "ViT-S/16"), ("cuda", 4, "ViT-S/16"), ("cuda", 80, "ViT-B/16")],
)
def test_where_a_fine_tuning_starts_depends_on_the_device(device: str, gigabytes: int | None, name: str) -> None:
    chosen, reason = presets.start_from(device, gigabytes and gigabytes * 10**9)
    assert chosen == name
    assert chosen in VARIANTS
    assert reason.startswith("on a ")
