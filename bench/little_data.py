"""Training from nothing on few pictures at equal processor time: vitral's `scratch-small` and what others do by default.

Every row is a process with one thread, which is given the same core-minutes and fits its schedule to them; rows and
data take turns, seed by seed. What is done stands in a file and is not done again, so the bench can be stopped and
started at will. Reported is top-1 on the test pictures, at the end of training for the rivals.

    python -m bench.little_data --pictures cifar10=FOLDER flowers=FOLDER dtd=FOLDER --minutes 5 --seeds 0 1 2 --jobs 2
    python -m bench.little_data --pictures cifar10=FOLDER --rows ablations
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import report

ROWS: dict[str, dict[str, Any]] = {
    # what `vitral train` is told beside the pictures
    "vitral scratch-small": {},
    "vitral, plain ViT": {"model.name": "ViT-Ti/{patch}"},
}

RIVALS = ("timm ViT-Ti, SGD", "timm ViT-Ti, AdamW", "Transformers ViT-Ti", "ResNet-20", "ResNet-8, wide", "ResNet-18")
"""What `bench.little_rivals` trains."""

ABLATIONS: dict[str, dict[str, Any]] = {
    # one ingredient at a time; a ResNet-8 among the rivals is the recipe without its encoder blocks
    "as it is": {},
    "patches of pixels": {"model.name": "ViT-Ti/{patch}", "model.width": 256, "model.depth": 4, "model.mlp_dim": 512,
                          "model.num_heads": 4, "model.pool": "gap", "optimizer.learning_rate": 1e-3},
    "2 blocks": {"model.depth": 2},
    "4 blocks": {"model.depth": 4},
    "no average": {"training.average": 0.0},
    "no smoothing": {"loss.label_smoothing": 0.0},
    "no RandAugment": {"augmentation.randaugment_layers": 0},
    "Mixup, CutMix": {"augmentation.mixup": 0.2, "augmentation.cutmix": 1.0},
    "crop from 50 %": {"augmentation.crop": "inception", "augmentation.padding": 0, "augmentation.min_area": 0.5},
    "one rate for all": {"optimizer.block_rate": 1.0},
    "rate halved": {"optimizer.learning_rate": 1e-3},
    "rate doubled": {"optimizer.learning_rate": 4e-3},
    "batch 128": {"training.batch_size": 128},
    "float32": {"training.precision": "float32"},
}  # fmt: skip

FEW, MORE = 4, 16
"""Steps of the two short runs that say how long a step takes."""

FOR_STEPS = 0.9
"""Share of the core-minutes that vitral's steps may take; evaluations, checkpoints and the last measuring are the
rest. The rivals have none of these."""

PATCH = {32: 4, 128: 16}
"""Pixels of a plain ViT's patch by the input's side: as many tokens as a ViT has by custom for such pictures."""


@dataclass(frozen=True)
class Job:
    """One run: the row on the pictures with a seed."""

    row: str
    data: str
    seed: int
    seconds: float
    path: str

    @property
    def key(self) -> tuple[str, str, int, float]:
        """What makes it the same run as another."""
        return self.row, self.data, self.seed, self.seconds


def words_of(row: str, side: int) -> dict[str, Any]:
    """Settings of one of vitral's rows at this input size."""
    chosen = {**ABLATIONS, **ROWS}[row]
    patch = PATCH[side]
    return {name: value.format(patch=patch) if isinstance(value, str) else value for name, value in chosen.items()}


def side_of(path: str) -> int:
    """Pixels of the input that scratch-small chooses, which all rows get."""
    from vitral.planning import plan

    return int(plan("scratch-small", {"data.path": path, "runtime.device": "cpu"}).config.preprocessing.crop[0])


def train_vitral(job: Job) -> dict[str, Any]:
    """`vitral train` with as many steps as fit; the faster precision is the one that its own trial would choose."""
    from vitral.config import Duration

    words = {"data.path": job.path, "runtime.device": "cpu", "runtime.workers": 1, "training.seed": job.seed}
    words |= words_of(job.row, side_of(job.path))
    given = words.get("training.precision")
    paces = {name: seconds_per_step(words, name) for name in ([given] if given else ["float32", "bfloat16"])}
    precision = min(paces, key=lambda name: paces[name])
    steps = max(1, int(FOR_STEPS * job.seconds / paces[precision]))
    words |= {"training.precision": precision, "schedule.duration": Duration(steps, "steps")}
    metrics, seconds = run(words)
    return {"top1": metrics["test"]["top1"], "core_seconds": seconds, "steps": steps, "precision": precision}


