"""Masked autoencoders and their classifier against the Transformers library, the authors' counts and the formulas."""

from __future__ import annotations

import math

import pytest
import torch

from tests import peers
from tests.models.test_vit import AUTHORS_COUNTS
from tests.models.transformers_names import joined, perturbed, translated
from vitral.errors import UsageError
from vitral.models import create_model
from vitral.models.mae import VARIANTS, MaeConfig, MaeTransformer
from vitral.models.masked_autoencoder import DecoderConfig, MaskedAutoencoder, masking, patches_of, picture_of
from vitral.models.positions import mae_sincos2d

TINY = MaeConfig(4, 32, 2, 64, 2, (16, 16), 5)
DECODER = DecoderConfig(24, 2, 48, 2)


def autoencoder(normalise_pixels: bool = True) -> MaskedAutoencoder:
    torch.manual_seed(0)
    return MaskedAutoencoder(TINY, DECODER, normalise_pixels).eval()


@pytest.mark.parametrize("name", VARIANTS)
def test_parameter_counts_are_the_plain_vits(name: str) -> None:
    # fc_norm in the place of norm, and a class token beside the pooled patches: the same numbers
    ours = sum(parameter.numel() for parameter in create_model(name, device="meta").parameters())
    assert ours == AUTHORS_COUNTS[name.replace("MAE", "ViT")][0]


@pytest.mark.parametrize("name", VARIANTS)
def test_parameter_counts_in_pretraining_are_the_transformers_librarys(name: str) -> None:
    library = peers.or_skip(peers.transformers, "vit_mae")
    config = VARIANTS[name]
    shape = library.ViTMAEConfig(
        hidden_size=config.width, num_hidden_layers=config.depth, num_attention_heads=config.num_heads,
        intermediate_size=config.mlp_dim, patch_size=config.patch_size,
    )  # fmt: skip
    with torch.device("meta"):
        ours, theirs = MaskedAutoencoder(config), library.ViTMAEForPreTraining(shape)
    learned = sum(parameter.numel() for parameter in theirs.parameters() if parameter.requires_grad)
    assert sum(parameter.numel() for parameter in ours.parameters()) == learned


@pytest.mark.parametrize("normalise_pixels", [True, False])
def test_pretraining_equals_the_transformers_librarys(normalise_pixels: bool) -> None:
    library = peers.or_skip(peers.transformers, "vit_mae")
    config = library.ViTMAEConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=16, patch_size=4,
        decoder_hidden_size=24, decoder_num_hidden_layers=2, decoder_num_attention_heads=2,
        decoder_intermediate_size=48, layer_norm_eps=1e-6, norm_pix_loss=normalise_pixels,
    )  # fmt: skip
    theirs = library.ViTMAEForPreTraining(config)
    ours = autoencoder(normalise_pixels)
    # x before y, where their function has y before x; the model's own tables stay zero until weights are loaded
    theirs_table = library.build_2d_sinusoidal_position_embedding(4, 4, 24, cls_token=True).roll(12, dims=1)
    torch.testing.assert_close(ours.decoder_position_embedding[0], theirs_table, atol=1e-6, rtol=0)
    perturbed(theirs)
    state = translated(
        theirs.state_dict(),
        "vit",
        {
            r"decoder\.mask_token": "mask_token",
            r"decoder\.decoder_pos_embed": "decoder_position_embedding",
            r"decoder\.decoder_embed": "decoder_embedding",
            r"decoder\.decoder_norm": "decoder_norm",
            r"decoder\.decoder_pred": "pixels",
        },
    )
    blocks = {k: v for k, v in state.items() if k.startswith("decoder.decoder_layers")}
    rest = {k: v for k, v in state.items() if k not in blocks}
    inner = translated({k.removeprefix("decoder."): v for k, v in blocks.items()}, "decoder_x", {})
    named = {
        k.replace("decoder_layers", "decoder_blocks")
        .replace("layernorm_before", "norm1")
        .replace("layernorm_after", "norm2")
        .replace("o_proj", "out"): v
        for k, v in inner.items()
    }
    ours.load_state_dict(rest | joined(named, r"attention\.([qkv])_proj", "attention.qkv"))
    images, noise = torch.randn(3, 3, 16, 16), torch.rand(3, 16)
    with torch.no_grad():
        expected, got = theirs(images, noise=noise), ours(images, noise=noise)
    torch.testing.assert_close(got.predicted, expected.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.loss.mean(), expected.loss, atol=1e-5, rtol=1e-5)
    assert torch.equal(got.mask, expected.mask)


