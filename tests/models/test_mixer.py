"""The MLP-Mixer against the paper, the authors' counts and its equations; timm's model stands in tests/weights/test_timm.py."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from tests import peers
from tests.models.networks import count
from vitral.config import Preprocessing
from vitral.errors import UsageError
from vitral.models import create_model
from vitral.models.mixer import VARIANTS, MixerConfig, MlpMixer
from vitral.serving.predictor import Model
from vitral.weights import build, read

AUTHORS_COUNTS = {
    # vision_transformer's models_test.py: 1,000 classes at 224 pixels
    "Mixer-B/32": 60_293_428,
    "Mixer-B/16": 59_880_472,
    "Mixer-L/16": 208_196_168,
}
TINY = MixerConfig(4, 32, 2, 8, 64, (16, 24), 5)


def tiny(**changes: object) -> MlpMixer:
    torch.manual_seed(0)
    model = MlpMixer(MixerConfig(**{**vars(TINY), **changes})).eval()
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.1
    return model


@pytest.mark.parametrize("name", AUTHORS_COUNTS)
def test_parameter_counts_are_the_authors(name: str) -> None:
    assert count(create_model(name, device="meta")) == AUTHORS_COUNTS[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_parameter_counts_are_timms(name: str) -> None:
    timm = peers.or_skip(peers.timm)
    size, patch = name.removeprefix("Mixer-").lower().split("/")
    with torch.device("meta"):
        theirs = timm.create_model(f"mixer_{size}{patch}_224")
    assert count(create_model(name, device="meta")) == count(theirs)


@pytest.mark.parametrize("gelu", ["tanh", "exact"])
def test_forward_equals_the_papers_equation(gelu: str) -> None:
    """Eq. 1, with loops over patches and W X in place of X^T W^T, in float64."""
    model, images = tiny(gelu=gelu), torch.randn(3, 3, 16, 24)
    p = {name: value.double() for name, value in model.state_dict().items()}

    def norm(name: str, v: torch.Tensor) -> torch.Tensor:
        variance, mean = torch.var_mean(v, dim=-1, correction=0, keepdim=True)
        return (v - mean) / (variance + 1e-6).sqrt() * p[f"{name}.weight"] + p[f"{name}.bias"]

    def sigma(v: torch.Tensor) -> torch.Tensor:
        if gelu == "exact":
            return v * 0.5 * (1 + torch.erf(v / math.sqrt(2)))
        return v * 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))

    kernel = p["patch_embedding.weight"].flatten(1)
    corners = [(i, j) for i in range(0, 16, 4) for j in range(0, 24, 4)]
    patches = [images.double()[:, :, i : i + 4, j : j + 4].flatten(1) for i, j in corners]
    x = torch.stack([patch @ kernel.T + p["patch_embedding.bias"] for patch in patches], dim=1)
    for i in range(2):
        block = f"blocks.{i}"
        tokens, channels = f"{block}.token_mixing", f"{block}.channel_mixing"
        hidden = sigma(p[f"{tokens}.fc1.weight"] @ norm(f"{block}.norm1", x) + p[f"{tokens}.fc1.bias"][:, None])
        x = x + p[f"{tokens}.fc2.weight"] @ hidden + p[f"{tokens}.fc2.bias"][:, None]
        hidden = sigma(norm(f"{block}.norm2", x) @ p[f"{channels}.fc1.weight"].T + p[f"{channels}.fc1.bias"])
        x = x + hidden @ p[f"{channels}.fc2.weight"].T + p[f"{channels}.fc2.bias"]
    expected = norm("norm", x).mean(dim=1) @ p["head.weight"].T + p["head.bias"]
    torch.testing.assert_close(model(images).double(), expected, atol=1e-5, rtol=1e-5)


def test_dropped_branches_leave_the_picture_as_it_was() -> None:
    model = tiny(stochastic_depth=0.5, depth=3).train()
    assert [block.drop_branch.rate for block in model.blocks] == [0.0, 0.25, 0.5]
    model.blocks[2].drop_branch.rate = 1 - 1e-9
    x = torch.randn(4, 24, 32)
    assert torch.equal(model.blocks[2](x), x)


def test_pictures_of_another_size_are_refused() -> None:
    with pytest.raises(UsageError, match="takes pictures of 16x24, not 24x16: resize them"):
        tiny()(torch.randn(1, 3, 24, 16))


def test_weights_fit_one_input_size(tmp_path: Path) -> None:
    model = Model(tiny(), Preprocessing((16, 24)), list("abcde"))
    pretrained = read(model.save(tmp_path / "m"))
    for size in ((32, 24), (24, 16)):  # the second has as many patches, at other places
        with pytest.raises(UsageError, match="fit one input size: keep 16x24"):
            build(pretrained, image_size=size)


def test_state_dict_keys_are_public() -> None:
    block = ["norm1", "token_mixing.fc1", "token_mixing.fc2", "norm2", "channel_mixing.fc1", "channel_mixing.fc2"]
    layers = ["patch_embedding", *(f"blocks.{i}.{part}" for i in range(2) for part in block), "norm", "head"]
    assert list(tiny().state_dict()) == [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_size": (15, 24)}, "nearest that is, is 16x24"),
        ({"tokens_mlp_dim": 0}, "tokens_mlp_dim must be at least 1"),
        ({"stochastic_depth": 1.0}, "stochastic_depth must be at least 0"),
    ],
)
def test_impossible_mixers_are_refused_with_a_way_out(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        MixerConfig(**{**vars(TINY), **changes})
