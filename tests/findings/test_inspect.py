"""The command: what it writes, what it refuses, and that nothing of the user's is lost or believed."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.browser import Browser, program
from tests.pictures import picture, write_folder
from vitral.cli import main
from vitral.config import Preprocessing
from vitral.findings.folder import _packed
from vitral.inspection import figures
from vitral.inspection.colours import colours
from vitral.inspection.figures import canvas
from vitral.inspection.filters import Filters
from vitral.inspection.methods import stretched
from vitral.models import create_model
from vitral.serving.predictor import Model

pytest.importorskip("matplotlib", reason="figures need matplotlib")

EVIL = "<img src=x onerror=alert(1)>"
CLASSES = ["blue", EVIL, "$red$ </script>"]
SIZE = (16, 24)


@pytest.fixture(scope="module", autouse=True)
def _coarse() -> Iterator[None]:
    """Figures of few pixels: they take less time, and nothing here looks at their details."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canvas, "DOTS", 40)
        yield


def saved(folder: Path, name: str, **changes: Any) -> Path:
    torch.manual_seed(0)
    network = create_model(name, image_size=SIZE, num_classes=3, **changes)
    torch.nn.init.normal_(network.head.weight)
    model = Model(network, Preprocessing(SIZE, SIZE), CLASSES, {"blue": f"deep {EVIL}"})
    return model.save(folder)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = {"width": 16, "depth": 2, "mlp_dim": 32, "num_heads": 2}
    return saved(tmp_path_factory.mktemp("models") / "vit", "ViT-Ti/4", **changes)


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("models") / "cnn", "ResNet-50", blocks=(1, 1, 1, 1))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for i, name in enumerate(("a <b>bold<b>.png", "b.png")):
        picture("red" if i else "blue", i, (20, 20)).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def made(vit: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "inspection"
    gallery = write_folder(tmp_path_factory.mktemp("gallery"), {"train": 1, "test": 1}, (20, 20))
    words = ["inspect", vit, pictures, "--out", out, "--tested", "1", "--neighbours", gallery, "--workers", "0"]
    assert main([*map(str, words), "--device", "cpu", "--quiet"]) == 0
    return out


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_the_folder_holds_figures_numbers_arrays_and_a_page(made: Path) -> None:
    document = json.loads((made / "inspect.json").read_text())
    assert {"maps", "rollout", "faithfulness", "attention-distance", "token-lengths", "blocks", "layer-similarity"} < {
        *document["figures"]
    }
    assert {"positions", "filters", "neighbours", "map-of-pictures"} < {*document["figures"]}
    for key in document["figures"]:
        assert size_of(made / "figures" / f"{key}.png")[0] > 80
        assert (made / "figures" / f"{key}.svg").read_bytes().startswith(b"<?xml")
    attention = np.load(made / "arrays" / "attention.npy")
    assert attention.shape == (2, 2, 2, 4, 6)
    assert np.load(made / "arrays" / "heat_rollout.npy").shape == (2, *SIZE)
    for one in document["pictures"]:
        assert [len(one["maps"]), len(one["neighbours"]), len(one["predictions"])] == [4, 3, 3]
        for path in one["maps"].values():
            assert size_of(made / path) == SIZE[::-1]
    assert document["pictures"][0]["faithfulness"]["chance"].keys() == {"deletion", "insertion"}
    assert "faithfulness" not in document["pictures"][1]
    assert np.shape(document["mean_attention_distance"]) == (2, 2)


def test_the_page_asks_nobody_and_believes_no_name(made: Path) -> None:
    text = (made / "inspect.html").read_text()
    assert len(text) < 10_000_000
    assert not re.findall(r"(?:https?:)?//[a-z]", re.sub(r"// [A-Z].*|base64,\S+", "", text))
    assert EVIL not in text
    assert "<b>bold" not in text
    assert text.count("</script>") == text.count("<script") == 2
    (policy,) = re.findall(r'Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy.split("script-src")[1]


def test_the_page_carries_the_maps_of_the_arrays(made: Path) -> None:
    text = (made / "inspect.html").read_text()
    viewed = json.loads(re.search(r'id="viewed">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    attention = np.load(made / "arrays" / "attention.npy")
    expected = _packed(np.concatenate([attention[1].mean(axis=1, keepdims=True), attention[1]], axis=1))
    assert viewed[1]["maps"]["attention"] == json.loads(json.dumps(expected))
    assert viewed[1]["maps"]["attention"]["most"][1][2] == pytest.approx(attention[1, 1, 1].max(), rel=1e-3)
    assert viewed[0]["name"] == "a <b>bold<b>.png"


ACT = """
find("method").value = "rollout"; find("choice").dispatchEvent(new Event("input"));
find("thumbs").querySelectorAll("input")[1].checked = true;
find("method").value = "attention"; find("layer").value = 1; find("head").value = 2; find("opacity").value = 100;
find("choice").dispatchEvent(new Event("input"));
"""
"""Someone at the page: another picture, layer 1, head 2, and nothing but the map."""


@pytest.mark.skipif(program() is None, reason="no Chromium to open the page in")
def test_a_browser_shows_the_map_that_is_picked(made: Path) -> None:
    with Browser() as browser:
        browser.open((made / "inspect.html").as_uri())
        browser.run(ACT)
        browser.wait('canvas.getAttribute("aria-label") === "b.png under the map of attention, layer 1, head 2"')
        drawn = browser.run("canvas.toDataURL()")
        assert browser.errors == []
    with Image.open(io.BytesIO(base64.b64decode(drawn.split(",")[1]))) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    values = torch.from_numpy(np.load(made / "arrays" / "attention.npy")[1, 0, 1])[None]
    assert np.abs(pixels - colours(stretched(values, SIZE)[0])).max() <= 2  # the page has 256 levels


def test_the_same_again_takes_the_place_of_the_older_one_and_nothing_else_does(
    vit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["inspect", str(vit), "--out", str(out), "--device", "cpu", "--json"]
    assert main(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["figures"], document["folder"]) == (["positions", "filters"], str(out))
    first = {path.name: path.read_bytes() for path in (out / "figures").iterdir()}
    assert main(words) == 0
    assert {path.name: path.read_bytes() for path in (out / "figures").iterdir()} == first  # to the byte
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    capsys.readouterr()
    assert main(["inspect", str(vit), "--out", str(tmp_path / "mine")]) == 2
    assert "name another" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "dear"


def test_a_convolutional_network_is_shown_by_what_fits_it(cnn: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        tar.add(pictures / "b.png", "b.png")
    words = ["inspect", cnn, tmp_path / "t.tar", tmp_path / "broken.png", "--out", tmp_path / "o", "--tested", "0"]
    assert main([*map(str, words), "--device", "cpu", "--quiet"]) == 65
    document = json.loads((tmp_path / "o" / "inspect.json").read_text())
    assert document["methods"] == ["gradcam"]
    assert set(document["absent"]) >= {"attention", "positions", "token lengths", "what blocks add"}
    assert document["figures"] == ["maps", "layer-similarity", "filters"]


MISTAKES: dict[str, tuple[list[str], int, str]] = {
    "unknown class": (["--label", "bleu"], 2, "did you mean blue"),
    "method of transformers": (["--method", "rollout"], 2, "gradcam or occlusion"),
    "unknown method": (["--method", "magic"], 2, "invalid choice"),
    "negative count": (["--tested", "-1"], 2, "0 or more"),
    "no gallery": (["--neighbours", "/nowhere"], 66, "/nowhere"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_before_anything_is_written(
    name: str, cnn: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, code, said = MISTAKES[name]
    out = tmp_path / "out"
    assert main(["inspect", str(cnn), str(pictures / "b.png"), "--out", str(out), "--device", "cpu", *words]) == code
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_without_matplotlib_the_extra_is_named(
    vit: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["inspect", str(vit)]) == 69
    assert "vitral[inspect]" in capsys.readouterr().err


def test_measures_draw_themselves_in_a_notebook() -> None:
    shown = Filters(np.zeros((2, 4, 4, 3), dtype=np.float32), np.array([0.6, 0.4]))
    assert shown._repr_png_() == figures.png(figures.draw_filters(shown))
    assert shown._repr_png_().startswith(b"\x89PNG")
