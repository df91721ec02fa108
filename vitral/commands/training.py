"""What `train` and `finetune` share: options, and the call."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitral.commands.measuring import headlines, of_patches
from vitral.commands.shared_options import DATA, KNOBS, MODEL, PREPROCESSING, SHORT, add_settings, given, option_of
from vitral.console import Screen
from vitral.errors import UsageError
from vitral.metrics import name_of, written

if TYPE_CHECKING:  # --help answers without torch
    from vitral.config import RunConfig
    from vitral.planning import Plan
    from vitral.run import Result
    from vitral.sweep import Member


def options(parser: argparse.ArgumentParser, recipe: str) -> None:
    """Add the options; every setting has one, shown by --help-all."""
    parser.add_argument(
        "pictures",
        metavar="PICTURES",
        help="folder (class/picture, or train|val|test/class/picture), table, or published set, like cifar10:FOLDER",
    )
    parser.add_argument("--model", help=f"what to start from: {MODEL}")
    parser.add_argument("--recipe", default=recipe, help=f"a name from `vitral recipes` (default: {recipe})")
    parser.add_argument("--out", help="folder of the run (default: runs/VERB-PICTURES)")
    parser.add_argument("--dry-run", action="store_true", help="show every choice and its reason, and train nothing")
    parser.add_argument("--epochs", type=float, help="length of the run in passes over the training pictures")
    parser.add_argument("--steps", type=float, help="length of the run in optimizer steps")
    parser.add_argument("--on-bad-image", dest="data.on_bad_image", default=argparse.SUPPRESS, metavar="fail|skip",
                        help="an unreadable training picture stops the run (default), or is left out")  # fmt: skip
    parser.add_argument(
        "--measure-again", action="store_true", help="measure a finished run once more, instead of showing its numbers"
    )
    add_settings(parser.add_argument_group("the most used settings"), SHORT)
    add_settings(parser.add_argument_group("data"), DATA)
    add_settings(parser.add_argument_group("preprocessing"), PREPROCESSING)
    group = parser.add_argument_group("every setting")
    for name in KNOBS:
        if name != "data.on_bad_image":
            _add_hidden(group, name)
    parser.add_argument("--help-all", action=HelpAll, nargs=0, help="show the options of every setting")


class HelpAll(argparse.Action):
    """Show the help with the options that --help leaves out."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        for action in parser._actions:
            action.help = getattr(action, "full_help", action.help)
        parser.print_help()
        parser.exit()


def _add_hidden(group: Any, name: str) -> None:
    add_settings(group, {option_of(name): name})
    action = group._group_actions[-1]
    action.full_help, action.help = action.help, argparse.SUPPRESS


