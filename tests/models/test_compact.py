"""Compact hybrids against timm's residual blocks and encoder blocks, put together here, and counts written out."""

from __future__ import annotations

from functools import partial
from types import ModuleType

import pytest
import torch
from torch import nn

from tests import peers
from vitral.errors import UsageError
from vitral.models import create_model
from vitral.models.compact import VARIANTS, CompactConfig, CompactTransformer

TINY = CompactConfig(32, 2, 48, 2, (32, 24), 5, stem=6, stages=(8, 12), units=2)


def tiny(**changes: object) -> CompactTransformer:
    """Nothing at its starting value, running statistics neither."""
    torch.manual_seed(0)
    model = CompactTransformer(CompactConfig(**{**vars(TINY), **changes}))
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.1
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn_like(buffer) * 0.1)
        elif name.endswith("running_var"):
            buffer.copy_(torch.rand_like(buffer) * 0.1 + 0.1)
    return model


def renamed(tensors: dict[str, torch.Tensor], names: dict[str, str]) -> dict[str, torch.Tensor]:
    """A block's tensors by timm's names."""
    return {
        f"{names.get(k.rpartition('.')[0], k.rpartition('.')[0])}.{k.rpartition('.')[2]}": v for k, v in tensors.items()
    }


RESIDUAL = {"first.conv": "conv1", "first.norm": "bn1", "second.conv": "conv2", "second.norm": "bn2",
            "shortcut.conv": "downsample.0", "shortcut.norm": "downsample.1"}  # fmt: skip


def convolutions_of_timm(model: CompactTransformer, timm: ModuleType) -> nn.Sequential:
    """The tokenizer, of timm's blocks."""
    resnet, tokenizer = timm.models.resnet, model.tokenizer
    layers: list[nn.Module] = [tokenizer.stem.conv, tokenizer.stem.norm, nn.ReLU()]
    before = model.config.stem
    for stage, width in zip(tokenizer.stages, model.config.stages, strict=True):
        for unit, block in enumerate(stage):
            stride = 1 if unit else 2
            shortcut = None if unit else resnet.downsample_conv(before, width, 1, stride)
            theirs = resnet.BasicBlock(before, width, stride, shortcut)
            theirs.load_state_dict(renamed(block.state_dict(), RESIDUAL))
            layers.append(theirs)
            before = width
    return nn.Sequential(*layers, tokenizer.last.conv, tokenizer.last.norm, nn.ReLU())


def scores_of_timm(model: CompactTransformer, images: torch.Tensor) -> torch.Tensor:
    """Class scores by timm's layers with our weights."""
    timm = peers.or_skip(peers.timm)
    config, own = model.config, model.state_dict()
    features = convolutions_of_timm(model, timm).train(model.training)(images)
    x = torch.stack([features[:, :, y, x] for y in range(features.shape[2]) for x in range(features.shape[3])], dim=1)
    x = x + own["position_embedding"]
    for ours in (block.state_dict() for block in model.blocks):
        block = timm.models.vision_transformer.Block(
            config.width, config.num_heads, config.mlp_dim / config.width, qkv_bias=True, init_values=1.0,
            act_layer=partial(nn.GELU, approximate="tanh"), norm_layer=partial(nn.LayerNorm, eps=1e-6),
        )  # fmt: skip
        scales = {"scale1": "ls1.gamma", "scale2": "ls2.gamma"}
        rest = renamed({k: v for k, v in ours.items() if k not in scales},
                       {"attention.qkv": "attn.qkv", "attention.out": "attn.proj"})  # fmt: skip
        block.load_state_dict({**rest, **{theirs: ours[k] for k, theirs in scales.items()}})
        x = block(x)
    return x.mean(dim=1) @ own["head.weight"].T + own["head.bias"]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("changes", [{}, {"stem_stride": 2, "units": 1}])
def test_scores_are_those_of_timms_layers(changes: dict[str, object], training: bool) -> None:
    model = tiny(**changes).train(training)
    images = torch.randn(6, 3, 32, 24)
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.no_grad():
        ours = model(images)
        for name, buffer in model.named_buffers():
            buffer.copy_(kept[name])  # training moves running statistics
        theirs = scores_of_timm(model, images)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)
    assert ours.std(dim=0).min() > 0.01  # something else of each picture


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_are_those_of_the_layers_written_out(name: str) -> None:
    config = VARIANTS[name]
    layers, pixels = name.removeprefix("Compact-R").split("/")
    assert config.stride == int(pixels)
    assert 2 + 2 * config.units * len(config.stages) == int(layers)  # the first, two a block, and the last
    d, m, before = config.width, config.mlp_dim, config.stem
    count = 27 * before + 2 * before
    for after in config.stages:
        count += 9 * before * after + 9 * after**2 + 4 * after + before * after + 2 * after
        count += (config.units - 1) * (18 * after**2 + 4 * after)
        before = after
    count += 9 * before * d + 2 * d + config.grid_size[0] * config.grid_size[1] * d
    count += config.depth * (4 * d * d + 2 * d * m + m + 11 * d)  # with two factors of a scale
    count += d * 1000 + 1000
    assert sum(p.numel() for p in create_model(name, device="meta").parameters()) == count


def test_branches_start_as_small_as_they_should() -> None:
    torch.manual_seed(0)
    model = CompactTransformer(TINY)
    assert all(not block.second.norm.weight.any() for stage in model.tokenizer.stages for block in stage)
    assert all(torch.equal(block.scale1, torch.full((32,), 0.1)) for block in model.blocks)
    std = float(model.tokenizer.stages[1][1].first.conv.weight.detach().std())
    assert std == pytest.approx((2 / (9 * 12)) ** 0.5, rel=0.1)


@pytest.mark.parametrize("size", [(32, 24), (40, 56), (33, 17)])
def test_other_sizes_are_welcome(size: tuple[int, int]) -> None:
    model = tiny().eval()
    with torch.no_grad():
        assert model.encode(torch.randn(1, 3, *size)).shape[1] == -(-size[0] // 8) * -(-size[1] // 8)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stem_stride": 4}, "stem_stride must be 1 or 2, not 4"),
        ({"stages": (8, 0)}, r"every stage needs at least one channel: stages cannot be \(8, 0\)"),
        ({"units": 0}, "units must be at least 1, not 0"),
        ({"num_heads": 3}, "width 32 cannot be split into 3 heads"),
        ({"image_size": (0, 8)}, "image size must be at least 1x1, not 0x8"),
    ],
)
def test_shapes_that_make_no_network_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        CompactConfig(**{**vars(TINY), **changes})
