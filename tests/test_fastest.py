"""Another engine in the network's place: only where it agrees, and said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitral
from tests.exporters.made import pixels, small_model
from vitral import fastest
from vitral.backends import BACKENDS
from vitral.cli import main
from vitral.errors import DataError, UnavailableError
from vitral.exporters import onnx
from vitral.exporters.folder import export
from vitral.exporters.options import Options


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder in which the small model's graph stands."""
    place = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place))
        fastest.graph_of(small_model())
    return place


@pytest.fixture(autouse=True)
def _cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))

    def never(*_: Any) -> None:
        raise AssertionError("the graph is in the cache")

    monkeypatch.setattr(onnx, "write", never)


@pytest.mark.parametrize("name", BACKENDS)
def test_engines_give_the_networks_answers(name: str) -> None:
    model = small_model()
    other, said = fastest.with_backend(model, name)
    assert said.startswith(f"{name} answers")
    assert other.backend_name == name
    for count in (1, 33):
        np.testing.assert_allclose(other.logits(pixels(count)), model.logits(pixels(count)), atol=1e-4)
        logits, features = other.logits_and_representations(pixels(count))
        np.testing.assert_allclose(features, model.representations(pixels(count)), atol=1e-4)
        np.testing.assert_array_equal(logits, other.logits(pixels(count)))
    assert other.with_backend(None).logits(pixels(3)).equal(model.logits(pixels(3)))


def test_auto_takes_the_fastest_and_says_all_speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {"torch": 100.0, "openvino": 104.0, "onnxruntime": 90.0}
    monkeypatch.setattr(fastest, "_speeds", lambda models: {name: speeds[name] for name in models})
    assert fastest.with_backend(small_model(), "auto")[0].backend_name == "torch"  # 4 % are no reason
    speeds["onnxruntime"] = 300
    model, said = fastest.with_backend(small_model(), "auto", fastest.WORTH_IT)
    assert model.backend_name == "onnxruntime"
    assert all(name in said for name in speeds)


def test_speeds_are_measured() -> None:
    speeds = fastest._speeds({"torch": small_model()})
    assert speeds["torch"] > 0


def test_auto_tries_nothing_for_a_few_pictures() -> None:
    model, said = fastest.with_backend(small_model(seed=5), "auto", fastest.WORTH_IT - 1)
    assert model.backend is None
    assert "too few" in said


def test_an_engine_that_does_not_agree_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    there = fastest.graph_of(small_model())
    monkeypatch.setattr(fastest, "graph_of", lambda _: there)  # the graph of other weights
    other = small_model(seed=1)
    with pytest.raises(DataError, match="other probabilities"):
        fastest.with_backend(other, "onnxruntime")
    model, said = fastest.with_backend(other, "auto")
    assert model.backend is None
    assert said.count("other probabilities") == len(BACKENDS)


def test_an_engine_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest, "find_spec", lambda name: None if name == "openvino" else True)
    with pytest.raises(UnavailableError, match=r"pip install 'vitral\[openvino\]'"):
        fastest.with_backend(small_model(), "openvino")
    assert "openvino is not installed" in fastest.with_backend(small_model(), "auto")[1]


def test_a_fingerprint_is_of_everything_that_decides_an_answer() -> None:
    model = small_model()
    found = [fastest.fingerprint(small_model()), fastest.fingerprint(small_model(seed=1)),
             fastest.fingerprint(model.with_preprocessing(mean=(0.1, 0.2, 0.3))),
             fastest.fingerprint(model.with_metrics({"calibration": {"temperature": 2.0}}))]  # fmt: skip
    assert len(set(found)) == len(found)
    assert fastest.fingerprint(small_model()) == found[0]


@pytest.fixture
def owned(tmp_path: Path, cache: Path) -> Path:
    """A model folder in which an export of the model stands, with what it lost when it was chosen."""
    folder = small_model().save(tmp_path / "m")
    graph = next(cache.rglob("model.onnx"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx, "write", lambda *_: _copied(graph, tmp_path))
        row = {"name": "onnx float32", "drop": 0.25, "at_most": 0.75}
        more = {"comparison": {"pictures": 975, "table": [row]}}
        place = folder / fastest.INT8
        export(small_model(), "onnx", Options("float32", True), place, folder, pixels(3), more=more)
    return folder


def _copied(graph: Path, place: Path) -> Path:
    """Where `onnx.write` would have written: the folder that is written aside."""
    aside = next(path for path in (place / "m").iterdir() if path.name.startswith(f".{fastest.INT8}-"))
    return Path(shutil.copy(graph, aside))


def test_auto_takes_the_export_that_the_owner_put_into_the_models_folder(owned: Path) -> None:
    model, said = fastest.with_backend(vitral.load(owned), "auto", path=owned)
    assert model.backend_name == "onnxruntime"
    assert f"from {owned / 'int8'}" in said
    assert "lost 0.25 points of top-1 on 975 pictures" in said
    np.testing.assert_allclose(model.logits(pixels(3)), vitral.load(owned).logits(pixels(3)), atol=1e-4)
    assert model.network.config == small_model().network.config  # which explains what the graph answers
    export_alone, said = fastest.with_backend(vitral.load(owned / "int8"), "auto", path=owned / "int8")
    assert export_alone.backend_name == "onnxruntime"
    assert "lost 0.25 points" in said


def test_auto_leaves_out_an_export_of_another_model(owned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest, "_fastest", lambda model: (model, "torch answers"))
    model = vitral.load(owned).with_metrics({"calibration": {"temperature": 2.0}})
    found, said = fastest.with_backend(model, "auto", path=owned)
    assert found.backend is None
    assert "was made of other weights, classes or temperature" in said
    (owned / "int8" / "model.onnx").write_bytes(b"no graph")
    found, said = fastest.with_backend(vitral.load(owned), "auto", path=owned)
    assert found.backend is None
    assert "is left out: ONNX Runtime cannot open" in said


def test_what_a_graph_does_not_give_the_network_does() -> None:
    model = small_model()
    other, _ = fastest.with_backend(model, "onnxruntime")
    assert other.backend is not None
    other.backend.names.remove("features")  # type: ignore[attr-defined]
    logits, features = other.logits_and_representations(pixels(2))
    assert features.equal(model.representations(pixels(2)))
    np.testing.assert_allclose(logits, model.logits(pixels(2)), atol=1e-4)


def test_old_graphs_leave_the_cache(cache: Path, tmp_path: Path) -> None:
    for i in range(fastest.KEPT + 3):
        (tmp_path / str(i)).mkdir()
        import os

        os.utime(tmp_path / str(i), (i, i))
    fastest._forget_old(tmp_path)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == list(range(3, fastest.KEPT + 3))


def test_predict_answers_by_another_engine(tmp_path: Path, capsys: Any) -> None:
    from tests.pictures import picture

    folder = small_model().save(tmp_path / "m")
    picture("red", 1, (30, 30)).save(tmp_path / "p.png")
    found = []
    for name in ("torch", "onnxruntime"):
        assert main(["predict", str(folder), str(tmp_path / "p.png"), "--backend", name, "--json"]) == 0
        out, err = capsys.readouterr()
        found.append({guess["label"]: guess["probability"] for guess in json.loads(out)[0]["predictions"]})
        assert ("onnxruntime answers" in err) == (name == "onnxruntime")
    assert found[1] == pytest.approx(found[0], abs=1e-5)
