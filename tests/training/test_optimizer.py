"""Parameter groups, freezing, averages; the updates against torch's own and written-out formulas."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitral.config import OptimizerConfig
from vitral.errors import UsageError
from vitral.models.vit import VisionTransformer, ViTConfig
from vitral.training.averaging import Average
from vitral.training.optimizer import build_optimizer, decays, freeze, parameter_groups, set_learning_rate


def network(**changes: object) -> VisionTransformer:
    torch.manual_seed(0)
    small = {
        "patch_size": 4,
        "width": 16,
        "depth": 2,
        "mlp_dim": 32,
        "num_heads": 2,
        "image_size": (8, 8),
        "num_classes": 3,
    }
    return VisionTransformer(ViTConfig(**{**small, **changes}))


def groups(model: VisionTransformer, config: OptimizerConfig) -> list[dict[str, object]]:
    return parameter_groups(model.named_parameters(), config, model.layer_index, model.num_layers - 1)


def test_only_matrices_and_kernels_decay() -> None:
    model = network(pool="map", representation_size=8)
    decaying = {name for name, p in model.named_parameters() if decays(name, p)}
    stems = ["patch_embedding", "pre_logits", "head"]
    stems += [
        f"blocks.{i}.{part}" for i in range(2) for part in ("attention.qkv", "attention.out", "mlp.fc1", "mlp.fc2")
    ]
    stems += [f"attention_pool.{part}" for part in ("q", "kv", "out", "mlp.fc1", "mlp.fc2")]
    assert decaying == {f"{stem}.weight" for stem in stems}


def test_layer_decay_scales_each_layer_by_its_distance_from_the_top() -> None:
    model = network()
    scale = {}
    for group in groups(model, OptimizerConfig(layer_decay=0.5)):
        for name, p in model.named_parameters():
            if any(p is q for q in group["params"]):  # type: ignore[attr-defined]
                scale[name] = group["scale"]
    assert scale["patch_embedding.weight"] == scale["class_token"] == 0.125
    assert (scale["blocks.0.norm1.weight"], scale["blocks.1.mlp.fc1.weight"], scale["head.bias"]) == (0.25, 0.5, 1.0)
    assert len(scale) == len(list(model.parameters()))


def test_blocks_learn_at_a_rate_of_their_own_times_their_layers_factor() -> None:
    model = network()
    for config, expected in (
        (
            OptimizerConfig(block_rate=0.25),
            {"patch_embedding.weight": 1.0, "blocks.0.norm1.bias": 0.25, "head.bias": 1},
        ),
        (OptimizerConfig(block_rate=0.25, layer_decay=0.5), {"class_token": 0.125, "blocks.1.mlp.fc1.weight": 0.125}),
    ):
        scale = {id(p): group["scale"] for group in groups(model, config) for p in group["params"]}  # type: ignore[attr-defined]
        assert len(scale) == len(list(model.parameters()))
        for name, factor in expected.items():
            assert scale[id(model.get_parameter(name))] == factor, name


def one_update(config: OptimizerConfig, rate: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.full_like(layer.weight, 0.5)
    layer.bias.grad = torch.zeros_like(layer.bias)
    optimizer = build_optimizer(parameter_groups(layer.named_parameters(), config, lambda name: 0, 0), config)
    set_learning_rate(optimizer, rate)
    optimizer.step()
    return before, layer.weight.detach(), layer.bias.detach()


def test_adamw_decays_by_rate_times_decay_apart_from_the_gradient() -> None:
    before, after, _ = one_update(OptimizerConfig("adamw", weight_decay=0.3), 0.01)
    torch.testing.assert_close(after, before * (1 - 0.01 * 0.3) - 0.01 * 0.5 / (0.5 + 1e-8))


def test_sgd_moves_by_rate_times_gradient() -> None:
    before, after, _ = one_update(OptimizerConfig("sgd"), 0.1)
    torch.testing.assert_close(after, before - 0.1 * 0.5)


def test_adam_with_weight_decay_is_refused() -> None:
    with pytest.raises(UsageError, match="adamw"):
        OptimizerConfig("adam", weight_decay=0.1)


def test_freezing_by_pattern_stops_exactly_the_matching_parameters() -> None:
    model = network()
    frozen = freeze(model, ["blocks.0.*", "class_token"])
    assert set(frozen) == {n for n, p in model.named_parameters() if not p.requires_grad}
    assert set(frozen) == {n for n, _ in model.named_parameters() if n.startswith("blocks.0.") or n == "class_token"}


@pytest.mark.parametrize(
    ("pattern", "said"), [("block.*", "matches no parameter: did you mean"), ("*", "nothing would learn")]
)
def test_freeze_patterns_that_do_nothing_or_everything_are_refused(pattern: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        freeze(network(), [pattern])


def test_the_average_follows_its_formula() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 0.0)
    average = Average(layer, 0.9)
    expected = 0.0
    for step, value in enumerate([1.0, 3.0, -2.0] * 40, start=1):
        nn.init.constant_(layer.weight, value)
        average.update(layer, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert float(average.model.weight.detach()) == pytest.approx(expected, rel=1e-5)
