"""What the tests of convolutional networks share."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import nn

from tests import peers
from vitral.models import create_model


def timm() -> ModuleType:
    return peers.or_skip(peers.timm)


def torchvision_models() -> ModuleType:
    return peers.or_skip(peers.torchvision_models)


def count(name: str, **overrides: object) -> int:
    return sum(parameter.numel() for parameter in create_model(name, device="meta", **overrides).parameters())


@torch.no_grad()
def unlike_new(network: nn.Module) -> nn.Module:
    """Give every normalisation scales, shifts and statistics that matter, and the other parameters of one size.

    Scales are such that the numbers neither vanish nor explode on their way through many layers.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5)
            module.bias.uniform_(-0.3, 0.3)
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 2.0)
            module.num_batches_tracked.fill_(7)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            module.bias.uniform_(-0.3, 0.3)
        elif isinstance(module, nn.Linear):
            module.weight.normal_(std=module.in_features**-0.5)
            module.bias.uniform_(-0.3, 0.3)
    return network.eval()


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Equal to 1e-5 of the largest number."""
    ours, theirs = ours.detach(), theirs.detach()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * max(1.0, float(theirs.abs().max())))
    assert float(theirs.std()) > 1e-3  # else it would say nothing
