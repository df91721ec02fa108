"""The authors' own files in Google's public storage.

"augreg/ViT-S/16@224"        arXiv 2106.10270: ImageNet-21k, then ImageNet-1k at 224 or 384 pixels
"bit/BiT-M-R50x1"            arXiv 1912.11370; "bit/R50x1-ILSVRC2012" is BiT-M, fine-tuned on ImageNet-1k
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from vitral.errors import DataError, UsageError
from vitral.registry import look_up, spelled
from vitral.weights.sources.cache import cache_folder, kept
from vitral.weights.sources.download import Progress

STORAGE = "https://storage.googleapis.com"

AUGREG = r"augreg/(?P<model>[A-Za-z0-9+]+(?:/[0-9]+)?(?:-[A-Za-z0-9+]+)?/[0-9]+)(?:@(?P<side>[0-9]+))?"
SIDES = (224, 384)
"""Pixels at which the fine-tuned networks of the index were trained."""

SAFE = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,250}"
"""What the index may name: a file beside itself."""

BIT = {
    name: f"BiT-{kind}-R{size}{ending}"
    for size in ("50x1", "50x3", "101x1", "101x3", "152x2", "152x4")
    for kind, ending in (("S", ""), ("M", ""), ("M", "-ILSVRC2012"))
    for name in (f"BiT-{kind}-R{size}{ending}", f"{kind}-R{size}{ending}", *([f"R{size}{ending}"] * (kind == "M")))
}
"""Files of BiT by their names and by shorter ones."""


def fetch(words: str, progress: Progress) -> Path | None:
    """The file that "augreg/MODEL@SIDE" or "bit/MODEL" names, on this machine; `None` for other words.

    Raises:
        UsageError: there is none of that name; the nearest are given. UnavailableError: it cannot be fetched.
    """
    if words.startswith("bit/"):
        name = look_up("published BiT model", spelled(words.removeprefix("bit/"), BIT), BIT)
        return _kept("bit_models", f"{name}.npz", f"the file of {words}", progress)
    if words.startswith("augreg/"):
        match = re.fullmatch(AUGREG, words)
        if match is None or int(match["side"] or 224) not in SIDES:
            raise UsageError(f"{words} is no published model: write augreg/MODEL@SIDE, as augreg/ViT-S/16@224 or @384.")
        index = _kept("vit_models/augreg", "index.csv", "the authors' list of models", progress)
        try:
            with index.open(newline="", encoding="utf-8") as file:
                name = chosen(
                    csv.DictReader(file),
                    re.sub("vit-", "", match["model"], flags=re.IGNORECASE),
                    int(match["side"] or 224),
                )
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            if isinstance(error, UsageError):
                raise
            raise DataError(
                f"{index} is not the authors' list of models ({error}): remove it to fetch it anew."
            ) from error
        return _kept("vit_models/augreg", f"{name}.npz", f"the file of {words}", progress)
    return None


def chosen(rows: Iterable[Mapping[str, str]], model: str, side: int) -> str:
    """The file for a model, as the authors choose it in their notebook vit_jax_augreg.ipynb.

    The pre-training with the best final validation score on ImageNet-21k; of what it was fine-tuned to on ImageNet-1k
    at that side in pixels, the best final validation score.

    Args:
        rows: of index.csv.
        model: in its words: "S/16", "R50+L/32".

    Raises:
        UsageError: the list has no such model. KeyError, ValueError: it is not the list.
    """
    wide = [row for row in rows if row["ds"] == "i21k"]
    of_model = {row["name"]: None for row in wide}
    model = spelled(model, of_model)
    look_up("AugReg model", model, of_model)
    before = max((row for row in wide if row["name"] == model), key=lambda row: _score(row["final_val"]))
    tuned = [
        row
        for row in wide
        if (row["name"], row["filename"]) == (model, before["filename"])
        and (row["adapt_ds"], int(float(row["adapt_resolution"] or 0))) == ("imagenet2012", side)
    ]
    if not tuned:
        raise UsageError(f"the authors fine-tuned no {model} at {side} pixels: take one of {', '.join(of_model)}.")
    name = max(tuned, key=lambda row: _score(row["adapt_final_val"]))["adapt_filename"] or ""
    name = name.removesuffix(".npz")
    if re.fullmatch(SAFE, name) is None:
        raise ValueError(f"it names {name[:100]!r}")
    return name


def _score(words: str) -> float:
    found = float(words or "nan")
    return found if math.isfinite(found) else -math.inf


def _kept(bucket: str, name: str, what: str, progress: Progress) -> Path:
    return kept(f"{STORAGE}/{bucket}/{name}", cache_folder() / bucket.replace("/", "--") / name, what, progress)
