"""From a plan to a trained model folder: build the parts, resume or start, train, measure, write.

runs/NAME/config.json         the RunConfig
          environment.json    versions, command, what was decided and why
          data.json           fingerprint of each split, class names
          metrics.jsonl       loss, top-1, learning rate; the same bytes after any number of restarts
          learning_rates.json the curve of `--find-lr`
          speed.jsonl         images per second, share of time spent waiting for data
          checkpoints/        see vitral.training.checkpoint
          model/              the best model so far, see vitral.weights.folder
          examples.json       small copies of the pictures that report.html shows
          report.html         curves, tables and pictures
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vitral import frozen, pretraining
from vitral import teacher as teachers
from vitral.config import RunConfig
from vitral.console import Screen
from vitral.datasets.dataset import TEST, TRAIN, VALIDATION, Dataset
from vitral.errors import NonFiniteError, UsageError
from vitral.evaluation import calibrate, trust
from vitral.first_look import applies, first_look
from vitral.gallery import gallery
from vitral.models import Network, build_network, family_of
from vitral.overrides import override
from vitral.planning import Plan, model_config, model_overrides, model_words
from vitral.reports import card, page
from vitral.run_folder import (
    alone,
    finished_step,
    open_folder,
    record,
    require_own,
    require_space,
    resumes,
    settled,
    total_steps,
)
from vitral.serving.device import choose_device
from vitral.serving.loading import load
from vitral.serving.predictor import Model
from vitral.session import Session
from vitral.training import checkpoint, lora
from vitral.training.averaging import Average
from vitral.training.head_first import HeadFirst
from vitral.training.interrupt import Interrupt
from vitral.training.loop import Cadence, Progress, train
from vitral.training.optimizer import build_optimizer, freeze, parameter_groups
from vitral.training.resolution import require_sizes
from vitral.training.schedule import Schedule
from vitral.trials import RANGE_TEST, try_out
from vitral.weights import build


@dataclass(frozen=True)
class Result:
    """What a run left behind. `finished` is false if it was interrupted; the same call goes on then."""

    run: Path
    model: Path
    metrics: dict[str, Any]
    finished: bool
    signal: int | None = None


def start(
    plan: Plan, folder: Path, screen: Screen, command: tuple[str, ...] = (), measure_again: bool = False
) -> Result:
    """Train as planned, in `folder`; goes on where an earlier start of the same plan stopped.

    Args:
        measure_again: a run that is finished is measured once more, instead of giving the numbers that it wrote.

    Raises:
        UsageError: `folder` holds a run with another configuration or other pictures; the difference is shown.
        NonFiniteError, DataError, StorageError: training stopped; everything up to the last checkpoint is kept.
    """
    with alone(folder):
        return go_on(plan, folder, screen, command, measure_again)


def go_on(
    plan: Plan, folder: Path, screen: Screen, command: tuple[str, ...] = (), measure_again: bool = False
) -> Result:
    """`start` in a folder that the caller holds already."""
    with Interrupt() as interrupt:
        plan = settled(plan, folder)
        resumed = open_folder(plan, folder, command)
        done = resumed and finished_step(folder, plan)
        if done and not measure_again:
            screen.say(f"already finished (step {done}): these are the numbers in {folder / 'model'}")
            page.write(folder)
            finished = True
        else:
            finished = _run(plan, folder, screen, resumed, interrupt)
    written = folder / "model" / "metrics.json"
    metrics = json.loads(written.read_text(encoding="utf-8")) if written.is_file() else {}
    return Result(folder, folder / "model", metrics, finished, interrupt.received and int(interrupt.received))


def preview(plan: Plan, folder: Path, screen: Screen) -> tuple[RunConfig, int | None]:
    """What `start` would do, trials for precision and memory included; nothing is written and nothing learns.

    Returns:
        the complete configuration (a learning rate that is still to be found is the recipe's), and the step that a
        run which is there already would go on at.
    """
    require_own(folder)
    plan = settled(plan, folder)
    quiet = override(plan.config, {"runtime.tensorboard": False})
    progress, session, schedule = _prepared(replace(plan, config=quiet), folder, screen, lambda: False)
    saved = checkpoint.load_latest(folder / "checkpoints") if resumes(plan, folder) else None
    if saved is None:
        session.config = override(quiet, {"optimizer.find_rate": False})
        try_out(progress, session, schedule.total * quiet.training.batch_size)
        if quiet.optimizer.find_rate:
            screen.decide("the learning rate will be found by a range test before the first step")
        if applies(session, progress.model):
            screen.decide(
                "first the head alone will be solved on the pictures as they are: it is kept if nothing is better"
            )
    changed = {"runtime.tensorboard": plan.config.runtime.tensorboard, "optimizer.find_rate": quiet.optimizer.find_rate}
    step = None if saved is None else int(saved.state["progress"]["step"])
    return override(session.config, changed), step


def _run(plan: Plan, folder: Path, screen: Screen, resumed: bool, interrupt: Interrupt) -> bool:
    progress, session, schedule = _prepared(plan, folder, screen, interrupt)
    require_space(folder, progress, plan.config)
    session.record = lambda changed: record(folder, changed)
    _take_up(progress, session, screen, resumed)
    try:
        finished = not isinstance(session, frozen.FrozenSession) or session.prepare()
        if finished and progress.step == 0:
            try_out(progress, session, schedule.total * plan.config.training.batch_size)
            finished = first_look(progress, session)
        finished = finished and _train(progress, session, schedule)
        finished = finished and _measure(folder, plan, progress, session)
    except NonFiniteError:
        page.write(folder)  # the curves are what shows how it came to this
        raise
    if (folder / "model").is_dir():
        page.write(folder)
    return finished


def _prepared(
    plan: Plan, folder: Path, screen: Screen, stopped: Callable[[], bool]
) -> tuple[Progress, Session, Schedule]:
    """The parts of a run, before its first step; says what was decided."""
    config, dataset = plan.config, plan.dataset
    for sentence in plan.decisions:
        screen.decide(sentence)
    for sentence in plan.warnings:
        screen.warn(sentence)
    device = choose_device(config.runtime.device)
    network = _network(plan, screen).to(device)
    for sentence in _frozen(_freeze(network, config)):
        screen.decide(sentence)
    if config.lora.rank:
        screen.decide(lora.adapt(network, config.lora, config.training.seed))
    teacher = None
    if plan.teacher is not None:
        teacher = teachers.teacher(plan.teacher, config.distillation, config.preprocessing, dataset.classes, device)
        screen.decide(teachers.said(plan.teacher, config.distillation, config.preprocessing))
    save: Callable[[Any], None] = partial(_save, folder=folder, plan=plan)
    forward: Any = network if teacher is None else lambda images: network.both_scores(network.encode(images))
    kind: Any = Session
    if not config.pretraining.is_off:
        kind, save = pretraining.PretrainingSession, partial(pretraining.save, folder=folder, plan=plan)
    elif frozen.applies(config, network):
        screen.decide("only the head learns, from unvaried pictures: the rest of the network runs as in evaluation")
        forward, kind = frozen.head_of(network), partial(frozen.FrozenSession, network=network)
        if config.schedule.resolution:
            raise UsageError("unvaried pictures are seen once, at one size: leave --progressive-resolution out.")
    progress = _progress(network, config)
    schedule = Schedule.build(config.schedule, config.training.batch_size, len(dataset.splits[TRAIN]))
    session = kind(
        config=config,
        dataset=dataset,
        folder=folder,
        cadence=_cadence(config, dataset),
        device=device,
        screen=screen,
        stopped=stopped,
        forward=torch.compile(forward) if config.training.compile else forward,
        save_best=save,
        descriptions=_descriptions(plan),
        teacher=teacher,
        discard=lambda: progress.optimizer.zero_grad(set_to_none=True),
        head_first=HeadFirst(network, schedule.head_first) if schedule.head_first else None,
    )
    if config.schedule.resolution:
        require_sizes(network, session.resolution)
        screen.decide(session.resolution.said(session.cadence.total))
    return progress, session, schedule


def _train(progress: Progress, session: Session, schedule: Schedule) -> bool:
    optimizer = session.config.optimizer
    if optimizer.name == "lbfgs":
        return frozen.solve(progress, session)
    batches = session.batches(progress.step)
    finished = False
    try:
        finished = train(
            progress,
            batches,
            session,
            session.cadence,
            lambda step: optimizer.learning_rate * schedule.factor(step),
            optimizer.clip_norm,
        )
        return finished
    finally:
        batches.close()  # type: ignore[attr-defined]
        session.screen.end_progress()
        session.stream.put_away(session.config.runtime, finished)


def _take_up(progress: Progress, session: Session, screen: Screen, resumed: bool) -> None:
    """Take up the newest whole checkpoint, where there is one, and cut the records back to it."""
    saved = checkpoint.load_latest(session.folder / "checkpoints") if resumed else None
    if saved is None:
        for records in (session.metrics, session.speeds):
            records.cut(0)
        (session.folder / RANGE_TEST).unlink(missing_ok=True)
        return
    for name in saved.rejected:
        screen.warn(f"checkpoint {name} is not whole; going on from the one before it.")
    progress.restore(saved.tensors, saved.state["progress"])
    if session.metrics.size() < saved.state["metrics_bytes"]:
        screen.warn(f"{session.metrics.path} has lost lines from before step {progress.step}: the curves lack them.")
    session.metrics.cut(saved.state["metrics_bytes"])
    session.speeds.forget_after(progress.step)
    if session.cadence.is_over(progress):
        screen.say(f"training is already finished (step {progress.step}): its best model is measured")
    else:
        screen.say(f"resuming at step {progress.step} of {session.cadence.total}")


def _network(plan: Plan, screen: Screen) -> Any:
    config, classes = plan.config, plan.dataset.classes
    torch.manual_seed(config.training.seed)
    if not config.pretraining.is_off:
        return pretraining.network(plan, screen)
    if plan.pretrained is None:
        network = build_network(model_config(config, len(classes)))
        count = sum(parameter.numel() for parameter in network.parameters())
        screen.decide(f"{model_words(plan)}, from scratch, {count:,} parameters")
        return network
    changes = model_overrides(config, plan.pretrained.config)
    if plan.pretrained.classes != classes and hasattr(plan.pretrained.config, "representation_size"):
        # A single zero-initialised layer in place of pre-logits and head (section 3.2 of arXiv 2010.11929).
        changes.setdefault("representation_size", None)
    network, report = build(plan.pretrained, classes, **changes)
    for line in report.lines():
        screen.decide(line)
    return network


def _progress(network: Network, config: RunConfig) -> Progress:
    groups = parameter_groups(network.named_parameters(), config.optimizer, network.layer_index, network.num_layers - 1)
    average = Average(network, config.training.average) if config.training.average else None
    return Progress(network, build_optimizer(groups, config.optimizer), average)


def _cadence(config: RunConfig, dataset: Dataset) -> Cadence:
    def steps(name: str) -> int:
        return int(getattr(config.training, name).steps(config.training.batch_size, len(dataset.splits[TRAIN])))

    patience = config.training.patience or 0
    total = total_steps(config, dataset)
    return Cadence(total, steps("log_every"), steps("evaluate_every"), steps("checkpoint_every"), patience)


def _freeze(network: Network, config: RunConfig) -> list[str]:
    """Names of the parameters that do not learn."""
    names = freeze(network, config.model.freeze)
    if config.model.learn == "head":
        names += freeze(network, [name for name, _ in network.named_parameters() if not network.in_heads(name)])
    return sorted(set(names))


def _frozen(names: list[str]) -> list[str]:
    return [f"{len(names)} parameters are frozen: {', '.join(names[:3])}{' ...' * (len(names) > 3)}"] if names else []


def _descriptions(plan: Plan) -> dict[str, str]:
    known = {**plan.dataset.descriptions, **(plan.pretrained.described.descriptions if plan.pretrained else {})}
    return {name: known[name] for name in plan.dataset.classes if name in known}


# After ----------------------------------------------------------------------------------------------


def _measure(folder: Path, plan: Plan, progress: Progress, session: Session) -> bool:
    """Fit the best model's temperature on the validation split, measure it on that and the test split, where there
    are such, and write the numbers into its folder."""
    if isinstance(session, pretraining.PretrainingSession):
        return pretraining.measure(folder, plan, progress, session)
    if not (folder / "model" / "model.safetensors").is_file():
        session.screen.warn(f"the best model is gone from {folder / 'model'}: the newest weights take its place")
        _save(session.model(progress), folder, plan)
    model = load(folder / "model", str(session.device))
    model = model.with_metrics(model.metrics | dict(plan.known))
    model.metrics |= {"step": progress.step, "best_step": progress.best_step}
    if progress.step < session.cadence.total:
        model.metrics["stopped_early"] = True
    for name in (VALIDATION, TEST):
        split = plan.dataset.splits.get(name)
        if split is None:
            continue
        session.screen.progress(f"measuring on the {name} split")
        result = session.measured(model, name)
        session.screen.end_progress()
        if result is None:
            return False
        if name == VALIDATION:
            model, sentence = calibrate(model, result.logits, split.labels, name)
            session.screen.decide(sentence)
        model.metrics[name] = {**result.metrics, **trust(model, result.logits, split.labels)}
        shown = gallery(model, split, result, name, plan.dataset.root, plan.config.data.max_pixels)
        page.keep_examples(folder, shown)
    _save(model, folder, plan)
    return True


def _save(model: Model, folder: Path, plan: Plan) -> None:
    if plan.dataset.cut is not None:  # with it, `evaluate` can hold the same pictures out again
        model.metrics["held_out"] = asdict(plan.dataset.cut)
    height, width = model.network.config.image_size
    kind = "Vision Transformer" if family_of(model.network.config) == "vit" else type(model.network).__name__
    description = f"{model_words(plan) or kind}, input {height}x{width}"
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
