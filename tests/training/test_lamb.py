"""LAMB against its algorithm written out, and against timm's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests import peers
from vitral.config import OptimizerConfig
from vitral.training.optimizer import build_optimizer, parameter_groups, set_learning_rate

RATE, DECAY, STEPS = 0.01, 0.1, 4


def trained(seed: int) -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]], dict[str, torch.nn.Parameter]]:
    """Initial values, gradients of each step, and parameters after those steps of ours; one of them starts at zero."""
    rng = np.random.default_rng(seed)
    shapes = {"a.weight": (4, 3), "a.bias": (4,), "b.weight": (2, 4), "token": (1, 1, 3)}
    start = {name: rng.normal(size=shape) * (name != "b.weight") for name, shape in shapes.items()}
    gradients = [{name: rng.normal(size=shape) for name, shape in shapes.items()} for _ in range(STEPS)]
    made = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in start.items()}
    config = OptimizerConfig("lamb", RATE, DECAY)
    optimizer = build_optimizer(parameter_groups(made.items(), config, lambda _: 0, 0), config)
    set_learning_rate(optimizer, RATE)
    for gradient in gradients:
        for name, parameter in made.items():
            parameter.grad = torch.tensor(gradient[name])
        optimizer.step()
    return start, gradients, made


def test_a_step_is_that_of_the_paper() -> None:
    """arXiv 1904.00962, Algorithm 2, with phi the identity; biases and tokens as Adam."""
    start, gradients, made = trained(0)
    for name, w in start.items():
        m, v = np.zeros_like(w), np.zeros_like(w)
        decays = name.endswith("weight")
        for step, gradient in enumerate(gradients, start=1):
            m = 0.9 * m + 0.1 * gradient[name]
            v = 0.999 * v + 0.001 * gradient[name] ** 2
            update = (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-6) + DECAY * decays * w
            length, stride = np.sqrt((w**2).sum()), np.sqrt((update**2).sum())
            w = w - RATE * (length / stride if decays and length > 0 else 1.0) * update
        np.testing.assert_allclose(made[name].detach().numpy(), w, rtol=1e-10, atol=1e-12)


def test_timms_makes_the_same_steps() -> None:
    peers.or_skip(peers.timm)
    from timm.optim import Lamb

    start, gradients, made = trained(1)
    theirs = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in start.items()}
    groups = [
        {
            "params": [theirs[name] for name in start if name.endswith("weight") == decays],
            "weight_decay": decays * DECAY,
        }
        for decays in (True, False)
    ]
    optimizer = Lamb(groups, lr=RATE, max_grad_norm=None)
    for gradient in gradients:
        for name, parameter in theirs.items():
            parameter.grad = torch.tensor(gradient[name])
        optimizer.step()
    for name, parameter in theirs.items():
        torch.testing.assert_close(made[name], parameter, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["lamb", "adamw"])
def test_a_resumed_optimizer_makes_the_same_steps(name: str) -> None:
    """Through the tensors that a checkpoint keeps, to the bit."""
    from vitral.training.loop import Progress

    config = OptimizerConfig(name, RATE, DECAY)  # type: ignore[arg-type]

    def begin() -> Progress:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        groups = parameter_groups(model.named_parameters(), config, lambda _: 0, 0)
        return Progress(model, build_optimizer(groups, config), None)

    def run(progress: Progress, steps: range) -> None:
        for step in steps:
            set_learning_rate(progress.optimizer, RATE)
            torch.manual_seed(step)
            progress.model(torch.randn(5, 3)).square().sum().backward()
            progress.optimizer.step()
            progress.optimizer.zero_grad(set_to_none=True)

    whole, first, second = begin(), begin(), begin()
    run(whole, range(6))
    run(first, range(3))
    second.restore({name: value.clone() for name, value in first.tensors().items()}, first.state())
    run(second, range(3, 6))
    for mine, other in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(mine, other)