def call(arguments: argparse.Namespace, screen: Screen, verb: str) -> tuple[int, dict[str, Any]]:
    """Plan and run; the document names the model folder and holds the final metrics."""
    from vitral.datasets.named import split_name
    from vitral.planning import plan
    from vitral.run import preview
    from vitral.sweep import preview as preview_sweep

    words = given(arguments, "")
    words["data.path"] = arguments.pictures
    length = _length(arguments)
    if length and "schedule.duration" in words:
        raise UsageError("--schedule.duration says how long, as --epochs and --steps do: give one of them.")
    words |= length
    if arguments.model:
        named = _model(arguments.model, verb)
        if words.keys() & named.keys():
            raise UsageError("--model and --model.name both name the network: give one of the two.")
        words |= named
    pictures = Path(arguments.pictures).resolve()
    published = split_name(arguments.pictures)
    name = (pictures.name if pictures.is_dir() else pictures.stem) or "pictures"
    name = published[0].replace("/", "-") if published else name
    doing = _doing(arguments.recipe, verb)
    folder = Path(arguments.out or f"runs/{doing}-{name}")
    if doing == "finetune" and not words.keys() & {"model.name", "model.weights"} and (pictures.exists() or published):
        words |= _published(folder, words.get("runtime.device", "auto"), screen)
    planned = plan(arguments.recipe, words)
    splits = ", ".join(f"{len(split):,} {name}" for name, split in planned.dataset.splits.items())
    unlabelled = not planned.config.pretraining.is_off
    kinds = "pictures without labels" if unlabelled else f"{len(planned.dataset.classes)} classes"
    screen.say(f"{planned.dataset.name}: {kinds}, {splits}")
    fixed_length = bool(length or "schedule.duration" in words)
    if planned.config.optimizer.name == "lbfgs" and fixed_length:
        raise UsageError(
            "optimizer lbfgs solves the head to the end, however long that takes: leave --epochs, --steps and "
            "--schedule.duration out."
        )
    tried = _tried(planned, folder, arguments, fixed_length)
    if arguments.dry_run:
        if tried is None:
            return 0, _show(planned, *preview(planned, folder, screen), folder, screen)
        config, step, so_far = preview_sweep(planned, tried, folder, screen)
        return 0, {**_show(planned, config, step, folder, screen), "sweep": _of_table(so_far)}
    result, table = _train(planned, tried, folder, screen, arguments)
    swept = {} if table is None else {"sweep": _of_table(table)}
    if not result.finished:
        code = 128 + (result.signal or 2)
        again = shlex.join(arguments.command)
        screen.warn(f"stopped; everything is saved in {folder}. To go on: {again}")
        return code, {"run": str(folder), "model": None, "finished": False, "metrics": result.metrics, **swept}
    screen.say(_kept(result.metrics, planned.config.metric))
    for split in ("validation", "test"):
        if split in result.metrics:
            found = result.metrics[split]
            said = of_patches(found, split) if unlabelled else headlines(found, split, len(planned.dataset.classes))
            for sentence in said:
                screen.result(sentence)
    screen.say(f"model folder  {result.model}\nreport        {result.run / 'report.html'}")
    then = f"finetune PICTURES --model {result.model}" if unlabelled else f"predict {result.model} PICTURE"
    screen.say(f"next          vitral {then}")
    return 0, {"run": str(folder), "model": str(result.model), "finished": True, "metrics": result.metrics, **swept}


def _doing(recipe: str, verb: str) -> str:
    """What a run's folder is called by: the verb, or pretrain."""
    from vitral.recipes import RECIPES

    return "pretrain" if recipe in RECIPES and RECIPES[recipe].is_pretraining else verb


def _train(
    planned: Plan, tried: list[Member] | None, folder: Path, screen: Screen, arguments: argparse.Namespace
) -> tuple[Result, dict[str, Any] | None]:
    """One run; or, with --lr-grid, one for each of what it tries and the final one, and the table of them."""
    from vitral.run import start
    from vitral.sweep import sweep

    if tried is None:
        return start(planned, folder, screen, arguments.command, arguments.measure_again), None
    return sweep(planned, tried, folder, screen, arguments.command, arguments.measure_again)


def _tried(planned: Plan, folder: Path, arguments: argparse.Namespace, fixed_length: bool) -> list[Member] | None:
    """What --lr-grid is to try; `None` without it."""
    from vitral.recipes import RECIPES
    from vitral.sweep import members

    said = getattr(arguments, "lr_grid", None)
    if said is None and (folder / "sweep.json").is_file():
        raise UsageError(f"{folder} holds a sweep: add --lr-grid to go on with it, or name another folder with --out.")
    if said is None:
        return None
    if not planned.config.pretraining.is_off:
        raise UsageError("--lr-grid compares what is learned of classes, and pre-training learns none: try --find-lr.")
    if hasattr(arguments, "optimizer.learning_rate"):
        raise UsageError("--learning-rate names the rate that --lr-grid is to find: give one of the two.")
    return members(RECIPES[arguments.recipe].grid, _rates(said) if said else [], planned.config, not fixed_length)


