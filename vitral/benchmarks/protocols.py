"""How one task is measured: by a probe of frozen features, or by fine-tuning.

paper     Table 4 of arXiv 2010.11929: for VTAB 2,500 steps at rate 0.01, batch 512, 384 pixels
finetune  vitral's own preset for few pictures, at the model's own size
linear    a linear classifier on frozen features, its weight decay chosen on validation (and what knn gives)
knn       the nearest picture by the cosine of features: nothing is learned

Pictures are squashed to the input, as in the authors' evaluation: a cut would lose what lies at the border, and with
it the answer of tasks on places and distances. The fine-tunings learn from train and validation together, as VTAB-1k's
final numbers do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vitral.benchmarks.benchmark import Entry
from vitral.config import DataConfig, Duration, Size
from vitral.console import Screen
from vitral.datasets.dataset import TEST, TRAIN, VALIDATION, Dataset, Split
from vitral.datasets.real import real_labels
from vitral.errors import DataError
from vitral.evaluation import evaluate_split, on_request, probing, represent, threads
from vitral.evaluators import PROBES
from vitral.planning import plan
from vitral.recipes import RECIPES
from vitral.run import start
from vitral.serving.predictor import Model

HEADLINE = {"linear": "linear", "knn": "1nn"}
"""The number of a probe that stands for it."""


@dataclass(frozen=True)
class Asked:
    """What a sweep was asked for.

    Attributes:
        model: loaded, for probes.
        weights: what fine-tuning starts from.
        words: settings given on the command line, by their names.
        folder: of the results; runs lie below it.
        data: folder of the published data sets.
    """

    model: Model
    weights: str
    words: Mapping[str, Any]
    folder: Path
    data: Path
    screen: Screen
    command: tuple[str, ...] = ()

    @property
    def workers(self) -> int:
        """Threads that read pictures."""
        return threads(self.words.get("runtime.workers"))

    def prepared(self, **usual: Any) -> Model:
        """The model with the preprocessing that was asked for, and else with what is usual."""
        prefix = "preprocessing."
        words = {name.removeprefix(prefix): value for name, value in self.words.items() if name.startswith(prefix)}
        return self.model.with_preprocessing(**usual | words)


class StoppedError(Exception):
    """A signal stopped a fine-tuning; it goes on with the next start."""

    def __init__(self, signal: int) -> None:
        super().__init__()
        self.signal = signal


Measure = Callable[[Entry, Dataset, Asked], dict[str, Any]]
"""Measures a task: `top1` in [0, 1], `count` test pictures, `train_count`, `unreadable` and more."""


def probed(method: str) -> Measure:
    """A measure by the probe of that name."""

    def measure(entry: Entry, dataset: Dataset, asked: Asked) -> dict[str, Any]:
        whole, dataset = len(dataset.splits[TRAIN]), _thinned(dataset, entry.probed)
        if len(dataset.splits[TRAIN]) < whole:
            learnt = f"{len(dataset.splits[TRAIN]):,} of {whole:,} pictures"
            asked.screen.decide(f"{entry.name}: probes learn from {learnt}, {entry.probed} of each class at most")
        model = asked.prepared(resize=asked.model.preprocessing.crop)
        asked.screen.progress(f"{entry.name}: features of {sum(map(len, dataset.splits.values())):,} pictures")
        seen = represent(model, dataset, asked.workers, DataConfig().max_pixels)
        found, tested, unreadable = probing(dataset, seen)
        _tell(unreadable, asked.screen)
        if not len(found.train) or not len(found.test):
            raise DataError("no picture to learn from or to measure on could be read.")
        asked.screen.progress(f"{entry.name}: {method}")
        made = {**PROBES["knn"](found), **PROBES[method](found)}  # with features at hand, neighbours cost nothing
        made.pop("tried", None)
        return {
            "top1": made[HEADLINE[method]],
            **{name: value for name, value in made.items() if name != HEADLINE[method]},
            "count": len(dataset.splits[tested]),
            "train_count": len(found.train),
            "unreadable": len(unreadable),
        }

    return measure


def finetuned(entry: Entry, dataset: Dataset, asked: Asked) -> dict[str, Any]:
    """Fine-tune by vitral's own preset."""
    whole = _whole(dataset)
    words = {"preprocessing.resize": asked.words.get("model.image_size", asked.model.preprocessing.crop)}
    if "augmentation.flip" in entry.augmentation:
        words["augmentation.flip"] = entry.augmentation["augmentation.flip"]
    if entry.augmentation.get("augmentation.crop") == "none":
        words["augmentation.crop"] = "none"
    return _run(entry, whole, asked, "finetune", words, asked.folder / "runs" / entry.name)


def by_paper(entry: Entry, dataset: Dataset, asked: Asked) -> dict[str, Any]:
    """Fine-tune by the paper's table; where it names several rates, the best on held-out pictures of train is taken."""
    folder = asked.folder / "runs" / entry.name
    words = _paper_words(entry, asked)
    rates = (asked.words["optimizer.learning_rate"],) if "optimizer.learning_rate" in asked.words else entry.rates
    tried = {}
    for rate in rates if len(rates) > 1 else ():
        held_out = _held_out(dataset, entry.held_out)
        made = _run(entry, held_out, asked, entry.recipe, words | {"optimizer.learning_rate": rate},
                    folder / f"rate-{rate:g}", VALIDATION)  # fmt: skip
        tried[f"{rate:g}"] = made["top1"]
    best = float(max(tried, key=lambda rate: tried[rate])) if tried else rates[0]
    found = _run(entry, _whole(dataset), asked, entry.recipe, words | {"optimizer.learning_rate": best},
                 folder / "final" if tried else folder)  # fmt: skip
    return {**found, "learning_rate": best, **({"tried": tried} if tried else {})}


