"""The papers' way to choose a learning rate: try each of a grid on pictures held out of train, then train once more
with the best on all of them (arXiv 2010.11929, section 4.1 and Table 4).

runs/NAME/sweep.json       what is tried, what came out, and what was chosen
          sweep/lr-0.01/   the run of one member: its records and its model
          ...              the final run, see vitral.run

A member is judged by its last step, as the final run keeps its last step: nothing is held out of that one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitral import run
from vitral.config import Duration, RunConfig
from vitral.console import Brief, Screen
from vitral.datasets import read as read_pictures
from vitral.datasets.dataset import TEST, TRAIN, VALIDATION, Dataset, Split
from vitral.errors import NonFiniteError, StorageError, UsageError
from vitral.files import replace_durably
from vitral.metrics import name_of, written
from vitral.overrides import override, to_json
from vitral.planning import Plan
from vitral.recipes import Grid
from vitral.run import Result, go_on, start
from vitral.run_folder import alone, described, require_own, require_same

USUAL_FACTORS = (1 / 3, 1, 3)
"""Of the recipe's rate, where it names no grid: steps of half a decade, as those of Table 4."""


@dataclass(frozen=True)
class Member:
    """One point of the grid; `length` is duration and warm-up, where those vary too."""

    learning_rate: float
    length: tuple[Duration, Duration] | None = None

    @property
    def name(self) -> str:
        """Of its folder, and in the table."""
        length = f"-{self.length[0]}".replace(" ", "-") if self.length else ""
        return f"lr-{self.learning_rate:g}{length}"

    def config(self, base: RunConfig) -> RunConfig:
        """`base` with the member's values."""
        changes: dict[str, Any] = {"optimizer.learning_rate": self.learning_rate}
        if self.length:
            changes |= {"schedule.duration": self.length[0], "schedule.warmup": self.length[1]}
        return override(base, changes)


def members(grid: Grid | None, rates: Sequence[float], config: RunConfig, lengths: bool) -> list[Member]:
    """What to try: `rates` if any are given, else the recipe's grid, else some around the recipe's rate.

    Args:
        lengths: whether the recipe's lengths are tried too; not where the user says how long.

    Raises:
        UsageError: a rate that is out of range, or twice the same.
    """
    chosen = tuple(rates) or (grid.rates if grid else ())
    chosen = chosen or tuple(float(f"{config.optimizer.learning_rate * factor:.1e}") for factor in USUAL_FACTORS)
    own = grid.lengths if grid and lengths else ()
    tried = [Member(rate, length) for rate in chosen for length in own or (None,)]
    if len({member.name for member in tried}) < len(tried):
        raise UsageError(f"the learning rates to try are not all different: {', '.join(f'{r:g}' for r in chosen)}.")
    for member in tried:
        member.config(config)  # refuses a rate out of range before anything runs
    return tried


def sweep(
    plan: Plan,
    tried: Sequence[Member],
    folder: Path,
    screen: Screen,
    command: tuple[str, ...] = (),
    measure_again: bool = False,
) -> tuple[Result, dict[str, Any]]:
    """Run the members that have not been run, choose, and train on everything; the same call goes on after a stop.

    Args:
        measure_again: of the final run, see `vitral.run.start`.

    Returns:
        the final run's result (not finished, if a signal came), and the table: `metric`, `tried`, `chosen`.

    Raises:
        UsageError: the run cannot be swept, or `folder` holds another sweep. NonFiniteError: every member diverged.
    """
    _require_sweepable(plan)
    with alone(folder):
        table = _open(plan, folder)
        for sentence in (*plan.decisions, _intent(plan, tried)):
            screen.decide(sentence)
        for number, member in enumerate(tried, start=1):
            if _row(table, member) is None:
                brief = Brief(screen, f"{number} of {len(tried)}, {member.name}: ")
                stopped = _run(plan, member, folder, table, brief, command)
                if stopped is not None:
                    return Result(folder, folder / "model", {}, False, stopped.signal), table
                screen.end_progress()
            screen.say(f"{number} of {len(tried)}, {member.name}: {_said(table, member)}")
        best = _choose(table, tried)
        _write(folder, table)
        show(table, screen)
        return go_on(_final(plan, best, folder, table), folder, screen, command, measure_again), table


