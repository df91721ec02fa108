"""How large a network is and how much it computes, part by part: counted on the meta device, where nothing is computed.

A multiplication with its addition is one operation (MAC), half of what is elsewhere called two FLOPs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vitral.models import build_network
from vitral.models.adapter import AdapterConfig
from vitral.models.network import Network

BESIDE = "between the parts"
"""What is computed in no part: products that the network itself makes of a part's weights, like the patch embedding."""


@dataclass(frozen=True)
class Part:
    """A direct child of the network, or a parameter of its own.

    Attributes:
        parameters: its numbers that learn.
        macs: multiplications with their addition for one picture.
        output: shape of what it gives for one picture, without the picture's dimension; `None` if it is not called.
    """

    name: str
    parameters: int
    macs: int
    output: tuple[int, ...] | None


def parts_of(config: Any) -> list[Part]:
    """The parts of a configuration's network in their order, for one picture of its image size."""
    # Another library computes buffers when it builds its network, so that is never on meta.
    device = torch.device("cpu" if isinstance(config, AdapterConfig) else "meta")
    with device:
        # The counter hooks every input that wants a gradient, and fails at a parameter that is passed on as one.
        network = build_network(config).eval().requires_grad_(False)
    images = torch.empty(1, getattr(config, "channels", 3), *config.image_size, device=device)
    shapes: dict[str, tuple[int, ...]] = {}
    handles = [
        module.register_forward_hook(_remember(shapes, name.split(".")[0]))
        for name, module in network.named_modules()
        if name and (name.count(".") == 0 or isinstance(network.get_submodule(name.rpartition(".")[0]), nn.ModuleList))
    ]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    for handle in handles:
        handle.remove()
    by_module = {name: sum(found.values()) // 2 for name, found in counter.get_flop_counts().items()}
    parts = [_part(network, name, shapes, by_module) for name in _names(network)]
    rest = counter.get_total_flops() // 2 - sum(part.macs for part in parts)
    return [*parts, Part(BESIDE, 0, rest, None)] if rest else parts


def _remember(shapes: dict[str, tuple[int, ...]], part: str) -> Any:
    def hook(_: nn.Module, __: Any, output: Any) -> None:
        value = output[0] if isinstance(output, tuple) else output
        if isinstance(value, Tensor):
            shapes[part] = tuple(value.shape[1:])

    return hook


def _names(network: Network) -> list[str]:
    """Direct children and parameters with something in them, in the order of the parameters."""
    return list(dict.fromkeys(name.split(".")[0] for name, _ in network.named_parameters()))


def _part(network: Network, name: str, shapes: dict[str, tuple[int, ...]], by_module: dict[str, int]) -> Part:
    count = sum(p.numel() for full, p in network.named_parameters() if full.split(".")[0] == name)
    root = type(network).__name__
    child = getattr(network, name)
    if isinstance(child, nn.ModuleList):  # never called itself; its members are
        macs = sum(by_module.get(f"{root}.{name}.{i}", 0) for i in range(len(child)))
    else:
        macs = by_module.get(f"{root}.{name}", 0)
    return Part(name, count, macs, shapes.get(name))
