"""The BiT ResNets against published counts and written-out formulas; timm's models stand in tests/weights/test_timm.py."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests import peers
from tests.models.networks import count
from vitral.errors import UsageError
from vitral.models import create_model
from vitral.models.bit import VARIANTS, BiT, BiTConfig, ResidualUnit, Root, StdConv

OF_TIMM = ("50x1", "50x3", "101x1", "101x3", "152x2", "152x4")
TINY = BiTConfig((1, 2), 1, (32, 32), 5)


def by_formula(blocks: tuple[int, ...], factor: int, classes: int = 1000) -> int:
    """Parameters of a bottleneck ResNet-v2, stage by stage."""
    root = 64 * factor
    total, inputs = 7 * 7 * 3 * root, root
    for stage, units in enumerate(blocks):
        width = root * 2**stage
        for unit in range(units):
            outputs = 4 * width
            total += 2 * inputs + 2 * width + 2 * width  # norms
            total += inputs * width + 9 * width * width + width * outputs + (inputs * outputs if unit == 0 else 0)
            inputs = outputs
    return total + 2 * inputs + inputs * classes + classes


@pytest.mark.parametrize("name", VARIANTS)
def test_parameter_counts_follow_the_paper(name: str) -> None:
    depths = {"50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3), "200": (3, 24, 36, 3)}
    depth, factor = name.removeprefix("BiT-R").split("x")
    assert count(create_model(name, device="meta")) == by_formula(depths[depth], int(factor))


@pytest.mark.parametrize("shape", OF_TIMM)
def test_parameter_counts_are_timms(shape: str) -> None:
    timm = peers.or_skip(peers.timm)
    with torch.device("meta"):
        theirs = timm.create_model(f"resnetv2_{shape}_bit")
    assert count(create_model(f"BiT-R{shape}", device="meta")) == count(theirs)


def test_filters_are_standardised_by_their_own_mean_and_variance() -> None:
    convolution = StdConv(3, 4, 3)
    torch.nn.init.normal_(convolution.weight, 0.0, 1e-5)  # so small that what is added to the variance shows
    expected = [
        (kernel - kernel.mean()) / (kernel.var(correction=0) + 1e-10).sqrt() for kernel in convolution.weight.double()
    ]
    torch.testing.assert_close(convolution.standardised().double(), torch.stack(expected), atol=1e-4, rtol=1e-4)


def test_the_root_pads_with_zeros_before_the_maximum() -> None:
    root = Root(3, 32)
    images = torch.randn(2, 3, 30, 33)
    x = F.conv2d(F.pad(images, (3, 3, 3, 3)), root.conv.standardised(), stride=2)
    edged = torch.zeros(2, 32, x.shape[2] + 2, x.shape[3] + 2)
    edged[:, :, 1:-1, 1:-1] = x
    windows = edged.unfold(2, 3, 2).unfold(3, 3, 2)
    torch.testing.assert_close(root(images), windows.amax(dim=(4, 5)), atol=1e-5, rtol=1e-5)
    assert not torch.equal(root(images), F.max_pool2d(x, 3, 2, padding=1))  # which pads with -inf


def test_a_unit_is_the_papers() -> None:
    """Activation, convolution, three times; the shortcut is taken behind the first activation where it is projected."""
    torch.manual_seed(0)
    unit, x = ResidualUnit(64, 32, 2), torch.randn(2, 64, 9, 8)

    def activated(norm: torch.nn.GroupNorm, y: torch.Tensor) -> torch.Tensor:
        groups = y.unflatten(1, (32, -1))
        variance, mean = torch.var_mean(groups, dim=(2, 3, 4), correction=0, keepdim=True)
        y = ((groups - mean) / (variance + 1e-5).sqrt()).flatten(1, 2)
        return (y * norm.weight[:, None, None] + norm.bias[:, None, None]).clamp(min=0)

    y = activated(unit.norm1, x)
    shortcut = F.conv2d(y, unit.projection.standardised(), stride=2)
    y = activated(unit.norm2, F.conv2d(y, unit.conv1.standardised()))
    y = activated(unit.norm3, F.conv2d(y, unit.conv2.standardised(), stride=2, padding=1))
    expected = shortcut + F.conv2d(y, unit.conv3.standardised())
    torch.testing.assert_close(unit(x), expected, atol=1e-4, rtol=1e-4)


def test_any_size_is_taken() -> None:
    model = BiT(TINY).eval()
    for height, width in ((1, 1), (33, 20), (64, 31)):
        rows, columns = -(-height // TINY.stride), -(-width // TINY.stride)
        assert model.encode(torch.randn(1, 3, height, width)).shape == (1, 512, rows, columns)


def test_layers_count_the_units() -> None:
    model = BiT(TINY)
    names = ["root.conv.weight", "stages.0.0.conv1.weight", "stages.1.1.norm3.bias", "norm.weight", "head.bias"]
    assert [model.layer_index(name) for name in names] == [0, 1, 3, 4, 4]


def test_state_dict_keys_are_public() -> None:
    unit = ["norm1.weight", "norm1.bias", "conv1.weight", "norm2.weight", "norm2.bias", "conv2.weight", "norm3.weight"]
    unit += ["norm3.bias", "conv3.weight"]
    assert list(BiT(TINY).state_dict()) == [
        "root.conv.weight",
        *(f"stages.0.0.{key}" for key in ["projection.weight", *unit]),
        *(f"stages.1.0.{key}" for key in ["projection.weight", *unit]),
        *(f"stages.1.1.{key}" for key in unit),
        *("norm.weight", "norm.bias", "head.weight", "head.bias"),
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"blocks": ()}, "at least one residual unit"),
        ({"blocks": (3, 0)}, "at least one residual unit"),
        ({"width_factor": 0}, "width_factor must be at least 1"),
        ({"image_size": (0, 5)}, "not 0x5"),
    ],
)
def test_impossible_bits_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        BiTConfig(**{**vars(TINY), **changes})