def preview(
    plan: Plan, tried: Sequence[Member], folder: Path, screen: Screen
) -> tuple[RunConfig, int | None, dict[str, Any]]:
    """What `sweep` would go on with, as `vitral.run.preview` says it of a run; and the table so far.

    Raises:
        UsageError: as `sweep`.
    """
    _require_sweepable(plan)
    require_own(folder)
    table = _begun(plan, folder) or _empty(plan)
    screen.decide(_intent(plan, tried))
    screen.table(("learning rate", "length", "so far"), [_planned(table, member, plan) for member in tried], right=(0,))
    left = [member for member in tried if _row(table, member) is None]
    if left:
        own = _own(plan, left[0], folder, table)
        return (*run.preview(own, folder / "sweep" / left[0].name, screen), table)
    return (*run.preview(_final(plan, _choose(table, tried), folder, table), folder, screen), table)


def show(table: dict[str, Any], screen: Screen) -> None:
    """The table on the screen, the chosen row marked."""
    metric = table["metric"]
    rows = [
        (
            f"{row['learning_rate']:g}",
            row["duration"],
            "diverged" if row["value"] is None else written(metric, row["value"]),
            "chosen" if row["run"] == table["chosen"] else "",
        )
        for row in table["tried"]
    ]
    screen.table(("learning rate", "length", f"held-out {name_of(metric)}", ""), rows, right=(0, 2))


# Before ---------------------------------------------------------------------------------------------


def _require_sweepable(plan: Plan) -> None:
    config = plan.config
    if config.optimizer.name == "lbfgs":
        raise UsageError("--lr-grid tries learning rates, and this recipe has none: leave it out.")
    if VALIDATION not in plan.dataset.splits:
        raise UsageError(
            "--lr-grid chooses on held-out pictures, and there are none: set --data.validation-fraction above 0."
        )
    if config.optimizer.find_rate:
        raise UsageError("--find-lr and --lr-grid are two ways to find the learning rate: give one of the two.")
    if config.training.patience is not None:
        raise UsageError(
            "--lr-grid ends with a run on all pictures, which leaves none to stop early by: leave "
            "--training.patience out."
        )


def _intent(plan: Plan, tried: Sequence[Member]) -> str:
    held = len(plan.dataset.splits[VALIDATION])
    return (
        f"{len(tried)} runs find the learning rate, each judged on {held:,} pictures that it does not learn from; with "
        f"the best, one more learns from all {held + len(plan.dataset.splits[TRAIN]):,}"
    )


def _open(plan: Plan, folder: Path) -> dict[str, Any]:
    """The table so far; what an earlier start of another sweep left is refused."""
    table = _begun(plan, folder)
    if table is None:
        table = _empty(plan)
        _write(folder, table)
    return table


def _empty(plan: Plan) -> dict[str, Any]:
    made: dict[str, Any] = {"metric": plan.config.metric, "tried": [], "chosen": None, "settled": {}}
    return made | {"config": to_json(plan.config), "data": described(plan.dataset)}


