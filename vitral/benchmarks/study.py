"""What a study is: runs that differ in what is asked, the numbers that are taken of each, and the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple


class Point(NamedTuple):
    """A mean over seeds, or a published number; `spread` is the standard deviation over seeds, where there are
    several."""

    x: float
    y: float
    spread: float | None = None


@dataclass(frozen=True)
class Member:
    """One run of a study, but for its seed.

    Attributes:
        group: the figure that it belongs to; with `label` its name.
        label: what it is called in tables and figures; letters that a folder's name may have.
        series: the line that it is a point of.
        settings: of the pre-training, by their dotted names, over the scale's recipe.
        share: of the pictures, of each class as many; a smaller share lies in a larger one.
        teacher: name of the member whose answers it learns from beside the labels.
        kind: "labels"; "pictures": the pre-training learns no labels, so `top1` and few shots mean nothing; "none":
            there is no pre-training, and `settings` are those of what would else be the transfer.
    """

    group: str
    label: str
    series: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    share: float = 1.0
    teacher: str | None = None
    kind: Literal["labels", "pictures", "none"] = "labels"

    @property
    def name(self) -> str:
        """In tables; its folder below runs/."""
        return f"{self.group}/{self.label}"


@dataclass(frozen=True)
class Transfer:
    """How the fine-tuning after a pre-training goes: a recipe, what differs, and training pictures of a class (0: all
    of them)."""

    recipe: str
    settings: Mapping[str, Any]
    pictures: int = 0


class Axis(NamedTuple):
    """A number of a run's line in the table, and what it is called; of y it is in [0, 1] and called a percentage."""

    key: str
    label: str


TOP1 = Axis("top1", "top-1, %")
FIVE_SHOTS = Axis("5shot", "5-shot linear, %")
TRANSFER = Axis("transfer_top1", "fine-tuned top-1, %")


@dataclass(frozen=True)
class Published:
    """What a paper found.

    Attributes:
        points: by series, y in percent; of a panel of differences one by label, x unused.
        x, y: what its axes are called.
        source: paper, table or figure.
    """

    points: Mapping[str, tuple[Point, ...]]
    x: str
    y: str
    source: str


@dataclass(frozen=True)
class Panel:
    """One figure: ours, beside what was published.

    Attributes:
        file: its name, without an ending.
        group: of the members that it shows.
        x: of lines, by series; `None` shows how far each member is from the member `base`.
    """

    file: str
    group: str
    title: str
    y: Axis
    x: Axis | None = None
    base: str = ""
    published: Published | None = None


@dataclass(frozen=True)
class Study:
    """A question and what answers it.

    Attributes:
        members: the runs; those that others learn from come before them.
        fewshot: whether a linear classifier of few pictures of other classes is fitted to the features.
        transfer: how the pre-trained network is fine-tuned on other classes; `None`: it is not.
    """

    name: str
    question: str
    members: tuple[Member, ...]
    panels: tuple[Panel, ...]
    fewshot: bool = True
    transfer: Transfer | None = None
