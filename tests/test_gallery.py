"""The pictures of a report: which, with which answers, and never more than the page may hold."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pictures import COLOURS, picture
from vitral import gallery as gallery_module
from vitral.config import Preprocessing
from vitral.datasets.dataset import Split
from vitral.evaluation import evaluate_split
from vitral.gallery import gallery
from vitral.models import create_model
from vitral.serving.predictor import Model

ROOMY = 10**8


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Split]:
    root = tmp_path_factory.mktemp("pictures")
    paths, labels = [], []
    for k, colour in enumerate(sorted(COLOURS)):
        for i in range(12):
            path = root / colour / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            picture(colour, 100 * k + i, (300, 200)).save(path)
            paths.append(str(path))
            labels.append((k,))
    (root / "red" / "broken.png").write_bytes(b"no picture")
    return root, Split([*paths, str(root / "red" / "broken.png")], [*labels, (2,)])


@pytest.fixture(scope="module")
def model() -> Model:
    """A small network with a head that is not zero, so that answers differ."""
    import torch

    torch.manual_seed(0)
    settings = {"width": 16, "depth": 1, "num_heads": 2, "mlp_dim": 32, "image_size": 8, "num_classes": 3}
    network = create_model("ViT-Ti/4", **settings)
    torch.nn.init.normal_(network.head.weight)
    return Model(network, Preprocessing(crop=(8, 8), resize=(8, 8)), sorted(COLOURS))


def test_a_gallery_shows_wrong_unsure_and_confused_pictures_with_the_models_answers(
    model: Model, pictures: tuple[Path, Split]
) -> None:
    root, split = pictures
    result = evaluate_split(model, split, 0, ROOMY)
    assert result is not None
    shown = gallery(model, split, result, "test", root, ROOMY)
    assert shown["worst"]
    assert len(shown["unsure"]) == 24
    for entry in (*shown["worst"], *shown["unsure"]):
        path = root / entry["picture"]
        assert entry["labels"] == [path.parent.name]
        guesses = model.predict(path, top=3)
        assert [name for name, _ in entry["guesses"]] == [guess.label for guess in guesses]
        assert entry["guesses"][0][1] == pytest.approx(guesses[0].probability, abs=1e-4)
        with Image.open(io.BytesIO(base64.b64decode(entry["image"]))) as image:
            assert (image.format, image.size) == ("JPEG", (96, 144))
    assert all(entry["guesses"][0][0] not in entry["labels"] for entry in shown["worst"])
    for pair in shown["confused"]:
        assert 1 <= len(pair["pictures"]) <= 4
        for entry in pair["pictures"]:
            assert (entry["labels"], entry["guesses"][0][0]) == ([pair["label"]], pair["guess"])
    names = [entry["picture"] for entry in (*shown["worst"], *shown["unsure"])]
    assert not any("broken" in name for name in names)


def test_where_the_page_would_grow_too_large_fewer_are_shown(
    model: Model, pictures: tuple[Path, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, split = pictures
    result = evaluate_split(model, split, 0, ROOMY)
    assert result is not None
    monkeypatch.setattr(gallery_module, "BUDGET", 60_000)
    shown = gallery(model, split, result, "test", root, ROOMY)
    entries = [*shown["worst"], *shown["unsure"], *(e for pair in shown["confused"] for e in pair["pictures"])]
    total = sum(len(entry["image"]) for entry in entries)
    assert 0 < total <= 60_000
    assert len(entries) < 30


def test_pictures_in_memory_are_named_by_their_place(model: Model) -> None:
    split = Split([np.full((9, 9, 3), value, dtype=np.uint8) for value in (0, 255)], [(0,), (1,)])
    result = evaluate_split(model, split, 0, ROOMY)
    assert result is not None
    shown = gallery(model, split, result, "test", None, ROOMY)
    assert {entry["picture"] for entry in shown["unsure"]} == {"picture 0", "picture 1"}
