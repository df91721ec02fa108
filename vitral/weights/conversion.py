"""Weights out: one model, written in another layout, read back and compared bit for bit.

conversion.json in the new folder says where it came from and which files are its own; only such a folder is ever
replaced, and only while it holds nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitral.errors import DataError, UsageError, one_line
from vitral.models import Network, family_of
from vitral.registry import look_up
from vitral.version import VERSION
from vitral.weights import LAYOUTS, Pretrained, build, read
from vitral.weights.aside import require_own, written_aside
from vitral.weights.layout import Described
from vitral.weights.report import LoadReport

MARK = "conversion.json"
"""The file by which a folder is known as written here."""

ALIASES = {"hf": "huggingface", "transformers": "huggingface", "google-npz": "google", "npz": "google"}
"""Other words for keys of `LAYOUTS`."""

TRAINING_ONLY = (
    "dropout", "stochastic_depth", "checkpoint_blocks", "head_bias", "position_resize", "layer_scale", "norm_momentum",
)  # fmt: skip
"""Fields of a configuration that change no score at its image size, so a layout without a place for them is no loss
that stands in the way."""

EPSILONS = ("layer_norm_eps", "group_norm_eps", "filter_std_eps", "filter_variance_eps")
"""Fields for which libraries have numbers of their own and no place: scores differ slightly there, which is said."""

LARGEST_EPSILON = 1e-5
"""Up to which an epsilon is one of those; a larger one shapes the network."""

Card = Callable[[str, Sequence[str]], str]
"""A layout's name, and sentences on what is otherwise there -> the model card of a folder in it."""


@dataclass
class WriteReport:
    """An account of a conversion.

    Attributes:
        layout: whose names the new folder uses.
        folder: where it is; `None` if it was only tried.
        compared: tensors that were read back and found equal, bit for bit.
        reformed: how many were transposed, split and so on, by what reading them undoes.
        files: (name, bytes) of each.
        changed: (what, before, after) for what the layout says otherwise. The scores of prepared pixels depend
            on `EPSILONS` alone of it, slightly; where it is of the preprocessing (mean, std, resize, interpolation), a
            picture is prepared otherwise.
    """

    layout: str
    folder: str | None
    compared: int
    reformed: dict[str, int]
    files: list[tuple[str, int]] = field(default_factory=list)
    changed: list[tuple[str, str, str]] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The account in one line per kind of event."""
        done = "".join(f", {count} {what} on reading" for what, count in self.reformed.items())
        said = [f"{self.compared} tensors written ({self.layout} layout{done}), read back, and equal bit for bit"]
        said += [f"{name} ({size / 1e6:,.1f} MB)" if size >= 1e5 else f"{name}" for name, size in self.files]
        return list(map(one_line, said))

    def losses(self) -> list[str]:
        """One line for whatever did not travel as it was."""
        return list(map(one_line, _said(self.changed)))


def _said(changed: Sequence[tuple[str, str, str]]) -> list[str]:
    return [
        f"{what}: {before} in the original, {after} in what was written{_weight(what)}"
        for what, before, after in changed
    ]


def _weight(what: str) -> str:
    """What hangs on a field that was written otherwise."""
    if what in EPSILONS:
        return ", with which scores differ slightly"
    if what == "position_resize":
        return ", which matters at other image sizes"
    return ", which matters in further training alone" if what in TRAINING_ONLY else ""


def layout_named(words: str) -> str:
    """The key of `LAYOUTS` that is meant; raises `UsageError` with the nearest names."""
    name = ALIASES.get(words, words)
    look_up("layout", name, LAYOUTS)
    return name


def convert(pretrained: Pretrained, layout: str, folder: Path | None, card: Card) -> tuple[LoadReport, WriteReport]:
    """Write a model in `layout`.

    Args:
        folder: to be made, or to be replaced if an earlier conversion made it; `None` writes into a temporary folder
            that is gone afterwards, so that the reports are those of a real conversion.
        card: makes the text of README.md.

    Raises:
        UsageError: no such layout, the layout has no place for the model, or something else stands at `folder`: the
            conversion of another model, too.
        DataError: what was written does not read back as the same model.
        StorageError: it could not be written; what was there before is untouched.
    """
    name = layout_named(layout)
    network, loaded = build(pretrained)
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="vitral-") as temporary:
            return loaded, _write(pretrained, network, name, Path(temporary), None, card)
    require_own(folder, pretrained.source, MARK, "conversion")
    with written_aside(folder) as aside:
        return loaded, _write(pretrained, network, name, aside, folder, card)


def _write(
    pretrained: Pretrained, network: Network, layout: str, place: Path, folder: Path | None, card: Card
) -> WriteReport:
    tensors = {key: value.detach() for key, value in network.state_dict().items()}
    with _unnamed(place):
        LAYOUTS[layout].write(place, _to_write(pretrained, network, layout), tensors)
        back = read(place)
        again, report = build(back)
    _require_same_scores(network, again, layout)
    _require_equal_bits(tensors, dict(again.state_dict()), layout)
    metrics, left_out = _measured(pretrained, back)
    if metrics or (place / "metrics.json").is_file():
        (place / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    changed = [*_changed(pretrained, back), *left_out]
    other_scores = [words for entry, words in zip(changed, _said(changed), strict=True) if entry[0] in EPSILONS]
    (place / "README.md").write_text(card(layout, other_scores), encoding="utf-8")
    record = {
        "library": "vitral",
        "version": VERSION,
        "source": str(pretrained.source),
        "source_layout": pretrained.layout,
        "layout": layout,
        "family": family_of(network.config),
        "files": sorted([MARK, *(path.name for path in place.iterdir())]),
    }
    (place / MARK).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return WriteReport(
        layout=layout,
        folder=None if folder is None else str(folder),
        compared=len(tensors),
        reformed=report.reformed,
        files=sorted((path.name, path.stat().st_size) for path in place.iterdir()),
        changed=changed,
    )


def _to_write(pretrained: Pretrained, network: Network, layout: str) -> Described:
    """What is written: the model as it was read, with numbers for names where vitral's own layout needs names."""
    described = dataclasses.replace(pretrained.described, config=network.config)
    if layout == "vitral" and not described.classes and described.pretraining is None:
        described = dataclasses.replace(described, classes=tuple(str(k) for k in range(network.config.num_classes)))
    return described


