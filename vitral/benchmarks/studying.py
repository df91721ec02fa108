"""A study from its first run to its last: what has been run is not run again.

FOLDER/study.json      what is studied: scale, settings of every run, pictures
       results.jsonl   a line for each finished run
       runs/MEMBER/seed-S/           the pre-training
       runs/MEMBER/seed-S/transfer/  its fine-tuning
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitral.benchmarks.budget import Budget
from vitral.benchmarks.measures import Asked, measure
from vitral.benchmarks.protocols import StoppedError
from vitral.benchmarks.study import Member
from vitral.console import Brief, duration_words
from vitral.errors import NonFiniteError, StorageError, UsageError
from vitral.files import replace_durably
from vitral.overrides import to_json
from vitral.recipes import RECIPES
from vitral.run_folder import described, held, holds_only
from vitral.training.log import JsonLines

DESCRIPTION, RESULTS = "study.json", "results.jsonl"


@dataclass
class Outcome:
    """What came of a study.

    Attributes:
        lines: of the finished runs, in the order of the members, then of the seeds.
        signal: that stopped it, if one did.
    """

    lines: list[dict[str, Any]] = field(default_factory=list)
    signal: int | None = None


def study(members: Sequence[Member], seeds: int, asked: Asked, budget: Budget) -> Outcome:
    """Run the members that have not been run, each with seeds 0 to `seeds` - 1, the first seed of all before the
    second.

    Raises:
        UsageError: the folder holds another study, or this one with other settings or pictures, or another process
            studies in it.
        StorageError: it cannot be written.
    """
    require_study(asked)
    with held(asked.folder):
        return _study(members, seeds, asked, budget)


def _study(members: Sequence[Member], seeds: int, asked: Asked, budget: Budget) -> Outcome:
    _open(asked)
    table = JsonLines(asked.folder / RESULTS)
    table.cut_torn_line()
    done = finished(asked.folder)
    left = [(member, seed) for seed in range(seeds) for member in members if (member.name, seed) not in done]
    for number, (member, seed) in enumerate(left, start=1):
        screen = Brief(asked.screen, f"{number} of {len(left)}, {member.name}, seed {seed}: ")
        screen.progress("reading")
        try:
            made = measure(member, seed, asked, screen)
        except StoppedError as stopped:
            screen.end_progress()
            return Outcome(_ordered(asked.folder, members, seeds), stopped.signal)
        except NonFiniteError as error:
            made = {"error": str(error), "seconds": None}
        screen.end_progress()
        table.append({"member": member.name, "seed": seed, **made})
        budget.spent(member, made["seconds"])
        asked.screen.say(f"{screen.prefix}{_said(made)}; {_time_left(budget, left[number:])}")
    return Outcome(_ordered(asked.folder, members, seeds))


def finished(folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Lines of the runs that are finished, by member and seed."""
    lines = JsonLines(folder / RESULTS).read()
    return {(str(line["member"]), int(line["seed"])): line for line in lines if {"member", "seed"} <= set(line)}


def require_study(asked: Asked) -> bool:
    """Whether the folder holds this study; nothing is written.

    Raises:
        UsageError: it holds something else, or the study with other settings or pictures: what differs.
    """
    path = asked.folder / DESCRIPTION
    if not path.is_file():
        if asked.folder.is_file():
            raise UsageError(f"{asked.folder} is a file: name a folder with --out.")
        if asked.folder.is_dir() and not holds_only(asked.folder, {DESCRIPTION}):
            raise UsageError(f"{asked.folder} is not empty and holds no study: name another folder with --out.")
        return False
    try:
        changed = _differences(json.loads(path.read_text(encoding="utf-8")), _identity(asked))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read ({error}): name another folder with --out.") from error
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise UsageError(
            f"{asked.folder} holds another study ({'; '.join(changed[:3])}{more}): name another folder with --out, or "
            "give the same options to go on."
        )
    return True


def _open(asked: Asked) -> None:
    if require_study(asked):
        return
    try:
        replace_durably(asked.folder / DESCRIPTION, json.dumps(_identity(asked), indent=1).encode())
    except OSError as error:
        raise StorageError(
            f"cannot write to {asked.folder} ({error.strerror}): name another folder with --out."
        ) from error


def _identity(asked: Asked) -> dict[str, Any]:
    transfer = asked.study.transfer
    recipes = {name: RECIPES[name].config for name in (asked.scale.recipe, f"{asked.scale.recipe}-unlabelled")}
    return {
        "study": asked.study.name,
        "scale": asked.scale.name,
        "recipes": {name: to_json(config) for name, config in recipes.items()},
        "transfer": transfer
        and {"recipe": transfer.recipe, "pictures": transfer.pictures, **_plain(transfer.settings)},
        "settings": _plain({name: value for name, value in asked.words.items() if not name.startswith("runtime.")}),
        "members": {
            member.name: {
                "share": member.share,
                "teacher": member.teacher,
                "kind": member.kind,
                **_plain(member.settings),
            }
            for member in asked.study.members
        },
        "pre-trained on": described(asked.upstream),
        "transferred to": described(asked.downstream),
    }


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, int | float | str | None) else str(value) for name, value in settings.items()
    }


def _differences(before: Any, now: Mapping[str, Any], name: str = "") -> list[str]:
    """What changed, by dotted names."""
    found = []
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{name}{key}: ")
        elif old != new:
            found.append(f"{name}{key}: {_brief(old)} -> {_brief(new)}")
    return found


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _ordered(folder: Path, members: Sequence[Member], seeds: int) -> list[dict[str, Any]]:
    done = finished(folder)
    keys = [(member.name, seed) for member in members for seed in range(seeds)]
    return [done[key] for key in keys if key in done]


def _said(made: Mapping[str, Any]) -> str:
    if "error" in made:
        return "diverged"
    shown = {"top1": "top-1", "5shot": "5-shot", "transfer_top1": "fine-tuned"}
    return ", ".join(f"{word} {made[name]:.1%}" for name, word in shown.items() if name in made)


def _time_left(budget: Budget, left: Sequence[tuple[Member, int]]) -> str:
    return f"about {duration_words(budget.of(left))} left" if left else "that was the last"
