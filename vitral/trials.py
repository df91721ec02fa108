"""Short trials on the real network before a run's first step: precision, memory, learning rate.

What they choose is written into the run's config.json, so that a resume chooses the same without a trial.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn

from vitral.console import duration_words
from vitral.data.loader import Batch
from vitral.files import replace_durably
from vitral.overrides import override
from vitral.session import Session
from vitral.training import memory, precision, rate_finder
from vitral.training.loop import Progress

RANGE_TEST = "learning_rates.json"
"""In the run's folder: the curve of `--find-lr`."""


def try_out(progress: Progress, session: Session, pictures_in_all: int) -> None:
    """Choose what the configuration leaves open, by trials that leave no trace in the network; say why; record it.

    Args:
        progress: at its first step, with nothing learned yet.
        session: its configuration is completed.
        pictures_in_all: that the run will show.
    """
    before = session.config
    # Where only the head learns there is little to gain; a compiled network would be compiled anew for each trial.
    tries = not before.training.compile and not _only_head(progress.model)
    if before.training.precision is None:
        chosen = _precision(progress, session, pictures_in_all) if tries else "float32"
        _change(session, {"training.precision": chosen})
    if tries and session.config.training.micro_batch_size is None:
        _fit(progress, session)
    if before.optimizer.find_rate and not (session.folder / RANGE_TEST).exists():
        _find_rate(progress, session)
    if session.config != before:
        session.record(session.config)


def _precision(progress: Progress, session: Session, pictures_in_all: int) -> str:
    training = session.config.training
    count = precision.trial_size(training.micro_batch_size or training.batch_size, pictures_in_all)
    if count is None:
        session.screen.decide("float32: the run is too short for a trial of bfloat16")
        return "float32"

    def step(name: str) -> None:
        _change(session, {"training.precision": name})
        session.loss(_noise(session, count), session.whole_step)
        progress.optimizer.zero_grad(set_to_none=True)

    timing = _without_trace(progress.model, lambda: precision.compare(step, count, pictures_in_all))
    session.screen.decide(_said(timing, pictures_in_all))
    return timing.chosen


def _said(timing: precision.Timing, pictures_in_all: int) -> str:
    left = f"about {duration_words(timing.seconds_per_picture * pictures_in_all)} of training"
    if timing.bfloat16 is None:
        return f"float32: {left}, which is too short for a trial of bfloat16"
    times = timing.float32 / timing.bfloat16
    why = "" if timing.chosen == "bfloat16" else f", and {precision.CLEARLY:g} times would be worth it"
    return (
        f"{timing.chosen}: a step of {timing.pictures} pictures takes {timing.bfloat16:.2f} s in bfloat16 and "
        f"{timing.float32:.2f} s in float32 ({times:.2f} times as fast{why}); {left}"
    )


def _fit(progress: Progress, session: Session) -> None:
    """Choose micro-batches whose step is predicted to fit into the memory that is free."""
    batch = session.config.training.batch_size
    free = memory.free_bytes(session.device)
    if free is None or batch == 1:
        return
    per_picture = _without_trace(progress.model, lambda: _bytes_per_picture(progress, session))
    # Gradients, and Adam's two averages or SGD's one, of what learns; the weights themselves are there already.
    learning = sum(p.nbytes for p in progress.model.parameters() if p.requires_grad)
    room = memory.SHARE * free - 3 * learning
    size = memory.fitting(batch, per_picture, room)
    if per_picture:
        session.expect_memory(int(size * per_picture) + 3 * learning)
    if size == batch:
        return
    _change(session, {"training.micro_batch_size": size})
    session.screen.decide(
        f"batches of {batch} go in parts of {size}: a picture takes about {per_picture / 1e6:,.0f} MB and "
        f"{max(0.0, room) / 1e6:,.0f} MB can be used"
    )
    if per_picture > room and not session.config.model.checkpoint_blocks:
        session.screen.warn(
            "not even one picture at a time is predicted to fit: --model.checkpoint-blocks keeps less and computes it "
            "again, for about a third more time."
        )


def _bytes_per_picture(progress: Progress, session: Session) -> float:
    def peak(count: int) -> int:
        def step() -> None:
            session.loss(_noise(session, count), session.whole_step)
            progress.optimizer.zero_grad(set_to_none=True)

        return memory.peak_bytes(step, session.device)

    if session.device.type != "cuda":
        few, twice = (session.kept_bytes(_noise(session, count)) for count in memory.CPU_SIZES)
        return (twice - few) / (memory.CPU_SIZES[1] - memory.CPU_SIZES[0])
    small, large = memory.GPU_SIZES
    if session.config.training.batch_size <= large:
        return 0.0
    peak(small)  # libraries take memory of their own at their first call
    first, second = peak(small), peak(large)
    return (second - first) / (large - small)


def _find_rate(progress: Progress, session: Session) -> None:
    batches = session.batches(0)

    def loss(batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        session.screen.progress(f"trying learning rates: step {step + 1}/{rate_finder.STEPS}")
        return session.loss(batch, session.whole_step + step)

    try:
        found = rate_finder.range_test(progress, batches, loss, session.config.optimizer.clip_norm, session.stopped)
    finally:
        batches.close()  # type: ignore[attr-defined]
        session.screen.end_progress()
    if found is None:
        return
    replace_durably(session.folder / RANGE_TEST, json.dumps(found.to_json(), indent=1).encode())
    session.screen.table(("learning rate", "loss"), found.rows(), right=(0, 1))
    if found.picked is None:
        rate = session.config.optimizer.learning_rate
        session.screen.warn(f"no rate made the loss fall: the learning rate stays {rate:.1e}.")
        return
    session.screen.decide(
        f"learning rate {found.picked:.1e}: a tenth of the one where the loss is lowest ({session.folder / RANGE_TEST})"
    )
    _change(session, {"optimizer.learning_rate": found.picked})


def _only_head(network: Any) -> bool:
    return all(network.in_heads(name) for name, p in network.named_parameters() if p.requires_grad)


def _change(session: Session, changes: dict[str, Any]) -> None:
    session.config = override(session.config, changes)


def _noise(session: Session, count: int) -> Batch:
    """`count` pictures of noise with the labels of training pictures: nothing need be read."""
    height, width = session.config.preprocessing.crop
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    samples = np.arange(count) % len(session.train_split)
    return Batch(pixels, np.zeros_like(samples), samples)


def _without_trace(network: nn.Module, trial: Callable[[], Any]) -> Any:
    """The result of `trial`, which trains the network but makes no update; averages of batch norm are put back."""
    kept = [buffer.clone() for buffer in network.buffers()]
    network.train()
    try:
        return trial()
    finally:
        for buffer, value in zip(network.buffers(), kept, strict=True):
            buffer.copy_(value)
