"""Which parameters learn, decay and at which rate; the updates themselves are torch's."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from vitral.config import OptimizerConfig
from vitral.errors import UsageError
from vitral.registry import nearest
from vitral.training.lamb import Lamb


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: only to matrices and kernels, as big_vision's ".*/kernel$".

    Not to biases, LayerNorm, class token, positions or the attention-pool probe.
    """
    return name.endswith("weight") and parameter.ndim >= 2


def freeze(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Stop the parameters whose names match one of the shell-style `patterns` from learning; return their names.

    Raises:
        UsageError: a pattern matches nothing, or nothing is left to learn.
    """
    names = [name for name, _ in model.named_parameters()]
    frozen: set[str] = set()
    for pattern in patterns:
        matched = fnmatch.filter(names, pattern)
        if not matched:
            close = nearest(pattern.rstrip("*."), {name.rsplit(".", 1)[0]: None for name in names})
            raise UsageError(
                f"freeze pattern {pattern!r} matches no parameter: did you mean {', '.join(close) or names[0]}?"
            )
        frozen.update(matched)
    if len(frozen) == len(names):
        raise UsageError("the freeze patterns cover every parameter: nothing would learn.")
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    return [name for name in names if name in frozen]


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]],
    config: OptimizerConfig,
    layer_of: Callable[[str], int],
    top_layer: int,
) -> list[dict[str, object]]:
    """Learning parameters grouped by (decays or not, layer, in a block), each with its rate's factor under "scale".

    The factor of layer l is `layer_decay ** (top_layer - l)` (arXiv 2111.06377, section A.2), in encoder blocks times
    `block_rate`.
    """
    groups: dict[tuple[bool, int, bool], dict[str, object]] = {}
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        layer = layer_of(name) if config.layer_decay < 1 else top_layer
        slower = config.block_rate < 1 and name.startswith("blocks.")
        key = (decays(name, parameter), layer, slower)
        group = groups.setdefault(
            key,
            {
                "params": [],
                "weight_decay": config.weight_decay if key[0] else 0.0,
                "scale": config.layer_decay ** (top_layer - layer) * (config.block_rate if slower else 1.0),
            },
        )
        group["params"].append(parameter)  # type: ignore[attr-defined]
    return list(groups.values())


def build_optimizer(groups: list[dict[str, object]], config: OptimizerConfig) -> torch.optim.Optimizer:
    """Adam, AdamW (decay decoupled and multiplied by the rate), LAMB, or SGD with momentum; torch's fused forms."""
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=config.momentum, fused=True)
    if config.name == "lamb":
        return Lamb(groups, lr=0.0, betas=(config.beta1, config.beta2))
    # Without decay AdamW is Adam; with it, Adam in torch would couple the decay to the gradient's scale.
    return torch.optim.AdamW(groups, lr=0.0, betas=(config.beta1, config.beta2), eps=1e-8, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group `rate` times its own scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
