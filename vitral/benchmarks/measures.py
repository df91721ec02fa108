"""One run of a study: pre-train, then read off what its figures show.

top1            on test pictures of the classes that it was trained on
5shot, ...      a linear classifier of few pictures of each other class on the frozen features, see
                `vitral.evaluators.fewshot`: the number that the paper's ablations compare
transfer_top1   fine-tuned on the other classes
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitral.benchmarks.pictures import few, part, unlabelled
from vitral.benchmarks.protocols import StoppedError
from vitral.benchmarks.scales import Scale
from vitral.benchmarks.study import Member, Study
from vitral.config import DataConfig, Duration
from vitral.console import Screen
from vitral.datasets.dataset import TEST, TRAIN, Dataset
from vitral.evaluation import probing, represent, threads
from vitral.evaluators import PROBES
from vitral.models.counting import parts_of
from vitral.overrides import override
from vitral.planning import Plan, model_config, plan
from vitral.recipes import RECIPES
from vitral.run import Result, start
from vitral.serving.loading import load

FLOPS_OF_A_STEP = 6
"""For each multiplication with its addition of a forward pass: two operations forward, four backward. With it Table 6
of arXiv 2010.11929 follows from the networks and the lengths of training."""


@dataclass(frozen=True)
class Asked:
    """What a study was asked for.

    Attributes:
        upstream: pictures to pre-train on, with the test pictures that `top1` is of.
        downstream: pictures of other classes.
        words: settings given on the command line, for every run.
        folder: of the results.
    """

    study: Study
    scale: Scale
    upstream: Dataset
    downstream: Dataset
    words: Mapping[str, Any]
    folder: Path
    screen: Screen
    command: tuple[str, ...] = ()


def planned(member: Member, seed: int, asked: Asked) -> Plan:
    """The first run of a member: its pre-training, or what it has in its place.

    Of a share of the pictures it sees as many in all as of all of them: an epoch is one of all.
    """
    if member.kind == "none":
        return transferred(member.settings, seed, asked)
    words = {**member.settings, **asked.words, "training.seed": seed, "training.keep_checkpoints": 1}
    words["data.path"] = str(asked.upstream.root or "")
    if member.teacher is not None:
        words["distillation.teacher"] = str(place(asked.folder, member.teacher, seed) / "model")
    dataset = asked.upstream if member.share == 1 else part(asked.upstream, member.share, seed)
    if member.kind == "pictures":
        return plan(f"{asked.scale.recipe}-unlabelled", words, unlabelled(dataset))
    made = plan(asked.scale.recipe, words, dataset)
    duration = made.config.schedule.duration
    if member.share == 1 or duration.unit != "epochs":
        return made
    examples = Duration(duration.amount * len(asked.upstream.splits[TRAIN]), "examples")
    return replace(made, config=override(made.config, {"schedule.duration": examples}))


def place(folder: Path, name: str, seed: int) -> Path:
    """The folder of a run."""
    return folder / "runs" / name / f"seed-{seed}"


def measure(member: Member, seed: int, asked: Asked, screen: Screen) -> dict[str, Any]:
    """Run a member, or go on with it, and give its line of the table.

    Raises:
        StoppedError: a signal came; the run goes on with the next start.
    """
    began, folder = time.perf_counter(), place(asked.folder, member.name, seed)
    run = planned(member, seed, asked)
    whole = not (folder / "checkpoints").is_dir()  # else a part of it was done in an earlier start
    result = _finished(start(run, folder, screen, asked.command))
    made = counted(run, member.kind)
    if member.kind == "labels":
        made |= {"top1": result.metrics[TEST]["top1"], "count": result.metrics[TEST]["count"]}
        made |= _fewshot(run, result, asked) if asked.study.fewshot else {}
    if member.kind == "none":
        made["transfer_top1"] = result.metrics[TEST]["top1"]
    elif asked.study.transfer is not None:
        after = transferred({"model.weights": str(result.model)}, seed, asked)
        found = _finished(start(after, folder / "transfer", screen, asked.command))
        made["transfer_top1"] = found.metrics[TEST]["top1"]
        shutil.rmtree(folder / "transfer" / "checkpoints", ignore_errors=True)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # it is not run again
    return made | {"seconds": round(time.perf_counter() - began, 2) if whole else None}


def _fewshot(run: Plan, result: Result, asked: Asked) -> dict[str, float]:
    model = load(result.model, str(run.config.runtime.device))
    model = model.with_preprocessing(resize=model.preprocessing.crop)
    seen = represent(model, asked.downstream, threads(run.config.runtime.workers), DataConfig().max_pixels)
    features, _, _ = probing(asked.downstream, seen)
    return {name: value for name, value in PROBES["fewshot"](features).items() if name != "std"}


def transferred(own: Mapping[str, Any], seed: int, asked: Asked) -> Plan:
    """A fine-tuning on other classes.

    Args:
        own: the settings that say what is fine-tuned, and others of its own.
    """
    transfer, config = asked.study.transfer, RECIPES[asked.scale.recipe].config
    assert transfer is not None
    assert config is not None
    words: dict[str, Any] = {"training.evaluate_every": Duration(1e9, "steps"), **transfer.settings, **own}
    if asked.scale.name != "paper":  # there the fine-tuning is at another size
        words |= {"model.image_size": config.model.image_size, "preprocessing.resize": config.preprocessing.resize}
    words |= asked.words
    words |= {"data.path": str(asked.downstream.root or ""), "training.seed": seed, "training.keep_checkpoints": 1}
    return plan(transfer.recipe, words, few(asked.downstream, transfer.pictures, seed))


def counted(run: Plan, kind: str = "labels") -> dict[str, Any]:
    """What a run is made of, before it starts: `train_count`, `parameters`, `macs`, `examples`, `learning_rate`, and
    `exaflops` of what learns labels: of a network that sees a part of each picture they would be too many."""
    config = run.config
    parts = parts_of(model_config(config, len(run.dataset.classes)))
    macs = sum(part.macs for part in parts)
    pictures = len(run.dataset.splits[TRAIN])
    examples = config.schedule.duration.steps(config.training.batch_size, pictures) * config.training.batch_size
    made = {
        "train_count": pictures,
        "parameters": sum(part.parameters for part in parts),
        "macs": macs,
        "examples": examples,
        "learning_rate": config.optimizer.learning_rate,
    }
    return made | ({"exaflops": FLOPS_OF_A_STEP * macs * examples / 1e18} if kind == "labels" else {})


def _finished(result: Result) -> Result:
    if not result.finished:
        raise StoppedError(result.signal or 2)
    return result
