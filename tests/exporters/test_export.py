"""`vitral export`: what other programs open gives the model's own calibrated answers."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx as library
import onnxruntime
import pytest
import torch

import vitral
from tests.exporters.made import NAMES, pixels, small_model, softmax
from tests.models.test_families import TINY, made
from tests.pictures import picture
from vitral.backends import open_backend
from vitral.backends.openvino import imported
from vitral.cli import main
from vitral.commands import quantising
from vitral.config import Preprocessing
from vitral.data.preprocessing import to_json
from vitral.datasets.pictures import Picture
from vitral.errors import DataError, UsageError
from vitral.exporters import EXPORTERS, choice, onnx
from vitral.exporters.folder import adopt, export
from vitral.exporters.graph import Compact, Graph
from vitral.exporters.options import Options
from vitral.exporters.parity import TOLERANCES, compare, require, synthetic
from vitral.exporters.sample import some_pixels
from vitral.serving.predictor import Model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's folder."""
    return small_model().save(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its ONNX export, made by the command."""
    out = tmp_path_factory.mktemp("exports") / "onnx"
    assert main(["export", str(folder), "--out", str(out), "--features", "--quiet"]) == 0
    return out


def test_onnx_runtime_alone_gives_the_models_calibrated_answers(folder: Path, exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape) == ("pixels", "tensor(uint8)", ["n", 16, 8, 3])
    assert [output.name for output in session.get_outputs()] == ["probabilities", "logits", "features"]
    model = vitral.load(folder)
    for count in (1, 2, 7):
        probabilities, logits, features = session.run(None, {"pixels": pixels(count)})
        expected = model.logits(pixels(count)).numpy()
        np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=1e-5)
        np.testing.assert_allclose(probabilities, softmax(expected / 1.7), atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(features, model.representations(pixels(count)).numpy(), atol=1e-4, rtol=1e-5)


def test_the_file_says_all_that_is_needed_and_nothing_of_this_machine(folder: Path, exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["classes"]) == NAMES
    assert float(said["temperature"]) == 1.7
    assert json.loads(said["preprocessing"]) == to_json(vitral.load(folder).preprocessing)
    data = (exported / "model.onnx").read_bytes()
    assert b"/vitral/" not in data
    assert os.fsencode(Path.cwd()) not in data


def test_the_shipped_example_works_without_vitral(folder: Path, exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    picture("red", 3, (50, 41)).resize((90, 60)).save(path)
    words = [sys.executable, "-I", str(exported / "example.py"), str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    name, label, probability = done.stdout.strip().split("\t")
    guess = vitral.load(folder).predict(path)[0]
    assert (name, label) == (str(path), guess.label)
    assert float(probability) == pytest.approx(guess.probability, abs=0.01)  # Pillow's resize is not torch's to the bit


@pytest.mark.parametrize(
    ("size", "how"),
    [((50, 41), {}), ((41, 50), {"resize": (16, 8)}), ((300, 5), {}), ((9, 9), {"interpolation": "nearest"}),
     ((40, 30), {"resize": None}), ((12, 6), {"resize": None, "interpolation": "bilinear"})],
)  # fmt: skip
def test_the_example_prepares_pictures_as_vitral_does(size: tuple[int, int], how: dict[str, Any]) -> None:
    from vitral.exporters.example import prepare

    model = small_model().with_preprocessing(**how)
    image = picture("green", 5, size)
    theirs = prepare(image, json.loads(json.dumps(to_json(model.preprocessing)))).astype(int)
    assert np.abs(theirs - model.pixels(image)).max() <= 2  # as `vitral.data.geometry.resize` promises of Pillow


def test_an_export_is_used_like_a_model(folder: Path, exported: Path, tmp_path: Path, capsys: Any) -> None:
    model, graph = vitral.load(folder), vitral.load(exported)
    images = [picture("red", i, (30, 30)) for i in range(3)]
    assert graph.classes == model.classes
    assert graph.temperature == 1.7
    assert graph.backend_name == "onnxruntime"
    np.testing.assert_allclose(graph.predict_proba(images), model.predict_proba(images), atol=1e-5)
    np.testing.assert_allclose(graph.features(images), model.features(images), atol=1e-4)
    assert graph.features([]).shape == (0, 32)
    with pytest.raises(UsageError, match="cannot be saved"):
        graph.save(tmp_path / "m")
    with pytest.raises(UsageError, match="mean cannot be changed"):
        graph.with_preprocessing(mean=(0, 0, 0))
    assert main(["export", str(exported)]) == 2
    images[0].save(tmp_path / "x.png")
    assert main(["predict", str(exported), str(tmp_path / "x.png"), "--backend", "openvino"]) == 2


def test_an_exported_folder_is_looked_at_as_a_strangers(exported: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    shutil.copytree(exported, odd)
    made = library.load(odd / "model.onnx")
    for changes, said in (
        ({"classes": '["a"]'}, "3 scores for 1 class"), ({"temperature": "nan"}, "temperature"),
        ({"preprocessing": "{}"}, "lacks crop"), ({"classes": "[1, 2, 3]"}, "list of names"),
        ({"multi_label": '"yes"'}, "another kind"), ({"classes": '["a", "b", "a"]'}, "the same name"),
        ({"descriptions": '{"c": ["x"]}'}, "must be words"),
    ):  # fmt: skip
        library.helper.set_model_props(made, {p.key: p.value for p in made.metadata_props} | changes)
        library.save(made, odd / "model.onnx")
        with pytest.raises(DataError, match=said):
            vitral.load(odd)
        shutil.copy(exported / "model.onnx", odd)
        made = library.load(odd / "model.onnx")
    weight = next(one for one in made.graph.initializer if one.raw_data)
    library.external_data_helper.set_external_data(weight, "../secret", offset=0, length=len(weight.raw_data))
    (tmp_path / "secret").write_bytes(weight.raw_data)
    weight.ClearField("raw_data")
    (odd / "model.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(DataError, match="escapes model directory"):
        vitral.load(odd)
    (odd / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(DataError, match="export the model again"):
        vitral.load(odd)
    (odd / "export.json").write_text('{"format": "../../other"}')
    with pytest.raises(UsageError, match="onnx and openvino"):
        vitral.load(odd)


def test_a_graph_that_never_answers_is_given_up(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    class Endless:
        name, names = "endless", ["logits"]
        metadata = open_backend("onnxruntime", exported / "model.onnx").metadata

        def outputs(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
            ended.wait()
            return {}

    monkeypatch.setattr("vitral.serving.exported.open_backend", lambda *_: Endless())
    monkeypatch.setattr("vitral.serving.exported.LONGEST", 0.05)
    with pytest.raises(DataError, match="has not answered one picture within 0.05 s"):
        vitral.load(exported)
    ended.set()


def test_openvino_opens_its_own_form_with_everything_inside(folder: Path, exported: Path, tmp_path: Path) -> None:
    model = vitral.load(folder)
    options = Options("float32", True, plain=exported / "model.onnx")
    report = export(model, "openvino", options, tmp_path / "out", folder, synthetic((16, 8)))
    assert report.parity.holds
    openvino = imported()
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(tmp_path / "out" / "model.xml", "CPU", settings)
    expected = softmax(model.logits(pixels(5)).numpy() / 1.7)
    np.testing.assert_allclose(compiled(pixels(5))["probabilities"], expected, atol=1e-5)
    read = openvino.Core().read_model(tmp_path / "out" / "model.xml")
    assert json.loads(read.get_rt_info(["vitral", "classes"]).astype(str)) == NAMES
    assert vitral.load(tmp_path / "out").backend_name == "openvino"


def test_torch_export_needs_nothing_of_vitral(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "pt2"
    assert main(["export", str(folder), "--to", "torch-export", "--out", str(out), "--quiet"]) == 0
    extra = {"vitral.json": ""}
    program = torch.export.load(out / "model.pt2", extra_files=extra)
    assert "vitral" not in program.graph_module.code  # only torch's own operations
    found = program.module()(torch.from_numpy(pixels(5)))
    expected = softmax(vitral.load(folder).logits(pixels(5)).numpy() / 1.7)
    np.testing.assert_allclose(found["probabilities"].detach(), expected, atol=1e-5)
    assert json.loads(json.loads(extra["vitral.json"])["classes"]) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bit", "beit"])
def test_convolutions_and_biased_attention_pass_through_onnx(family: str, tmp_path: Path) -> None:
    size = TINY[family].image_size
    model = Model(made(family), Preprocessing(size, size), [f"c{k}" for k in range(5)])
    onnx.write(model, tmp_path, Options(features=True))
    for name in ("onnxruntime", "openvino"):
        parity = compare(model, open_backend(name, tmp_path / "model.onnx", 1), pixels(5, size), "float32")
        assert parity.holds, (name, parity)


# Fewer bits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "int8"])
def test_weights_in_fewer_bits_are_the_rounded_ones(kind: str) -> None:
    model = small_model()
    found = Compact(Graph(model, features=True), kind).eval()(torch.from_numpy(pixels(4)))
    rounded = small_model()
    with torch.no_grad():
        for name, value in rounded.network.named_parameters():
            if value.ndim < 2 or value.numel() < 256 or (kind == "int8" and not name.endswith(".weight")):
                continue
            if kind == "int8":  # each row by its own scale, in NumPy
                w = value.numpy().reshape(len(value), -1)
                scale = np.abs(w).max(axis=1, keepdims=True) / np.float32(127)
                value.copy_(torch.from_numpy((np.rint(w / scale) * scale).reshape(value.shape)))
            else:
                value.copy_(value.to(getattr(torch, kind)).float())
    expected = rounded.logits(pixels(4))
    torch.testing.assert_close(found["logits"].detach(), expected, atol=1e-4, rtol=1e-4)
    assert not torch.equal(expected, model.logits(pixels(4)))


def test_weights_in_int8_stay_so_in_the_file(tmp_path: Path) -> None:
    model = small_model(representation_size=512)
    file = onnx.write(model, tmp_path, Options("int8-weights"))
    stored = {tuple(tensor.dims): tensor.data_type for tensor in library.load(file).graph.initializer}
    assert stored[512, 32] == library.TensorProto.INT8  # the large one: torch undoes it for those of a few kilobytes
    assert compare(model, open_backend("onnxruntime", file, 1), pixels(8), "int8-weights").holds


@pytest.mark.slow
def test_int8_by_nncf_asks_nobody_outside(exported: Path, folder: Path, tmp_path: Path) -> None:
    """In a process of its own: NNCF's reports are off where pytest runs. Any socket, and any file at home, is an error."""
    code = f"""
import socket, sys
from pathlib import Path
def refuse(*_, **__): raise SystemExit("a socket was opened")
socket.socket.__init__, socket.create_connection, socket.getaddrinfo = refuse, refuse, refuse
from vitral.backends import open_backend
from vitral.exporters import openvino
from vitral.exporters.options import Options
from vitral.exporters.parity import compare, synthetic
from vitral.serving.loading import load
model = load({str(folder)!r})
pictures = synthetic((16, 8), 24)
file = openvino.write(model, Path({str(tmp_path)!r}), Options("int8-static", True, pictures, Path({str(exported / "model.onnx")!r})))
parity = compare(model, open_backend('openvino', file, 1), pictures, "int8-static")
assert parity.holds and parity.largest > 1e-6, parity
assert sys.modules["openvino_telemetry"] is None
assert any(name.startswith("nncf.quantization") for name in sys.modules)
print("measured", end="")
"""
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "NNCF", "CI"))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment | {"HOME": str(home)},
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "measured"), done.stderr
    assert list(home.rglob("*")) == []


