"""LAMB (arXiv 1904.00962, Algorithm 2), as DeiT III was trained with it: large batches at large rates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-6
"""Added to the root of the second moment (section 5 of the paper)."""


class Lamb(torch.optim.Optimizer):
    """Adam's direction, with decoupled decay in it, made as long as the parameter itself.

    With m, v Adam's averages without their bias and u = m / (sqrt(v) + eps) + decay w, a step is
    w <- w - rate phi u, phi = |w| / |u| (1 where either norm is 0). As in the code that DeiT III used (NVIDIA's
    FusedLAMB without its "nvlamb"), parameters that do not decay take phi = 1, so that biases and norms are Adam's.
    Gradients are clipped by the caller. As torch's fused optimizers, it leaves parameters as they are while the tensor
    `found_inf` is 1 (see `vitral.training.watch`); its averages are then of no further use.

    Args:
        groups: of parameters, each with its "weight_decay".
    """

    found_inf: Tensor | None = None

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Make one update from the gradients that are there."""
        assert closure is None, "the gradients are there already"
        for group in self.param_groups:
            learning = [parameter for parameter in group["params"] if parameter.grad is not None]
            if learning:
                self._update(group, learning)

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        gradients: list[Tensor] = [parameter.grad for parameter in parameters]  # type: ignore[misc]
        if self.found_inf is not None:  # zeros for what may be no numbers, which no factor would make 0
            gradients = [gradient.masked_fill(self.found_inf > 0, 0.0) for gradient in gradients]
        states = [self._state_of(parameter) for parameter in parameters]
        first, second = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq"))
        steps = [int(state["step"]) for state in states]
        beta1, beta2 = group["betas"]
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        roots = torch._foreach_div(second, [1 - beta2**step for step in steps])
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, EPSILON)
        updates = torch._foreach_div(first, [1 - beta1**step for step in steps])
        torch._foreach_div_(updates, roots)
        if group["weight_decay"]:
            torch._foreach_add_(updates, parameters, alpha=group["weight_decay"])
            lengths, strides = torch._foreach_norm(parameters), torch._foreach_norm(updates)
            torch._foreach_mul_(updates, [_trust(w, u) for w, u in zip(lengths, strides, strict=True)])
        if self.found_inf is not None:
            torch._foreach_mul_(updates, 1 - self.found_inf)
        torch._foreach_add_(parameters, updates, alpha=-group["lr"])

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())  # on the CPU, so that reading it waits for nothing
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] = state["step"].cpu() + 1  # a resume has put it where the parameter is
        return state


def _trust(length: Tensor, stride: Tensor) -> Tensor:
    """|w| / |u| as a tensor, so that no device is waited for."""
    return torch.where((length > 0) & (stride > 0), length / stride, torch.ones_like(length))
