"""What tests of several families share."""

from __future__ import annotations

import torch


def count(model: torch.nn.Module) -> int:
    """Parameters of a network."""
    return sum(parameter.numel() for parameter in model.parameters())


def moved(model: torch.nn.Module) -> torch.nn.Module:
    """The network in evaluation mode, with all parameters away from their start."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()
