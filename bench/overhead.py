"""What the loop, the session and the loader cost beside the network: one training step with the network replaced by a
sleep.

Each round trains the same pictures for the same steps; the network is one small matrix and a sleep, so what the main
thread computes is vitral's: batches handed over, targets, normalising, loss, gradient norm, update, live line, metrics.
The pictures are small PNG files, decoded by other threads while the network sleeps.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import report

BATCH = 64
WIDTH = 4  # of the matrix that stands for the network: next to nothing to compute


def one_run(folder: Path, pictures: Path, sleep: float, steps: int, workers: int) -> tuple[float, ...]:
    """Seconds per step of a run in `folder`: of wall time, of the main thread's core time, of the process's."""
    import torch

    from vitral import run
    from vitral.config import Duration
    from vitral.console import Screen
    from vitral.planning import plan
    from vitral.session import Session

    words: dict[str, Any] = {
        "data.path": str(pictures), "model.name": "ViT-Ti/4", "model.image_size": (32, 32), "model.width": WIDTH,
        "model.depth": 1, "model.num_heads": 1, "model.mlp_dim": WIDTH, "training.batch_size": BATCH,
        "training.micro_batch_size": BATCH, "training.log_every": Duration(10, "steps"),
        "training.evaluate_every": Duration(1e6, "steps"), "training.checkpoint_every": Duration(1e6, "steps"),
        "training.average": 0.0, "schedule.duration": Duration(steps, "steps"), "runtime.workers": workers,
        "runtime.device": "cpu", "augmentation.randaugment_layers": 0, "augmentation.mixup": 0.0,
        "augmentation.cutmix": 0.0,
    }  # fmt: skip
    head = torch.nn.Linear(3, 2)
    ticks: list[tuple[float, ...]] = []
    learn, tick = Session._learn, Session.tick

    def asleep(self: Session, images: Any, aim: Any) -> Any:
        time.sleep(sleep)
        scores = head(images[:, :, 0, 0])
        return scores, self.loss_of(scores, aim)

    def noted(self: Session, *words: Any) -> None:
        tick(self, *words)
        ticks.append((time.perf_counter(), time.thread_time(), time.process_time()))

    Session._learn, Session.tick = asleep, noted  # type: ignore[method-assign]
    try:
        run.start(plan("scratch-small", words), folder, Screen(json=True, quiet=True))
    finally:
        Session._learn, Session.tick = learn, tick  # type: ignore[method-assign]
    first, last = ticks[4], ticks[-2]  # the first steps wait for the first batches; after the last one all is measured
    return tuple((end - begin) / (len(ticks) - 6) for begin, end in zip(first, last, strict=True))


def make_pictures(folder: Path, count: int) -> Path:
    """Two classes of noisy pictures of 40x40."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / "train" / f"class {i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    return folder


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.overhead", description=(__doc__ or "").split("\n\n")[0],
        epilog="Goal: less than 2 % of a step.",
    )  # fmt: skip
    report.add_common_options(parser)
    parser.add_argument("--sleep", type=float, nargs="+", default=[0.1, 0.4], help="seconds that a step sleeps")
    parser.add_argument("--steps", type=int, default=20, help="steps of a run (default 20)")
    options = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(1)
    env, workers = report.environment(), max(1, report.cores() - 1)
    found: dict[float, list[tuple[float, ...]]] = {sleep: [] for sleep in options.sleep}
    with tempfile.TemporaryDirectory() as name:
        pictures = make_pictures(Path(name) / "pictures", 4 * BATCH)
        for i in range(options.rounds):
            for sleep in options.sleep:
                found[sleep].append(one_run(Path(name) / f"{i}-{sleep}", pictures, sleep, options.steps, workers))
                print(f"round {i + 1}: {sleep} s", file=sys.stderr)
    rows, cells = [], []
    for sleep, values in found.items():
        beyond, main_thread, every = ([1000 * value for value in column] for column in zip(*values, strict=True))
        beyond = [value - 1000 * sleep for value in beyond]
        share = statistics.median(main_thread) / 1000 / sleep
        rows.append({
            "sleep": sleep, "main_core_ms": report.spread(main_thread), "wall_beyond_ms": report.spread(beyond),
            "core_ms": report.spread(every), "rounds": values,
        })  # fmt: skip
        spread = f"{min(main_thread):.1f}-{max(main_thread):.1f}"
        medians = [f"{statistics.median(column):.1f}" for column in (main_thread, beyond, every)]
        cells.append([f"{1000 * sleep:.0f}", medians[0], spread, f"{share:.1%}", *medians[1:]])
    print(report.heading(env))
    print(f"batches of {BATCH} pictures of 40x40 in PNG, input 32x32, {workers} worker(s)\n")
    columns = ("sleep ms", "loop's core ms", "min-max", "overhead", "wall ms beyond", "all threads' core ms")
    print(report.table(columns, cells))
    report.write_json(options.json, {"environment": env, "rows": rows})


if __name__ == "__main__":
    main()
