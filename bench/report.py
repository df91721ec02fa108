"""What every bench prints: the machine and versions, a table, JSON where asked. Free of torch."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

Row = TypeVar("Row")

PACKAGES = (
    "torch", "torchvision", "timm", "transformers", "openvino", "nncf", "onnxruntime", "pillow", "simplejpeg", "numpy",
)  # fmt: skip


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def processor() -> str:
    """The processor's name as Linux knows it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def environment() -> dict[str, Any]:
    """Date, machine, load and the versions of all packages that take part."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "missing"
    return {
        "date": date.today().isoformat(),
        "processor": processor(),
        "cores": cores(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": versions,
    }


def turns(rows: Sequence[Row], rounds: int) -> Iterator[Row]:
    """Every row once in each round; each round starts with another one, so that no row always follows the same."""
    for i in range(rounds):
        first = i % len(rows)
        yield from (*rows[first:], *rows[:first])


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest of one row's rounds."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over the rounds of ours / theirs: both met the same noise in a round."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table, columns aligned: the first to the left, all others to the right."""
    cells = [[str(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]

    def line(row: Sequence[str]) -> str:
        aligned = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        return f"| {' | '.join(aligned)} |"

    rule = [("-" * widths[0]), *("-" * (w - 1) + ":" for w in widths[1:])]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])


def heading(env: dict[str, Any]) -> str:
    """The environment in two lines."""
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items())
    return f"{env['date']} · {env['processor']} · {env['cores']} cores · load before {env['load_before']}\n{versions}"


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """`--rounds` and `--json`, the same in every bench."""
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    parser.add_argument("--json", type=Path, help="also write every round's value to this file")


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    """Write `result` where the user asked for it."""
    if path is not None:
        path.write_text(json.dumps(result, indent=1) + "\n")
