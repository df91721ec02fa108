"""What is known of the models without building them, held against the networks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from tests import peers
from vitral.catalogue import CATALOGUE, PUBLISHED, SOURCES
from vitral.cli import main
from vitral.models import VARIANTS, configuration, create_model, family_of
from vitral.models.counting import parts_of
from vitral.models.vit import ViTConfig
from vitral.weights.sources import hugging_face
from vitral.weights.sources.google import AUGREG, BIT

SMALLEST = {
    min((name for name in CATALOGUE if CATALOGUE[name].family == family), key=lambda name: CATALOGUE[name].macs)
    for family in {known.family for known in CATALOGUE.values()}
}


def test_every_variant_is_in_the_catalogue() -> None:
    assert list(CATALOGUE) == list(VARIANTS)
    assert {name: known.family for name, known in CATALOGUE.items()} == {
        name: family_of(config) for name, config in VARIANTS.items()
    }
    assert all(known.image_size == VARIANTS[name].image_size for name, known in CATALOGUE.items())
    assert PUBLISHED.keys() <= CATALOGUE.keys()
    assert SOURCES.keys() <= CATALOGUE.keys() - PUBLISHED.keys()


def test_weights_are_named_as_their_authors_do() -> None:
    """Names of the hybrids in the AugReg paper leave "ViT-" out; BiT's files are listed."""
    for name, words in SOURCES.items():
        if words.startswith("augreg/"):
            match = re.fullmatch(AUGREG, words)
            assert match is not None
            assert match["model"] == name.replace("ViT-", "")
            assert CATALOGUE[name].image_size == (int(match["side"]),) * 2
        elif words.startswith("bit/"):
            assert BIT[words.removeprefix("bit/")] == f"BiT-M-{name.removeprefix('BiT-')}-ILSVRC2012"
        else:
            assert hugging_face.parsed(words) is not None


@pytest.mark.parametrize("name", sorted(SMALLEST))
def test_counts_are_those_of_the_network(name: str) -> None:
    known, parts = CATALOGUE[name], parts_of(configuration(name))
    assert sum(p.numel() for p in create_model(name, device="meta").parameters()) == known.parameters
    assert sum(part.parameters for part in parts) == known.parameters
    assert sum(part.macs for part in parts) == known.macs


def test_macs_follow_from_the_equations() -> None:
    """Of a ViT: per token and block 4 D^2 for q, k, v, out, 2 D M for the MLP, and 2 t D for attention."""
    for name, config in VARIANTS.items():
        if isinstance(config, ViTConfig) and family_of(config) == "vit" and config.pool == "token":
            patches = config.grid_size[0] * config.grid_size[1]
            tokens, d = patches + 1, config.width
            block = tokens * (4 * d * d + 2 * d * config.mlp_dim + 2 * tokens * d)
            embedding = patches * 3 * config.patch_size**2 * d
            assert CATALOGUE[name].macs == embedding + config.depth * block + d * config.num_classes, name


def test_macs_are_those_that_the_papers_compute_with() -> None:
    """GMACs that the exaFLOPs of Table 6 of arXiv 2010.11929 follow from."""
    for name, giga in {
        "ViT-B/32": 4.41,
        "ViT-B/16": 17.58,
        "ViT-L/32": 15.39,
        "ViT-L/16": 61.6,
        "ViT-H/14": 167.4,
    }.items():
        assert CATALOGUE[name].macs / 1e9 == pytest.approx(giga, rel=2e-3)


def test_parts_are_named_with_their_output() -> None:
    parts = {part.name: part for part in parts_of(configuration("ViT-Ti/16"))}
    assert list(parts)[:3] == ["class_token", "position_embedding", "patch_embedding"]
    assert (parts["blocks"].output, parts["head"].output) == ((197, 192), (1000,))
    assert parts["head"].macs == 192 * 1000
    assert parts["between the parts"].macs == 196 * 768 * 192  # patches times their embedding's weights


def test_pooling_by_attention_is_counted() -> None:
    d, mlp, tokens = 192, 768, 196
    parts = {part.name: part for part in parts_of(replace(configuration("ViT-Ti/16"), pool="map"))}
    one_query = d * d + tokens * 2 * d * d + 2 * tokens * d + d * d + 2 * d * mlp
    assert parts["attention_pool"].macs == one_query


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["models", *words, "--json"]) == 0
    return [row["name"] for row in json.loads(capsys.readouterr().out)]


def test_the_list_can_be_narrowed(capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys) == list(VARIANTS)
    assert listed(capsys, "--family", "bit") == [name for name in VARIANTS if name.startswith("BiT-")]
    assert listed(capsys, "hybrid") == listed(capsys, "--family", "hybrid") != []
    assert listed(capsys, "swin") == [name for name in VARIANTS if name.startswith("Swin-")]
    assert listed(capsys, "B/16", "--family", "vit") == ["ViT-B/16"]


def test_one_model_is_shown_with_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "ViT-B/16", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["parameters"], document["macs"]) == (86_567_656, CATALOGUE["ViT-B/16"].macs)
    assert document["score"]["top1"] == 84.53
    assert {part["name"] for part in document["parts"]} >= {"blocks", "head", "norm"}
    assert main(["models", "ViT-Ti/4", "--family", "vit"]) == 0  # of no catalogue
    assert "GMACs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--family", "bits"], "did you mean bit"),
        (["ViT-B/1x6"], "did you mean ViT-B/16"),
        (["--family", "swin", "swin-q"], "family swin has no model 'swin-q': did you mean Swin-"),
        (["ViT-B/16", "--family", "swin"], "family swin has no model 'ViT-B/16'"),
        (["BiT", "--family", "swin"], "family swin has no model 'BiT'"),
    ],
)
def test_an_unknown_name_gets_the_nearest(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", *words]) == 2
    assert said in capsys.readouterr().err


def test_the_list_needs_no_torch() -> None:
    code = "import sys; from vitral.cli import main; main(['models', '--json']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_another_librarys_model_is_shown_too(capsys: pytest.CaptureFixture[str]) -> None:
    library = peers.or_skip(peers.timm)
    assert main(["models", "timm:test_resnet", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    whole = library.create_model("test_resnet", pretrained=False)
    assert document["parameters"] == sum(parameter.numel() for parameter in whole.parameters())
    assert document["macs"] > 0
    assert [part["name"] for part in document["parts"] if part["parameters"]] == ["body", "head"]


def test_a_model_type_of_transformers_is_shown_too(capsys: pytest.CaptureFixture[str]) -> None:
    library = peers.or_skip(peers.transformers_library)
    assert main(["models", "hf:mobilenet_v2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    whole = library.MobileNetV2ForImageClassification(library.MobileNetV2Config(num_labels=1000))
    assert document["parameters"] == sum(parameter.numel() for parameter in whole.parameters())
