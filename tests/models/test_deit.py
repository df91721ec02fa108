"""DeiT's distilled ViT against timm's and the Transformers library's."""

from __future__ import annotations

import pytest
import torch

from tests import peers
from tests.models.networks import count, equal_in_every_batch
from tests.models.transformers_names import perturbed, translated
from vitral.models import create_model
from vitral.models.deit import VARIANTS, DistilledConfig, DistilledVisionTransformer

TINY = DistilledConfig(4, 32, 2, 64, 2, (16, 16), 5)

TIMM_NAMES = {
    "DeiT-Ti-distilled/16": "deit_tiny_distilled_patch16_224",
    "DeiT-S-distilled/16": "deit_small_distilled_patch16_224",
    "DeiT-B-distilled/16": "deit_base_distilled_patch16_224",
}


def test_every_variant_has_its_parameter_count_pinned() -> None:
    assert set(VARIANTS) == set(TIMM_NAMES)


@pytest.mark.parametrize("name", TIMM_NAMES)
def test_parameter_counts_are_timms(name: str) -> None:
    library = peers.or_skip(peers.timm)
    with torch.device("meta"):
        theirs = library.create_model(TIMM_NAMES[name])
    assert count(create_model(name, device="meta")) == count(theirs)


def test_the_large_one_has_the_count_that_the_transformers_library_publishes() -> None:
    assert count(create_model("DeiT-B-distilled/16", device="meta")) == 87_338_192


def test_forward_equals_the_transformers_librarys() -> None:
    library = peers.or_skip(peers.transformers, "deit")
    config = library.DeiTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=16,
        patch_size=4, num_labels=5, layer_norm_eps=1e-6,
    )  # fmt: skip
    theirs = perturbed(library.DeiTForImageClassificationWithTeacher(config))
    ours = DistilledVisionTransformer(TINY).eval()
    heads = {"cls_classifier": "head", "distillation_classifier": "distillation_head"}
    ours.load_state_dict(translated(theirs.state_dict(), "deit", heads))
    for size in ((16, 16), (24, 20)):
        images = torch.randn(3, 3, *size)
        with torch.no_grad():
            expected = theirs(images, interpolate_pos_encoding=True)
            labels, teacher = ours.both_scores(ours.encode(images))
            torch.testing.assert_close(labels, expected.cls_logits, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(teacher, expected.distillation_logits, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(ours(images), expected.logits, atol=1e-5, rtol=1e-5)


def test_in_training_the_scores_are_the_mean_too() -> None:
    torch.manual_seed(0)
    model = perturbed(DistilledVisionTransformer(TINY))
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(model.train()(images), model.eval()(images))
    labels, teacher = model.both_scores(model.encode(images))
    assert not torch.allclose(labels, teacher, atol=1e-2)


def test_a_picture_has_the_same_bits_in_every_batch() -> None:
    model = perturbed(DistilledVisionTransformer(TINY))
    assert equal_in_every_batch(model, torch.randn(9, 3, 16, 16))
