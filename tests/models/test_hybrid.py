"""The hybrids against the authors' counts and written-out formulas; timm's models stand in tests/weights/test_timm.py."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vitral.errors import UsageError
from vitral.models import create_model
from vitral.models.hybrid import (
    VARIANTS,
    HybridConfig,
    HybridTransformer,
    ResidualUnit,
    Root,
    StdConv,
    same_padding,
)
from vitral.models.vit import VisionTransformer, ViTConfig

AUTHORS_COUNTS = {
    # vision_transformer's models_test.py: 1,000 classes at 224 pixels
    "R+ViT-Ti/16": 6_337_704,
    "R26+ViT-S/32": 36_431_912,
    "R26+ViT-B/32": 101_383_976,
    "R50+ViT-B/16": 98_659_112,
    "R50+ViT-L/32": 328_994_856,
}


def exchanged(count: int, old: tuple[int, int, int, int, int], new: tuple[int, int, int, int, int]) -> int:
    """Parameters when one transformer takes the place of another behind a ResNet: (D, L, MLP, channels, tokens)."""

    def transformer(width: int, depth: int, mlp: int, channels: int, tokens: int) -> int:
        block = 4 * width * (width + 1) + 2 * width * mlp + mlp + width + 4 * width
        return (channels + 1) * width + (tokens + 1) * width + depth * block + 2 * width + 1000 * (width + 1)

    return count - transformer(*old) + transformer(*new)


FROM_THE_AUTHORS = {
    # never published (Table 6 of arXiv 2010.11929): the ResNet of one of theirs with the transformer of another
    "R50+ViT-B/32": exchanged(328_994_856, (1024, 24, 4096, 2048, 50), (768, 12, 3072, 2048, 50)),
    "R50+ViT-L/16": exchanged(98_659_112, (768, 12, 3072, 1024, 197), (1024, 24, 4096, 1024, 197)),
}
TINY = HybridConfig(1, 32, 2, 64, 2, (32, 32), 5, blocks=(1, 2))


def tiny(**changes: object) -> HybridTransformer:
    torch.manual_seed(0)
    model = HybridTransformer(HybridConfig(**{**vars(TINY), **changes})).eval()
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.05
    return model


def test_every_variant_has_its_parameter_count_pinned() -> None:
    assert VARIANTS.keys() == AUTHORS_COUNTS.keys() | FROM_THE_AUTHORS.keys()


@pytest.mark.parametrize("name", AUTHORS_COUNTS | FROM_THE_AUTHORS)
def test_parameter_counts_are_the_authors(name: str) -> None:
    model = create_model(name, device="meta")
    assert sum(parameter.numel() for parameter in model.parameters()) == (AUTHORS_COUNTS | FROM_THE_AUTHORS)[name]


@pytest.mark.parametrize("side", [7, 8, 224, 225])
@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 2), (3, 1), (1, 2)])
def test_padding_is_tensorflows(side: int, kernel: int, stride: int) -> None:
    before, after = same_padding(side, kernel, stride)
    assert (side + before + after - kernel) // stride + 1 == -(-side // stride)  # ceil(side / stride) windows
    assert 0 <= after - before <= 1
    if side % 2 == 0 and stride == 2:  # as at 224 pixels
        assert (before, after) == {7: (2, 3), 3: (0, 1), 1: (0, 0)}[kernel]


def test_filters_are_standardised_by_their_own_mean_and_deviation() -> None:
    convolution = StdConv(3, 4, 3)
    torch.nn.init.normal_(convolution.weight, 0.1, 1e-4)  # so small that what is added to the deviation shows
    expected = [
        (kernel - kernel.mean()) / (kernel.var(correction=0).sqrt() + 1e-5) for kernel in convolution.weight.double()
    ]
    torch.testing.assert_close(convolution.standardised().double(), torch.stack(expected), atol=2e-4, rtol=2e-4)


def padded(x: torch.Tensor, kernel: int, stride: int, value: float) -> torch.Tensor:
    """By hand, one side after the other."""
    for dimension in (2, 3):
        side = x.shape[dimension]
        total = max(0, (-(-side // stride) - 1) * stride + kernel - side)
        for amount, behind in ((total // 2, False), (total - total // 2, True)):
            shape = list(x.shape)
            shape[dimension] = amount
            edge = torch.full(shape, value)
            x = torch.cat([x, edge] if behind else [edge, x], dim=dimension)
    return x


@pytest.mark.parametrize("size", [(32, 32), (31, 34), (33, 37)])
def test_the_root_pads_as_tensorflow_does(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    root = Root(3, 32)
    images = torch.randn(2, 3, *size)
    x = F.conv2d(padded(images, 7, 2, 0.0), root.conv.standardised(), stride=2)
    x = F.group_norm(x, 32, root.norm.weight, root.norm.bias, 1e-6).clamp(min=0)
    expected = F.max_pool2d(padded(x, 3, 2, -torch.inf), 3, stride=2)
    torch.testing.assert_close(root(images), expected, atol=1e-6, rtol=1e-5)


def test_a_fresh_residual_unit_is_its_shortcut() -> None:
    model = HybridTransformer(TINY)
    units = [module for module in model.modules() if isinstance(module, ResidualUnit)]
    assert [unit.projects for unit in units] == [True, True, False]
    x = torch.rand(2, 512, 4, 4)
    assert torch.equal(units[2](x), x)


def test_the_rest_is_the_vision_transformers() -> None:
    """Features in place of pixels, and nothing else."""
    model = tiny()
    plain = VisionTransformer(ViTConfig(1, 32, 2, 64, 2, model.config.grid_size, 5, channels=512)).eval()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("resnet.")})
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model(images), plain(model.resnet(images)))


@pytest.mark.parametrize(("size", "tokens"), [((32, 48), 25), ((40, 32), 21), ((37, 31), 21)])
def test_other_sizes_with_whole_features_are_welcome(size: tuple[int, int], tokens: int) -> None:
    assert tiny().encode(torch.randn(1, 3, *size)).shape == (1, tokens, 32)
    assert tiny(image_size=size).position_embedding.shape == (1, tokens, 32)


def test_resized_positions_are_those_of_the_feature_grid() -> None:
    model, config = tiny(), HybridConfig(**{**vars(TINY), "image_size": (48, 32)})
    table = HybridTransformer.resized(model.state_dict(), TINY, config)
    assert table["position_embedding"].shape == (1, 1 + 6 * 4, 32)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"patch_size": 3}, "makes 4x4 features, which cannot be cut into patches of 3x3: the nearest that can is 24x24"),
        ({"blocks": (2, 0)}, "at least one residual unit"),
        ({"width_factor": 0}, "width_factor must be at least 1"),
        ({"num_heads": 5}, "cannot be split into 5 heads"),
    ],
)  # fmt: skip
def test_impossible_hybrids_are_refused_with_a_way_out(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        HybridConfig(**{**vars(TINY), **changes})


def test_pictures_that_patches_do_not_fill_are_refused() -> None:
    with pytest.raises(UsageError, match="image size 20x16 makes 5x4 features"):
        tiny(blocks=(), patch_size=2).encode(torch.randn(1, 3, 20, 16))


def test_state_dict_keys_are_public() -> None:
    keys = [key for key in tiny().state_dict() if key.startswith("resnet.")]
    unit = ["conv1.weight", "norm1.weight", "norm1.bias", "conv2.weight", "norm2.weight", "norm2.bias", "conv3.weight"]
    unit += ["norm3.weight", "norm3.bias"]
    shortcut = ["projection.weight", "projection_norm.weight", "projection_norm.bias"]
    assert keys == [
        *(f"resnet.root.{key}" for key in ("conv.weight", "norm.weight", "norm.bias")),
        *(f"resnet.stages.0.0.{key}" for key in shortcut + unit),
        *(f"resnet.stages.1.0.{key}" for key in shortcut + unit),
        *(f"resnet.stages.1.1.{key}" for key in unit),
    ]


def test_layers_count_from_the_resnet_to_the_head() -> None:
    model = tiny()
    assert model.num_layers == 4
    assert model.layer_index("resnet.stages.1.0.conv1.weight") == model.layer_index("patch_embedding.weight") == 0
    assert (model.layer_index("blocks.1.norm1.weight"), model.layer_index("head.bias")) == (2, 3)