def _of_table(table: dict[str, Any]) -> dict[str, Any]:
    return {name: table[name] for name in ("metric", "tried", "chosen")}


def _rates(words: str) -> list[float]:
    """The learning rates that --lr-grid names."""
    try:
        rates = [float(word) for word in words.split(",") if word.strip()]
        if not rates:
            raise ValueError(words)
        return rates
    except ValueError as error:
        raise UsageError(
            f"--lr-grid takes learning rates like .001,.003,.01, not {words!r}: write PICTURES before it if you mean "
            f"the recipe's own grid."
        ) from error


def _kept(metrics: dict[str, Any], chief: str) -> str:
    """Which step's weights are in the model folder, and why these.

    Args:
        chief: the number of an evaluation that told which is the best.
    """
    best, last, validation = metrics["best_step"], metrics["step"], metrics.get("validation")
    if validation is None:
        return f"no validation split to choose by: the weights of the last step, {last}, are kept"
    value = validation[chief]
    shown = "not measured" if value is None else written(chief, value)
    if best == 0:
        return f"nothing was better than the head alone, validation {name_of(chief)} {shown}: its model is kept"
    return f"best at step {best} of {last}, validation {name_of(chief)} {shown}: the weights of that step are kept"


def _show(planned: Plan, config: RunConfig, step: int | None, folder: Path, screen: Screen) -> dict[str, Any]:
    """Print what a run would be; returns the document."""
    from vitral.config import RunConfig
    from vitral.overrides import said, to_json, values

    usual, chosen = values(RunConfig()), values(config)
    shown = {name: value for name, value in chosen.items() if name in SHORT.values() or value not in (usual[name], "")}
    screen.table(("setting", "value"), [(name, said(value)) for name, value in shown.items()])
    where = f"the run in {folder} would go on at step {step}" if step is not None else f"{folder} would hold the run"
    screen.result(f"nothing was trained: {where}")
    return {
        "run": str(folder),
        "step": step,
        "config": to_json(config),
        "decisions": list(planned.decisions),
        "warnings": list(planned.warnings),
    }


def _published(folder: Path, device: str, screen: Screen) -> dict[str, Any]:
    """Weights for a fine-tuning that names none: what the run began with, else published ones, if they can be had."""
    from vitral.errors import VitralError
    from vitral.presets import start_from
    from vitral.run_folder import weights_begun_with
    from vitral.serving.device import choose_device
    from vitral.training.memory import memory_of
    from vitral.weights.published import fetch

    begun, weights = weights_begun_with(folder)
    if begun:
        return {} if weights is None else {"model.weights": weights}
    chosen = choose_device(device)
    name, reason = start_from(chosen.type, memory_of(chosen))
    try:
        fetch(name)
    except VitralError as error:
        screen.warn(f"{error} Until then training starts from nothing, which takes longer and ends worse.")
        return {}
    screen.decide(f"no weights were named with --model: it starts from the published {name}, {reason}")
    return {"model.weights": name}


def _length(arguments: argparse.Namespace) -> dict[str, Any]:
    from vitral.config import Duration

    if arguments.epochs is not None and arguments.steps is not None:
        raise UsageError("--epochs and --steps both say how long: give one of the two.")
    if arguments.epochs is not None:
        return {"schedule.duration": Duration(arguments.epochs, "epochs")}
    return {} if arguments.steps is None else {"schedule.duration": Duration(arguments.steps, "steps")}


def _model(name: str, verb: str) -> dict[str, Any]:
    """A path is weights to start from; a variant's name is a network, from scratch unless it is finetuned."""
    from vitral.models import named
    from vitral.models.adapter import WORDS
    from vitral.weights.published import is_name

    model = is_name(name) or WORDS.fullmatch(name.lower()) is not None
    words = named(name) if model else name  # one spelling, so that the same command in other capitals goes on
    return {"model.name": words} if verb == "train" and model else {"model.weights": words}
