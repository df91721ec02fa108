"""Residual networks against torchvision's and timm's, and what the unit of convolution and normalisation promises."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch

from tests.convolutional import count, torchvision_models, unlike_new
from vitral.errors import UsageError
from vitral.models import configuration, convolution
from vitral.models.convolution import BatchNorm, Conventions, ConvNorm, drop_branch, pad_same
from vitral.models.resnet import VARIANTS, ResNet, ResNetConfig

PUBLISHED_COUNTS = {
    # torchvision's documentation of its weights, 1,000 classes
    "ResNet-18": 11_689_512,
    "ResNet-34": 21_797_672,
    "ResNet-50": 25_557_032,
    "ResNet-101": 44_549_160,
    "ResNet-152": 60_192_808,
}


def test_every_variant_has_its_parameter_count_pinned() -> None:
    assert set(VARIANTS) == set(PUBLISHED_COUNTS)


@pytest.mark.parametrize("name", PUBLISHED_COUNTS)
def test_parameter_counts_are_the_published(name: str) -> None:
    assert count(name) == PUBLISHED_COUNTS[name]


def tiny(**changes: object) -> ResNet:
    torch.manual_seed(0)
    network = ResNet(ResNetConfig(**{"blocks": (1, 2, 1, 1), "width": 8, "num_classes": 5, **changes}))
    unlike_new(network)
    return network


def test_state_dict_keys_are_public() -> None:
    unit = [
        "conv.weight",
        *(f"norm.{kind}" for kind in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
    ]
    for kind, parts in (("basic", ["first", "second"]), ("bottleneck", ["reduce", "spatial", "restore"])):
        names = [f"stem.{kind}" for kind in unit]
        for block in ("0.0", "1.0", "1.1", "2.0", "3.0"):
            projected = block != "1.1" and not (kind == "basic" and block == "0.0")
            names += [f"stages.{block}.{p}.{u}" for p in (*parts, *["shortcut"] * projected) for u in unit]
        assert list(tiny(block=kind).state_dict()) == [*names, "head.weight", "head.bias"]


def test_one_and_a_half_is_the_version_of_the_strides() -> None:
    block = tiny().stages[1][0]
    assert (block.reduce.conv.stride, block.spatial.conv.stride, block.restore.conv.stride) == ((1, 1), (2, 2), (1, 1))


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_training_is_torchvisions_too(kind: str) -> None:
    """The same gradients and running statistics after a step in training."""
    models = torchvision_models().resnet
    torch.manual_seed(0)
    theirs = models.ResNet(models.BasicBlock if kind == "basic" else models.Bottleneck, [1, 1, 1, 1], num_classes=4)
    network = ResNet(ResNetConfig((1, 1, 1, 1), kind, num_classes=4))
    pairs = list(zip(network.state_dict().items(), unlike_new(theirs).state_dict().values(), strict=True))
    assert [ours.shape for (_, ours), _ in pairs] == [value.shape for _, value in pairs]  # the same order
    network.load_state_dict({name: value.clone() for (name, _), value in pairs})
    images = torch.randn(4, 3, 48, 48)
    for net in (network, theirs):
        net.train()(images).square().sum().backward()
    for ours, value in zip(network.parameters(), theirs.parameters(), strict=True):
        scale = float(value.grad.abs().max())
        torch.testing.assert_close(ours.grad, value.grad, atol=1e-4 * scale, rtol=1e-3)
    for ours, value in zip(network.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(ours, value, atol=1e-5, rtol=1e-4)


def test_initial_values_are_the_usual_ones() -> None:
    torch.manual_seed(0)
    network = ResNet(ResNetConfig((2, 1, 1, 1)))
    weight = network.stages[1][0].spatial.conv.weight
    assert float(weight.detach().std()) == pytest.approx(math.sqrt(2 / (128 * 9)), rel=0.02)
    for block in network.stages[0]:
        assert not block.restore.norm.weight.any()
        assert bool((block.spatial.norm.weight == 1).all())
    x = torch.rand(1, 256, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(network.eval().stages[0][1](x), x)  # a branch starts at zero


@pytest.mark.skipif(not convolution.ONEDNN, reason="this torch has no oneDNN")
@pytest.mark.parametrize("activation", ["none", "relu", "silu"])
@pytest.mark.parametrize(
    ("kernel", "stride", "groups", "padding"),
    [(1, 1, 1, "symmetric"), (3, 2, 1, "symmetric"), (3, 2, 8, "same"), (5, 1, 8, "same")],
)
def test_the_folded_kernel_computes_the_same(
    activation: str, kernel: int, stride: int, groups: int, padding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    unit = ConvNorm((8, 16), kernel, stride, groups, activation, Conventions(padding, 1e-3))
    unlike_new(unit)
    x = torch.randn(2, 8, 15, 18).contiguous(memory_format=torch.channels_last)
    taken = []
    monkeypatch.setattr(unit, "_folded", lambda *given: taken.append(1) or ConvNorm._folded(unit, *given))
    with torch.no_grad():
        shortcut = torch.randn_like(unit(x))
        folded = [unit(x), unit(x, shortcut)]
    plain = [unit(x), unit(x, shortcut)]
    assert len(taken) == (2 if activation == "silu" else 3)
    for one, other in zip(folded, plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(7, 8), (14, 9), (1, 2)])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_padding_is_tensorflows(size: tuple[int, int], kernel: int) -> None:
    padded = pad_same(torch.ones(1, 1, *size), kernel, 2)[0, 0]
    for axis in (0, 1):
        marked = padded.sum(dim=1 - axis) > 0
        before, after = int(marked.int().argmax()), int(marked.flip(0).int().argmax())
        assert after - before in (0, 1)  # the odd one at the end
        # TensorFlow: out = ceil(in / stride), and no more zeros than that needs
        assert (len(marked) - kernel) // 2 + 1 == math.ceil(size[axis] / 2)
        assert before + after == 0 or (len(marked) - 1 - kernel) // 2 + 1 < math.ceil(size[axis] / 2)


def test_one_value_per_channel_is_normalised_by_the_running_statistics() -> None:
    norm = BatchNorm(3).train()
    norm.running_mean.fill_(1.0)
    norm.running_var.fill_(4.0)
    out = norm(torch.full((1, 3, 1, 1), 5.0))
    torch.testing.assert_close(out, torch.full((1, 3, 1, 1), 2.0), atol=1e-4, rtol=0)
    assert norm.running_mean.tolist() == [1.0] * 3
    assert int(norm.num_batches_tracked) == 0


def test_a_batch_of_one_small_picture_can_be_trained_on() -> None:
    network = tiny().train()
    network(torch.randn(1, 3, 16, 16)).sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


def test_a_dropped_branch_is_dropped_for_the_whole_picture_and_the_rest_rescaled() -> None:
    torch.manual_seed(0)
    kept = drop_branch(torch.ones(2000, 2, 3, 3), 0.25).flatten(1)
    assert bool((kept == kept[:, :1]).all())
    torch.testing.assert_close(kept[:, 0].unique(), torch.tensor([0.0, 4 / 3]))
    assert float((kept[:, 0] > 0).float().mean()) == pytest.approx(0.75, abs=0.04)


def test_layers_are_stages() -> None:
    network = tiny()
    assert network.num_layers == 6
    assert network.layer_index("stem.conv.weight") == 0
    assert network.layer_index("stages.1.1.reduce.norm.bias") == 2
    assert network.layer_index("head.bias") == 5


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"width": 0}, "width must be at least 1"),
        ({"blocks": (1, 0, 1, 1)}, "at least 1 block"),
        ({"image_size": 0}, "image size must be at least 1x1"),
        ({"patch_size": 16}, "a ResNet has no field 'patch_size'"),
    ],
)
def test_impossible_networks_are_refused(overrides: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        configuration("ResNet-50", **overrides)


def test_an_exported_network_depends_on_no_private_operation() -> None:
    network = tiny()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        graph = torch.export.export(network, (images,)).graph
        targets = {str(node.target) for node in graph.nodes}
    assert any("conv2d" in target for target in targets)
    assert not any("mkldnn" in target for target in targets)


COMPILED = """
import torch
from vitral.models.botnet import BoTNet, BoTNetConfig
torch.manual_seed(0)
network, graphs = BoTNet(BoTNetConfig((1, 1, 1, 1), width=8, image_size=(64, 64), num_classes=3)).train(), []
torch.nn.init.normal_(network.head.weight)
compiled = torch.compile(network, backend=lambda graph, _: graphs.append(graph) or graph, fullgraph=True)
for size in (2, 3, 7):
    images = torch.randn(size, 3, 64, 64)
    torch._dynamo.mark_dynamic(images, 0)
    torch.testing.assert_close(compiled(images), network(images), atol=1e-4, rtol=1e-4)
assert len(graphs) == 1, len(graphs)
"""


@pytest.mark.slow
def test_compiles_to_one_graph_for_any_batch() -> None:
    # a BoTNet, whose trunk is a ResNet; in a process of its own: the type checks that tests put into every function cannot be traced
    made = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