# What is refused -----------------------------------------------------------------------------------


def test_another_function_is_not_written(folder: Path, exported: Path, tmp_path: Path) -> None:
    model, options = vitral.load(folder), Options("float32", plain=exported / "model.onnx")
    other = small_model(seed=1)
    with pytest.raises(DataError, match="other probabilities than the model"):
        export(other, "onnx", options, tmp_path / "out", folder, synthetic((16, 8)))
    assert list(tmp_path.iterdir()) == []
    report = export(model, "onnx", options, tmp_path / "out", folder, synthetic((16, 8)))
    before = (tmp_path / "out" / "export.json").read_bytes()
    with pytest.raises(DataError, match="allow more with --tolerance"):
        export(model, "onnx", options, tmp_path / "out", folder, pixels(9), limit=1e-12)
    assert (tmp_path / "out" / "export.json").read_bytes() == before
    again = adopt(report, tmp_path / "kept", {"comparison": 1})
    assert (again.folder / "model.onnx").read_bytes() == (tmp_path / "out" / "model.onnx").read_bytes()


def test_not_a_number_is_no_parity(folder: Path) -> None:
    class Broken:
        name, metadata, names = "broken", {}, ["probabilities"]

        def outputs(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
            return {"probabilities": np.full((len(pixels), 3), np.nan, dtype=np.float32)}

    for kind in TOLERANCES:
        with pytest.raises(DataError):
            require(compare(vitral.load(folder), Broken(), pixels(3), kind), "it")  # type: ignore[arg-type]


def test_every_kind_of_precision_has_a_tolerance() -> None:
    assert {kind for exporter in EXPORTERS.values() for kind in exporter.kinds} == set(TOLERANCES)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--to", "onxn"], 2, "did you mean onnx"),
        (["--to", "torch-export", "--int8", "static", "--pictures", "."], 2, "int8-static is for openvino"),
        (["--int8", "static"], 2, "--pictures"),
        (["--int8", "auto"], 2, "--pictures"),
        (["--int8", "auto", "--to", "onnx"], 2, "leave --to out"),
        (["--int8", "weights", "--precision", "float16"], 2, "exclude each other"),
        (["--allowed-drop", "-1"], 2, "percentage points"),
        (["--tolerance", "nan"], 2, "--tolerance"),
        (["--to", "timm", "--features"], 2, "--features does not go with --to timm"),
        (["--pictures", "nowhere"], 66, "no picture at nowhere"),
        (["--out", "mine"], 2, "not replaced"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(
    words: list[str], code: int, said: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    assert main(["export", str(folder), *words, "--json"]) == code
    assert said in json.loads(capsys.readouterr().out)["error"]["message"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_timm_and_huggingface_are_converts(tmp_path: Path, capsys: Any) -> None:
    square = Model(made("vit"), Preprocessing((16, 16), 16), [f"c{k}" for k in range(5)]).save(tmp_path / "square")
    for layout in ("timm", "huggingface"):
        for verb in ("export", "convert"):
            place = tmp_path / verb / layout
            assert main([verb, str(square), "--to", layout, "--out", str(place), "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["write"]["layout"] == layout
        for path in (tmp_path / "convert" / layout).iterdir():
            assert (tmp_path / "export" / layout / path.name).read_bytes() == path.read_bytes(), path.name


# int8 auto -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_int8_auto_keeps_the_fastest_that_is_right(
    folder: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    pictures = tmp_path / "pictures"
    for name in NAMES:
        (pictures / name).mkdir(parents=True)
        for i in range(8):
            picture("red", i, (30, 30)).save(pictures / name / f"{i}.png")
    monkeypatch.setattr(quantising, "TRIED", [row for row in quantising.TRIED if row[0] == "onnx"])
    monkeypatch.setattr(onnx, "write", lambda *_: exported / "model.onnx")  # the same model's, made before
    out = tmp_path / "out"
    assert (
        main(["export", str(folder), "--int8", "auto", "--pictures", str(pictures), "--out", str(out), "--json"]) == 0
    )
    said, shown = capsys.readouterr()
    found = json.loads(said)["comparison"]
    assert [row["name"] for row in found["table"]] == ["torch float32", "onnx int8-dynamic", "onnx float32"]
    assert found["pictures"] == 18
    model = vitral.load(folder)
    chosen = vitral.load(out)
    assert "chosen" in shown
    kept = json.loads((out / "export.json").read_text())
    rows = {row["name"]: row for row in found["table"]}
    allowed = [row for row in found["table"][1:] if row["drop"] <= 0.5]
    assert f"{kept['format']} {kept['precision']}" == max(allowed, key=lambda row: row["pictures_per_second"])["name"]
    assert rows["onnx float32"]["top1"] == rows["torch float32"]["top1"]
    assert chosen.classes == model.classes


def test_of_an_archive_no_more_pictures_are_held_than_are_compared() -> None:
    model, held = small_model(), []

    class Counted(bytes):
        def __del__(self) -> None:
            held.remove(id(self))

    def pictures() -> Any:
        for k in range(500):
            data = Counted(_png(k))
            held.append(id(data))
            most.append(len(held))
            yield Picture(str(k), data)

    most: list[int] = []
    found, unreadable = some_pixels(model, pictures(), 500, 8, 0, 10**6)
    assert (len(found), unreadable) == (8, [])
    assert max(most) <= 8 + 2
    every = np.stack([model.pixels(_png(k)) for k in range(0, 496, 62)])
    assert {row.tobytes() for row in found} == {row.tobytes() for row in every}


def _png(k: int) -> bytes:
    file = io.BytesIO()
    picture("red", k, (20, 20)).save(file, "PNG")
    return file.getvalue()


def test_pictures_of_which_none_can_be_read_choose_nothing() -> None:
    with pytest.raises(DataError, match="not one of the pictures"):
        choice.race({"torch float32": small_model()}, [], 3)


@pytest.mark.parametrize(
    ("exports", "best"),
    [
        ([("a", 9, 5), ("b", 3, 1), ("c", 2, 0)], "b"),
        ([("a", 9, 5), ("b", 3, 4)], "b"),
        ([("a", 9, -1), ("b", 3, 0)], "a"),
    ],
)
def test_the_fastest_is_chosen_within_the_allowed_drop_else_the_most_right(
    exports: list[tuple[str, int, int]], best: str
) -> None:
    right = {name: np.arange(100) >= 5 + drop for name, _, drop in [("torch", 1, 0), *exports]}
    speeds = {name: float(speed) for name, speed, _ in [("torch", 1, 0), *exports]}
    rows = choice.table(right, speeds, dict.fromkeys(right, 1.0), allowed_drop=1)
    assert [round(row.drop) for row in rows] == [0, *(drop for _, _, drop in exports)]
    assert choice.fastest(rows).name == best
