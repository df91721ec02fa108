"""The model card: README.md of a model folder, with front matter that the Hugging Face Hub reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from vitral.config import Preprocessing
from vitral.metrics import NAMES, written
from vitral.reports import swept
from vitral.reports.record import section
from vitral.reports.verdict import spread
from vitral.reports.wording import counted, for_markdown, for_yaml, number, percent

NAMED_CLASSES = 50
WEAKEST = 5
FEW_PICTURES = 30
"""A class measured on fewer pictures than this has a number that chance can move by ten points or more."""

_LICENCES = (
    *("apache-2.0", "mit", "isc", "bsd-2-clause", "bsd-3-clause", "mpl-2.0", "unlicense", "wtfpl", "openrail"),
    *("gpl-2.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
    *("cc-by-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "unknown"),
)
"""Names that the Hub knows; any other is "other" with a name of its own."""


def model_card(
    name: str,
    classes: Sequence[str],
    metrics: Mapping[str, Any],
    preprocessing: Preprocessing,
    model_description: str,
    data_name: str,
    recipe: str,
    licence: str | None = None,
    opens_in: str = "vitral",
    origin: str | None = None,
    caveats: Sequence[str] = (),
) -> str:
    """The card as Markdown.

    Args:
        metrics: {"validation": ..., "test": ...}, each as an evaluator returned it; both may be absent.
        opens_in: layout of the folder, a key of `LIBRARIES` where a library of its own opens it.
        origin: Markdown, what the model was trained on; `None` says it with `data_name` and `recipe`.
        caveats: what else bears on the scores in this folder, by its limits.
        licence: of the weights, best an SPDX identifier; `None` says nothing about it.
    """
    kinds = counted(len(classes), "class", "classes")
    sentence = f"{for_markdown(model_description)}. It tells {kinds} of pictures apart."
    parts = [
        f"# {for_markdown(name)}",
        sentence,
        "## What it tells apart",
        _class_names(classes, "config.json" if opens_in in LIBRARIES else "classes.json"),
        "## Numbers",
        *_numbers(metrics, len(classes)),
        "## Preprocessing",
        preparation(preprocessing),
        "## How to use it",
        *([LIBRARIES[opens_in][1]] if opens_in in LIBRARIES else []),
        _USE,
        "## What it was trained on",
        origin or learned_from(data_name, recipe, metrics),
        "## Limits",
        _limits(metrics, len(classes)),
        *(f"- {for_markdown(words)}" for words in caveats),
    ]
    library = LIBRARIES[opens_in][0] if opens_in in LIBRARIES else "vitral"
    return _front_matter(name, metrics, data_name, licence, library, _shown(len(classes))) + "\n\n".join(parts) + "\n"


_USE = """```bash
vitral predict path/to/this/folder picture.jpg
vitral evaluate path/to/this/folder folder/of/labelled/pictures
```

```python
import vitral

model = vitral.load("path/to/this/folder")
label, probability = model.predict("picture.jpg")[0]
```"""

LIBRARIES = {
    # layout: (the Hub's name for its library, how it opens the folder)
    "timm": (
        "timm",
        """```python
import timm

model = timm.create_model("local-dir:path/to/this/folder", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
```""",
    ),
    "huggingface": (
        "transformers",
        """```python
from transformers import AutoImageProcessor, AutoModelForImageClassification

model = AutoModelForImageClassification.from_pretrained("path/to/this/folder")
processor = AutoImageProcessor.from_pretrained("path/to/this/folder")
```""",
    ),
}
"""Libraries other than vitral that open a folder."""


def _front_matter(
    name: str, metrics: Mapping[str, Any], data_name: str, licence: str | None, library: str, scores: Sequence[str]
) -> str:
    lines = ["---"]
    if licence:
        known = licence.lower() in _LICENCES
        slug = re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-.") or "see-the-author"
        lines += [f"license: {licence.lower()}"] if known else ["license: other", f"license_name: {for_yaml(slug)}"]
    lines += [f"library_name: {library}", "pipeline_tag: image-classification"]
    lines += ["tags:", *(f"- {tag}" for tag in ("image-classification", "vision-transformer", "vitral"))]
    found = _chief_split(metrics)
    if found is not None:
        split, numbers = found
        lines += ["model-index:", f"- name: {for_yaml(name.strip() or 'model')}", "  results:"]
        lines += ["  - task:", "      type: image-classification", "    dataset:"]
        lines += [
            f"      name: {for_yaml(data_name.strip() or 'unnamed')}",
            "      type: imagefolder",
            f"      split: {split}",
            "    metrics:",
        ]
        for key in scores:
            value = number(numbers, key)
            if value is not None:
                kind = "accuracy" if key.startswith("top") else key
                lines += [f"    - type: {kind}", f"      name: {NAMES[key]}", f"      value: {value!r}"]
    return "\n".join([*lines, "---", "", ""])


def _chief_split(metrics: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    for split in ("test", "validation"):
        numbers = section(metrics, split)
        if number(numbers, "top1") is not None:
            return split, numbers
    return None


def _class_names(classes: Sequence[str], file: str) -> str:
    named = ", ".join(for_markdown(name) or "(empty name)" for name in classes[:NAMED_CLASSES])
    rest = len(classes) - NAMED_CLASSES
    return named + (f", and {rest:,} more: `{file}` lists them all." if rest > 0 else ".")


def _numbers(metrics: Mapping[str, Any], classes: int) -> list[str]:
    splits = [(split, found) for split in ("validation", "test") if (found := section(metrics, split))]
    sought = swept.sentence(metrics)
    if not splits:
        return [f"No picture was left to measure it on. {sought}" if sought else "Nothing was measured."]
    columns = [key for key in (*_shown(classes), "loss") if any(number(found, key) is not None for _, found in splits)]
    rows = [
        ["Split", "Pictures", *(NAMES.get(key, key) for key in columns), "Unreadable"],
        ["---", *["---:"] * (len(columns) + 2)],
        *(
            [split, _whole(found, "count"), *(_cell(found, key) for key in columns), _whole(found, "unreadable")]
            for split, found in splits
        ),
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    remarks = ["Unreadable pictures count as wrong."]
    best = number(metrics, "best_step")
    if "validation" in dict(splits) and best is not None:
        remarks.append(f"The weights are those of step {best:,.0f}, chosen on the validation split.")
    if sought:
        remarks.append(sought)
    return [table, " ".join(remarks), *_calibrated(metrics), *_weakest(metrics)]


def _shown(classes: int) -> list[str]:
    """Scores that say something of so many classes: five guesses among five or fewer are always right."""
    return [key for key in NAMES if key != "top5" or classes > 5]


def _calibrated(metrics: Mapping[str, Any]) -> list[str]:
    """What is known of the model's probabilities."""
    found = _chief_split(metrics)
    made = section(found[1], "calibration") if found else {}
    error, loss, brier = (number(made, name) for name in ("ece", "nll", "brier"))
    if found is None or error is None or loss is None or brier is None:
        return []
    fitted, before = section(metrics, "calibration"), number(section(made, "before"), "ece")
    ends = spread(found[1], "ece")
    words = f" (95% interval {percent(ends[0], 1)} to {percent(ends[1], 1)})" if ends else ""
    sentence = f"Its probabilities on the {found[0]} split: expected calibration error {percent(error)}{words}, "
    sentence += f"negative log-likelihood {loss:.4f}, Brier score {brier:.4f}."
    temperature, count = number(fitted, "temperature"), number(fitted, "fitted_on")
    if temperature is not None and temperature != 1 and count:
        was = f"; without it the error is {percent(before)}" if before is not None else ""
        pictures = counted(int(count), "validation picture")
        sentence += f" Scores are divided by the temperature {temperature:.3f}, fitted on {pictures}{was}."
    return [sentence]


