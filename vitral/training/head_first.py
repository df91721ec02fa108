"""The head alone first, then everything: linear probing, then fine-tuning (LP-FT, arXiv 2202.10054).

A head that starts at zero sends large gradients through features that are good already; one that has learned by
itself first distorts them less.
"""

from __future__ import annotations

from vitral.models import Network


class HeadFirst:
    """Called before each step, with its number: until `steps` only the head learns.

    It is a function of the step alone, so that a resume need not know of it.
    """

    def __init__(self, network: Network, steps: int) -> None:
        learning = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        self.body = [p for name, p in learning if not network.in_heads(name)]
        self.steps = steps if len(self.body) < len(learning) else 0

    def __call__(self, step: int) -> None:
        for parameter in self.body:
            parameter.requires_grad_(step >= self.steps)
