"""What a recipe is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vitral.config import Duration, RunConfig
from vitral.presets import Decision, Facts


@dataclass(frozen=True)
class Recipe:
    """Where a run starts from.

    Attributes:
        source: table or section of a paper, with its arXiv number.
        expected: the published score that the recipe should reach, and on what.
        config: the values; or
        choose: facts about the data -> the values and one sentence for each choice.
    """

    source: str
    expected: str
    config: RunConfig | None = None
    choose: Callable[[Facts], tuple[RunConfig, list[Decision]]] | None = None


def epochs(amount: float) -> Duration:
    """So many passes over the training pictures."""
    return Duration(amount, "epochs")


def steps(amount: float) -> Duration:
    """So many updates."""
    return Duration(amount, "steps")
