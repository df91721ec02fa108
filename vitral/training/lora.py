"""LoRA: "Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685), for the attention of Vision Transformers.

A pretrained matrix W_0 stays as it is and learns an update of rank r beside it: W = W_0 + (alpha / r) B A (Eq. 3 and
section 4.1). B starts at zero, so that the first step sees the pretrained network to the last bit. W itself is what
the layers compute with, so the network with its updates written into plain weights gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vitral.config import LoraConfig
from vitral.errors import UsageError
from vitral.models import Network, empty_network

QKV = ("q", "k", "v")
"""The parts of a layer `qkv`, in the order of its rows."""


class LowRank(nn.Module):
    """W_0 to W_0 + (alpha / r) B A, for some of the equal parts that the rows of W_0 consist of.

    Args:
        weight: W_0 [rows, D].
        parts: which of its `of` parts have an update.
        scale: alpha / r.
        generator: draws A, whose entries are normal of variance 1 / D: A x is of the order of x (section 4.1 names
            no variance).
    """

    index: Tensor

    def __init__(
        self, weight: Tensor, parts: list[int], of: int, rank: int, scale: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        rows, width = weight.shape
        drawn = torch.randn(len(parts), rank, width, generator=generator) / math.sqrt(width)
        self.a = nn.Parameter(drawn.to(weight.device))
        self.b = nn.Parameter(torch.zeros(len(parts), rows // of, rank, device=weight.device))
        self.register_buffer("index", torch.tensor(parts, device=weight.device), persistent=False)
        self.of, self.scale = of, scale

    def forward(self, weight: Float[Tensor, "rows D"]) -> Float[Tensor, "rows D"]:
        # In float32 whatever the rest computes in: what is trained with is what is written.
        with torch.autocast(weight.device.type, enabled=False):
            update = self.scale * (self.b @ self.a)
            return weight.unflatten(0, (self.of, -1)).index_add(0, self.index, update).flatten(0, 1)


def adapt(network: Network, config: LoraConfig, seed: int) -> str:
    """Give the attention matrices of `network` low-rank updates; only they and the heads learn from now on.

    Matrices that are frozen already get none, and a frozen head stays so.

    Returns:
        a sentence with the number of parameters that learn.

    Raises:
        UsageError: the network has no attention of this kind, or all of it is frozen.
    """
    generator = torch.Generator().manual_seed(seed)
    attention = list(_attention(network))
    if not attention:
        raise UsageError(
            f"LoRA adapts the attention of a Vision Transformer, and {type(network).__name__} has none of that kind: "
            "leave --lora out, or name another --model."
        )
    widest = max(qkv.in_features for qkv, _ in attention)
    if config.rank > widest:
        raise UsageError(f"LoRA's rank {config.rank} is more than the width {widest} of the network: lower --lora.")
    chosen = []
    for qkv, out in attention:
        parts = [QKV.index(name) for name in QKV if name in config.matrices]
        chosen += [(qkv, parts, len(QKV))] if parts and qkv.weight.requires_grad else []
        chosen += [(out, [0], 1)] if "out" in config.matrices and out.weight.requires_grad else []
    if not chosen:
        raise UsageError("--model.freeze covers every matrix that --lora.matrices names: leave one of them free.")
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in learning and network.in_heads(name))
    scale = 1.0 if config.alpha is None else config.alpha / config.rank
    for layer, parts, of in chosen:
        update = LowRank(layer.weight, parts, of, config.rank, scale, generator)
        parametrize.register_parametrization(layer, "weight", update)
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in network.parameters()]
    every, left = sum(size for size, _ in sizes), sum(size for size, learns in sizes if learns)
    return (
        f"LoRA of rank {config.rank} on {', '.join(config.matrices)} of {len(attention)} layers: {left:,} of {every:,} "
        f"parameters learn ({left / every:.1%})"
    )


def merged(network: Network) -> Network:
    """The network that `network` computes, with its updates in plain weights; itself, if it has none.

    What has no update is shared, not copied.
    """
    if not any(parametrize.is_parametrized(module) for module in network.modules()):
        return network
    tensors = {}
    for name, value in network.state_dict().items():
        layer, _, rest = name.partition(".parametrizations.weight.")
        if not rest:
            tensors[name] = value
        elif rest == "original":
            updated: Any = network.get_submodule(layer)
            tensors[f"{layer}.weight"] = updated.weight.detach()
    plain = empty_network(network.config)
    plain.load_state_dict(tensors, assign=True)
    return plain.train(network.training)


def _attention(network: nn.Module) -> Iterator[tuple[nn.Linear, nn.Linear]]:
    """The layers `qkv` and `out` of every self-attention that has them dense."""
    for module in network.modules():
        qkv, out = getattr(module, "qkv", None), getattr(module, "out", None)
        if isinstance(qkv, nn.Linear) and isinstance(out, nn.Linear):
            yield qkv, out
