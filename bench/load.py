"""Loading a ViT-L/16 (float32, 1.2 GB, random weights) from the page cache: time and memory of vitral and of others.

Each (row, round) is a process of its own: it imports what it needs, forgets its peak of memory, loads, then adds up
every parameter, so that a file that was only mapped has been read too. "core s" is the time of all its threads up to
there, which a busy machine changes less. Rows:

    vitral folder       vitral.load of a model folder, its checksum compared
    vitral timm         vitral.load of timm's names and configuration
    safetensors timm    safetensors' load_file into timm's freshly made model
    safetensors bare    load_file assigned to an empty network: the least that can be done without looking at the file
    transformers        ViTForImageClassification.from_pretrained
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import report

MODEL = "ViT-L/16"
TIMM = "vit_large_patch16_224"
ROWS = ("vitral folder", "vitral timm", "safetensors timm", "safetensors bare", "transformers")


def write(place: Path) -> None:
    """The same network in the three layouts, where they are not there yet."""
    import torch

    from tests import peers
    from vitral.config import Preprocessing
    from vitral.models import create_model
    from vitral.weights import folder, timm
    from vitral.weights.layout import Described

    torch.manual_seed(0)
    if not (place / "vitral" / "model.safetensors").is_file():
        network = create_model(MODEL)
        described = Described(network.config, Preprocessing((224, 224)), tuple(map(str, range(1000))))
        (place / "timm").mkdir(exist_ok=True)
        timm.write(place / "timm", described, network.state_dict())
        folder.write_model(place / "vitral", described, network.state_dict(), {}, "")
        del network
    if not (place / "transformers" / "model.safetensors").is_file():
        module = peers.transformers_vit()
        config = module.ViTConfig(
            hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096, num_labels=1000
        )
        module.ViTForImageClassification(config).save_pretrained(place / "transformers")


def loader(row: str, place: Path) -> Callable[[], Any]:
    """What one row does, its imports done."""
    if row.startswith("vitral"):
        import vitral

        source = place / row.removeprefix("vitral ").replace("folder", "vitral")
        vitral.load  # noqa: B018 - imported at its first use
        return lambda: vitral.load(source).network
    if row == "transformers":
        from tests import peers

        return lambda: peers.transformers_vit().ViTForImageClassification.from_pretrained(place / "transformers")
    from safetensors.torch import load_file

    if row == "safetensors timm":
        from tests import peers

        timm = peers.timm()

        def into_timm() -> Any:
            model = timm.create_model(TIMM)
            model.load_state_dict(load_file(place / "timm" / "model.safetensors"))
            return model

        return into_timm
    from vitral.models import create_model

    def assigned() -> Any:
        model = create_model(MODEL, device="meta")
        model.load_state_dict(load_file(place / "vitral" / "model.safetensors"), assign=True)
        return model

    return assigned


def memory(what: str) -> float:
    """VmRSS (now) or VmHWM (at most) of this process in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024 / 1e6


def work(row: str, place: Path) -> None:
    """Load once in this process and print the figures as JSON."""
    load = loader(row, place)
    if row == "transformers":  # its module is found by name at the first use
        from tests import peers

        peers.transformers_vit()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    before, start, own = memory("VmRSS"), time.perf_counter(), time.process_time()
    model = load()
    loaded = time.perf_counter()
    total = sum(float(parameter.detach().sum()) for parameter in model.parameters())
    touched = time.perf_counter()
    assert total == total, "no number is missing"
    found = {"load": loaded - start, "touched": touched - start, "peak": memory("VmHWM") - before}
    found["cpu"] = time.process_time() - own
    print(json.dumps(found))


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=(__doc__ or "").split("\n\n")[0])
    report.add_common_options(parser)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "vitral-bench-load", help="of the files"
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--worker", choices=ROWS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        work(options.worker, options.folder)
        return
    env = report.environment()
    options.folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "bench.load", "--folder", str(options.folder), "--worker"]
    write(options.folder)
    size = (options.folder / "vitral" / "model.safetensors").stat().st_size / 1e6
    rounds: dict[str, list[dict[str, float]]] = {row: [] for row in options.rows}
    for i in range(options.rounds + 1):  # the first fills the page cache and is not counted
        for row in options.rows:
            done = subprocess.run([*words, row], check=True, capture_output=True, text=True)
            if i:
                rounds[row].append(json.loads(done.stdout.splitlines()[-1]))
    first = [found["touched"] for found in rounds[options.rows[0]]]
    print(report.heading(env), f"file {size:.0f} MB", sep="\n", end="\n\n")
    columns = ("row", "load s", "and touched s", "min-max", f"to {options.rows[0]}", "core s", "peak MB", "of the file")
    cells = []
    for row, found in rounds.items():
        touched = [one["touched"] for one in found]
        peak = statistics.median(one["peak"] for one in found)
        cells.append([
            row, f"{statistics.median(one['load'] for one in found):.2f}", f"{statistics.median(touched):.2f}",
            f"{min(touched):.2f}-{max(touched):.2f}", f"{report.paired_ratio(touched, first):.2f}",
            f"{statistics.median(one['cpu'] for one in found):.2f}", f"{peak:.0f}", f"{peak / size:.2f}",
        ])  # fmt: skip
    print(report.table(columns, cells))
    report.write_json(options.json, {"environment": env, "rounds": rounds})


if __name__ == "__main__":
    main()
