"""Training step and inference of ViT in vitral, timm and the Transformers library, side by side.

Each (library, case) lives in a process of its own that is set up once and then waits; in a round the
processes are woken one after the other, so that all meet the same noise and each has its own peak memory.
All get the same: random weights and pictures, non-zero head, threads = cores, fused AdamW,
`zero_grad(set_to_none=True)`, `torch.inference_mode()`. One more process multiplies the case's matrices
(qkv, out, fc1, fc2 of one block, float32): the ceiling that each row's share is of.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import report

if TYPE_CHECKING:
    import torch

LIBRARIES = ("vitral", "timm", "transformers")
CEILING = "ceiling"
CLASSES = 1000
SIDE = 224  # pixels
PATCH = 16  # pixels
DEPTH = 12
WIDTHS = {"Ti": 192, "S": 384, "B": 768}  # an MLP is 4 times as wide, a head is 64 wide
TIMM_SIZES = {"Ti": "tiny", "S": "small", "B": "base"}
LARGE_ALLOCATOR = {  # glibc keeps freed memory instead of giving every large block back to the kernel
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(1 << 26),
}


@dataclass(frozen=True)
class Case:
    """What is timed: one step of `task` on `batch` pictures with a ViT of this size and patches of 16."""

    task: str  # train or infer
    size: str
    batch: int

    @classmethod
    def parse(cls, text: str) -> Case:
        """Read "train-Ti-32"; argparse turns the ValueError into its message."""
        task, size, batch = text.split("-")
        if task not in ("train", "infer") or size not in WIDTHS:
            raise ValueError(text)
        return cls(task, size, int(batch))

    def __str__(self) -> str:
        return f"{self.task}-{self.size}-{self.batch}"

    @property
    def gflop(self) -> float:
        """Arithmetic of one picture: twice the multiply-adds of all products, three times that to train.

        Training has no gradient for the pictures, so the patch embedding counts twice only.
        """
        width, patches = WIDTHS[self.size], (SIDE // PATCH) ** 2
        tokens = patches + 1
        embedding = patches * width * 3 * PATCH**2
        block = tokens * 12 * width**2 + 2 * tokens**2 * width
        rest = DEPTH * block + width * CLASSES
        passes = (2, 3) if self.task == "train" else (1, 1)
        return 2 * (passes[0] * embedding + passes[1] * rest) / 1e9


CASES = tuple(map(Case.parse, ("train-Ti-32", "infer-Ti-1", "infer-Ti-32", "infer-S-1", "infer-S-32")))


# In the measuring process -------------------------------------------------------------------------------


def build(library: str, size: str) -> torch.nn.Module:
    """A ViT of this size that maps pictures to scores, with a head that is not zero."""
    import torch

    width = WIDTHS[size]
    if library == "vitral":
        from vitral.models import create_model

        model: torch.nn.Module = create_model(f"ViT-{size}/{PATCH}", num_classes=CLASSES)
        head = model.head
    elif library == "timm":
        from tests import peers

        model = peers.timm().create_model(f"vit_{TIMM_SIZES[size]}_patch{PATCH}_{SIDE}", num_classes=CLASSES)
        head = model.head
    else:
        from tests import peers

        vit = peers.transformers_vit()
        config = vit.ViTConfig(
            hidden_size=width,
            num_hidden_layers=DEPTH,
            num_attention_heads=width // 64,
            intermediate_size=4 * width,
            num_labels=CLASSES,
            attn_implementation="sdpa",
        )
        model = vit.ViTForImageClassification(config)
        head = model.classifier
    torch.nn.init.normal_(head.weight, std=0.02)
    return model


def training_step(library: str, case: Case, mode: str) -> Callable[[], None]:
    """Forward, cross-entropy, backward, update."""
    import torch
    import torch.nn.functional as F

    model = build(library, case.size).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True)
    images, labels = torch.randn(case.batch, 3, SIDE, SIDE), torch.randint(CLASSES, (case.batch,))
    forward = torch.compile(model) if mode == "compile" else model

    def step() -> None:
        scores = forward(images)
        F.cross_entropy(getattr(scores, "logits", scores), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def inference_step(library: str, case: Case, mode: str) -> Callable[[], None]:
    """Forward alone."""
    import torch

    model = build(library, case.size).eval()
    images = torch.randn(case.batch, 3, SIDE, SIDE)
    forward = torch.compile(model) if mode == "compile" else model

    @torch.inference_mode()
    def step() -> None:
        forward(images)

    return step


def ceiling_step(case: Case) -> tuple[Callable[[], None], float]:
    """The four products of one block's forward pass, into memory that is there; and their GFLOP."""
    import torch

    width, rows = WIDTHS[case.size], case.batch * ((SIDE // PATCH) ** 2 + 1)
    shapes = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    products = [(torch.randn(rows, i), torch.randn(i, o), torch.empty(rows, o)) for i, o in shapes]

    def step() -> None:
        for a, b, out in products:
            torch.mm(a, b, out=out)

    return step, sum(2 * rows * i * o for i, o in shapes) / 1e9


def peak_mb() -> float:
    """Greatest resident memory of this process so far, since its start."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def work(library: str, case: Case, mode: str, threads: int, seconds: float) -> None:
    """Set up, then time one round for every line that comes in, until there are no more."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if library == CEILING:
        step, gflop = ceiling_step(case)
    else:
        make = training_step if case.task == "train" else inference_step
        step, gflop = make(library, case, mode), case.gflop * case.batch
    imported = peak_mb()
    for _ in range(3):
        step()
    answer({"ready": True})
    for _ in sys.stdin:
        times: list[float] = []
        while sum(times) < seconds or len(times) < 3:
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        median = statistics.median(times)
        answer({"rate": case.batch / median, "gflops": gflop / median, "peak": peak_mb(), "imported": imported})


def answer(message: dict[str, Any]) -> None:
    """One line of JSON to the launcher."""
    print(json.dumps(message), flush=True)


# In the launcher ----------------------------------------------------------------------------------------


class Worker:
    """One (library, case, mode) in its own process."""

    def __init__(self, library: str, case: Case, mode: str, allocator: str, options: argparse.Namespace) -> None:
        self.library, self.rounds = library, list[dict[str, float]]()
        env = {k: v for k, v in os.environ.items() if k not in LARGE_ALLOCATOR}
        env |= {"OMP_NUM_THREADS": str(options.threads)} | (LARGE_ALLOCATOR if allocator == "large" else {})
        command = [sys.executable, "-m", "bench.models", "--threads", str(options.threads)]
        command += ["--seconds", str(options.seconds), "--worker", library, str(case), mode]
        self.process = subprocess.Popen(command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.read()

    def read(self) -> dict[str, float]:
        """Its next answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the measuring process of {self.library} stopped with {self.process.wait()}")
        return json.loads(line)

    def run_round(self) -> None:
        """Wake it for one round."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.rounds.append(self.read())

    def stop(self) -> None:
        """End of input ends it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def values(self, key: str) -> list[float]:
        """One figure of all rounds."""
        return [answered[key] for answered in self.rounds]


def measure(case: Case, mode: str, allocator: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each library, fastest peer and ceiling taken from the same rounds."""
    workers = [Worker(name, case, mode, allocator, options) for name in (*options.libraries, CEILING)]
    for worker in report.turns(workers, options.rounds):
        worker.run_round()
    for worker in workers:
        worker.stop()
    *libraries, ceiling = workers
    peers = [worker for worker in libraries if worker.library != "vitral"]
    best = max(peers, key=lambda worker: statistics.median(worker.values("rate")), default=libraries[0])
    return [
        {
            "case": str(case), "mode": mode, "allocator": allocator, "library": worker.library,
            "rate": report.spread(worker.values("rate")),
            "ratio": report.paired_ratio(worker.values("rate"), best.values("rate")),
            "peak_mb": worker.rounds[-1]["peak"],
            "step_mb": worker.rounds[-1]["peak"] - worker.rounds[-1]["imported"],
            "share": report.paired_ratio(worker.values("gflops"), ceiling.values("gflops")),
            "ceiling_gflops": statistics.median(ceiling.values("gflops")),
            "rounds": worker.rounds,
        }
        for worker in libraries
    ]  # fmt: skip


COLUMNS = (
    "case", "mode", "allocator", "library", "images/s", "min-max", "to best peer", "peak MB", "step MB", "ceiling GFLOP/s", "share",
)  # fmt: skip


def cells(row: dict[str, Any]) -> list[str]:
    """One row of `measure`, as printed."""
    rate = row["rate"]
    return [
        *(row[key] for key in COLUMNS[:4]),
        f"{rate['median']:.1f}", f"{rate['min']:.1f}-{rate['max']:.1f}", f"{row['ratio']:.3f}",
        f"{row['peak_mb']:.0f}", f"{row['step_mb']:.0f}", f"{row['ceiling_gflops']:.0f}", f"{row['share']:.0%}",
    ]  # fmt: skip


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.models", description=(__doc__ or "").split("\n\n")[0],
        epilog="Memory: 'peak MB' is the whole process with its imports, 'step MB' what the steps add to it. "
        "'share' is arithmetic per second as a share of the ceiling's.",
    )  # fmt: skip
    report.add_common_options(parser)
    parser.add_argument(
        "--cases", nargs="+", type=Case.parse, default=CASES, metavar="TASK-SIZE-BATCH",
        help=f"train or infer, Ti, S or B, pictures in a batch (default: {' '.join(map(str, CASES))})",
    )  # fmt: skip
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=LIBRARIES)
    parser.add_argument("--compile", action="store_true", help="measure torch.compile as well as eager")
    parser.add_argument(
        "--allocator", action="store_true",
        help="measure everything again with glibc's large-allocation thresholds raised, for all libraries",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=report.cores(), help="default: the cores")
    parser.add_argument("--seconds", type=float, default=3.0, help="least time of one row in one round")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure what was asked for and print it."""
    options = parse(arguments)
    if options.worker:
        library, case, mode = options.worker
        work(library, Case.parse(case), mode, options.threads, options.seconds)
        return
    env = report.environment()
    rows = []
    for allocator in ("default", "large") if options.allocator else ("default",):
        for mode in ("eager", "compile") if options.compile else ("eager",):
            for case in options.cases:
                rows += measure(case, mode, allocator, options)
                print(f"measured {case} {mode} {allocator}", file=sys.stderr)
    print(report.heading(env), end="\n\n")
    print(report.table(COLUMNS, [cells(row) for row in rows]))
    settings = {"threads": options.threads, "rounds": options.rounds, "seconds": options.seconds}
    cases = [asdict(case) | {"gflop_per_picture": case.gflop} for case in options.cases]
    report.write_json(options.json, {"environment": env, "settings": settings, "cases": cases, "rows": rows})


if __name__ == "__main__":
    main()
