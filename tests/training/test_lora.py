"""LoRA: against the formula written out in NumPy, and merged against unmerged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.models.test_families import TINY
from vitral.config import LoraConfig
from vitral.errors import UsageError
from vitral.models import Network, build_network
from vitral.training import lora
from vitral.training.optimizer import freeze

ATTENTIVE = ("vit", "deit", "layerscale", "mae", "beit", "hybrid", "compact", "swin")
WITHOUT = ("resnet", "efficientnet", "botnet", "bit", "mixer")


def network(family: str = "vit") -> Network:
    torch.manual_seed(0)
    made = build_network(TINY[family])
    for name in made.HEADS:  # a zero head would hide what comes before it
        torch.nn.init.normal_(made.get_parameter(f"{name}.weight"))
    return made


def images(made: Network) -> torch.Tensor:
    return torch.randn(3, 3, *made.config.image_size, generator=torch.Generator().manual_seed(1))


def learn(made: Network) -> None:
    """Move what learns away from where it began, by a step down the gradient of some loss."""
    made.train()
    for _ in range(2):  # A has no gradient as long as B is zero
        made(images(made)).square().mean().backward()
        with torch.no_grad():
            for parameter in made.parameters():
                if parameter.grad is not None:
                    parameter -= 0.1 * parameter.grad / (parameter.grad.norm() + 1e-9)
                    parameter.grad = None
    made.eval()


@pytest.mark.parametrize("family", ATTENTIVE)
def test_the_first_step_sees_the_untouched_network_to_the_bit(family: str) -> None:
    untouched, adapted = network(family), network(family)
    lora.adapt(adapted, LoraConfig(2, matrices=("q", "k", "v", "out")), 0)
    for name, parameter in untouched.named_parameters():  # torch's attention asks whether a bias learns
        parameter.requires_grad_("relative_positions" not in name)
    untouched.train(), adapted.train()
    torch.manual_seed(3)
    expected = untouched(images(untouched))
    torch.manual_seed(3)
    assert torch.equal(adapted(images(adapted)), expected)


@pytest.mark.parametrize("family", ATTENTIVE)
def test_only_updates_and_heads_learn_and_all_of_them_do(family: str) -> None:
    made = network(family)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    lora.adapt(made, LoraConfig(2), 0)
    start = {name: value.clone() for name, value in made.named_parameters()}
    learn(made)
    moved = {name for name, value in made.named_parameters() if not torch.equal(value, start[name])}
    heads = {name for name in start if name.split(".")[0] in made.HEADS}
    updates = {name for name in start if name.endswith((".0.a", ".0.b"))}
    assert updates
    assert moved == heads | updates == {name for name, value in made.named_parameters() if value.requires_grad}
    plain = lora.merged(made).state_dict()
    assert plain.keys() == before.keys()
    changed = {name for name, value in plain.items() if not torch.equal(value, before[name])}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert {name for name in changed if not name.endswith(statistics)} == heads | {
        name for name in before if name.endswith("attention.qkv.weight")
    }


@pytest.mark.parametrize("family", ATTENTIVE)
def test_merged_gives_the_bits_of_unmerged(family: str) -> None:
    made = network(family)
    lora.adapt(made, LoraConfig(2, 3.0, ("q", "v", "out")), 0)
    learn(made)
    with torch.no_grad():
        assert torch.equal(lora.merged(made)(images(made)), made(images(made)))


def test_the_merged_weight_is_the_formula() -> None:
    made = network()
    layer = made.get_submodule("blocks.1.attention.qkv")
    w = layer.weight.detach().double().numpy()
    lora.adapt(made, LoraConfig(rank=4, alpha=6.0, matrices=("v", "q")), 0)
    learn(made)
    named = dict(made.named_parameters())
    a = named["blocks.1.attention.qkv.parametrizations.weight.0.a"].detach().double().numpy()
    b = named["blocks.1.attention.qkv.parametrizations.weight.0.b"].detach().double().numpy()
    width = w.shape[1]
    assert a.shape == (2, 4, width)
    assert np.abs(b).max() > 0
    expected = w.copy()
    expected[:width] += 6.0 / 4 * b[0] @ a[0]  # q, then v
    expected[2 * width :] += 6.0 / 4 * b[1] @ a[1]
    found = lora.merged(made).get_parameter("blocks.1.attention.qkv.weight").detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.array_equal(found[width : 2 * width], w[width : 2 * width].astype(np.float32))


def test_the_sentence_counts_what_learns() -> None:
    made = network()
    depth, width, rank, classes = 2, 32, 3, 5
    said = lora.adapt(made, LoraConfig(rank, matrices=("q", "v", "out")), 0)
    learning = depth * 3 * rank * 2 * width + classes * (width + 1)
    every = sum(p.numel() for p in network().parameters()) + depth * 3 * rank * 2 * width
    assert f"{learning:,} of {every:,} parameters learn" in said


def test_what_is_frozen_gets_no_update() -> None:
    made = network()
    freeze(made, ("blocks.0.*", "head.*"))
    lora.adapt(made, LoraConfig(2), 0)
    learning = {name.split(".parametrizations")[0] for name, p in made.named_parameters() if p.requires_grad}
    assert learning == {"blocks.1.attention.qkv"}
    frozen = network()
    freeze(frozen, ("blocks.*",))
    with pytest.raises(UsageError, match="covers every matrix"):
        lora.adapt(frozen, LoraConfig(2), 0)


@pytest.mark.parametrize("family", WITHOUT)
def test_a_network_without_such_attention_is_refused(family: str) -> None:
    made = network(family)
    with pytest.raises(UsageError, match=rf"{type(made).__name__} has none of that kind: leave --lora out"):
        lora.adapt(made, LoraConfig(2), 0)


def test_a_rank_beyond_the_width_is_refused() -> None:
    with pytest.raises(UsageError, match="rank 33 is more than the width 32 of the network: lower --lora"):
        lora.adapt(network(), LoraConfig(33), 0)


def test_a_network_without_updates_is_its_own_merged_one() -> None:
    made = network()
    assert lora.merged(made) is made


def test_training_in_bfloat16_writes_what_it_trained_with() -> None:
    made = network()
    lora.adapt(made, LoraConfig(2), 0)
    learn(made)
    layer = made.get_submodule("blocks.0.attention.qkv")
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert layer.weight.dtype == torch.float32
        assert torch.equal(layer.weight, lora.merged(made).get_parameter("blocks.0.attention.qkv.weight"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"rank": -1}, "rank must be"), ({"alpha": 0.0}, "alpha must be"), ({"matrices": ()}, "at least one of q, k")],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        LoraConfig(**settings)  # type: ignore[arg-type]
