"""The authors' initial distributions, where torch has no equal: parts of a stacked matrix, lecun normal, all layers."""

from __future__ import annotations

import math

from torch import nn


def xavier_uniform(layer: nn.Linear, parts: int = 1) -> None:
    """Xavier uniform for each of `parts` matrices stacked along the rows, as if they were separate."""
    for matrix in layer.weight.data.chunk(parts, dim=0):
        nn.init.xavier_uniform_(matrix)
    nn.init.zeros_(layer.bias)


def lecun_normal(layer: nn.Linear | nn.Conv2d) -> None:
    """Normal of variance 1 / fan_in, cut at two standard deviations and widened to keep that variance."""
    kept_std = 0.87962566103423978  # of a unit normal cut at +-2
    std = math.sqrt(1 / layer.weight[0].numel()) / kept_std
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def normal_dense(module: nn.Module, std: float = 0.02) -> None:
    """Normal weights and zero biases in every dense layer under `module`, as DeiT and DINO start.

    Their "truncated" normal cuts at +-2, a hundred standard deviations, which is no cut.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)