def _begun(plan: Plan, folder: Path) -> dict[str, Any] | None:
    """The table that an earlier start left."""
    path = folder / "sweep.json"
    if not path.is_file():
        if (folder / "config.json").is_file():
            raise UsageError(f"{folder} holds a run without a sweep: start afresh with --out ANOTHER_FOLDER.")
        return None
    try:
        table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        require_same(plan.config, described(plan.dataset), folder, table["config"], table["data"])
        if not all({"run", "value", "loss", "learning_rate", "duration"} <= set(row) for row in table["tried"]):
            raise ValueError("a row is not whole")
        override(plan.config, table.setdefault("settled", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} cannot be read ({error}): name another folder with --out.") from error
    return table


def _write(folder: Path, table: dict[str, Any]) -> None:
    try:
        replace_durably(folder / "sweep.json", json.dumps(table, indent=1).encode())
    except OSError as error:
        raise StorageError(f"cannot write to {folder} ({error.strerror}): name another folder with --out.") from error


# Members --------------------------------------------------------------------------------------------


def _run(
    plan: Plan, member: Member, folder: Path, table: dict[str, Any], screen: Screen, command: tuple[str, ...]
) -> Result | None:
    """Train and judge one member and note it; what came out, if it was stopped."""
    own = _own(plan, member, folder, table)
    where = folder / "sweep" / member.name
    row: dict[str, Any] = {"run": str(where.relative_to(folder)), "learning_rate": member.learning_rate}
    row |= {"duration": str(own.config.schedule.duration), "warmup": str(own.config.schedule.warmup)}
    try:
        result = start(own, where, screen, command)
        if not result.finished:
            return result
        found = result.metrics["validation"]
        row |= {"value": found[table["metric"]], "loss": found.get("loss"), "error": None}
    except NonFiniteError as error:
        row |= {"value": None, "loss": None, "error": str(error)}
    table["tried"].append(row)
    table["settled"] = table["settled"] or _settled(own.config, where)
    _write(folder, table)
    shutil.rmtree(where / "checkpoints", ignore_errors=True)  # it is not run again
    return None


def _own(plan: Plan, member: Member, folder: Path, table: dict[str, Any]) -> Plan:
    """The plan of a member."""
    splits = {name: split for name, split in plan.dataset.splits.items() if name != TEST}  # test takes no part
    # A solved head that is kept would make all members alike, so there is no first look.
    ends = {"training.evaluate_every": Duration(0, "steps"), "training.first_look": False}
    config = override(member.config(plan.config), {**ends, **table["settled"]})
    config = override(config, {"runtime.features": config.runtime.features or str(folder / "features")})
    return replace(plan, config=config, dataset=replace(plan.dataset, splits=splits), warnings=())


def _settled(config: RunConfig, where: Path) -> dict[str, Any]:
    """What the first member's trial chose. It holds for all: rates are compared at the same precision."""
    if config.training.precision is not None:
        return {}
    return {"training.precision": json.loads((where / "config.json").read_text())["training"]["precision"]}


def _row(table: dict[str, Any], member: Member) -> dict[str, Any] | None:
    return next((row for row in table["tried"] if Path(row["run"]).name == member.name), None)


def _planned(table: dict[str, Any], member: Member, plan: Plan) -> tuple[str, str, str]:
    """A member's row in a table of what would be tried."""
    length = str(member.config(plan.config).schedule.duration)
    return f"{member.learning_rate:g}", length, "" if _row(table, member) is None else _said(table, member)


def _said(table: dict[str, Any], member: Member) -> str:
    row = _row(table, member)
    assert row is not None
    metric, value = table["metric"], row["value"]
    return "diverged" if value is None else f"{name_of(metric)} {written(metric, value)}"


# After ----------------------------------------------------------------------------------------------


def _choose(table: dict[str, Any], tried: Sequence[Member]) -> Member:
    """The best member: of equals the one of lower loss, then the first."""
    sign = -1 if table["metric"] == "loss" else 1

    def merit(member: Member) -> tuple[float, float]:
        row = _row(table, member)
        assert row is not None
        return sign * row["value"], -(row["loss"] if row["loss"] is not None else 0.0)

    sound = [member for member in tried if (row := _row(table, member)) and row["value"] is not None]
    if not sound:
        raise NonFiniteError("every learning rate of the grid diverged: try lower ones, like --lr-grid 1e-5,1e-4.")
    best = max(sound, key=merit)
    row = _row(table, best)
    assert row is not None
    table["chosen"] = row["run"]
    return best


def _final(plan: Plan, best: Member, folder: Path, table: dict[str, Any]) -> Plan:
    """The winner's run on all pictures of train and those that were held out."""
    config = override(best.config(plan.config), {"data.validation_fraction": 0.0, **table["settled"]})
    path = folder / table["chosen"] / "model" / "metrics.json"
    try:
        won = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read ({error}): sweep anew in another folder with --out.") from error
    tried = [{name: row[name] for name in ("learning_rate", "duration", "value", "loss")} for row in table["tried"]]
    known = {"sweep": {"metric": table["metric"], "tried": tried, "learning_rate": best.learning_rate}}
    if "calibration" in won:  # no picture is left to fit a temperature on; the winner's is of the same recipe
        known["calibration"] = won["calibration"]
    said = [f"learning rate {best.learning_rate:g}: the best of {len(tried)} on held-out pictures"]
    said += [f"{config.training.precision}: as in those runs"] if table["settled"] else []
    return replace(
        plan, config=config, dataset=_whole(plan), decisions=(*plan.decisions, *said), known={**plan.known, **known}
    )


def _whole(plan: Plan) -> Dataset:
    """Train with what was held out of it where it stood, or with the validation split that the data has after it."""
    data, dataset = plan.config.data, plan.dataset
    if dataset.cut is not None and data.path:
        again = read_pictures(replace(data, validation_fraction=0.0), plan.config.training.seed)
        return replace(again, notes=dataset.notes, warnings=dataset.warnings)
    train, held = dataset.splits[TRAIN], dataset.splits[VALIDATION]
    whole = Split([*train.sources, *held.sources], [*train.labels, *held.labels])
    others = {name: split for name, split in dataset.splits.items() if name != VALIDATION}
    return replace(dataset, splits=others | {TRAIN: whole}, cut=None)
