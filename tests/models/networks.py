"""What tests of several families share."""

from __future__ import annotations

import torch

from vitral.models.network import Network


def count(model: torch.nn.Module) -> int:
    """Parameters of a network."""
    return sum(parameter.numel() for parameter in model.parameters())


def moved(model: torch.nn.Module) -> torch.nn.Module:
    """The network in evaluation mode, with all parameters away from their start."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def equal_in_every_batch(model: Network, images: torch.Tensor, sizes: tuple[int, ...] = (1,)) -> bool:
    """Whether tokens have the same bits in batches of these sizes as they have all together."""
    with torch.inference_mode():
        together = model.encode(images)
        return all(
            torch.equal(torch.cat([model.encode(part) for part in images.split(size)]), together) for size in sizes
        )
