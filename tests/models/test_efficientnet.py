"""EfficientNet against the published sizes and timm's implementation of the authors' padding."""

from __future__ import annotations

import math

import pytest
import torch

from tests.convolutional import count
from vitral.errors import UsageError
from vitral.models import configuration, create_model
from vitral.models.efficientnet import VARIANTS, EfficientNet, EfficientNetConfig

PUBLISHED_COUNTS = {
    # torchvision's documentation of its weights, 1,000 classes; L2: timm's model
    "EfficientNet-B0": 5_288_548,
    "EfficientNet-B1": 7_794_184,
    "EfficientNet-B2": 9_109_994,
    "EfficientNet-B3": 12_233_232,
    "EfficientNet-B4": 19_341_616,
    "EfficientNet-B5": 30_389_784,
    "EfficientNet-B6": 43_040_704,
    "EfficientNet-B7": 66_347_960,
    "EfficientNet-L2": 480_309_308,
}


def test_every_variant_has_its_parameter_count_pinned() -> None:
    assert set(VARIANTS) == set(PUBLISHED_COUNTS)


@pytest.mark.parametrize("name", PUBLISHED_COUNTS)
def test_parameter_counts_are_the_published(name: str) -> None:
    assert count(name) == PUBLISHED_COUNTS[name]


def test_channels_are_rounded_as_the_authors_do() -> None:
    assert configuration("EfficientNet-B2").wide(32) == 32  # 35.2
    assert configuration("EfficientNet-B4").wide(16) == 24  # 22.4
    assert configuration("EfficientNet-L2").wide(1280) == 5504
    assert EfficientNetConfig(0.35, 1.0).wide(32) == 16  # 11.2: to 8 would lose more than a tenth


def test_stochastic_depth_grows_from_block_to_block() -> None:
    network = create_model("EfficientNet-B0", device="meta")
    rates = [block.rate for stage in network.stages for block in stage]
    assert rates == [pytest.approx(0.2 * i / 16) for i in range(16)]


def test_branches_are_dropped_in_training_only() -> None:
    torch.manual_seed(0)
    network = EfficientNet(EfficientNetConfig(0.2, 1.0, (32, 32), 3, dropout=0.0, stochastic_depth=0.9))
    images = torch.randn(4, 3, 32, 32)
    assert torch.equal(network.eval().encode(images), network.encode(images))
    one, other = (network.train().encode(images).detach() for _ in range(2))
    assert not torch.equal(one, other)


def test_initial_values_have_the_authors_distributions() -> None:
    torch.manual_seed(0)
    block = create_model("EfficientNet-B0").stages[5][1]
    assert float(block.depthwise.conv.weight.detach().std()) == pytest.approx(math.sqrt(2 / 25), rel=0.02)
    assert float(block.project.conv.weight.detach().std()) == pytest.approx(math.sqrt(2 / 192), rel=0.02)


def test_native_sizes_are_the_published() -> None:
    sizes = [VARIANTS[name].image_size[0] for name in PUBLISHED_COUNTS]
    assert sizes == [224, 240, 260, 300, 380, 456, 528, 600, 800]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"width_factor": 0.0}, "width_factor must be above 0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"width": 32}, "an EfficientNet has no field 'width'"),
    ],
)
def test_impossible_networks_are_refused(overrides: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        configuration("EfficientNet-B0", **overrides)
