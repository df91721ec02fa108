"""A network's weights by one number."""

from __future__ import annotations

import copy

import pytest
import torch

from vitral.models.digest import weights_digest
from vitral.models.vit import VisionTransformer, ViTConfig


@pytest.fixture(scope="module")
def network() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(ViTConfig(4, 16, 1, 32, 2, (8, 8), 3))


def test_equal_weights_have_it_in_common(network: VisionTransformer) -> None:
    assert weights_digest(copy.deepcopy(network)) == weights_digest(network)


def test_the_last_bit_of_a_number_changes_it(network: VisionTransformer) -> None:
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.class_token[0, 0, 0] = torch.nextafter(other.class_token[0, 0, 0], torch.tensor(torch.inf))
    assert weights_digest(other) != weights_digest(network)
    assert weights_digest(other, heads=False) != weights_digest(network, heads=False)


def test_other_heads_change_it_only_with_the_heads(network: VisionTransformer) -> None:
    other = copy.deepcopy(network)
    torch.nn.init.normal_(other.head.weight)
    assert weights_digest(other) != weights_digest(network)
    assert weights_digest(other, heads=False) == weights_digest(network, heads=False)


def test_weights_of_another_precision_have_one_of_their_own(network: VisionTransformer) -> None:
    assert weights_digest(copy.deepcopy(network).bfloat16()) != weights_digest(network)
