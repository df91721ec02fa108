"""Filters, positions, tokens, layers and neighbours, each against its formula written out otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vitral.errors import UsageError
from vitral.inspection.filters import patch_filters
from vitral.inspection.layers import layer_similarity, linear_cka, outliers, token_norms, what_blocks_add
from vitral.inspection.neighbours import nearest, neighbourhood_plane, principal_plane
from vitral.inspection.positions import position_similarity
from vitral.models import create_model

TINY = {"width": 16, "depth": 2, "mlp_dim": 32, "num_heads": 2, "num_classes": 3}


def test_cka_is_that_of_centred_gram_matrices() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(12, 5))
    second = np.concatenate([first @ rng.normal(size=(5, 3)), rng.normal(size=(12, 4))], axis=1)
    centring = np.eye(12) - 1 / 12
    grams = [centring @ (x @ x.T) @ centring for x in (first, second)]
    expected = np.trace(grams[0] @ grams[1]) / np.sqrt(np.trace(grams[0] @ grams[0]) * np.trace(grams[1] @ grams[1]))
    found = linear_cka([torch.from_numpy(x - x.mean(axis=0)) for x in (first, second)])
    np.testing.assert_allclose(found, [[1, expected], [expected, 1]], atol=1e-12)
    assert 0.1 < expected < 0.9


@pytest.mark.parametrize(
    ("name", "changes", "count"),
    [
        ("ViT-Ti/4", TINY, 2),
        ("Swin-T", {"width": 8, "depths": (1, 2), "num_heads": (1, 2), "num_classes": 3}, 3),
        ("ResNet-50", {"blocks": (1, 2, 1, 1), "num_classes": 3}, 5),
    ],
)
def test_layers_of_every_kind_are_compared(name: str, changes: dict[str, object], count: int) -> None:
    torch.manual_seed(0)
    network = create_model(name, image_size=(32, 64), **changes)
    found = layer_similarity(network, torch.randn(2, 3, 32, 64))
    assert found.shape == (count, count)
    assert bool((found <= 1 + 1e-9).all())
    assert bool((found >= 0).all())
    torch.testing.assert_close(found, found.T)


def test_lengths_and_what_blocks_add_are_those_of_a_walk_through_the_blocks() -> None:
    torch.manual_seed(0)
    network = create_model("ViT-Ti/4", image_size=(8, 12), **TINY)
    torch.nn.init.normal_(network.head.weight)
    images = torch.randn(3, 3, 8, 12)
    lengths, added, cosines, answers = [], [], [], []
    with torch.no_grad():
        x = network.embed(images)
        lengths.append(np.linalg.norm(x.numpy(), axis=-1))
        for block in network.blocks:
            branch = block.attention(block.norm1(x)).numpy()
            middle = x.numpy() + branch
            after = block(x).numpy()
            added.append((np.linalg.norm(branch, axis=-1) / np.linalg.norm(x.numpy(), axis=-1)).mean())
            dots = (x.numpy() * after).sum(axis=-1)
            cosines.append((dots / np.linalg.norm(x.numpy(), axis=-1) / np.linalg.norm(after, axis=-1)).mean())
            assert np.abs(middle - x.numpy()).max() > 0
            x = block(x)
            lengths.append(np.linalg.norm(x.numpy(), axis=-1))
            answers.append(network.classify(network.norm(x)).argmax(dim=1))
    found = what_blocks_add(network, images)
    np.testing.assert_allclose(token_norms(network, images), np.stack(lengths, axis=1), rtol=1e-5)
    np.testing.assert_allclose(found["attention"], added, rtol=1e-4)
    np.testing.assert_allclose(found["cosine"], cosines, rtol=1e-4)
    assert found["agreement"] == [float((a == answers[-1]).float().mean()) for a in answers]


def test_a_token_that_is_much_longer_than_the_median_is_an_outlier() -> None:
    assert outliers(torch.tensor([[1.0, 1.1, 0.9, 1.0, 4.5], [1.0, 1.0, 1.0, 1.0, 3.9]])).nonzero().tolist() == [[0, 4]]


def test_positions_are_compared_by_cosine_on_any_grid() -> None:
    network = create_model("DeiT-Ti-distilled/16", image_size=(32, 48), **TINY)
    table = network.position_embedding.detach().numpy()[0, 2:].reshape(2, 3, 16)
    found = position_similarity(network)
    assert (found.kind, found.grid) == ("learned", (2, 3))
    a, b = table[1, 2], table[0, 1]
    assert found.similarity[1, 2, 0, 1] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5)
    np.testing.assert_allclose(found.similarity[0, 0, 0, 0], 1, atol=1e-6)


def test_relative_positions_are_the_bias_between_two_places() -> None:
    network = create_model("BEiT-B/16", image_size=(32, 48), **TINY)
    for block in network.blocks:
        torch.nn.init.normal_(block.attention.relative_positions)
    found = position_similarity(network)
    assert (found.kind, found.grid) == ("relative", (2, 3))
    offset = (1 - 0 + 1) * 5 + (0 - 2 + 2)  # one row down, two columns to the left, in a table of 3 x 5 offsets
    expected = np.mean([block.attention.relative_positions.detach()[offset].mean() for block in network.blocks])
    assert found.similarity[1, 0, 0, 2] == pytest.approx(float(expected), abs=1e-6)
    assert found.similarity[1, 0, 0, 2] == found.similarity[1, 0, 0, 2]


def test_positions_that_are_not_there_are_refused() -> None:
    assert position_similarity(create_model("ViT-Ti/4", image_size=8, positions="sincos2d", **TINY)).kind == "fixed"
    with pytest.raises(UsageError, match="no table of positions"):
        position_similarity(create_model("ViT-Ti/4", image_size=8, positions="none", **TINY))


def test_filters_are_the_eigenvectors_of_their_covariance() -> None:
    network = create_model("ViT-Ti/4", image_size=8, **{**TINY, "width": 64})
    flat = network.patch_embedding.weight.detach().double().flatten(1).numpy()
    values, vectors = np.linalg.eigh(np.cov(flat, rowvar=False))
    found = patch_filters(network, 5)
    assert found.components.shape == (5, 4, 4, 3)
    rows = found.components.transpose(0, 3, 1, 2).reshape(5, -1)
    np.testing.assert_allclose(np.abs(np.sum(rows * vectors[:, ::-1][:, :5].T, axis=1)), 1, atol=1e-4)
    np.testing.assert_allclose(found.shares, values[::-1][:5] / values.sum(), rtol=1e-4)
    assert np.abs(found.as_colours().astype(float) - 127.5).max(axis=(1, 2, 3)).min() >= 127


def test_the_nearest_are_those_of_the_largest_cosine() -> None:
    rng = np.random.default_rng(0)
    asked, known = rng.normal(size=(4, 6)), rng.normal(size=(9, 6))
    order, cosines = nearest(asked, known, 3)
    for i in range(4):
        every = [asked[i] @ k / np.linalg.norm(asked[i]) / np.linalg.norm(k) for k in known]
        assert order[i].tolist() == sorted(range(9), key=lambda j: -every[j])[:3]
        np.testing.assert_allclose(cosines[i], sorted(every, reverse=True)[:3])


def test_the_plane_keeps_distances_of_what_lies_in_a_plane() -> None:
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(8, 2)) @ rng.normal(size=(2, 6)) + 3
    places, shares = principal_plane(flat)
    assert shares.sum() == pytest.approx(1)
    for i in range(8):
        np.testing.assert_allclose(
            np.linalg.norm(places - places[i], axis=1), np.linalg.norm(flat - flat[i], axis=1), atol=1e-9
        )
    with pytest.raises(UsageError, match="at least 3"):
        principal_plane(flat[:2])


def test_neighbourhoods_stay_together_and_come_out_the_same_twice() -> None:
    rng = np.random.default_rng(0)
    groups = np.concatenate([rng.normal(size=(6, 8)) + 20 * axis for axis in np.eye(8)[:2]])
    places = neighbourhood_plane(groups)
    order, _ = nearest(groups, groups, 6)
    assert {int(i) // 6 for i in order[0]} == {0}
    gaps = np.linalg.norm(places[:, None] - places[None], axis=-1)
    assert gaps[:6, :6].mean() < gaps[:6, 6:].mean()
    assert np.array_equal(places, neighbourhood_plane(groups))