def _weakest(metrics: Mapping[str, Any]) -> list[str]:
    found = _chief_split(metrics)
    if found is None:
        return []
    split, numbers = found
    key = "average_precision" if "mean_average_precision" in numbers else "top1"
    ranked = sorted(
        (value, name, row)
        for name, row in section(numbers, "per_class").items()
        if (value := number(row, key)) is not None
    )
    if len(ranked) < 2:
        return []
    rows = [
        f"| {for_markdown(name) or '(empty name)'} | {_whole(row, 'count')} | {written(key, value)} |"
        for value, name, row in ranked[:WEAKEST]
    ]
    head = f"Weakest classes on the {split} split:\n\n| Class | Pictures | {NAMES.get(key, 'average precision')} |"
    return ["\n".join([head, "| --- | ---: | ---: |", *rows])]


def preparation(rule: Preprocessing) -> str:
    """From a picture to the model's input, in words."""
    height, width = rule.crop
    if rule.resize is None:
        resized = "kept at its size"
    elif isinstance(rule.resize, int):
        resized = f"resized to a shorter side of {rule.resize} pixels ({rule.interpolation}, antialiased)"
    else:
        resized = f"squashed to {rule.resize[0]}×{rule.resize[1]} pixels ({rule.interpolation}, antialiased)"
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (rule.mean, rule.std))
    return (
        f"vitral does this by itself: a picture is turned upright by its EXIF orientation, {resized}, and cut at its "
        f"centre to {height}×{width} (height × width). Each of the channels red, green, blue becomes "
        f"(value / 255 - mean) / std, with mean {mean} and std {std}."
    )


def learned_from(data_name: str, recipe: str, metrics: Mapping[str, Any]) -> str:
    """Which pictures a model was trained on, how and how long."""
    steps = number(metrics, "step")
    length = f", for {counted(int(steps), 'step')}" if steps else ""
    by = f" with the recipe {for_markdown(recipe)}" if recipe else ""
    return f"The training split of {for_markdown(data_name) or 'a data set without a name'}{by}{length}."


def _limits(metrics: Mapping[str, Any], classes: int) -> str:
    lines = [
        f"It knows only its {counted(classes, 'class', 'classes')}; whatever else a picture shows has no name here.",
        "The numbers hold for pictures like those it was measured on; with others they can be worse.",
        "Measure it on pictures of your own before you rely on it: `vitral evaluate` does.",
    ]
    found = _chief_split(metrics)
    if found is None:
        return "\n".join(
            f"- {line}" for line in ["Nothing was measured, so nothing is known of how good it is.", *lines]
        )
    split, numbers = found
    count = int(number(numbers, "count") or 0)
    ends = spread(numbers, "top1")
    if ends:
        words = f"{percent(ends[0], 1)} to {percent(ends[1], 1)}"
        lines.append(f"With {counted(count, 'picture')} the 95% interval of {split} top-1 is {words}.")
    if split == "validation":
        lines.append("No test split was measured; the validation split chose the weights, so its numbers flatter.")
    few = [row for row in section(numbers, "per_class").values() if (number(row, "count") or 0) < FEW_PICTURES]
    if few:
        are = "class was" if len(few) == 1 else "classes were"
        lines.append(f"{len(few):,} {are} measured on fewer than {FEW_PICTURES} pictures each: read their numbers so.")
    return "\n".join(f"- {line}" for line in lines)


def _cell(found: Mapping[str, Any], key: str) -> str:
    value = number(found, key)
    return "–" if value is None else written(key, value)


def _whole(found: Mapping[str, Any], key: str) -> str:
    value = number(found, key)
    return "–" if value is None else f"{value:,.0f}"
