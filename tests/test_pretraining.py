"""Pre-training without labels, whole runs: exact resume, masks, measures against formulas, and what comes after."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests import peers
from tests.pictures import write_folder
from vitral import pretext_model, run
from vitral.cli import main
from vitral.config import Duration
from vitral.console import Screen
from vitral.data.decode import decode
from vitral.data.preprocessing import normalise, prepare
from vitral.datasets.dataset import VALIDATION
from vitral.errors import DataError, UsageError
from vitral.planning import Plan, plan
from vitral.pretraining import EVALUATION, PretrainingSession
from vitral.run import Result, start
from vitral.session import Session
from vitral.training.loop import Progress
from vitral.weights import build, read

SETTINGS: dict[str, object] = {
    # Everything that could break a resume is on: several epochs, uneven batches, dropout, average, accumulation.
    "model.image_size": (8, 8), "model.width": 16, "model.depth": 2, "model.num_heads": 2, "model.mlp_dim": 32,
    "model.dropout": 0.1, "model.stochastic_depth": 0.2, "training.batch_size": 7, "training.micro_batch_size": 3,
    "training.average": 0.9, "training.log_every": Duration(4, "steps"), "training.evaluate_every": Duration(5, "steps"),
    "training.checkpoint_every": Duration(3, "steps"), "schedule.duration": Duration(12, "steps"),
    "schedule.warmup": Duration(3, "steps"), "runtime.workers": 2, "runtime.device": "cpu",
}  # fmt: skip

OBJECTIVES = {
    "mae-pretrain": {
        "model.name": "MAE-Ti/2", "pretraining.decoder_width": 8, "pretraining.decoder_depth": 1,
        "pretraining.decoder_heads": 2,
    },
    "masked-patch-prediction": {"model.name": "ViT-Ti/2", "model.pool": "token"},
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), {"train": 9, "val": 3, "test": 4})


def planned(recipe: str, pictures: Path, **changes: object) -> Plan:
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return plan(recipe, {**SETTINGS, **OBJECTIVES[recipe], "data.path": str(pictures), **named})


def train(recipe: str, pictures: Path, folder: Path, **changes: object) -> Result:
    return start(planned(recipe, pictures, **changes), folder, Screen(quiet=True))


def digest(folder: Path) -> dict[str, str]:
    """SHA-256 of everything that must be the same."""
    paths = [*(folder / name for name in ("metrics.jsonl", "data.json", "examples.json")), *folder.glob("model/*")]
    paths += sorted(folder.glob("checkpoints/*/*"))[-3:]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module", params=sorted(OBJECTIVES))
def whole(request: pytest.FixtureRequest, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert train(request.param, pictures, folder).finished
    return request.param, folder


class Stop(Exception):
    """As if the process had died: nothing is cleaned up by the run itself."""


@pytest.mark.parametrize("step", [1, 5, 12])
def test_a_run_killed_after_any_step_continues_bit_for_bit_with_other_workers(
    pictures: Path, whole: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    def die(self: Session, progress: Progress, size: int, waited: float) -> None:
        if progress.step == step:
            raise Stop

    recipe, uninterrupted = whole
    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(Session, "tick", die)
        train(recipe, pictures, tmp_path / "run")
    assert train(recipe, pictures, tmp_path / "run", runtime__workers=0).finished
    assert digest(tmp_path / "run") == digest(uninterrupted)


def test_a_run_killed_after_its_last_evaluation_is_not_taken_for_finished(
    pictures: Path, whole: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise Stop

    recipe, uninterrupted = whole
    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(run, "_measure", killed)
        train(recipe, pictures, tmp_path / "run")
    assert train(recipe, pictures, tmp_path / "run").finished
    assert digest(tmp_path / "run") == digest(uninterrupted)


def test_a_finished_run_says_its_numbers_again(pictures: Path, whole: tuple[str, Path]) -> None:
    recipe, folder = whole
    before = digest(folder)
    again = train(recipe, pictures, folder)
    assert again.finished
    assert again.metrics["step"] == 12
    assert digest(folder) == before


def session_of(recipe: str, pictures: Path, folder: Path) -> PretrainingSession:
    folder.mkdir(exist_ok=True)
    session = run._prepared(planned(recipe, pictures), folder, Screen(quiet=True), lambda: False)[1]
    assert isinstance(session, PretrainingSession)
    return session


def test_masks_differ_between_epochs_and_samples_and_with_nothing_else(pictures: Path, tmp_path: Path) -> None:
    session = session_of("mae-pretrain", pictures, tmp_path / "run")
    first = session.numbers(np.array([0, 0, 1]), np.array([3, 4, 3]))
    assert first.shape == (3, 1, 16)
    assert len({tuple(row.flatten().tolist()) for row in first}) == 3
    # in another batch, beside other pictures, the same picture of the same epoch has the same mask
    assert torch.equal(session.numbers(np.array([5, 1]), np.array([0, 3]))[1], first[2])


def test_mae_sees_a_quarter_and_its_loss_is_that_of_the_transformers_library(pictures: Path, tmp_path: Path) -> None:
    """The whole path, from files to the validation loss, with the library's network and our masks."""
    library = peers.or_skip(peers.transformers, "vit_mae")
    folder = tmp_path / "run"
    result = train("mae-pretrain", pictures, folder, model__dropout=0.0, model__stochastic_depth=0.0)
    config = library.ViTMAEConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=8, patch_size=2,
        decoder_hidden_size=8, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        decoder_intermediate_size=32, layer_norm_eps=1e-6, norm_pix_loss=True, mask_ratio=0.75,
    )  # fmt: skip
    theirs = library.ViTMAEForPreTraining(config).eval()
    ours = pretext_model.load(folder / "model")
    _fill(theirs, ours.network.state_dict())
    session = session_of("mae-pretrain", pictures, tmp_path / "other")
    split = session.dataset.splits[VALIDATION]
    pixels = np.stack([prepare(decode(source), ours.preprocessing) for source in split.sources])
    images = normalise(torch.from_numpy(pixels), ours.preprocessing.mean, ours.preprocessing.std)
    numbers = session.numbers(np.full(len(split), EVALUATION, dtype=np.uint64), np.arange(len(split)))
    with torch.no_grad():
        expected = theirs(images, noise=numbers[:, 0])
    assert expected.mask.sum(dim=1).tolist() == [12.0] * len(split)  # three quarters of 16
    assert result.metrics["validation"]["loss"] == pytest.approx(float(expected.loss), abs=1e-5)


