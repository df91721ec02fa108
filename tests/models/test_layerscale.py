"""ViTs with LayerScale against timm's DeiT III and DINOv2 and the Transformers library's DINOv2."""

from __future__ import annotations

import math

import pytest
import torch

from tests import peers
from tests.models.networks import count, equal_in_every_batch
from tests.models.transformers_names import perturbed, translated
from vitral.errors import UsageError
from vitral.models import create_model
from vitral.models.layerscale import VARIANTS, LayerScaleConfig, LayerScaleTransformer
from vitral.models.positions import resize_positions

TINY = LayerScaleConfig(4, 32, 2, 64, 2, (16, 16), 5)

TIMM_NAMES = {
    "DeiT-III-S/16": "deit3_small_patch16_224",
    "DeiT-III-M/16": "deit3_medium_patch16_224",
    "DeiT-III-B/16": "deit3_base_patch16_224",
    "DeiT-III-L/16": "deit3_large_patch16_224",
    "DeiT-III-H/14": "deit3_huge_patch14_224",
    "DINOv2-S/14": "vit_small_patch14_dinov2",
    "DINOv2-B/14": "vit_base_patch14_dinov2",
    "DINOv2-L/14": "vit_large_patch14_dinov2",
    "DINOv2-g/14": "vit_giant_patch14_dinov2",
}


def test_every_variant_has_its_parameter_count_pinned() -> None:
    assert set(VARIANTS) == set(TIMM_NAMES)


@pytest.mark.parametrize("name", TIMM_NAMES)
def test_parameter_counts_are_timms(name: str) -> None:
    library = peers.or_skip(peers.timm)
    with torch.device("meta"):
        theirs = library.create_model(TIMM_NAMES[name], num_classes=1000)
    assert count(create_model(name, device="meta")) == count(theirs)


def test_registers_add_timms_parameters() -> None:
    library = peers.or_skip(peers.timm)
    with torch.device("meta"):
        theirs = library.create_model("vit_small_patch14_reg4_dinov2", num_classes=1000)
    ours = create_model("DINOv2-S/14", device="meta", registers=4, class_position=False)
    assert count(ours) == count(theirs)


@pytest.mark.parametrize("mlp", ["gelu", "swiglu"])
@pytest.mark.parametrize("registers", [0, 3])
def test_forward_equals_the_transformers_librarys(mlp: str, registers: int) -> None:
    name = "dinov2_with_registers" if registers else "dinov2"
    library = peers.or_skip(peers.transformers, name)
    kind = "Dinov2WithRegisters" if registers else "Dinov2"
    config = getattr(library, f"{kind}Config")(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=16, patch_size=4,
        num_labels=5, use_swiglu_ffn=mlp == "swiglu", **({"num_register_tokens": registers} if registers else {}),
    )  # fmt: skip
    theirs = perturbed(getattr(library, f"{kind}ForImageClassification")(config))
    inner, rule = 48 if mlp == "swiglu" else 64, "timm" if registers else "huggingface"
    shape = LayerScaleConfig(4, 32, 2, inner, 2, (16, 16), 5, "token_mean", registers, mlp=mlp, position_resize=rule)
    ours = LayerScaleTransformer(shape).eval()
    state = translated(theirs.state_dict(), name, {"classifier": "head"})
    ours.load_state_dict(state)
    for size in ((16, 16), (24, 20)):
        images = torch.randn(3, 3, *size)
        with torch.no_grad():
            torch.testing.assert_close(ours(images), theirs(images).logits, atol=1e-5, rtol=1e-5)


def test_registers_have_no_position_and_no_part_in_the_mean() -> None:
    config = LayerScaleConfig(4, 32, 2, 64, 2, (16, 16), 5, "token_mean", registers=2)
    model = perturbed(LayerScaleTransformer(config))
    tokens = model.embed(torch.randn(1, 3, 16, 16))
    torch.testing.assert_close(tokens[:, 1:3], model.registers)
    encoded = model.encode(torch.randn(2, 3, 16, 16))
    changed = encoded.clone()
    changed[:, 1:3] += 1
    assert torch.equal(model.pooled(changed), model.pooled(encoded))


def cubic(x: float) -> float:
    """The kernel of cubic convolution with a = -0.75, as torch's bicubic has it."""
    a, x = -0.75, abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def interpolation(old: int, new: int) -> torch.Tensor:
    """The matrix [new, old] of a bicubic resize whose scale has DINOv2's tenth of a patch too much."""
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        centre = (i + 0.5) * old / (new + 0.1) - 0.5
        for j in range(math.floor(centre) - 1, math.floor(centre) + 3):
            matrix[i, min(max(j, 0), old - 1)] += cubic(centre - j)
    return matrix


@pytest.mark.parametrize(("old", "new"), [((7, 7), (4, 5)), ((5, 6), (8, 7))])
def test_dinov2s_rule_stretches_by_a_tenth_of_a_patch(old: tuple[int, int], new: tuple[int, int]) -> None:
    torch.manual_seed(0)
    table = torch.randn(1, 1 + old[0] * old[1], 8)
    grid = table[0, 1:].double().reshape(*old, 8)
    rows, columns = interpolation(old[0], new[0]), interpolation(old[1], new[1])
    expected = torch.einsum("ia,jb,abd->ijd", rows, columns, grid).flatten(0, 1)
    resized = resize_positions(table, old, new, "dinov2")
    torch.testing.assert_close(resized[0, 1:].double(), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(resized[:, 0], table[:, 0])


def test_layerscale_starts_at_its_value() -> None:
    model = LayerScaleTransformer(LayerScaleConfig(4, 32, 2, 64, 2, (16, 16), 5, layer_scale=1e-4))
    assert all((block.scale1 == 1e-4).all() and (block.scale2 == 1e-4).all() for block in model.blocks)


def test_a_picture_has_the_same_bits_in_every_batch() -> None:
    for mlp in ("gelu", "swiglu"):
        model = perturbed(LayerScaleTransformer(LayerScaleConfig(4, 32, 2, 64, 2, (16, 16), 5, mlp=mlp)))
        assert equal_in_every_batch(model, torch.randn(9, 3, 16, 16))


def test_fewer_than_no_registers_are_refused() -> None:
    with pytest.raises(UsageError, match="registers must be 0 or more, not -1"):
        LayerScaleConfig(4, 32, 2, 64, 2, registers=-1)
