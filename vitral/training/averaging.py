"""A running (Polyak) average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Average:
    """A copy of a model whose parameters follow the trained ones.

    After update number s: average <- d average + (1 - d) weights, with d = min(decay, (1 + s) / (10 + s)), so
    that a short run is not weighed down by its starting point.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards `model` after `step` updates have been made."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay)
        for own, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(theirs)