def _fill(theirs: torch.nn.Module, ours: dict[str, torch.Tensor]) -> None:
    """Give the library's network our numbers, by the translation of its names that the model tests use."""
    for name, parameter in theirs.state_dict().items():
        own = _ours(name)
        if own is None:
            parameter.copy_(ours["decoder_position_embedding" if "decoder" in name else "position_embedding"])
        elif own[1] is not None:
            parameter.copy_(ours[own[0]].chunk(3)[own[1]])
        else:
            parameter.copy_(ours[own[0]].reshape(parameter.shape))


def _ours(name: str) -> tuple[str, int | None] | None:
    """Our name of one of the library's tensors, and which third of it; `None` of positions."""
    if "pos" in name:
        return None
    fixed = {
        "cls_token": "class_token", "mask_token": "mask_token", "decoder_embed": "decoder_embedding",
        "decoder_norm": "decoder_norm", "decoder_pred": "pixels", "layernorm.": "norm.", "projection": "patch_embedding",
    }  # fmt: skip
    for theirs, own in fixed.items():
        if theirs in name and ".layers." not in name and "decoder_layers" not in name:
            return (own if own.endswith("token") else f"{own.rstrip('.')}.{name.rpartition('.')[2]}"), None
    blocks = "decoder_blocks" if "decoder_layers" in name else "blocks"
    index, kind = name.split("layers.")[1].split(".")[0], name.rpartition(".")[2]
    for third, letter in enumerate("qkv"):
        if f".{letter}_proj." in name:
            return f"{blocks}.{index}.attention.qkv.{kind}", third
    inner = {
        "o_proj": "attention.out", "layernorm_before": "norm1", "layernorm_after": "norm2", "fc1": "mlp.fc1",
        "fc2": "mlp.fc2",
    }  # fmt: skip
    own = next(value for key, value in inner.items() if key in name)
    return f"{blocks}.{index}.{own}.{kind}", None


