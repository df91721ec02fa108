"""What a recipe is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vitral.config import DataConfig, Duration, RunConfig
from vitral.presets import Decision, Facts

IMAGENET = 1_281_167
"""Training pictures of ImageNet-1k (ILSVRC 2012)."""

IMAGENET_21K = 12_400_000
"""Of ImageNet-21k once pictures that are there twice are merged, to the nearest 100,000."""

JFT = 303_000_000
"""Of JFT-300M, to the nearest million (arXiv 2010.11929, section 4.1)."""

MINIVAL = DataConfig(validation_fraction=0.01)
"""Of ImageNet, 1 % of train is held out to choose by (arXiv 2106.10270, section 3; 2010.11929, appendix B.1.1)."""


@dataclass(frozen=True)
class Grid:
    """What the authors tried before they chose: every rate, with every length (duration and warm-up) where any are
    named, else with the recipe's own."""

    rates: tuple[float, ...]
    lengths: tuple[tuple[Duration, Duration], ...] = ()


@dataclass(frozen=True)
class Recipe:
    """Where a run starts from.

    Attributes:
        source: table or section of a paper, with its arXiv number.
        expected: the published score that the recipe should reach, and on what.
        config: the values; or
        choose: facts about the data -> the values and one sentence for each choice.
        grid: what `--lr-grid` tries.
        note: what else the source says.
        cost: what the authors say that it took.
        pictures: training pictures of the data that it is for, where it is for one.
        tries_precision: on a CPU a trial chooses the precision from nothing too, unless `choose` sets one.
        unlabelled: what `choose` gives learns without labels.
    """

    source: str
    expected: str
    config: RunConfig | None = None
    choose: Callable[[Facts], tuple[RunConfig, list[Decision]]] | None = None
    grid: Grid | None = None
    note: str = ""
    cost: str = ""
    pictures: int | None = None
    tries_precision: bool = False
    unlabelled: bool = False

    @property
    def is_pretraining(self) -> bool:
        """Whether it learns without labels."""
        return self.unlabelled or (self.config is not None and not self.config.pretraining.is_off)


def epochs(amount: float) -> Duration:
    """So many passes over the training pictures."""
    return Duration(amount, "epochs")


def steps(amount: float) -> Duration:
    """So many updates."""
    return Duration(amount, "steps")
