"""The loop: what decides its result, and what may differ from one start to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from vitral.config.duration import Duration
from vitral.errors import require


@dataclass(frozen=True)
class TrainingConfig:
    """The loop."""

    batch_size: Annotated[int, "pictures per optimizer step, over all devices"] = 128
    micro_batch_size: Annotated[
        int | None,
        "pictures per forward pass; default: what fits, at best the whole batch. Parts add up to the batch's gradient, "
        "to rounding; dropout draws, and batch norm averages, part by part",
    ] = None
    precision: Annotated[
        Literal["float32", "bfloat16"] | None,
        "default: bfloat16 on a GPU; on a CPU float32, or what a short trial says when pretrained weights are adapted",
    ] = None
    average: Annotated[float, "decay of the running average of the weights that is evaluated and kept; 0 is off"] = 0.0
    seed: Annotated[int, "of the initial weights, the order, the crops and the dropout"] = 0
    evaluate_every: Annotated[Duration, "on the validation split"] = Duration(1, "epochs")
    metric: Annotated[
        Literal["top1", "loss", "balanced_accuracy", "mean_average_precision"] | None,
        "tells which evaluation is the best; default: top1, with several labels mean_average_precision",
    ] = None
    patience: Annotated[int | None, "evaluations in a row without a better one that end the run; none: never"] = None
    first_look: Annotated[
        bool,
        "solve the head alone first, on the pictures as they are: it is kept unless what is learned then is better on "
        "the validation split",
    ] = False
    keep_features: Annotated[
        bool, "where only the head learns, from unvaried pictures: keep what it sees of each, so that all is seen once"
    ] = True
    checkpoint_every: Annotated[Duration, "what a crash can cost at most"] = Duration(1, "epochs")
    compile: Annotated[bool, "compile the model first (slower start, faster steps on a GPU)"] = False
    log_every: Annotated[Duration, "one line in metrics.jsonl"] = Duration(10, "steps")
    keep_checkpoints: Annotated[int, "newest checkpoints that stay on disk"] = 2

    def __post_init__(self) -> None:
        require(1 <= self.batch_size <= 2**24, f"batch_size must be 1 to 2^24, not {self.batch_size}")
        if self.micro_batch_size is not None:
            require(
                1 <= self.micro_batch_size <= self.batch_size,
                f"micro_batch_size must be 1 to batch_size ({self.batch_size}), not {self.micro_batch_size}",
            )
        require(0 <= self.average < 1, f"average must be at least 0 and below 1, not {self.average:g}")
        require(self.patience is None or self.patience >= 1, f"patience must be at least 1, not {self.patience}")
        require(0 <= self.seed < 2**63, f"seed must be 0 to 2^63 - 1, not {self.seed}")
        require(self.keep_checkpoints >= 1, f"keep_checkpoints must be at least 1, not {self.keep_checkpoints}")


@dataclass(frozen=True)
class RuntimeConfig:
    """What may differ from one start of a run to the next. Workers, prefetch and TensorBoard change no result at all;
    another device changes how sums are rounded. Where a preset chose precision or length by the kind of device, a
    resume on the other kind is refused with the difference, and goes on once these are given as they were."""

    device: Annotated[str, "cpu, cuda, cuda:1, mps; auto takes the first GPU that is there"] = "auto"
    workers: Annotated[int | None, "threads that read pictures; default: one per core, at most 16"] = None
    prefetch: Annotated[int, "batches made ahead"] = 4
    features: Annotated[
        str | None,
        "folder that keeps what a frozen network says of pictures, for other runs too; default: the run's own",
    ] = None
    tensorboard: Annotated[bool, "also write TensorBoard event files (extra: tensorboard)"] = False
    augment_on: Annotated[
        Literal["host", "device"],
        "who mirrors, jitters, erases and runs RandAugment: the threads that read, or the device, in batches",
    ] = "host"
    cache: Annotated[
        Literal["none", "ram", "disk"], "keep what was read of training pictures for the next epochs: the same result"
    ] = "none"
    cache_of: Annotated[
        Literal["files", "pixels"], "what the cache keeps: decoded pixels, or files (smaller, for a slow disk)"
    ] = "pixels"
    cache_size: Annotated[
        float | None, "gigabytes of the cache; default: a quarter of the free memory, half of the free disk"
    ] = None
    cache_folder: Annotated[
        str | None, "folder of the disk cache, which stays for other runs; default: in the run's own, until it is done"
    ] = None

    def __post_init__(self) -> None:
        require(
            self.cache_size is None or 0 < self.cache_size < 1e9,
            f"cache_size must be above 0 GB, not {self.cache_size}",
        )
        require(
            self.cache_folder is None or self.cache == "disk",
            "runtime.cache_folder goes with --cache disk: add that, or leave it out.",
        )
        require(self.workers is None or 0 <= self.workers <= 256, f"workers must be 0 to 256, not {self.workers}")
        require(1 <= self.prefetch <= 1024, f"prefetch must be 1 to 1024, not {self.prefetch}")
