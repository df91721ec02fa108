"""Swin against the published counts, Transformers' implementation and the definition of shifted windows."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import pytest
import torch

from tests import peers
from tests.models.networks import equal_in_every_batch, moved
from vitral.errors import UsageError
from vitral.models import configuration, create_model
from vitral.models.swin import VARIANTS, SwinConfig, SwinTransformer, strangers

PUBLISHED_COUNTS = {
    # torchvision's meta["num_params"] for T, S and B; timm's for L; 1,000 classes, 224 pixels, windows of 7
    "Swin-T": 28_288_354,
    "Swin-S": 49_606_258,
    "Swin-B": 87_768_224,
    "Swin-L": 196_532_476,
}
TINY: dict[str, Any] = {
    "width": 16,
    "depths": (2, 2),
    "num_heads": (2, 4),
    "window_size": 4,
    "image_size": (32, 32),
    "num_classes": 3,
}


def tiny(**changes: Any) -> SwinTransformer:
    """A network whose parameters are all away from their start."""
    torch.manual_seed(0)
    model = SwinTransformer(SwinConfig(**{**TINY, **changes}))
    moved(model)
    return model


def test_every_variant_has_its_published_parameter_count() -> None:
    counts = {name: sum(p.numel() for p in create_model(name, device="meta").parameters()) for name in VARIANTS}
    assert counts == PUBLISHED_COUNTS


def test_state_dict_keys_are_public() -> None:
    attention = ["relative_positions", "qkv.weight", "qkv.bias", "out.weight", "out.bias"]
    both = [f"{part}.{kind}" for part in ("mlp.fc1", "mlp.fc2") for kind in ("weight", "bias")]
    block = ["norm1.weight", "norm1.bias", *(f"attention.{n}" for n in attention), "norm2.weight", "norm2.bias", *both]
    names = [f"{part}.{kind}" for part in ("patch_embedding", "patch_norm") for kind in ("weight", "bias")]
    names += [f"stages.0.blocks.{j}.{n}" for j in range(2) for n in block]
    names += [f"stages.1.merging.{n}" for n in ("norm.weight", "norm.bias", "reduction.weight")]
    names += [f"stages.1.blocks.{j}.{n}" for j in range(2) for n in block]
    names += [f"{part}.{kind}" for part in ("norm", "head") for kind in ("weight", "bias")]
    assert list(tiny().state_dict()) == names


def test_windows_are_no_larger_than_the_grid() -> None:
    assert VARIANTS["Swin-T"].windows == ((7, 7),) * 4
    assert configuration("Swin-T", image_size=(64, 160)).windows == ((7, 7), (7, 7), (4, 7), (2, 5))
    assert VARIANTS["Swin-T"].stride == 32


def in_transformers_names(model: SwinTransformer) -> dict[str, torch.Tensor]:
    names = {"patch_embedding": "swin.embeddings.patch_embeddings.projection", "patch_norm": "swin.embeddings.norm",
             "norm": "swin.layernorm", "head": "classifier"}  # fmt: skip
    parts = {"norm1": "layernorm_before", "norm2": "layernorm_after", "attention.out": "attention.o_proj",
             "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}  # fmt: skip
    state = {}
    for name, value in model.state_dict().items():
        owner, _, kind = name.rpartition(".")
        if owner in names:
            state[f"{names[owner]}.{kind}"] = value
            continue
        _, stage, group, rest = owner.split(".", 3)
        if group == "merging":
            state[f"swin.encoder.layers.{int(stage) - 1}.downsample.{rest}.{kind}"] = value
            continue
        number, _, part = rest.partition(".")
        block = f"swin.encoder.layers.{stage}.blocks.{number}"
        if kind == "relative_positions":
            state[f"{block}.attention.relative_position_bias.relative_position_bias_table"] = value
        elif part == "attention.qkv":
            for letter, chunk in zip("qkv", value.chunk(3), strict=True):
                state[f"{block}.attention.{letter}_proj.{kind}"] = chunk
        else:
            state[f"{block}.{parts[part]}.{kind}"] = value
    return state


# grids that windows fill, and grids that need padding, before merging too
@pytest.mark.parametrize("size", [(32, 32), (64, 96), (36, 60), (44, 76)])
def test_forward_equals_transformers_model_at_any_size(size: tuple[int, int]) -> None:
    library = peers.or_skip(peers.transformers_library)
    model = tiny(depths=(2, 2, 2), num_heads=(1, 2, 4), window_size=2)
    config = library.SwinConfig(
        embed_dim=16, depths=[2, 2, 2], num_heads=[1, 2, 4], image_size=32, patch_size=4, window_size=2, num_labels=3
    )
    theirs = library.SwinForImageClassification(config).eval()
    theirs.load_state_dict(
        in_transformers_names(model)
        | {n: b for n, b in theirs.state_dict().items() if n.endswith("relative_position_index")}
    )
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(model(images), theirs(images).logits, atol=1e-5, rtol=1e-5)


def test_tokens_of_a_shifted_window_are_strangers_where_the_picture_does_not_join_them() -> None:
    (rows, columns), (high, wide), (down, across) = (6, 8), (3, 4), (1, 2)
    apart = strangers((rows, columns), (high, wide), (down, across), torch.device("cpu"))
    assert apart.shape == (4, 12, 12)
    for window in range(4):
        # where the tokens of this window stood before the picture was rolled up and to the left
        corner = (window // 2 * high, window % 2 * wide)
        stood = [
            ((corner[0] + i + down) % rows, (corner[1] + j + across) % columns)
            for i, j in itertools.product(range(high), range(wide))
        ]
        for a, b in itertools.product(range(12), repeat=2):
            joined = abs(stood[a][0] - stood[b][0]) < high and abs(stood[a][1] - stood[b][1]) < wide
            assert bool(apart[window, a, b]) is not joined


def test_a_shifted_block_lets_windows_meet() -> None:
    for shifted, reached in ((False, 4 * 4), (True, 8 * 8)):
        # how far one pixel's change goes: its window; with a shifted block behind, the four windows around
        model = tiny(depths=(2 if shifted else 1,), num_heads=(2,), image_size=(64, 64))
        images = torch.randn(1, 3, 64, 64)
        changed = images.clone()
        changed[0, :, 24, 24] += 1  # token (6, 6): the window of rows and columns 4 to 7, shifted 6 to 9
        with torch.no_grad():
            moved = (model.encode(images) - model.encode(changed)).abs().amax(dim=2).unflatten(1, (16, 16))[0]
        assert int((moved > 1e-6).sum()) == reached


def test_a_picture_has_the_same_tokens_alone_and_in_a_batch() -> None:
    model = tiny(window_size=7, image_size=(56, 56))
    assert equal_in_every_batch(model, torch.randn(6, 3, 56, 56), (1, 2))


def test_stochastic_depth_grows_from_block_to_block() -> None:
    model = tiny(stochastic_depth=0.3)
    rates = [block.drop_branch.rate for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_merging_counts_with_the_block_before_it() -> None:
    model = tiny()
    layers = {name: model.layer_index(name) for name in model.state_dict()}
    assert (layers["patch_norm.weight"], layers["stages.0.blocks.1.norm1.weight"]) == (0, 2)
    assert (layers["stages.1.merging.norm.bias"], layers["stages.1.blocks.0.mlp.fc1.bias"]) == (2, 3)
    assert (layers["norm.weight"], layers["head.bias"], model.num_layers) == (5, 5, 6)


def test_initial_values_have_the_authors_distributions() -> None:
    torch.manual_seed(0)
    model = create_model("Swin-T", head_bias=-2.0)
    attention = model.stages[2].blocks[1].attention
    for tensor in (attention.qkv.weight, model.stages[2].merging.reduction.weight, attention.relative_positions):
        assert float(tensor.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert not attention.qkv.bias.any()
    assert not model.head.weight.any()
    assert (model.head.bias == -2).all()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"image_size": 226}, "nearest that is, is 224x224"),
        ({"depths": (2, 2, 6)}, "one number, of at least 1, per stage"),
        ({"num_heads": (3, 6, 0, 24)}, "one number, of at least 1, per stage"),
        ({"num_heads": (5, 6, 12, 24)}, "width 96 cannot be split into 5 heads"),
        ({"window_size": 0}, "window_size must be at least 1"),
        ({"stochastic_depth": 1.0}, "below 1"),
    ],
)
def test_impossible_models_are_refused_with_a_way_out(overrides: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        configuration("Swin-T", **overrides)


COMPILED = """
import torch
from vitral.models.beit import BEiT, BEiTConfig
from vitral.models.swin import SwinConfig, SwinTransformer
torch.manual_seed(0)
swin = SwinTransformer(SwinConfig(8, (2, 1), (1, 2), 4, 2, (16, 12), 3)).eval()
beit = BEiT(BEiTConfig(4, 16, 1, 32, 2, (16, 12), 3)).eval()
for model in (swin, beit):
    torch._dynamo.reset()
    graphs = []
    torch.nn.init.normal_(model.head.weight)
    compiled = torch.compile(model, backend=lambda graph, _: graphs.append(graph) or graph, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for size in (2, 3, 7):
            images = torch.randn(size, 3, 16, 12)
            torch.testing.assert_close(compiled(images), model(images), atol=1e-5, rtol=1e-5)
    assert len(graphs) == 1, (type(model), len(graphs))
"""


def test_swin_and_beit_compile_to_one_graph_for_any_batch() -> None:
    # in a process of its own: the type checks that tests put into every function cannot be traced
    made = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