def seconds_per_step(words: Mapping[str, Any], precision: str) -> float:
    """Core-seconds, from two short runs whose fixed costs cancel."""
    from vitral.config import Duration

    took = []
    for steps in (FEW, MORE):
        length = Duration(steps, "steps")
        short = {"schedule.duration": length, "training.evaluate_every": length, "training.checkpoint_every": length}
        took.append(run({**words, **short, "training.precision": precision})[1])
    return max(1e-4, (took[1] - took[0]) / (MORE - FEW))


def run(words: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
    """Metrics and core-seconds of one run, whose folder is thrown away."""
    from vitral.console import Screen
    from vitral.planning import plan
    from vitral.run import start

    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        result = start(plan("scratch-small", words), Path(folder) / "run", Screen(quiet=True))
        if not result.finished:
            raise SystemExit("stopped")
        return result.metrics, time.process_time() - began


def train_rival(job: Job) -> dict[str, Any]:
    """One of `RIVALS`."""
    from bench import little_rivals

    side = side_of(job.path)
    return little_rivals.train(job.row, job.path, side, PATCH[side], job.seed, job.seconds)


def one(job: Job) -> dict[str, Any]:
    """What this process was started for."""
    import torch

    torch.set_num_threads(1)
    trained: Callable[[Job], dict[str, Any]] = train_rival if job.row in RIVALS else train_vitral
    began = time.perf_counter()
    return {**asdict(job), **trained(job), "wall_seconds": time.perf_counter() - began}


# All of them -----------------------------------------------------------------------------------------


def jobs_of(options: argparse.Namespace) -> Iterator[Job]:
    """Seed by seed, and within a seed the rows by turns."""
    pictures = dict(pair.split("=", 1) for pair in options.pictures)
    for seed in options.seeds:
        for data, path in pictures.items():
            for row in chosen_rows(options.rows):
                yield Job(row, data, seed, options.minutes * 60, path)


def chosen_rows(words: list[str]) -> list[str]:
    """Rows by name; "all" are those that compete, "ablations" the recipe with one ingredient changed."""
    groups = {"all": [*ROWS, *RIVALS], "ablations": list(ABLATIONS)}
    return [row for word in words for row in groups.get(word, [word])]


def done(folder: Path) -> list[dict[str, Any]]:
    """Runs that were finished before."""
    if not folder.is_file():
        return []
    return [json.loads(line) for line in folder.read_text(encoding="utf-8").splitlines() if line]


def do(job: Job, out: Path) -> None:
    """Run in a process of its own and write down what came of it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bench.little_data", "--one", json.dumps(asdict(job))]
    found = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if found.returncode:
        print(f"failed: {job.row} on {job.data}, seed {job.seed}", file=sys.stderr, flush=True)
        return
    line = found.stdout.splitlines()[-1]
    with out.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    result = json.loads(line)
    print(f"{job.data}, seed {job.seed}, {job.row}: {result['top1']:.1%} in {result['core_seconds']:.0f} core-seconds",
          file=sys.stderr, flush=True)  # fmt: skip


def rows_of(results: list[dict[str, Any]], options: argparse.Namespace) -> list[list[str]]:
    """A line for each row: mean and spread over the seeds for each data set, and the core-minutes that were used."""
    lines = []
    names = [pair.split("=", 1)[0] for pair in options.pictures]
    for row in chosen_rows(options.rows):
        cells = [row]
        for data in names:
            own = [r for r in results if (r["row"], r["data"]) == (row, data) and r["seconds"] == options.minutes * 60]
            top1 = [100 * r["top1"] for r in own]
            spread = f" ({min(top1):.1f}-{max(top1):.1f}, {len(top1)})" if top1 else ""
            cells.append(f"{statistics.mean(top1):.1f}{spread}" if top1 else "-")
            cells.append(f"{statistics.mean(r['core_seconds'] for r in own) / 60:.1f}" if own else "-")
        lines.append(cells)
    return lines


def main() -> None:
    """Do what is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--pictures", nargs="+", default=[], metavar="NAME=FOLDER", help="folders with train and test")
    parser.add_argument("--rows", nargs="+", default=["all"], help="all, ablations, or rows by their names")
    parser.add_argument("--minutes", type=float, default=5.0, help="core-minutes of each run (default 5)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each with one thread")
    parser.add_argument("--out", type=Path, default=Path("runs/little_data.jsonl"), help="results; read and added to")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(Job(**json.loads(options.one)))))
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    before = {(r["row"], r["data"], r["seed"], r["seconds"]) for r in done(options.out)}
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda job: do(job, options.out), [j for j in jobs_of(options) if j.key not in before]))
    names = [pair.split("=", 1)[0] for pair in options.pictures]
    columns = ["trained from nothing", *(c for name in names for c in (f"{name} top-1 % (least-most, seeds)", "min"))]
    print(report.heading(report.environment()), end="\n\n")
    print(report.table(columns, rows_of(done(options.out), options)))


if __name__ == "__main__":
    main()
