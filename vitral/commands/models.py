"""List the models by their papers' names, or show the parts of one."""

from __future__ import annotations

import argparse
from typing import Any

from vitral.console import Screen
from vitral.errors import UsageError
from vitral.registry import nearest, spelled


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="show one, like ViT-B/16; a part of names or a family lists those"
    )
    parser.add_argument("--family", metavar="FAMILY", help="list only one family: vit, bit, swin ...")


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, Any]:
    """List or show."""
    from vitral.catalogue import CATALOGUE

    words, family = arguments.name and spelled(arguments.name, CATALOGUE), arguments.family
    families = sorted({model.family for model in CATALOGUE.values()})
    if family is not None and family not in families:
        close = nearest(family, families) or families
        raise UsageError(f"unknown family {family!r}: did you mean {' or '.join(close)}?")
    known = {name: model for name, model in CATALOGUE.items() if family in (None, model.family)}
    found = {
        name: model
        for name, model in known.items()
        if words is None or words.lower() in name.lower() or words.lower() == model.family
    }
    if words in known or (words is not None and not found):
        if family is not None:
            _require_in(family, words, list(known))
        return 0, _show_one(words, screen)
    screen.table(
        ("model", "family", "input", "params", "GMACs", "top-1 @px", "weights"),
        [
            (
                name,
                m.family,
                _by(m.image_size),
                _short(m.parameters),
                f"{m.macs / 1e9:,.2f}",
                "–" if m.score is None else f"{m.score.top1:.2f} @{m.score.size}",
                "yes" if m.weights else "–",
            )
            for name, m in found.items()
        ],
        right=range(2, 6),
    )
    screen.say(
        "Parameters are counted with 1,000 classes; a GMAC is 10^9 multiplications with their additions, for one "
        "picture; top-1 is a published result on ImageNet, at that many pixels; weights says whether published ones "
        "can be had. `vitral models NAME` says by which name, and whose the score is. Any size of ViT with any patch "
        "works too (ViT-S/8, ViT-Ti/4), and any classifier of timm and Transformers (timm:resnet18, hf:convnextv2)."
    )
    return 0, [_row(name, model) for name, model in found.items()]


def _require_in(family: str, name: str, known: list[str]) -> None:
    """Refuse a name that is no model of the family.

    Args:
        known: names of its models.

    Raises:
        UsageError: it is another family's, or nobody's.
    """
    from vitral.models import configuration, family_of

    try:
        there = family_of(configuration(name)) == family
    except UsageError:
        there = False
    if not there:
        close = nearest(name, known) or known[:3]
        raise UsageError(f"family {family} has no model {name!r}: did you mean {' or '.join(close)}?")


def _row(name: str, model: Any) -> dict[str, Any]:
    import dataclasses

    return {"name": name, **dataclasses.asdict(model)}


def _short(count: int) -> str:
    """A count in three digits: 5.72 M, 86.6 M, 1.01 B."""
    value, unit = (count / 1e9, "B") if count >= 1e9 else (count / 1e6, "M")
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def _score(model: Any) -> str:
    return "–" if model.score is None else f"{model.score.top1:.2f}% at {model.score.size}, {model.score.source}"


def _by(sizes: Any) -> str:
    return "x".join(map(str, sizes))


def _show_one(name: str, screen: Screen) -> dict[str, Any]:
    import dataclasses

    from vitral.catalogue import CATALOGUE
    from vitral.models import configuration, family_of, named
    from vitral.models.counting import parts_of

    name = named(name)
    config = configuration(name)
    parts = parts_of(config)
    total, macs = sum(part.parameters for part in parts), sum(part.macs for part in parts)
    screen.table(
        ("part", "parameters", "share", "output", "GMACs"),
        [
            (
                part.name,
                f"{part.parameters:,}" if part.parameters else "–",
                f"{part.parameters / total:.1%}" if part.parameters else "–",
                "–" if part.output is None else _by(part.output),
                f"{part.macs / 1e9:,.3f}" if part.macs else "–",
            )
            for part in parts
        ],
        right=(1, 2, 3, 4),
    )
    screen.result(f"{name}: {total:,} parameters, {macs / 1e9:,.2f} GMACs for a picture of {_by(config.image_size)}")
    known = CATALOGUE.get(name)
    described = {"name": name, "family": family_of(config), "parameters": total, "macs": macs}
    if known is not None:
        screen.decide(f"ImageNet top-1: {_score(known)}")
        screen.decide(f"published weights: {known.weights or 'none that vitral can fetch'}")
        described |= {"score": known.score and dataclasses.asdict(known.score), "weights": known.weights}
    fields = dataclasses.asdict(config)
    for key, value in fields.items():
        screen.decide(f"{key}: {value}")
    return {**described, **fields, "parts": [dataclasses.asdict(part) for part in parts]}
