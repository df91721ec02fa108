"""Compact hybrids against timm's residual blocks and encoder blocks, put together here, and counts written out."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from types import ModuleType

import pytest
import torch
from torch import nn

from tests import peers
from vitral.errors import UsageError
from vitral.models import create_model
from vitral.models.compact import VARIANTS, CompactConfig, CompactTransformer
from vitral.models.vit import VisionTransformer

TINY = CompactConfig(1, 32, 2, 48, 2, (32, 24), 5, stem=6, stages=(8, 12), units=2)


def tiny(**changes: object) -> CompactTransformer:
    """Nothing at its starting value, running statistics neither."""
    torch.manual_seed(0)
    model = CompactTransformer(CompactConfig(**{**vars(TINY), **changes}))
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.1
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    return model


def renamed(block: nn.Module) -> dict[str, torch.Tensor]:
    """A residual block's tensors by timm's names."""
    ours = {"first.conv": "conv1", "first.norm": "bn1", "second.conv": "conv2", "second.norm": "bn2",
            "shortcut.conv": "downsample.0", "shortcut.norm": "downsample.1"}  # fmt: skip
    return {
        f"{ours[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value
        for name, value in block.state_dict().items()
    }


def features_of_timm(model: CompactTransformer, timm: ModuleType) -> nn.Sequential:
    """The convolutions, of timm's blocks."""
    resnet = timm.models.resnet
    stem = model.convolutions.stem
    layers: list[nn.Module] = [stem.conv, stem.norm, nn.ReLU()]
    before = model.config.stem
    for stage, width in zip(model.convolutions.stages, model.config.stages, strict=True):
        for unit, block in enumerate(stage):
            stride = 1 if unit else 2
            shortcut = None if unit else resnet.downsample_conv(before, width, 1, stride)
            theirs = resnet.BasicBlock(before, width, stride, shortcut)
            theirs.load_state_dict(renamed(block))
            layers.append(theirs)
            before = width
    return nn.Sequential(*layers)


def scores_of_timm(model: CompactTransformer, images: torch.Tensor) -> torch.Tensor:
    """Class scores by timm's layers with our weights."""
    timm = peers.or_skip(peers.timm)
    config, own = model.config, model.state_dict()
    x = features_of_timm(model, timm).train(model.training)(images)
    kernel = own["patch_embedding.weight"][:, :, 0, 0]
    x = torch.einsum("ncyx,dc->nyxd", x, kernel).flatten(1, 2) + own["patch_embedding.bias"] + own["position_embedding"]
    for ours in (block.state_dict() for block in model.blocks):
        block = timm.models.vision_transformer.Block(
            config.width, config.num_heads, config.mlp_dim / config.width, qkv_bias=True,
            act_layer=partial(nn.GELU, approximate="tanh"), norm_layer=partial(nn.LayerNorm, eps=1e-6),
        )  # fmt: skip
        names = {"attention.qkv": "attn.qkv", "attention.out": "attn.proj"}
        block.load_state_dict(
            {
                f"{names.get(k.rpartition('.')[0], k.rpartition('.')[0])}.{k.rpartition('.')[2]}": v
                for k, v in ours.items()
            }
        )
        x = block(x)
    x = nn.functional.layer_norm(x, (config.width,), own["norm.weight"], own["norm.bias"], 1e-6).mean(dim=1)
    return x @ own["head.weight"].T + own["head.bias"]


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
    assert ours.std() > 0.1  # says something of each picture


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_are_those_of_the_layers_written_out(name: str) -> None:
    config = VARIANTS[name]
    layers, pixels = name.removeprefix("Compact-R").split("/")
    assert config.stride == int(pixels)
    assert 2 + 2 * config.units * len(config.stages) == int(layers)  # the stem's, two a block, and a head's
    d, m, channels = config.width, config.mlp_dim, (config.stem, *config.stages)
    count = 27 * config.stem + 2 * config.stem
    for before, after in pairwise(channels):
        first = 9 * before * after + 9 * after**2 + 4 * after + before * after + 2 * after
        count += first + (config.units - 1) * (18 * after**2 + 4 * after)
    count += channels[-1] * d + d + config.grid_size[0] * config.grid_size[1] * d
    count += config.depth * (4 * d * d + 2 * d * m + m + 9 * d) + 2 * d
    count += d * 1000 + 1000
    assert sum(p.numel() for p in create_model(name, device="meta").parameters()) == count


def test_behind_the_features_it_is_the_vision_transformer() -> None:
    model = tiny().eval()
    with torch.no_grad():
        features = model.convolutions(torch.randn(2, 3, 32, 24))
        embedded = VisionTransformer.embed(model, features)
    assert features.shape == (2, 12, 8, 6)
    assert embedded.shape == (2, 48, 32)


def test_residual_blocks_start_as_their_shortcuts() -> None:
    torch.manual_seed(0)
    model = CompactTransformer(TINY)
    assert all(not block.second.norm.weight.any() for stage in model.convolutions.stages for block in stage)
    std = float(model.convolutions.stages[1][1].first.conv.weight.detach().std())
    assert std == pytest.approx((2 / (9 * 12)) ** 0.5, rel=0.1)


@pytest.mark.parametrize("size", [(32, 24), (40, 56), (33, 17)])
def test_other_sizes_are_welcome(size: tuple[int, int]) -> None:
    model = tiny().eval()
    with torch.no_grad():
        assert model.encode(torch.randn(1, 3, *size)).shape[1] == -(-size[0] // 4) * -(-size[1] // 4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stem_stride": 4}, "stem_stride must be 1 or 2, not 4"),
        ({"stages": ()}, r"stages must be at least 1, not \(\)"),
        ({"stages": (8, 0)}, r"stages must be at least 1, not \(8, 0\)"),
        ({"units": 0}, "units must be at least 1, not 0"),
        ({"stem": 0}, "stem must be at least 1, not 0"),
        ({"patch_size": 3}, "32x24 makes 8x6 features.*3x3: the nearest that can is 36x24"),
    ],
)
def test_shapes_that_make_no_network_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        CompactConfig(**{**vars(TINY), **changes})
