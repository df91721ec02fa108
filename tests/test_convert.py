"""`vitral convert`: other libraries open what it writes, with equal scores, class names and preprocessing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vitral
from tests import peers
from tests.pictures import picture, write_folder
from vitral import create_model
from vitral.cli import main
from vitral.commands import convert
from vitral.config import Preprocessing
from vitral.errors import DataError
from vitral.models.vit import ViTConfig
from vitral.weights import LAYOUTS, build, conversion, read, timm
from vitral.weights.layout import Described

TINY = ["--model", "ViT-Ti/4", "--image-size", "16", "--model.width", "16", "--model.depth", "1",
        "--model.num-heads", "2", "--model.mlp-dim", "32", "--steps", "3", "--batch-size", "4", "--device", "cpu",
        "--workers", "0", "--quiet"]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that vitral trained."""
    place = tmp_path_factory.mktemp("trained")
    pictures = write_folder(place / "colours", {"train": 4, "val": 2})
    assert main(["train", str(pictures), *TINY, "--out", str(place / "run")]) == 0
    return place / "run" / "model"


def converted(model: Path, folder: Path, *words: str, capsys: pytest.CaptureFixture[str]) -> Any:
    assert main(["convert", str(model), "--out", str(folder), *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def sharp(size: int = 40) -> Image.Image:
    """A picture on which another resize or other colours would show."""
    pixels = np.random.default_rng(5).integers(0, 256, (size, size + 9, 3))
    return Image.fromarray(pixels.astype(np.uint8)).resize((size * 2, size * 2))


def test_what_vitral_trained_opens_in_transformers(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = peers.or_skip(peers.transformers_library)
    converted(model, tmp_path / "out", "--to", "huggingface", capsys=capsys)
    ours, image = vitral.load(model), sharp()
    theirs = library.AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    processor = library.AutoImageProcessor.from_pretrained(tmp_path / "out")
    assert tuple(theirs.config.id2label.values()) == ours.classes == ("blue", "green", "red")
    values = processor(image, return_tensors="pt").pixel_values
    with torch.no_grad():
        # The same input gives the same scores; the same picture too, but for the rounding of its resize.
        torch.testing.assert_close(theirs(values).logits, ours.network(values), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(theirs(values).logits, ours.logits(ours.pixels(image)[None]), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("pool", ["token", "gap", "map"])
def test_what_vitral_trained_opens_in_timm(
    model: Path, tmp_path: Path, pool: str, capsys: pytest.CaptureFixture[str]
) -> None:
    library = peers.or_skip(peers.timm)
    if pool != "token":
        run = [str(model.parents[1] / "colours"), *TINY, "--model.pool", pool, "--out", str(tmp_path / "run")]
        assert main(["train", *run]) == 0
        capsys.readouterr()
        model = tmp_path / "run" / "model"
    converted(model, tmp_path / "out", "--to", "timm", capsys=capsys)
    ours, image = vitral.load(model), sharp()
    theirs = library.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    assert tuple(theirs.pretrained_cfg["label_names"]) == ours.classes == ("blue", "green", "red")
    wrapped = peers.transformers_library().AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    assert tuple(wrapped.config.id2label.values()) == ours.classes
    rule = library.data.resolve_data_config({}, model=theirs)
    values = library.data.create_transform(**rule)(image)[None]
    with torch.no_grad():
        torch.testing.assert_close(theirs(values), ours.network(values), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(wrapped(values).logits, ours.network(values), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(theirs(values), ours.logits(ours.pixels(image)[None]), atol=0.02, rtol=0.02)


def test_the_help_names_every_layout() -> None:
    assert sorted(convert.LAYOUTS) == sorted(LAYOUTS)
    for alias in conversion.ALIASES:
        assert alias in convert.ALIASES.replace(",", "").split()


def test_every_file_is_accounted_for(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = converted(model, tmp_path / "out", "--to", "hf", capsys=capsys)
    files = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    assert dict(document["write"]["files"]) == files
    assert {"model.safetensors", "config.json", "preprocessor_config.json", "README.md"} <= set(files)
    count = len(build(read(model))[0].state_dict())
    assert (document["written"], document["read"]["read"], document["write"]["compared"]) == (True, count, count)


def test_there_and_back_again_is_the_same_model(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converted(model, tmp_path / "there", "--to", "huggingface", capsys=capsys)
    converted(tmp_path / "there", tmp_path / "back", "--to", "vitral", capsys=capsys)
    image = sharp()
    before, after = (vitral.load(path) for path in (model, tmp_path / "back"))
    assert np.array_equal(before.predict_proba(image), after.predict_proba(image))
    assert (before.classes, before.preprocessing, before.metrics) == (after.classes, after.preprocessing, after.metrics)


def test_the_card_says_how_to_open_it_and_what_it_was_trained_on(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converted(model, tmp_path / "out", "--to", "huggingface", capsys=capsys)
    text = (tmp_path / "out" / "README.md").read_text()
    for said in ("library_name: transformers", "AutoImageProcessor", "training split of colours", "validation"):
        assert said in text, said


def test_a_dry_run_reports_all_and_leaves_nothing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    real = converted(model, tmp_path / "out", "--to", "huggingface", capsys=capsys)
    tried = converted(model, tmp_path / "dry", "--to", "huggingface", "--dry-run", capsys=capsys)
    assert tried["written"] is False
    assert (tried["read"], tried["write"]["compared"]) == (real["read"], real["write"]["compared"])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_earlier_conversion_is_replaced_and_nothing_else(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for layout in ("huggingface", "vitral"):
        converted(model, out, "--to", layout, capsys=capsys)
    assert read(out).layout == "vitral"
    (out / "notes.txt").write_text("mine")
    assert main(["convert", str(model), "--to", "vitral", "--out", str(out)]) == 2
    assert "not only, an earlier conversion" in capsys.readouterr().err
    assert (out / "notes.txt").read_text() == "mine"
    assert main(["convert", str(model), "--to", "vitral", "--out", str(model)]) == 2


def test_the_conversions_of_two_runs_stand_beside_each_other(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        shutil.copytree(model.parent, tmp_path / name, ignore=shutil.ignore_patterns("checkpoints"))
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        assert main(["convert", f"{name}/model", "--to", "timm"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two", "one-timm", "two-timm"}
    before = {path.name: path.read_bytes() for path in (tmp_path / "one-timm").iterdir()}
    capsys.readouterr()
    assert main(["convert", "two/model", "--to", "timm", "--out", "one-timm"]) == 2
    said = capsys.readouterr().err
    assert "the conversion of another model, one/model" in said
    assert "--out" in said
    assert {path.name: path.read_bytes() for path in (tmp_path / "one-timm").iterdir()} == before
    assert main(["convert", str(tmp_path / "one" / "model"), "--to", "timm"]) == 0  # the same by another path


def test_a_failed_conversion_keeps_what_was_there(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    converted(model, out, "--to", "huggingface", capsys=capsys)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LAYOUTS["huggingface"], "save_file", full)
    assert main(["convert", str(model), "--to", "huggingface", "--out", str(out)]) == 74
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_layout_that_changes_a_number_is_caught(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = LAYOUTS["huggingface"]
    write = layout.write

    def careless(folder: Path, described: Any, tensors: Any) -> None:
        spoilt = {name: value.clone() for name, value in tensors.items()}
        spoilt["head.bias"][0] += 1e-6
        write(folder, described, spoilt)

    monkeypatch.setattr(layout, "write", careless)
    with pytest.raises(DataError, match=r"1 tensors do not read back .*head\.bias"):
        conversion.convert(read(model), "huggingface", tmp_path / "out", lambda _: "")
    assert list(tmp_path.iterdir()) == []


def gap(model: Path, folder: Path) -> Path:
    """The same model, but that it says it takes the mean of the tokens."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["model"]["representation_size"] = 8
    (folder / "config.json").write_text(json.dumps(config))
    return folder


Words = Callable[[Path, Path], list[object]]

MISTAKES: dict[str, tuple[Words, int, str]] = {
    # what went wrong: (words made from (temporary folder, model), exit code, part of the sentence)
    "unknown layout": (lambda t, m: [m, "--to", "hugingface"], 2, "did you mean huggingface"),
    "a layout without a place for it": (lambda t, m: [m, "--to", "mae"], 2, "choose another layout"),
    "no layout": (lambda t, m: [m], 2, "required: --to"),
    "no model": (lambda t, m: [t / "none", "--to", "timm"], 66, "no weights at"),
    "a model that is not whole": (lambda t, m: [gap(m, t / "g"), "--to", "timm"], 65, "missing pre_logits"),
    "a file in the way": (lambda t, m: [m, "--to", "vitral", "--out", picture_at(t / "x.png")], 2, "name another"),
    "a folder that cannot be made": (lambda t, m: [m, "--to", "vitral", "--out", "/proc/x"], 74, "cannot write"),
}


def picture_at(path: Path) -> Path:
    picture("red", 1).save(path)
    return path


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_clear_sentence_and_its_exit_code(
    name: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words, code, said = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    given = [str(word) for word in words(tmp_path, model)]
    assert main(["convert", *given, "--json"]) == code
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (document["error"]["code"], said in document["error"]["message"]) == (code, True), document
    assert "Traceback" not in err


def unnamed(place: Path, **changes: Any) -> Path:
    """A file of timm's without class names."""
    config = ViTConfig(8, 192, 12, 768, 3, (16, 16), 3)
    network = create_model("ViT-Ti/8", num_classes=3, image_size=16)
    place.mkdir()
    described = Described(config, Preprocessing((16, 16)), **changes)
    timm.write(place, described, network.state_dict())
    return place


def test_classes_without_names_get_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = converted(unnamed(tmp_path / "timm"), tmp_path / "out", "--to", "vitral", capsys=capsys)
    assert ["class names", "none", "0, 1, 2"] in document["write"]["changed"]
    assert vitral.load(tmp_path / "out").classes == vitral.load(tmp_path / "timm").classes == ("0", "1", "2")


def test_errors_do_not_name_the_temporary_folder(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(folder: Path, *_: Any) -> None:
        write(folder, *_)
        (folder / "config.json").write_text("{}")

    write = LAYOUTS["timm"].write
    monkeypatch.setattr(LAYOUTS["timm"], "write", spoilt)
    for words in (["--out", str(tmp_path / "out")], ["--dry-run"]):
        assert main(["convert", str(model), "--to", "timm", *words, "--json"]) == 65
        said = json.loads(capsys.readouterr().out)["error"]["message"]
        assert "what was written" in said
        assert str(tmp_path) not in said
        assert "/tmp/vitral-" not in said


@pytest.mark.parametrize(("layout", "kept"), [("timm", False), ("huggingface", True)])
def test_a_temperature_does_not_go_where_it_means_nothing(
    layout: str, kept: bool, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(model, tmp_path / "several")
    for file, change in (
        ("classes.json", {"multi_label": True}),
        ("metrics.json", {"calibration": {"temperature": 2.5}}),
    ):
        found = json.loads((tmp_path / "several" / file).read_text()) | change
        (tmp_path / "several" / file).write_text(json.dumps(found))
    document = converted(tmp_path / "several", tmp_path / "out", "--to", layout, capsys=capsys)
    assert vitral.load(tmp_path / "out").temperature == (2.5 if kept else 1.0)
    said = [what for what, *_ in document["write"]["changed"]]
    assert ("calibration of the probabilities" in said, "several labels per picture" in said) == (not kept,) * 2
