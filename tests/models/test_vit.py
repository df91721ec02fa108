"""The Vision Transformer against the paper, the authors' numbers and Hugging Face's implementation."""

from __future__ import annotations

import math
import subprocess
import sys

import jaxtyping
import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F

from tests import peers
from tests.models.networks import equal_in_every_batch
from vitral.config import RunConfig
from vitral.errors import UsageError
from vitral.models import configuration, create_model
from vitral.models.positions import RESIZE, resize_positions, sincos2d
from vitral.models.vit import VARIANTS, VisionTransformer, ViTConfig
from vitral.overrides import override
from vitral.planning import model_config

AUTHORS_COUNTS = {
    # vision_transformer's models_test.py, 1,000 classes: at 224 and at 384 (H/14: 518) pixels
    "ViT-Ti/16": (5_717_416, 5_790_376),
    "ViT-S/16": (22_050_664, 22_196_584),
    "ViT-S/32": (22_878_952, 22_915_432),
    "ViT-B/8": (86_576_872, 87_744_232),
    "ViT-B/16": (86_567_656, 86_859_496),
    "ViT-B/32": (88_224_232, 88_297_192),
    "ViT-L/16": (304_326_632, 304_715_752),
    "ViT-L/32": (306_535_400, 306_632_680),
    "ViT-H/14": (632_045_800, 633_470_440),
}
PUBLISHED_MILLIONS = {
    # without the head: arXiv 2106.04560, Table 2 (g and G); 2305.13035, section 4 (So400m with its attention pool)
    "ViT-So400m/14": ("map", 428),
    "ViT-g/14": ("token", 1_011),
    "ViT-G/14": ("token", 1_843),
}
TINY = {
    "width": 32,
    "depth": 2,
    "num_heads": 2,
    "mlp_dim": 64,
    "patch_size": 4,
    "image_size": (16, 16),
    "num_classes": 5,
}


def tiny(**changes: object) -> VisionTransformer:
    torch.manual_seed(0)
    model = VisionTransformer(ViTConfig(**{**TINY, **changes})).eval()
    torch.nn.init.normal_(model.head.weight)
    return model


def count(name: str, **overrides: object) -> int:
    return sum(parameter.numel() for parameter in create_model(name, device="meta", **overrides).parameters())


def test_every_variant_has_its_parameter_count_pinned() -> None:
    assert set(VARIANTS) == set(AUTHORS_COUNTS) | set(PUBLISHED_MILLIONS)


@pytest.mark.parametrize("name", AUTHORS_COUNTS)
def test_parameter_counts_are_the_authors(name: str) -> None:
    large = 518 if name == "ViT-H/14" else 384
    assert (count(name), count(name, image_size=large)) == AUTHORS_COUNTS[name]


@pytest.mark.parametrize("name", PUBLISHED_MILLIONS)
def test_larger_variants_have_the_published_size(name: str) -> None:
    pool, millions = PUBLISHED_MILLIONS[name]
    head = VARIANTS[name].width + 1
    assert (count(name, pool=pool, num_classes=1) - head) / 1e6 == pytest.approx(millions, abs=1)


def test_gap_and_pretraining_heads_have_the_authors_counts() -> None:
    assert count("ViT-B/16", pool="gap") == 86_566_120
    assert count("ViT-B/16", num_classes=21_843, representation_size=768) == 103_186_515


def test_state_dict_keys_are_public() -> None:
    block = ["norm1", "attention.qkv", "attention.out", "norm2", "mlp.fc1", "mlp.fc2"]
    names = ["class_token", "position_embedding"]
    names += [f"patch_embedding.{kind}" for kind in ("weight", "bias")]
    names += [f"blocks.{i}.{part}.{kind}" for i in range(2) for part in block for kind in ("weight", "bias")]
    names += [f"{part}.{kind}" for part in ("norm", "pre_logits", "head") for kind in ("weight", "bias")]
    assert list(tiny(representation_size=8).state_dict()) == names


