"""How fast is a model here? Pictures per second by batch, time to one answer, memory, arithmetic, start."""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitral.commands.shared_options import MODEL, SHORT, add_settings, section
from vitral.console import Screen
from vitral.errors import UnavailableError, UsageError

if TYPE_CHECKING:
    from vitral.serving.predictor import Model

BATCHES = (1, 8, 32)

STARTS = 3
"""Processes that are started, one after the other, to time the first answer."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument(
        "--batches", metavar="N,N,...", type=_batches, default=BATCHES,
        help=f"numbers of pictures at a time (default: {','.join(map(str, BATCHES))})",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="times that all is measured again (default: 5)")
    parser.add_argument("--seconds", type=float, default=0.3, help="least time of a batch in a round (default: 0.3)")
    parser.add_argument("--threads", type=int, help="threads of arithmetic on a CPU (default: as torch chooses)")
    parser.add_argument("--start", action="store_true", help="also time the first answer of a new process")
    add_settings(parser, {"--device": SHORT["--device"]})


def _batches(words: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(word) for word in words.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1 or max(sizes) > 65_536:
        raise argparse.ArgumentTypeError(f"{words!r} is no list of numbers from 1 to 65536, like 1,8,32")
    return tuple(sorted(set(sizes)))


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Measure; the document holds `rates`, `latency`, `peak_bytes`, `parameters`, `macs`, `start`, and where."""
    if arguments.rounds < 1 or not 0 < arguments.seconds <= 3600:
        raise UsageError("--rounds must be at least 1, --seconds above 0 and at most 3600.")
    if arguments.threads is not None and not 1 <= arguments.threads <= 1024:
        raise UsageError(f"--threads must be 1 to 1024, not {arguments.threads}.")
    import torch

    from vitral.config import RuntimeConfig
    from vitral.models.counting import parts_of
    from vitral.overrides import override
    from vitral.serving.loading import load

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    runtime = override(RuntimeConfig(), section(arguments, "runtime."))
    start = time.perf_counter()
    model = load(arguments.model, runtime.device)
    loaded = time.perf_counter() - start
    parts = parts_of(model.network.config)
    document: dict[str, Any] = {
        "model": arguments.model,
        "device": _device(model),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "input": list(model.preprocessing.crop),
        "parameters": sum(part.parameters for part in parts),
        "macs": sum(part.macs for part in parts),
        "load_seconds": loaded,
        **_measure(model, arguments, screen),
        "peak_bytes": _peak_bytes(model),
    }
    if arguments.start:
        document["start"] = _first_answer(arguments, screen)
    _show(document, screen)
    return 0, document


def _measure(model: Model, arguments: argparse.Namespace, screen: Screen) -> dict[str, Any]:
    import numpy as np

    from vitral.evaluators.throughput import latency, rates

    rng = np.random.default_rng(0)
    pixels = {n: rng.integers(0, 256, (n, *model.preprocessing.crop, 3), dtype=np.uint8) for n in arguments.batches}
    calls: dict[int, Callable[[], object]] = {n: partial(model.logits, batch) for n, batch in pixels.items()}
    screen.progress(f"measuring batches of {', '.join(map(str, pixels))}, {_counted(arguments.rounds, 'round')}")
    found = rates(calls, arguments.rounds, arguments.seconds)
    picture = _photograph()
    screen.progress("measuring one picture at a time")
    one = pixels.get(1, next(iter(pixels.values()))[:1])
    budget = arguments.rounds * arguments.seconds
    network, whole = latency(lambda: model.logits(one), budget), latency(lambda: model.predict(picture), budget)
    screen.end_progress()
    return {
        "rates": [{**rate._asdict(), "pictures_per_second": rate.pictures_per_second._asdict()} for rate in found],
        "rounds": arguments.rounds,
        "latency": {"network": network._asdict(), "from_jpeg": whole._asdict()},
    }


def _photograph() -> bytes:
    """A made-up JPEG of 500 x 375, the usual size of ImageNet's: smooth noise."""
    import numpy as np
    from PIL import Image

    coarse = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def _device(model: Model) -> str:
    import torch

    return torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else str(model.device)


def _peak_bytes(model: Model) -> int | None:
    """The most memory that was held: of the device on a GPU, else of this process with its libraries."""
    import torch

    if model.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(model.device))
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _first_answer(arguments: argparse.Namespace, screen: Screen) -> dict[str, Any]:
    """Seconds that `vitral predict` takes for one picture, from the start of a process of its own to its end.

    Raises:
        UnavailableError: such a process failed.
    """
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.jpg"
        picture.write_bytes(_photograph())
        device = vars(arguments).get("runtime.device")
        command = [sys.executable, "-m", "vitral", "predict", arguments.model, str(picture), "--json"]
        for _ in range(STARTS):
            screen.progress("timing the first answer of a new process")
            start = time.perf_counter()
            done = subprocess.run([*command, *(["--device", device] if device else [])], capture_output=True, text=True)
            taken.append(time.perf_counter() - start)
            if done.returncode:
                raise UnavailableError(f"a process of its own failed ({done.stderr.strip()[:200]}): leave --start out.")
    screen.end_progress()
    return {"seconds": statistics.median(taken), "all": taken}


def _show(found: dict[str, Any], screen: Screen) -> None:
    height, width = found["input"]
    load = found["load_average"]
    said = f"on {found['device']}, {_counted(found['threads'], 'thread')}, torch {found['torch']}"
    screen.decide(said if load is None else f"{said}, load {load:.1f}")
    screen.decide(
        f"{found['parameters']:,} parameters, {found['macs'] / 1e9:.2f} GMACs for a picture of {height}x{width}"
    )
    rows = [
        (
            f"{row['batch']}",
            f"{row['pictures_per_second']['median']:,.1f}",
            f"{row['pictures_per_second']['least']:,.1f} to {row['pictures_per_second']['greatest']:,.1f}",
            f"{1000 * row['seconds_per_batch']:,.1f}",
        )
        for row in found["rates"]
    ]
    screen.table(
        ("batch", "pictures/s", f"of {_counted(found['rounds'], 'round')}", "ms per batch"), rows, right=(1, 2, 3)
    )
    for name, words in (("network", "decoded before"), ("from_jpeg", "from a JPEG of 500x375")):
        row = found["latency"][name]
        screen.result(f"one picture, {words}: {1000 * row['p50']:.1f} ms (p50), {1000 * row['p95']:.1f} ms (p95)")
    if found["peak_bytes"]:
        screen.say(f"most memory held: {found['peak_bytes'] / 1e6:,.0f} MB")
    screen.say(f"the model was loaded in {found['load_seconds']:.2f} s")
    if "start" in found:
        screen.say(f"a new process answers after {found['start']['seconds']:.2f} s (median of {STARTS})")


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
