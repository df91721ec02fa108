"""Attention and relevance, written out in NumPy from the matrices that the Transformers library gives."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.inspection.others import KINDS, both, read_row
from vitral.errors import UsageError
from vitral.inspection.attention import attention_map, attention_maps, mean_attention_distance, rollout
from vitral.inspection.capture import watched
from vitral.inspection.gradients import relevance
from vitral.models import create_model

TINY = {"width": 16, "depth": 2, "mlp_dim": 32, "num_heads": 2, "num_classes": 3}


@pytest.mark.parametrize("kind", KINDS)
def test_rollout_maps_distance_and_relevance_are_those_of_the_matrices(kind: str, tmp_path: Path) -> None:
    theirs, ours = both(kind, tmp_path)
    height, width = ours.preprocessing.crop
    images = torch.randn(2, 3, height, width)
    answers = theirs(images, output_attentions=True)
    gradients = torch.autograd.grad(answers.logits[:, 1].sum(), answers.attentions, allow_unused=False)
    matrices = np.stack([layer.detach().numpy() for layer in answers.attentions], axis=1).astype(np.float64)
    slopes = np.stack([layer.numpy() for layer in gradients], axis=1).astype(np.float64)
    rows, columns = height // 4, width // 4
    patches, tokens = rows * columns, matrices.shape[-1]
    for i in range(2):
        rolled = relevant = np.eye(tokens)
        for layer in range(matrices.shape[1]):
            mixed = matrices[i, layer].mean(axis=0) + np.eye(tokens)
            rolled = mixed / mixed.sum(axis=1, keepdims=True) @ rolled
            relevant = relevant + np.maximum(matrices[i, layer] * slopes[i, layer], 0).mean(axis=0) @ relevant
        for found, expected in (
            (rollout(ours.network, images)[i], rolled),
            (relevance(ours.network, images, [1, 1])[i], relevant),
        ):
            expected_map = read_row(kind, expected, patches)[-patches:].reshape(rows, columns)
            np.testing.assert_allclose(found.numpy(), expected_map, atol=1e-5 * max(1, expected_map.max()))
            assert expected_map.std() > 1e-4  # else it would say nothing
        maps = attention_maps(ours.network, images)[i].numpy()
        for layer in range(matrices.shape[1]):
            for head in range(2):
                expected_map = read_row(kind, matrices[i, layer, head], patches)[-patches:].reshape(rows, columns)
                np.testing.assert_allclose(maps[layer, head], expected_map, atol=1e-5)
    np.testing.assert_allclose(
        mean_attention_distance(ours.network, images), distances(matrices, rows, columns), rtol=1e-5
    )


def distances(matrices: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Issue 162's algorithm, patch by patch, for patches of 4 pixels."""
    among = matrices[..., -rows * columns :, -rows * columns :]
    found = np.zeros(among.shape[:3])
    places = [(4 * i, 4 * j) for i in range(rows) for j in range(columns)]
    for a, one in enumerate(places):
        for b, other in enumerate(places):
            found += among[..., a, b] * np.hypot(one[0] - other[0], one[1] - other[1]) / len(places)
    return found


def test_attention_pooling_reads_what_its_query_looks_at() -> None:
    torch.manual_seed(1)
    network = create_model("ViT-Ti/4", image_size=(8, 12), pool="map", **TINY)
    images = torch.randn(1, 3, 8, 12)
    with torch.no_grad():
        pool, tokens = network.attention_pool, network.encode(images)
        theirs = torch.nn.MultiheadAttention(16, 2, batch_first=True)
        theirs.in_proj_weight.copy_(torch.cat([pool.q.weight, pool.kv.weight]))
        theirs.in_proj_bias.copy_(torch.cat([pool.q.bias, pool.kv.bias]))
        _, looked = theirs(pool.probe, tokens, tokens)
        expected, product = looked[0, 0].double(), torch.eye(6).double()
        with watched(network, lambda _, a: product.copy_(half(a[0].double().mean(0)) @ product)):
            network.encode(images)
    torch.testing.assert_close(rollout(network, images)[0].double().flatten(), expected @ product, atol=1e-6, rtol=1e-5)


def half(matrix: torch.Tensor) -> torch.Tensor:
    """(A + I) / 2: rows of A sum to 1."""
    return (matrix + torch.eye(len(matrix)).double()) / 2


def test_rollout_up_to_a_layer_leaves_out_the_later_ones() -> None:
    torch.manual_seed(0)
    long = create_model("ViT-Ti/4", image_size=8, **TINY)
    short = create_model("ViT-Ti/4", image_size=8, **{**TINY, "depth": 1})
    short.load_state_dict({k: v for k, v in long.state_dict().items() if not k.startswith("blocks.1")})
    images = torch.randn(1, 3, 8, 8)
    assert torch.equal(rollout(long, images, layer=0), rollout(short, images))
    assert not torch.equal(rollout(long, images), rollout(short, images))


def test_looking_leaves_nothing_behind_and_changes_no_bit() -> None:
    network = create_model("ViT-Ti/4", image_size=8, **TINY)
    torch.nn.init.normal_(network.head.weight)
    images = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        before = network(images)
    rollout(network, images)
    relevance(network, images, [0, 1])
    with torch.inference_mode():
        assert torch.equal(network(images), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_what_other_threads_compute_is_not_shown() -> None:
    network = create_model("ViT-Ti/4", image_size=8, **TINY)
    seen: list[int] = []
    with watched(network, lambda layer, _: seen.append(layer)):
        other = threading.Thread(target=network, args=(torch.randn(1, 3, 8, 8),))
        other.start()
        other.join()
        assert seen == []
        network(torch.randn(1, 3, 8, 8))
    assert seen == [0, 1]


def test_what_is_not_there_is_refused() -> None:
    network = create_model("ViT-Ti/4", image_size=8, **TINY)
    images = torch.randn(1, 3, 8, 8)
    with pytest.raises(UsageError, match="layer must be 0 to 1"):
        attention_map(network, images, layer=2)
    with pytest.raises(UsageError, match="head must be 0 to 1"):
        attention_map(network, images, head=2)
    with pytest.raises(UsageError, match="gradcam or occlusion"):
        rollout(create_model("Mixer-S/32", image_size=32, depth=1), torch.randn(1, 3, 32, 32))