def test_masked_patch_prediction_measures_what_the_formula_gives(pictures: Path, tmp_path: Path) -> None:
    """The paper's colours and corruption written out in NumPy; only the network's scores are ours."""
    folder = tmp_path / "run"
    result = train("masked-patch-prediction", pictures, folder)
    ours = pretext_model.load(folder / "model")
    session = session_of("masked-patch-prediction", pictures, tmp_path / "other")
    split = session.dataset.splits[VALIDATION]
    pixels = np.stack([prepare(decode(source), ours.preprocessing) for source in split.sources])
    numbers = session.numbers(np.full(len(split), EVALUATION, dtype=np.uint64), np.arange(len(split)))
    images = normalise(torch.from_numpy(pixels), ours.preprocessing.mean, ours.preprocessing.std)
    with torch.no_grad():
        scores = ours.network(images, torch.zeros(len(split), 16, dtype=torch.int64), numbers).scores.double().numpy()
    losses, rights = [], []
    for i in range(len(split)):
        patches = [pixels[i, y : y + 2, x : x + 2].reshape(-1, 3) for y in range(0, 8, 2) for x in range(0, 8, 2)]
        means = np.array([patch.astype(float).mean(axis=0) for patch in patches])
        colours = (means // 32) @ np.array([64, 8, 1])
        corrupted = np.argsort(numbers[i, 0].numpy(), kind="stable")[8:]
        own = scores[i] - np.log(np.exp(scores[i]).sum(axis=1, keepdims=True))
        losses.append(-np.mean([own[k, int(colours[k])] for k in corrupted]))
        rights.append(np.mean([own[k].argmax() == colours[k] for k in corrupted]))
    found = result.metrics["validation"]
    assert found["loss"] == pytest.approx(np.mean(losses), abs=1e-5)
    assert found["patch_accuracy"] == pytest.approx(np.mean(rights), abs=1e-9)
    assert found["intervals"]["loss"]["low"] < found["loss"] < found["intervals"]["loss"]["high"]


def test_the_first_loss_of_512_colours_is_their_logarithm(pictures: Path, tmp_path: Path) -> None:
    train("masked-patch-prediction", pictures, tmp_path / "run", training__log_every=Duration(1, "steps"))
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(math.log(512), abs=1e-6)
    assert "top1" not in first


@pytest.mark.parametrize("recipe", sorted(OBJECTIVES))
def test_a_run_learns_what_can_be_learned(pictures: Path, tmp_path: Path, recipe: str) -> None:
    result = train(
        recipe, pictures, tmp_path / "run", schedule__duration=Duration(60, "steps"), optimizer__learning_rate=5e-3,
        training__evaluate_every=Duration(30, "steps"), training__batch_size=27, training__micro_batch_size=None,
        training__average=0.0, model__dropout=0.0, model__stochastic_depth=0.0,
    )  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["validation_loss"] for line in lines if "validation_loss" in line]
    assert losses[-1] < losses[0]
    if recipe == "masked-patch-prediction":  # pictures of one colour: the visible patches tell the hidden ones'
        assert result.metrics["validation"]["loss"] < 0.8 * math.log(512)
        assert result.metrics["validation"]["patch_accuracy"] > 0.05
    else:  # a flat grey has a loss of 11 / 12, as each patch has 12 values; the visible patches tell a better one
        assert result.metrics["validation"]["loss"] < 0.6


def test_the_labels_play_no_part(pictures: Path, tmp_path: Path, whole: tuple[str, Path]) -> None:
    _, folder = whole
    data = json.loads((folder / "data.json").read_text())
    assert data["classes"] == []
    assert set(data["splits"]) == {"train", "validation"}
    assert json.loads((folder / "model" / "classes.json").read_text())["names"] == []
    notes = " ".join(json.loads((folder / "environment.json").read_text())["decisions"])
    assert "names of folders are not learned" in notes
    assert "the test split is left alone" in notes