def written_out(model: VisionTransformer, images: torch.Tensor) -> torch.Tensor:
    """Equations 1 to 4 of the paper with explicit loops over patches and heads, in float64."""
    p = {name: value.double() for name, value in model.state_dict().items()}
    c = model.config
    x = images.double()
    patches = [
        x[:, :, i : i + c.patch_size, j : j + c.patch_size].flatten(1)
        for i in range(0, x.shape[2], c.patch_size)
        for j in range(0, x.shape[3], c.patch_size)
    ]
    kernel = p["patch_embedding.weight"].flatten(1)
    z = torch.stack([patch @ kernel.T + p["patch_embedding.bias"] for patch in patches], dim=1)
    z = torch.cat([p["class_token"].expand(len(x), 1, -1), z], dim=1) + p["position_embedding"]

    def norm(name: str, v: torch.Tensor) -> torch.Tensor:
        centred = v - v.mean(-1, keepdim=True)
        return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * p[f"{name}.weight"] + p[f"{name}.bias"]

    def dense(name: str, v: torch.Tensor) -> torch.Tensor:
        return v @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    for i in range(c.depth):
        y = norm(f"blocks.{i}.norm1", z)
        qkv = dense(f"blocks.{i}.attention.qkv", y)
        size = c.width // c.num_heads
        heads = []
        for h in range(c.num_heads):
            q, k, v = (qkv[..., part * c.width + h * size : part * c.width + (h + 1) * size] for part in range(3))
            a = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(size), dim=-1)
            heads.append(a @ v)
        z = z + dense(f"blocks.{i}.attention.out", torch.cat(heads, dim=-1))
        hidden = dense(f"blocks.{i}.mlp.fc1", norm(f"blocks.{i}.norm2", z))
        if c.gelu == "tanh":
            hidden = 0.5 * hidden * (1 + torch.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
        else:
            hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
        z = z + dense(f"blocks.{i}.mlp.fc2", hidden)
    y = norm("norm", z)[:, 0]
    if c.representation_size:
        y = torch.tanh(dense("pre_logits", y))
    return dense("head", y)


@pytest.mark.parametrize("changes", [{}, {"gelu": "exact"}, {"representation_size": 24}])
def test_forward_equals_the_papers_equations(changes: dict[str, object]) -> None:
    model = tiny(**changes)
    images = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(model(images).double(), written_out(model, images), atol=1e-5, rtol=1e-5)


def test_forward_equals_hugging_faces_model_with_the_same_weights() -> None:
    transformers = peers.or_skip(peers.transformers_vit)
    model = tiny(gelu="exact")
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=16,
        patch_size=4, num_labels=5, layer_norm_eps=1e-6, hidden_act="gelu",
    )  # fmt: skip
    theirs = transformers.ViTForImageClassification(config).eval()
    ours = model.state_dict()
    state = {
        "vit.embeddings.cls_token": ours["class_token"],
        "vit.embeddings.position_embeddings": ours["position_embedding"],
        "vit.embeddings.patch_embeddings.projection.weight": ours["patch_embedding.weight"],
        "vit.embeddings.patch_embeddings.projection.bias": ours["patch_embedding.bias"],
        **{f"vit.layernorm.{k}": ours[f"norm.{k}"] for k in ("weight", "bias")},
        **{f"classifier.{k}": ours[f"head.{k}"] for k in ("weight", "bias")},
    }
    names = {"layernorm_before": "norm1", "attention.o_proj": "attention.out", "layernorm_after": "norm2",
             "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}  # fmt: skip
    for i in range(2):
        for kind in ("weight", "bias"):
            for their_name, our_name in names.items():
                state[f"vit.layers.{i}.{their_name}.{kind}"] = ours[f"blocks.{i}.{our_name}.{kind}"]
            for part, matrix in zip("qkv", ours[f"blocks.{i}.attention.qkv.{kind}"].chunk(3), strict=True):
                state[f"vit.layers.{i}.attention.{part}_proj.{kind}"] = matrix
    theirs.load_state_dict(state)
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(model(images), theirs(images).logits, atol=1e-5, rtol=1e-5)


def test_attention_weights_are_what_the_fused_kernel_uses() -> None:
    attention = tiny().blocks[0].attention
    x = torch.randn(2, 17, 32)
    a = attention.weights(x)
    _, _, v = attention.project(x)
    torch.testing.assert_close(attention.out((a @ v).transpose(1, 2).flatten(2)), attention(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(a.sum(dim=-1), torch.ones(2, 2, 17))


@pytest.mark.parametrize(("old", "new"), [((4, 4), (6, 6)), ((7, 7), (12, 12)), ((6, 4), (5, 9)), ((24, 24), (14, 14))])
def test_positions_resize_as_scipys_zoom(old: tuple[int, int], new: tuple[int, int]) -> None:
    positions = torch.randn(1, 1 + old[0] * old[1], 8)
    resized = resize_positions(positions, old, new)
    grid = positions[0, 1:].reshape(*old, 8).double().numpy()
    zoomed = scipy.ndimage.zoom(grid, (new[0] / old[0], new[1] / old[1], 1), order=1)
    np.testing.assert_allclose(resized[0, 1:].reshape(*new, 8).numpy(), zoomed, atol=1e-6)
    assert torch.equal(resized[:, 0], positions[:, 0])


def test_every_rule_of_resizing_can_be_set_by_its_name() -> None:
    torch.manual_seed(0)
    positions = torch.randn(1, 17, 8)
    resized = []
    for name in RESIZE:
        words = {"model.name": "ViT-mu/16", "model.position_resize": name}
        rule = model_config(override(RunConfig(), words), 2).position_resize
        assert rule == name
        resized.append(resize_positions(positions, (4, 4), (7, 5), rule))
    for i, made in enumerate(resized):
        assert torch.equal(made[:, 0], positions[:, 0])
        assert not any(torch.allclose(made, other, atol=1e-3) for other in resized[:i])
    with pytest.raises(UsageError, match="it takes google"):
        override(RunConfig(), {"model.position_resize": "mine"})


def test_other_sizes_use_resized_positions() -> None:
    model = tiny()
    larger = VisionTransformer(ViTConfig(**{**TINY, "image_size": (24, 20)})).eval()
    state = model.state_dict()
    state["position_embedding"] = resize_positions(state["position_embedding"], (4, 4), (6, 5))
    larger.load_state_dict(state)
    images = torch.randn(2, 3, 24, 20)
    assert torch.equal(model(images), larger(images))


def test_fixed_positions_follow_the_formula() -> None:
    table = sincos2d((3, 5), 16)[0]
    omega = [1 / 10_000 ** (k / 3) for k in range(4)]
    y, x = 2, 4
    angles = [[x * o for o in omega], [y * o for o in omega]]
    expected = [f(a) for row in angles for f in (math.sin, math.cos) for a in row]
    torch.testing.assert_close(table[y * 5 + x], torch.tensor(expected), atol=1e-6, rtol=1e-5)


def test_a_zero_head_starts_at_the_logarithm_of_the_class_count() -> None:
    model = VisionTransformer(ViTConfig(**TINY))
    loss = F.cross_entropy(model(torch.randn(8, 3, 16, 16)), torch.arange(8) % 5)
    assert float(loss.detach()) == pytest.approx(math.log(5), abs=1e-6)


def test_initial_values_have_the_authors_distributions() -> None:
    torch.manual_seed(0)
    model = create_model("ViT-S/16", representation_size=384, head_bias=-6.9)
    model.requires_grad_(False)
    block = model.blocks[3]
    for matrix in block.attention.qkv.weight.chunk(3):  # each on its own, not as one 3D x D matrix
        bound = math.sqrt(6 / (384 + 384))
        assert bound * 0.999 < float(matrix.abs().max()) <= bound
        assert float(matrix.std()) == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert float(block.mlp.fc1.weight.std()) == pytest.approx(math.sqrt(2 / (384 + 1536)), rel=0.01)
    assert float(block.mlp.fc1.bias.std()) == pytest.approx(1e-6, rel=0.1)
    assert float(model.patch_embedding.weight.std()) == pytest.approx(1 / 16 / math.sqrt(3), rel=0.01)
    assert float(model.pre_logits.weight.std()) == pytest.approx(1 / math.sqrt(384), rel=0.01)
    assert float(model.position_embedding.std()) == pytest.approx(0.02, rel=0.02)
    assert not model.class_token.any()
    assert not model.head.weight.any()
    assert (model.head.bias == -6.9).all()
    assert not block.attention.qkv.bias.any()


@pytest.mark.parametrize(
    "changes", [{}, {"pool": "gap", "positions": "sincos2d"}, {"pool": "map"}, {"positions": "none"}]
)
def test_every_parameter_gets_a_gradient(changes: dict[str, object]) -> None:
    model = tiny(**changes, representation_size=8).train()
    model(torch.randn(2, 3, 16, 16)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_stochastic_depth_drops_whole_pictures_and_keeps_the_mean() -> None:
    model = tiny(stochastic_depth=0.5, depth=3)
    assert [block.drop_branch.rate for block in model.blocks] == [0.0, 0.25, 0.5]
    drop = model.blocks[2].drop_branch.train()
    torch.manual_seed(0)
    out = drop(torch.ones(4000, 3, 2))
    assert set(out.flatten().tolist()) == {0.0, 2.0}
    assert (out.flatten(1).std(dim=1) == 0).all()
    assert float(out.mean()) == pytest.approx(1.0, abs=0.05)


def test_dropout_is_where_the_paper_puts_it() -> None:
    model = tiny(dropout=0.3).train()
    places = {
        name for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout) and module.p == 0.3
    }
    assert places == {"dropout", *(f"blocks.{i}.{part}" for i in range(2) for part in ("dropout", "mlp.dropout"))}


@pytest.mark.parametrize("changes", [{}, {"pool": "gap"}, {"pool": "map"}, {"positions": "sincos2d"}])
def test_a_picture_has_the_same_tokens_alone_and_in_a_batch(changes: dict[str, object]) -> None:
    model = tiny(width=64, num_heads=4, **changes)
    assert equal_in_every_batch(model, torch.randn(32, 3, 16, 16), (1, 3, 16))


def test_exports_with_a_dynamic_batch() -> None:
    model = tiny()
    exported = torch.export.export(
        model, (torch.randn(2, 3, 16, 16),), dynamic_shapes=({0: torch.export.Dim("n", min=1, max=64)},)
    ).module()
    images = torch.randn(7, 3, 16, 16)
    torch.testing.assert_close(exported(images), model(images), atol=1e-5, rtol=1e-5)


def test_layers_count_from_the_embedding_to_the_head() -> None:
    model = tiny(representation_size=8)
    layers = {name: model.layer_index(name) for name in model.state_dict()}
    assert {layers[n] for n in ("class_token", "position_embedding", "patch_embedding.weight")} == {0}
    assert (layers["blocks.0.norm1.weight"], layers["blocks.1.mlp.fc2.bias"]) == (1, 2)
    assert {layers[n] for n in ("norm.weight", "pre_logits.bias", "head.weight")} == {3}


def test_any_size_with_any_patch_can_be_named() -> None:
    config = configuration("ViT-S/4", image_size=32)
    assert (config.width, config.patch_size, config.image_size) == (384, 4, (32, 32))


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        ("ViT-B/61", {"image_size": 224}, "not divisible by patch size 61"),
        ("Vit-B16", {}, "did you mean ViT-B/16"),
        ("ViT-B/16", {"image_size": 225}, "nearest that is, is 224x224"),
        ("ViT-B/16", {"num_head": 3}, "did you mean num_heads"),
        ("ViT-B/16", {"num_heads": 7}, "cannot be split into 7 heads"),
        ("ViT-B/16", {"dropout": 1.5}, "dropout must be at least 0 and below 1"),
        ("ViT-B/16", {"num_classes": 0}, "num_classes must be at least 1"),
    ],
)
def test_impossible_models_are_refused_with_a_way_out(name: str, overrides: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        configuration(name, **overrides)


def test_shapes_in_signatures_are_checked_while_testing() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="n c h w"):
        tiny().encode(torch.randn(3, 16, 16))


COMPILED = """
import torch
from vitral.models.vit import VisionTransformer, ViTConfig
torch.manual_seed(0)
for changes in ({}, {"pool": "gap"}, {"pool": "map"}, {"positions": "sincos2d"}):
    torch._dynamo.reset()
    model, graphs = VisionTransformer(ViTConfig(4, 16, 2, 32, 2, (16, 16), 3, **changes)).eval(), []
    torch.nn.init.normal_(model.head.weight)
    compiled = torch.compile(model, backend=lambda graph, _: graphs.append(graph) or graph, fullgraph=True, dynamic=True)
    for learning in (True, False):  # a graph each
        with torch.set_grad_enabled(learning):
            for size in (2, 3, 7):
                images = torch.randn(size, 3, 16, 16)
                torch.testing.assert_close(compiled(images), model(images), atol=1e-5, rtol=1e-5)
    assert len(graphs) == 2, (changes, len(graphs))
"""


def test_compiles_to_one_graph_for_any_batch() -> None:
    # in a process of its own: the type checks that tests put into every function cannot be traced
    made = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