@contextlib.contextmanager
def _unnamed(place: Path) -> Iterator[None]:
    """Leave the name of the temporary folder, which is gone when somebody reads it, out of errors."""
    try:
        yield
    except (DataError, UsageError) as error:
        raise type(error)(str(error).replace(one_line(str(place)), "what was written")) from error


def _measured(before: Pretrained, after: Pretrained) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    """What metrics.json says of the new folder, and what was left out of it.

    A temperature was fitted to probabilities of a kind, for pictures prepared in one way, and holds for no other.
    """
    old, new = before.described, after.described
    if "calibration" not in before.metrics:
        return before.metrics, []
    if (old.multi_label, old.preprocessing) == (new.multi_label, new.preprocessing):
        return before.metrics, []
    kept = {name: value for name, value in before.metrics.items() if name != "calibration"}
    return kept, [("calibration of the probabilities", "fitted", "none, as it holds no more")]


def _require_same_scores(network: Network, again: Network, layout: str) -> None:
    """Refuse a configuration that reads back as another function."""
    if family_of(network.config) != family_of(again.config):
        raise DataError(
            f"a {family_of(network.config)} written as {layout} reads as a {family_of(again.config)}: choose another."
        )
    before, after = (dataclasses.asdict(config) for config in (network.config, again.config))
    for name, value in before.items():
        said = name in TRAINING_ONLY or (name in EPSILONS and max(value, after[name]) <= LARGEST_EPSILON)
        if value != after[name] and not said:
            raise UsageError(
                f"layout {layout} has no place for {name} {value!r} (it reads as {after[name]!r} there): choose "
                f"another."
            )


def _require_equal_bits(written: dict[str, Tensor], found: dict[str, Tensor], layout: str) -> None:
    differing = [
        name
        for name, value in written.items()
        if name not in found or not torch.equal(_bits(value), _bits(found[name]))
    ]
    if differing or written.keys() != found.keys():
        raise DataError(
            f"{len(differing)} tensors do not read back from layout {layout} as they were written "
            f"({', '.join(differing[:3])}): nothing was kept."
        )


def _bits(value: Tensor) -> Tensor:
    """The bytes [size] of a tensor, in which even two NaN can be compared."""
    return value.contiguous().reshape(-1).view(torch.uint8)


def _changed(before: Pretrained, after: Pretrained) -> list[tuple[str, str, str]]:
    """Fields of preprocessing and so on that read otherwise than before."""
    old, new = before.described, after.described
    found: dict[str, tuple[Any, Any]] = {}
    for name in (*TRAINING_ONLY, *EPSILONS):
        if hasattr(old.config, name):
            found[name] = getattr(old.config, name), getattr(new.config, name)
    for knob in dataclasses.fields(old.preprocessing):
        found[f"preprocessing.{knob.name}"] = (
            getattr(old.preprocessing, knob.name),
            getattr(new.preprocessing, knob.name),
        )
    found["class names"] = ", ".join(old.classes) or "none", ", ".join(new.classes) or "none"
    found["descriptions of classes"] = old.descriptions, new.descriptions
    found["several labels per picture"] = old.multi_label, new.multi_label
    return [(name, _short(was), _short(now)) for name, (was, now) in found.items() if was != now]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