def test_a_classifier_starts_from_the_encoder_with_a_zero_head(
    whole: tuple[str, Path], pictures: Path, tmp_path: Path
) -> None:
    _, folder = whole
    network, report = build(read(folder), ("a", "b", "c"))
    stored = load_file(folder / "model" / "model.safetensors")
    own = {name: value for name, value in network.state_dict().items() if name not in ("head.weight", "head.bias")}
    assert {name for name in stored if not name.startswith("pretraining.")} == set(own)
    assert all(torch.equal(value, stored[name]) for name, value in own.items())
    assert not network.head.weight.any()
    assert any("one of zeros for 3 classes" in line for line in report.lines())
    words = {
        "data.path": str(pictures), "model.weights": str(folder), "schedule.duration": Duration(2, "steps"),
        "training.batch_size": 9, "runtime.workers": 0, "runtime.device": "cpu",
        "training.log_every": Duration(1, "steps"), "training.evaluate_every": Duration(2, "steps"),
    }  # fmt: skip
    assert start(plan("finetune", words), tmp_path / "tuned", Screen(quiet=True)).finished
    first = json.loads((tmp_path / "tuned" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(math.log(3), abs=1e-5)


def test_verbs_answer_sensibly(
    whole: tuple[str, Path], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, folder = whole
    picture = str(next((pictures / "val" / "red").iterdir()))
    for words in (
        ["evaluate", str(folder), str(pictures)],
        ["predict", str(folder), picture],
        ["inspect", str(folder), picture, "--out", str(tmp_path / "inspected")],
        ["serve", str(folder), "--port", "0", "--replicas", "1"],
    ):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert "has no head, so it tells no classes apart" in said
        assert "vitral finetune" in said
        assert "Traceback" not in said
    assert not (tmp_path / "inspected").exists()
    assert main(["inspect", str(folder), "--out", str(tmp_path / "inspected"), "--json"]) == 0
    assert "positions" in json.loads(capsys.readouterr().out)["figures"]
    assert main(["probe", str(folder), str(pictures), "--method", "linear", "--json", "--workers", "0"]) == 0
    assert 0 <= json.loads(capsys.readouterr().out)["linear"]["linear"] <= 1
    assert main(["convert", str(folder), "--to", "vitral", "--out", str(tmp_path / "copy")]) == 0
    assert read(tmp_path / "copy").described.headless
    if recipe == "masked-patch-prediction":
        assert main(["convert", str(folder), "--to", "google", "--out", str(tmp_path / "npz")]) == 0


def test_the_report_shows_curves_and_what_was_made_of_hidden_patches(whole: tuple[str, Path]) -> None:
    recipe, folder = whole
    page = (folder / "report.html").read_text()
    assert "pre-trained without labels" in page
    assert "Top-1" not in page
    loss = json.loads((folder / "model" / "metrics.json").read_text())["validation"]["loss"]
    assert f">{loss:.4f}<" in page
    examples = json.loads((folder / "examples.json").read_text())
    assert examples["split"] == "validation"
    assert len(examples["reconstructions"]) == 9
    for entry in examples["reconstructions"]:
        assert entry["image"] in page
        with Image.open(io.BytesIO(base64.b64decode(entry["image"]))) as strip:
            assert strip.size == (3 * 160 + 2 * 6, 160)  # 8 pixels, twenty times as large
            panels = np.asarray(strip, dtype=float)
        hidden = panels[:, 166:326]
        grey = np.abs(hidden - 127.5).max(axis=2) < 12
        # 12 of 16 patches; of 8 corrupted ones four fifths, some more or less
        assert grey.mean() > (0.7 if recipe == "mae-pretrain" else 0.15)


def test_a_damaged_folder_is_refused(whole: tuple[str, Path], tmp_path: Path) -> None:
    _, folder = whole
    shutil.copytree(folder / "model", tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["model"]["depth"] = 1
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="not those of its configuration"):
        pretext_model.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ({"loss.label_smoothing": 0.1}, "--loss settings: that is for labels"),
        ({"augmentation.mixup": 0.2}, "--augmentation.mixup: that is for labels"),
        ({"training.metric": "top1"}, "only its loss"),
        ({"pretraining.objective": "none"}, "learns without labels"),
        ({"pretraining.mask_ratio": 0.99}, "bring it nearer to 0.5"),
        ({"pretraining.decoder_heads": 3}, "cannot be split into 3 decoder_heads"),
        ({"model.name": "ViT-Ti/2"}, "MAE's own encoder: --model MAE-Ti/2"),
        ({"model.weights": "somewhere"}, "pre-training starts from nothing"),
        ({"schedule.resolution": "8:0.5"}, "learning without labels takes one size"),
        ({"data.scaled_decoding": True, "runtime.cache": "ram"}, "they cannot be kept"),
        ({"data.scaled_decoding": True, "data.shrink": 64}, "give one of the two"),
        ({"augmentation.three_augment": True, "runtime.augment_on": "device"}, "3-Augment blurs on the host"),
    ],
)
def test_what_cannot_go_together_is_refused(
    pictures: Path, tmp_path: Path, words: dict[str, object], answer: str
) -> None:
    with pytest.raises(UsageError, match=answer):
        train("mae-pretrain", pictures, tmp_path / "run", **words)


def test_a_grid_of_rates_is_for_classes(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "finetune",
        str(pictures),
        "--recipe",
        "mae-pretrain",
        "--model.name",
        "MAE-mu/4",
        "--lr-grid",
        "1e-3,1e-2",
    ]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert "try --find-lr" in capsys.readouterr().err


def test_labels_and_objectives_do_not_mix(pictures: Path) -> None:
    with pytest.raises(UsageError, match="learns labels: take --recipe mae-pretrain"):
        plan("scratch-small", {"data.path": str(pictures), "pretraining.objective": "mae"})


def test_pictures_varied_on_the_device_are_those_of_the_host(
    pictures: Path, whole: tuple[str, Path], tmp_path: Path
) -> None:
    recipe, folder = whole
    train(recipe, pictures, tmp_path / "run", runtime__augment_on="device")
    assert digest(tmp_path / "run") == digest(folder)
