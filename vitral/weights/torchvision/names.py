"""torchvision's names for networks: the one that a network has, and what keeps another from one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Builders = Mapping[str, Mapping[str, Any]]
"""torchvision's builders of a family, and the fields of our configuration that each of them fixes."""


def name_of(config: Any, builders: Builders) -> str | None:
    """The builder of networks that compute the same, or `None`."""
    return next((name for name, fixed in builders.items() if not _differing(config, fixed)), None)


def difference(config: Any, builders: Builders) -> str:
    """The builders there are, and where the network differs from the one that comes nearest."""
    name = min(builders, key=lambda name: len(_differing(config, builders[name])))
    parts = (
        f"{part} {getattr(config, part)} where it has {builders[name][part]}"
        for part in _differing(config, builders[name])
    )
    return f"of its {', '.join(builders)}, the nearest is {name}, and this has {', '.join(parts)}"


def _differing(config: Any, fixed: Mapping[str, Any]) -> list[str]:
    return [part for part, value in fixed.items() if getattr(config, part) != value]