def test_fixed_positions_follow_the_authors_formula() -> None:
    table = mae_sincos2d((3, 5), 16)[0]
    assert not table[0].any()
    omega = [1 / 10_000 ** (k / 4) for k in range(4)]
    y, x = 2, 4
    expected = [f(place * o) for place in (x, y) for f in (math.sin, math.cos) for o in omega]
    torch.testing.assert_close(table[1 + y * 5 + x], torch.tensor(expected), atol=1e-6, rtol=1e-5)


def test_patches_and_pictures_are_inverse() -> None:
    images = torch.randn(2, 3, 8, 12)
    patches = patches_of(images, 4)
    assert torch.equal(picture_of(patches, (2, 3), 4), images)
    assert torch.equal(patches[0, 4], images[0, :, 4:8, 4:8].permute(1, 2, 0).flatten())  # row, column, channel


def test_the_patches_of_largest_noise_are_masked() -> None:
    noise = torch.tensor([[0.9, 0.1, 0.5, 0.3], [0.2, 0.4, 0.6, 0.8]])
    visible, places, mask = masking(noise, 0.5)
    assert visible.tolist() == [[1, 3], [0, 1]]
    assert places.tolist() == [[3, 0, 2, 1], [0, 1, 2, 3]]
    assert mask.tolist() == [[1, 0, 1, 0], [0, 0, 1, 1]]


def test_a_generator_decides_what_is_masked() -> None:
    model, images = autoencoder(), torch.randn(4, 3, 16, 16)
    masks = [model(images, generator=torch.Generator().manual_seed(seed)).mask for seed in (7, 7, 8)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert masks[0].sum(dim=1).tolist() == [12] * 4  # three quarters of 16


def test_the_loss_sees_masked_patches_only() -> None:
    model, images, noise = autoencoder(False), torch.randn(2, 3, 16, 16), torch.rand(2, 16)
    with torch.no_grad():
        result = model(images, noise=noise)
    error = (result.predicted - patches_of(images, 4)).square().mean(dim=-1)
    for i in range(2):
        masked = [float(error[i, j]) for j in range(16) if noise[i, j] >= noise[i].sort().values[4]]
        assert float(result.loss[i]) == pytest.approx(sum(masked) / len(masked), rel=1e-5)


def test_masked_pixels_do_not_reach_the_encoder() -> None:
    model, images, noise = autoencoder(), torch.randn(1, 3, 16, 16), torch.rand(1, 16)
    first = model(images, noise=noise)
    hidden = picture_of(first.mask[:, :, None].expand(-1, -1, 48), (4, 4), 4)
    changed = torch.where(hidden.bool(), torch.randn_like(images), images)
    assert torch.equal(model(changed, noise=noise).predicted, first.predicted)


def test_normalised_pixels_have_mean_zero_and_deviation_one_in_every_patch() -> None:
    target = autoencoder().target(torch.rand(2, 3, 16, 16))
    torch.testing.assert_close(target.mean(dim=-1), torch.zeros(2, 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(target.std(dim=-1), torch.ones(2, 16), atol=1e-3, rtol=0)


def test_every_parameter_learns_and_the_positions_do_not() -> None:
    model = autoencoder().train()
    model(torch.randn(4, 3, 16, 16)).loss.mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert {name for name, _ in model.named_buffers()} == {"position_embedding", "decoder_position_embedding"}


def test_the_encoder_goes_on_to_a_classifier() -> None:
    model = perturbed(autoencoder())
    classifier = MaeTransformer(MaeConfig(4, 32, 2, 64, 2, (16, 16), 5, pool="token")).eval()
    missing, unexpected = classifier.load_state_dict(model.encoder_tensors(), strict=False)
    assert (missing, unexpected) == (["head.weight", "head.bias"], [])
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        everything = torch.arange(16).expand(2, -1)  # nothing masked
        torch.testing.assert_close(classifier.encode(images), model.encode(images, everything), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("ratio", "size", "said"),
    [
        (0.99, 16, "leaves 0 of 16"),
        (0.0, 16, "leaves 16 of 16"),
        (0.75, 20, "made for 16x16 pixels, the pictures have 20"),
    ],
)
def test_impossible_masks_and_sizes_are_refused(ratio: float, size: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        autoencoder()(torch.randn(1, 3, size, size), ratio)
