"""How long a study will take: a few steps of its networks are timed before it starts, and what runs really took
corrects the rest."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from vitral.benchmarks.measures import Asked, counted, planned
from vitral.benchmarks.study import Member
from vitral.models import build_network
from vitral.planning import Plan, model_config
from vitral.serving.device import choose_device

AFFORDABLE = 2e9
"""Multiplications with additions, forward, of a step that is timed on a CPU: less than a second of work. Of larger
steps a part is timed, and networks of which a single picture is more are reckoned by the largest that was timed."""

AFFORDABLE_ON_GPU = 1e12

AROUND = 2.0
"""Seconds of a run beside its steps: opening, writing, measuring (on the two cores that the scale "minutes" is for)."""


class Budget:
    """Seconds of each member's runs, and what they are made of: see `vitral.benchmarks.measures.counted`."""

    def __init__(self, seconds: Mapping[str, float], facts: Mapping[str, Mapping[str, Any]]) -> None:
        self.seconds, self.facts = seconds, facts
        self._expected = self._took = 0.0

    def of(self, left: Sequence[tuple[Member, int]]) -> float:
        """Seconds that these runs, each with its seed, will take."""
        correction = self._took / self._expected if self._expected else 1.0
        return correction * sum(self.seconds[member.name] for member, _ in left)

    def spent(self, member: Member, seconds: float | None) -> None:
        """A run took so long; `None` if that is not known."""
        if seconds is not None:
            self._expected += self.seconds[member.name]
            self._took += seconds


def estimate(members: Sequence[Member], asked: Asked) -> Budget:
    """Time a step of every network; nothing is written."""
    device = choose_device(asked.words.get("runtime.device", "auto"))
    affordable = AFFORDABLE if device.type == "cpu" else AFFORDABLE_ON_GPU
    runs = {member.name: planned(_untaught(member), 0, asked) for member in members}
    facts = {member.name: counted(runs[member.name], member.kind) for member in members}
    timed: dict[Any, float] = {}
    seconds: dict[str, float] = {}
    rate = 0.0  # MACs of forward passes in a second, of the largest network so far
    for name in sorted(runs, key=lambda name: int(facts[name]["macs"])):
        run, macs = runs[name], facts[name]["macs"]
        network = model_config(run.config, len(run.dataset.classes))
        if network not in timed and (macs <= affordable or not rate):
            pictures = int(max(1, min(run.config.training.batch_size, affordable // macs)))
            timed[network] = _step(run, pictures, device) / pictures
            rate = macs / timed[network]
        per_picture = timed[network] if network in timed else macs / rate
        seconds[name] = per_picture * facts[name]["examples"] + AROUND * (1 if asked.study.transfer is None else 2)
    return Budget(seconds, facts)


def _untaught(member: Member) -> Member:
    """Without its teacher, which is not there yet."""
    own = {name: value for name, value in member.settings.items() if not name.startswith("distillation.")}
    return replace(member, settings=own, teacher=None)


def _step(run: Plan, pictures: int, device: torch.device) -> float:
    """Seconds of a training step, the second of two."""
    config = run.config
    network = build_network(model_config(config, len(run.dataset.classes))).to(device).train()
    images = torch.zeros(pictures, 3, *config.preprocessing.crop, device=device)
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=config.training.precision == "bfloat16"):
            network(images).square().sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    return seconds
