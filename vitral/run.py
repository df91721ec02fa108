"""From a plan to a trained model folder: build the parts, resume or start, train, measure, write.

runs/NAME/config.json         the RunConfig
          environment.json    versions, command, what was decided and why
          data.json           fingerprint of each split, class names
          metrics.jsonl       loss, top-1, learning rate; the same bytes after any number of restarts
          speed.jsonl         images per second, share of time spent waiting for data
          checkpoints/        see vitral.training.checkpoint
          model/              the best model so far, see vitral.weights.folder
          report.html         curves and tables
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vitral.config import RunConfig
from vitral.console import Screen
from vitral.datasets.dataset import TEST, TRAIN
from vitral.datasets.fingerprint import fingerprint
from vitral.errors import StorageError, UsageError
from vitral.evaluation import evaluate_split, threads
from vitral.models.vit import VisionTransformer, layer_index
from vitral.overrides import differences, from_json, to_json
from vitral.planning import Plan, model_config, model_overrides
from vitral.reports import card, page
from vitral.serving.predictor import Model, choose_device, load
from vitral.session import Session
from vitral.training import checkpoint
from vitral.training.averaging import Average
from vitral.training.interrupt import Interrupt
from vitral.training.loop import Cadence, Progress, train
from vitral.training.optimizer import build_optimizer, freeze, parameter_groups
from vitral.training.schedule import Schedule
from vitral.version import VERSION
from vitral.weights import build
from vitral.weights.folder import recover


@dataclass(frozen=True)
class Result:
    """What a run left behind. `finished` is false if it was interrupted; the same call goes on then."""

    run: Path
    model: Path
    metrics: dict[str, Any]
    finished: bool
    signal: int | None = None


def start(plan: Plan, folder: Path, screen: Screen, command: tuple[str, ...] = ()) -> Result:
    """Train as planned, in `folder`; goes on where an earlier start of the same plan stopped.

    Raises:
        UsageError: `folder` holds a run with another configuration or other pictures; the difference is shown.
        NonFiniteError, DataError, StorageError: training stopped; everything up to the last checkpoint is kept.
    """
    config, dataset = plan.config, plan.dataset
    resumed = _open_folder(plan, folder, command)
    for sentence in plan.decisions:
        screen.decide(sentence)
    for sentence in plan.warnings:
        screen.warn(sentence)
    device = choose_device(config.runtime.device)
    network = _network(plan, screen).to(device)
    for sentence in _frozen(freeze(network, config.model.freeze)):
        screen.decide(sentence)
    progress = _progress(network, config)
    schedule = Schedule.build(config.schedule, config.training.batch_size, len(dataset.splits[TRAIN]))
    cadence = _cadence(config, schedule, len(dataset.splits[TRAIN]))
    _require_space(folder, progress, config)
    with _alone(folder), Interrupt() as interrupt:
        session = Session(
            config=config,
            dataset=dataset,
            folder=folder,
            cadence=cadence,
            device=device,
            screen=screen,
            stopped=interrupt,
            forward=torch.compile(network) if config.training.compile else network,
            save_best=lambda model: _save(model, folder, plan),
            descriptions=_descriptions(plan),
        )
        saved = checkpoint.load_latest(folder / "checkpoints") if resumed else None
        if saved is not None:
            for name in saved.rejected:
                screen.warn(f"checkpoint {name} is not whole; going on from the one before it.")
            progress.restore(saved.tensors, saved.state["progress"])
            session.metrics.cut(saved.state["metrics_bytes"])
            screen.say(f"resuming at step {progress.step} of {cadence.total}")
        else:
            session.metrics.cut(0)
        batches = session.batches(progress.step)
        try:
            finished = train(
                progress,
                batches,
                session,
                cadence,
                lambda step: config.optimizer.learning_rate * schedule.factor(step),
                config.optimizer.clip_norm,
            )
        finally:
            batches.close()  # type: ignore[attr-defined]
            screen.end_progress()
        finished = finished and _measure(folder, plan, progress, session, interrupt)
    if (folder / "model").is_dir():
        page.write(folder)
    written = folder / "model" / "metrics.json"
    metrics = json.loads(written.read_text(encoding="utf-8")) if written.is_file() else {}
    return Result(folder, folder / "model", metrics, finished, interrupt.received and int(interrupt.received))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other runs out of the folder; the system lets go of it however this process ends."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"another vitral is running in {folder}: wait for it, or name another with --out."
            ) from error
        yield


# Before ---------------------------------------------------------------------------------------------


def _open_folder(plan: Plan, folder: Path, command: tuple[str, ...]) -> bool:
    """Write what the run is; `True` if the folder already holds the same run."""
    described = {
        "classes": list(plan.dataset.classes),
        "splits": {
            name: {"count": len(split), "sha256": fingerprint(split, plan.dataset.root)}
            for name, split in plan.dataset.splits.items()
        },
    }
    begun = (folder / "config.json").is_file()
    resumed = begun and (any((folder / "checkpoints").glob("step-*")) or (folder / "model").exists())
    recover(folder / "model")
    if resumed:  # without a checkpoint nothing is lost, and a mistyped option may be mended
        _require_same(plan.config, described, folder)
    elif folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder with --out.")
    elif folder.exists() and not begun and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty and holds no run: name another folder with --out.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in (
            ("data.json", described),
            ("environment.json", _environment(plan, command)),
            ("config.json", to_json(plan.config)),
        ):
            checkpoint.replace_durably(folder / name, json.dumps(value, indent=1).encode())
    except OSError as error:
        raise StorageError(f"cannot write to {folder} ({error.strerror}): name another folder with --out.") from error
    return resumed


def _require_same(config: RunConfig, described: dict[str, Any], folder: Path) -> None:
    try:
        before = from_json(RunConfig, json.loads((folder / "config.json").read_text()))
        data = json.loads((folder / "data.json").read_text())
        old_counts = {name: split["count"] for name, split in data["splits"].items()}
        old_classes = list(data["classes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{folder} holds a run that cannot be read ({error}): name another with --out.") from error
    changed = differences(before, config, but=("runtime.", "data.path", "data.image_folder", "data.max_pixels"))
    if old_classes != described["classes"]:
        changed.append(f"classes: {len(old_classes)} -> {len(described['classes'])}, or renamed")
    for name, split in described["splits"].items():
        if data["splits"].get(name) != split:
            changed.append(f"pictures of {name}: {old_counts.get(name, 0)} -> {split['count']}, or changed")
    if changed:
        raise UsageError(
            f"{folder} holds a run that was started differently ({'; '.join(changed)}): "
            f"start afresh with --out ANOTHER_FOLDER, or give the same options to go on."
        )


def _environment(plan: Plan, command: tuple[str, ...]) -> dict[str, Any]:
    counts = {f"{name}_count": len(split) for name, split in plan.dataset.splits.items()}
    return {
        "vitral": VERSION,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": str(choose_device(plan.config.runtime.device)),
        "cores": os.cpu_count(),
        "command": list(command),
        "decisions": list(plan.decisions),
        "warnings": list(plan.warnings),
        "classes": len(plan.dataset.classes),
        **counts,
    }


def _network(plan: Plan, screen: Screen) -> VisionTransformer:
    config, classes = plan.config, plan.dataset.classes
    torch.manual_seed(config.training.seed)
    if plan.pretrained is None:
        network = VisionTransformer(model_config(config, len(classes)))
        count = sum(parameter.numel() for parameter in network.parameters())
        screen.decide(f"{config.model.name} from scratch, {count:,} parameters")
        return network
    changes = model_overrides(config)
    if plan.pretrained.classes != classes:
        # A single zero-initialised layer in place of pre-logits and head (section 3.2 of arXiv 2010.11929).
        changes.setdefault("representation_size", None)
    network, report = build(plan.pretrained, classes, **changes)
    for line in report.lines():
        screen.decide(line)
    return network


def _progress(network: VisionTransformer, config: RunConfig) -> Progress:
    depth = network.config.depth
    groups = parameter_groups(
        network.named_parameters(), config.optimizer, lambda name: layer_index(name, depth), depth + 1
    )
    average = Average(network, config.training.average) if config.training.average else None
    return Progress(network, build_optimizer(groups, config.optimizer), average)


def _cadence(config: RunConfig, schedule: Schedule, pictures: int) -> Cadence:
    def steps(name: str) -> int:
        return int(getattr(config.training, name).steps(config.training.batch_size, pictures))

    return Cadence(schedule.total, steps("log_every"), steps("evaluate_every"), steps("checkpoint_every"))


def _require_space(folder: Path, progress: Progress, config: RunConfig) -> None:
    """Refuse a run whose checkpoints cannot fit, before it costs hours."""
    weights = sum(tensor.nbytes for tensor in progress.model.state_dict().values())
    copies = 1 + (2 if config.optimizer.name != "sgd" else 1) + (1 if progress.average else 0)
    needed = weights * copies * (config.training.keep_checkpoints + 1) + 2 * weights
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"{folder} has {free / 1e6:.0f} MB free and the run's checkpoints need {needed / 1e6:.0f} MB: "
            f"free some space, lower --training.keep-checkpoints, or name another folder with --out."
        )


def _frozen(frozen: list[str]) -> list[str]:
    return (
        [f"{len(frozen)} parameters are frozen: {', '.join(frozen[:3])}{' ...' * (len(frozen) > 3)}"] if frozen else []
    )


def _descriptions(plan: Plan) -> dict[str, str]:
    known = plan.pretrained.descriptions if plan.pretrained else {}
    return {name: known[name] for name in plan.dataset.classes if name in known}


# After ----------------------------------------------------------------------------------------------


def _measure(folder: Path, plan: Plan, progress: Progress, session: Session, stop: Callable[[], bool]) -> bool:
    """Measure the best model on the test split, where there is one, and write the numbers into its folder."""
    if not (folder / "model" / "model.safetensors").is_file():
        session.screen.warn(f"the best model is gone from {folder / 'model'}: the newest weights take its place")
        _save(session.model(progress), folder, plan)
    model = load(folder / "model", str(session.device))
    split = plan.dataset.splits.get(TEST)
    model.metrics |= {"step": progress.step, "best_step": progress.best_step}
    if split is not None:
        session.screen.progress("measuring on the test split")
        result = evaluate_split(model, split, threads(plan.config.runtime.workers), plan.config.data.max_pixels, stop)
        session.screen.end_progress()
        if result is None:
            return False
        session.warn_of_unreadable(split, result)
        model.metrics["test"] = result.metrics
    _save(model, folder, plan)
    return True


def _save(model: Model, folder: Path, plan: Plan) -> None:
    height, width = model.network.config.image_size
    description = f"{plan.config.model.name or 'Vision Transformer'}, input {height}x{width}"
    text = card.model_card(
        name=plan.dataset.name,
        classes=model.classes,
        metrics=model.metrics,
        preprocessing=model.preprocessing,
        model_description=description,
        data_name=plan.dataset.name,
        recipe=plan.config.recipe,
    )
    model.save(folder / "model", text)