PROTOCOLS: dict[str, Measure] = {
    "paper": by_paper,
    "finetune": finetuned,
    "linear": probed("linear"),
    "knn": probed("knn"),
}
"""By name."""


def as_it_is(entry: Entry, dataset: Dataset, asked: Asked) -> dict[str, Any]:
    """Measure the model's own head on the test pictures: it was trained for these very classes."""
    index = {name: k for k, name in enumerate(asked.model.classes)}
    test = dataset.splits[TEST]
    split = Split(test.sources, [tuple(index[dataset.classes[k]] for k in labels) for labels in test.labels])
    asked.screen.progress(f"{entry.name}: measuring {len(split):,} pictures")
    result = evaluate_split(asked.prepared(), split, asked.workers, DataConfig().max_pixels)
    assert result is not None
    made = {"top1": result.metrics["top1"], "count": len(split), "unreadable": len(result.unreadable), "as_it_is": True}
    return made | _real(entry, split, result.logits, asked.model, asked)


def knows(model: Model, dataset: Dataset) -> bool:
    """Whether the model's classes are those of the data set, by name."""
    return model.named and sorted(model.classes) == sorted(dataset.classes)


# Parts ----------------------------------------------------------------------------------------------


def _paper_words(entry: Entry, asked: Asked) -> dict[str, Any]:
    """Augmentation as the paper has it, and at another size than 384 in the same proportion."""
    words = dict(entry.augmentation)
    enlarged = words.get("augmentation.resize")
    size: Size | None = asked.words.get("model.image_size")
    config = RECIPES[entry.recipe].config
    if enlarged and size and config and config.model.image_size:
        usual = config.model.image_size
        words["augmentation.resize"] = tuple(
            round(large * ours / theirs) for large, ours, theirs in zip(enlarged, size, usual, strict=True)
        )
    if size:
        words["preprocessing.resize"] = size
    return words


def _run(
    entry: Entry,
    dataset: Dataset,
    asked: Asked,
    recipe: str,
    words: Mapping[str, Any],
    folder: Path,
    measured: str = TEST,
) -> dict[str, Any]:
    """Fine-tune on the data set's train split, or go on with it, and give what was measured on another split."""
    settings = {"data.path": str(asked.data), **words, "model.weights": asked.weights, **asked.words}
    settings["training.keep_checkpoints"] = 1
    settings.setdefault("training.evaluate_every", Duration(1e9, "steps"))  # at the end: there is nothing to choose
    asked.screen.say(f"{entry.name}: fine-tuning in {folder}")
    result = start(plan(recipe, settings, dataset), folder, asked.screen, asked.command)
    if not result.finished:
        raise StoppedError(result.signal or 2)
    metrics = result.metrics[measured]
    made = {name: metrics[name] for name in ("top1", "count", "unreadable")}
    made |= {"train_count": len(dataset.splits[TRAIN]), "run": str(folder)}
    if measured == TEST and entry.real(asked.data) is not None:
        from vitral.serving.loading import load

        model = load(result.model, str(asked.model.device))
        answered = evaluate_split(model, dataset.splits[TEST], asked.workers, DataConfig().max_pixels)
        assert answered is not None
        made |= _real(entry, dataset.splits[TEST], answered.logits, model, asked)
    return made


def _real(entry: Entry, split: Split, logits: np.ndarray, model: Model, asked: Asked) -> dict[str, Any]:
    where = entry.real(asked.data)
    if where is None:
        return {}
    names = [str(source) for source in split.sources]
    real = real_labels(str(where), DataConfig(path=str(asked.data)), names, len(model.classes))
    made = on_request(model, logits, split.labels, real, None, None)
    return {"real_top1": made["real_top1"], "real_count": made["real_count"]}


def _whole(dataset: Dataset) -> Dataset:
    """Train and validation as one, and test; without a test split, validation in its place."""
    splits = dict(dataset.splits)
    validation = splits.pop(VALIDATION, None)
    if validation is not None and TEST in splits:
        train = splits[TRAIN]
        splits[TRAIN] = Split([*train.sources, *validation.sources], [*train.labels, *validation.labels])
    elif validation is not None:
        splits[TEST] = validation
    return replace(dataset, splits=splits, cut=None)


def _held_out(dataset: Dataset, share: float) -> Dataset:
    """Train without a share of it, and that share as validation: the last pictures, as the authors' code has it."""
    train = dataset.splits[TRAIN]
    kept = len(train) - round(share * len(train))
    splits = {
        TRAIN: Split(train.sources[:kept], train.labels[:kept]),
        VALIDATION: Split(train.sources[kept:], train.labels[kept:]),
    }
    return replace(dataset, splits=splits)


def _thinned(dataset: Dataset, most: int) -> Dataset:
    """At most so many training pictures of each class, the first ones; all of them if it is 0."""
    train = dataset.splits[TRAIN]
    seen: dict[tuple[int, ...], int] = {}
    kept = []
    for i, label in enumerate(train.labels):
        seen[label] = seen.get(label, 0) + 1
        if seen[label] <= most or not most:
            kept.append(i)
    if len(kept) == len(train):
        return dataset
    thin = Split([train.sources[i] for i in kept], [train.labels[i] for i in kept])
    return replace(dataset, splits={**dataset.splits, TRAIN: thin})


def _tell(unreadable: Mapping[str, str], screen: Screen) -> None:
    for path, reason in list(unreadable.items())[:10]:
        screen.warn(f"{path}: {reason}")
