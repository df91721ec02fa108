"""List the models by their papers' names, or show the parts of one."""

from __future__ import annotations

import argparse
from typing import Any

from vitral.console import Screen


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="show one, like ViT-B/16")


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, Any]:
    """List or show."""
    from vitral.models import VARIANTS

    if arguments.name:
        return 0, _show_one(arguments.name, screen)
    found = [_describe(name) for name in VARIANTS]
    screen.table(
        ("model", "family", "input", "parameters"),
        [
            (row["name"], row["family"], "x".join(map(str, row["image_size"])), f"{row['parameters']:,}")
            for row in found
        ],
        right=range(2, 4),
    )
    screen.say("Any size with any patch works too: ViT-S/8, ViT-Ti/4. Parameters are counted with 1,000 classes.")
    return 0, found


def _describe(name: str) -> dict[str, Any]:
    import dataclasses

    from vitral.models import create_model, family_of

    network = create_model(name, device="meta")
    count = sum(parameter.numel() for parameter in network.parameters())
    family = family_of(network.config)
    return {"name": name, "family": family, "parameters": count, **dataclasses.asdict(network.config)}


def _show_one(name: str, screen: Screen) -> dict[str, Any]:
    from vitral.models import create_model

    network = create_model(name, device="meta")
    parts: dict[str, int] = {}
    for parameter_name, parameter in network.named_parameters():
        part = parameter_name.split(".")[0]
        parts[part] = parts.get(part, 0) + parameter.numel()
    described = _describe(name)
    screen.table(("part", "parameters"), [(part, f"{count:,}") for part, count in parts.items()], right=(1,))
    screen.result(f"{name}: {described['parameters']:,} parameters")
    for key, value in described.items():
        if key not in ("name", "parameters"):
            screen.decide(f"{key}: {value}")
    return {**described, "parts": parts}
