"""How long each verb takes to answer --help, and to begin, beside what other libraries take to be imported.

Every row is a process of its own, round by round one after the other; what is counted is its own core seconds (user and
system), which a busy machine changes little, and beside them the wall seconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench import report

ROOT = Path(__file__).resolve().parents[1]
SHIM = "from tests import peers; peers.{}()"


def commands() -> dict[str, list[str]]:
    """Rows: what is started."""
    from vitral.cli import VERBS

    python, vitral = [sys.executable, "-c"], [sys.executable, "-m", "vitral"]
    rows = {"python alone": [*python, "pass"], "import numpy": [*python, "import numpy"]}
    rows |= {"vitral --help": [*vitral, "--help"]}
    rows |= {f"vitral {verb} --help": [*vitral, verb, "--help"] for verb in VERBS}
    rows |= {
        "vitral models": [*vitral, "models"],
        "vitral recipes": [*vitral, "recipes"],
        "vitral train (no such folder)": [*vitral, "train", "/nowhere/at/all"],
        "vitral predict (no such model)": [*vitral, "predict", "/nowhere/at/all", "x.jpg"],
        "import vitral": [*python, "import vitral"],
        "import torch": [*python, "import torch"],
        "import timm": [*python, SHIM.format("timm")],
        "import transformers' ViT": [*python, SHIM.format("transformers_vit")],
        "import torchvision.transforms": [*python, SHIM.format("torchvision_transforms")],
    }
    return rows


def one(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Core and wall seconds of one process."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    wall, after = time.perf_counter() - began, os.times()
    core = after.children_user - before.children_user + after.children_system - before.children_system
    return core, wall


def main(arguments: list[str] | None = None) -> None:
    """Measure every row and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.startup", description=(__doc__ or "").split("\n\n")[0],
        epilog="Goal: --help of every verb in less than half a second.",
    )  # fmt: skip
    report.add_common_options(parser)
    parser.add_argument("--rows", nargs="+", help="only these rows, by name (default: all)")
    options = parser.parse_args(arguments)
    env, rows = report.environment(), commands()
    if options.rows:
        rows = {name: rows[name] for name in options.rows}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for i in range(options.rounds + 1):
        for name, command in rows.items():
            measured = one(command, environment)
            if i:  # the first round reads files from the disk and writes what Python compiled
                found[name].append(measured)
        print(f"round {i} of {options.rounds}", file=sys.stderr)
    cells, results = [], []
    for name, values in found.items():
        core, wall = [c for c, _ in values], [w for _, w in values]
        spread = f"{min(core):.2f}-{max(core):.2f}"
        cells.append([name, f"{statistics.median(core):.2f}", spread, f"{statistics.median(wall):.2f}"])
        results.append({"row": name, "core": report.spread(core), "wall": report.spread(wall)})
    print(report.heading(env) + "\n")
    print(report.table(("process", "core s", "min-max", "wall s"), cells))
    saved: dict[str, Any] = {"environment": env, "rows": results}
    report.write_json(options.json, saved)


if __name__ == "__main__":
    main()
