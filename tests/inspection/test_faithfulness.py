"""Occlusion, deletion and insertion on made-up models whose answer is known; Grad-CAM by autograd, written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from vitral.inspection.faithfulness import area, blurred, chance_curves, curves, deletion, insertion
from vitral.inspection.gradients import grad_cam
from vitral.inspection.occlusion import CELLS, WINDOW, occlusion
from vitral.models import create_model


def corner(image: torch.Tensor) -> torch.Tensor:
    """A model that looks at the upper left quarter alone: how much of `IMAGE` is there, in [0, 1]."""
    return ((image - IMAGE).abs() < 1e-6).all(dim=1)[:, :10, :14].float().mean(dim=(1, 2))


IMAGE = torch.randn(3, 20, 28, generator=torch.Generator().manual_seed(0))


def test_deleting_what_matters_first_is_the_line_that_it_must_be() -> None:
    heat = np.zeros((20, 28), dtype=np.float32)
    heat[:10, :14] = 1
    fraction = np.linspace(0, 1, 21)
    np.testing.assert_allclose(deletion(corner, IMAGE, heat), np.maximum(0, 1 - 4 * fraction), atol=1e-6)
    np.testing.assert_allclose(deletion(corner, IMAGE, -heat), np.minimum(1, 4 - 4 * fraction), atol=1e-6)
    np.testing.assert_allclose(insertion(corner, IMAGE, heat), np.minimum(1, 4 * fraction), atol=1e-6)
    assert area(fraction, deletion(corner, IMAGE, heat)) == pytest.approx(1 / 8)


def test_a_right_map_is_better_than_chance_and_a_wrong_one_worse() -> None:
    values = torch.zeros(4, 4)
    values[:2, :2] = 1
    right, wrong = curves(corner, IMAGE, values).areas(), curves(corner, IMAGE, 1 - values).areas()
    chance = chance_curves(corner, IMAGE, (4, 4)).areas()
    assert right["deletion"] < chance["deletion"] < wrong["deletion"]
    assert right["insertion"] > chance["insertion"] > wrong["insertion"]
    assert chance == chance_curves(corner, IMAGE, (4, 4)).areas()


def test_blur_is_scipys_gaussian_of_the_papers_code() -> None:
    window = np.zeros(11)
    window[5] = 1
    window = ndimage.gaussian_filter1d(window, 5, radius=5, mode="constant")
    window /= window.sum()
    expected = IMAGE.numpy()
    for axis in (1, 2):
        expected = ndimage.correlate1d(expected, window, axis=axis, mode="nearest")
    np.testing.assert_allclose(blurred(IMAGE), expected, atol=1e-5)


def test_occlusion_finds_the_one_cell_that_matters() -> None:
    image = torch.ones(3, 2 * CELLS, 3 * CELLS)
    found = occlusion(lambda images: images[:, 0, 8:10, 12:14].mean(dim=(1, 2)), image)
    assert found.shape == (CELLS, 3 * CELLS // 2)
    expected = torch.zeros_like(found)
    for y in range(CELLS):  # a cell shares (3 - dy)(3 - dx) of its 9 windows with the cell (4, 6)
        for x in range(3 * CELLS // 2):
            expected[y, x] = max(0, WINDOW - abs(y - 4)) * max(0, WINDOW - abs(x - 6)) / WINDOW**2
    torch.testing.assert_close(found, expected)


def test_grad_cam_of_a_convolutional_network_is_its_formula() -> None:
    torch.manual_seed(0)
    network = create_model("ResNet-50", image_size=(64, 96), num_classes=3, blocks=(1, 1, 1, 1))
    torch.nn.init.normal_(network.head.weight)
    images = torch.randn(2, 3, 64, 96)
    maps = network.encode(images).detach().requires_grad_()
    scores = network.classify(maps)
    (gradient,) = torch.autograd.grad(scores[0, 2] + scores[1, 0], maps)
    alpha = gradient.numpy().mean(axis=(2, 3))  # Eq. 1
    expected = np.maximum(0, np.einsum("nc,ncyx->nyx", alpha, maps.detach().numpy()))  # Eq. 2
    np.testing.assert_allclose(grad_cam(network, images, [2, 0]), expected, atol=1e-5 * expected.max())
    assert expected.std() > 0


def test_grad_cam_of_tokens_is_taken_before_the_last_block() -> None:
    torch.manual_seed(0)
    network = create_model("DeiT-Ti-distilled/16", image_size=(32, 48), width=16, depth=2, mlp_dim=32, num_heads=2)
    for name in network.HEADS:
        torch.nn.init.normal_(network.get_parameter(f"{name}.weight"))
    images = torch.randn(1, 3, 32, 48)
    entering = network.blocks[0](network.embed(images)).detach().requires_grad_()
    score = network.classify(network.norm(network.blocks[1](entering)))[0, 5]
    (gradient,) = torch.autograd.grad(score, entering)
    patches, slopes = entering.detach().numpy()[0, 2:], gradient.numpy()[0, 2:]
    expected = np.maximum(0, patches @ slopes.mean(axis=0)).reshape(2, 3)
    np.testing.assert_allclose(grad_cam(network, images, [5])[0], expected, atol=1e-5 * max(1, expected.max()))
