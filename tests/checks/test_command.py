"""`vitral data check`: exit codes, files written, and the user's own files left alone."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.checks.photographs import CHANGES, contents, encoded, textured
from tests.reports.test_page import Page
from vitral import create_model, evaluation
from vitral.cli import main
from vitral.commands.data import FAIL_ON
from vitral.config import DataConfig, Preprocessing
from vitral.data.decode import decode
from vitral.datasets import read
from vitral.serving.predictor import Model

EVIL = "<img src=x onerror=alert(1)>&\"'"


def original(seed: int) -> bytes:
    return encoded(textured(seed, (64, 64)), quality=90)


def near(seed: int) -> bytes:
    return encoded(CHANGES["mirrored"](textured(seed, (64, 64)), random.Random(0)))


FAULTS: dict[str, dict[str, bytes]] = {
    "leak": {"test/cat/copy.jpg": original(0)},
    "near-leak": {"test/cat/near.jpg": near(0)},
    "unreadable": {"train/cat/cut.jpg": original(50)[:500]},
    "conflict": {"train/dog/near.jpg": near(0)},
    "wrong ending": {"train/cat/really.jpg": encoded(textured(51, (64, 64)), "PNG")},
}

SHORTCUT = {
    # three classes, of which one was saved by another program
    f"train/{name}/{k}.jpg": encoded(textured(100 + 30 * n + k, (48, 48)), quality=40 if name == "owl" else 80)
    for n, name in enumerate(("cat", "dog", "owl"))
    for k in range(30)
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        f"train/{name}/{seed}.jpg": original(10 * k + seed)
        for k, name in enumerate(("cat", "dog"))
        for seed in range(4)
    }
    files |= {"test/cat/x.jpg": original(40), "test/dog/y.jpg": original(41)}
    return plant(tmp_path / "pictures", files)


def plant(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def checked(folder: Path, *options: str, capsys: Any) -> tuple[int, dict[str, Any]]:
    code = main(["data", "check", str(folder), "--json", "--workers", "1", *options])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_fails_what_forbids_it_and_nothing_else(fault: str, folder: Path, capsys: Any) -> None:
    plant(folder, FAULTS[fault])
    expected = {
        "leak": {"leak", "near-leak", "any"},
        "near-leak": {"near-leak", "any"},
        "unreadable": {"unreadable", "any"},
        "conflict": {"conflict", "any"},
        "wrong ending": {"any"},
    }[fault]
    codes = {name: checked(folder, "--fail-on", name, capsys=capsys)[0] for name in FAIL_ON}
    assert {name for name, code in codes.items() if code} == expected
    assert set(codes.values()) <= {0, 65}
    code, document = checked(folder, capsys=capsys)
    assert code == 0
    assert len(document["problems"]) == (2 if fault == "conflict" else 1)  # it is a copy within train as well


def test_a_shortcut_fails_a_script_and_shows_the_numbers_that_it_is_suspected_by(tmp_path: Path, capsys: Any) -> None:
    folder, page = plant(tmp_path / "pictures", SHORTCUT), tmp_path / "r.html"
    codes = {name: checked(folder, "--fail-on", name, capsys=capsys)[0] for name in FAIL_ON}
    assert {name for name, code in codes.items() if code} == {"shortcut", "any"}
    _, document = checked(folder, "--report", str(page), capsys=capsys)
    for one in document["shortcuts"]:
        over = one["accuracy"] > max(one["bound"], one["limit"])
        alone = one["one_class_accuracy"] > one["one_class_limit"]
        assert one["suspicious"] == (over or alone)
        assert (one["one_class"] is not None) == alone
    (found,) = (one for one in document["shortcuts"] if one["measure"] == "JPEG quality")
    assert (found["one_class"], found["one_class_accuracy"], found["one_class_limit"]) == ("owl", 1.0, 0.85)
    assert any("'owl' from the others (100.0% right where chance is 50.0%" in line for line in document["problems"])
    assert re.search(
        r"JPEG quality, owl from the others\s*100.0\s*%\s*50.0\s*%\s*85.0\s*%\s*suspicious", Page(page).text
    )


def test_the_keys_of_the_document_stay(folder: Path, capsys: Any) -> None:
    document = checked(folder, capsys=capsys)[1]
    assert set(document) == {
        "counts", "width", "height", "formats", "modes", "unreadable", "wrong_ending", "leaks", "duplicates", "conflicts",
        "imbalance", "problems", "near_leaks", "near_duplicates", "near_conflicts", "shortcuts", "suspects",
        "small_classes", "odd_modes", "rotated", "size_outliers", "flat", "tiny", "only_class",
        "remarks",
    }  # fmt: skip
    assert document["problems"] == []
    assert document["suspects"] is None


def test_page_table_and_document_agree_and_no_picture_changes(folder: Path, tmp_path: Path, capsys: Any) -> None:
    for files in FAULTS.values():
        plant(folder, files)
    before = contents(folder)
    page, table = tmp_path / "r.html", tmp_path / "clean.csv"
    code, document = checked(folder, "--report", str(page), "--write-clean", str(table), capsys=capsys)
    assert code == 0
    assert contents(folder) == before
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "r.html", "clean.csv"}
    clean = read(DataConfig(path=str(table), validation_fraction=0.0))
    assert sum(map(len, clean.splits.values())) == document["clean"]["kept"]
    reasons = {Path(one["picture"]).name: one["reason"].split(":")[0] for one in document["clean"]["dropped"]}
    assert reasons == {"0.jpg": "a copy is in test", "near.jpg": "a copy is in test", "cut.jpg": "unreadable"}
    shown = Page(page)
    assert "Clean split" in shown.text
    for title in ("Unreadable", "Leaks", "Near leaks", "Near conflicts", "Wrong endings"):
        assert f">{title}</h2>" in shown.source
    assert "Duplicates</h2>" not in shown.source.replace("Near duplicates</h2>", "")


def test_the_page_is_one_offline_file_with_names_escaped(tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "p"
    plant(folder, {f"train/{EVIL}/{EVIL} {k}.jpg": original(k) for k in range(3)})
    plant(folder, {"train/dog/2.jpg": near(2), f"test/{EVIL}/x.jpg": original(1)})
    page = tmp_path / "r.html"
    assert checked(folder, "--report", str(page), capsys=capsys)[0] == 0
    shown = Page(page)
    assert {"script", "link", "iframe"} & shown.tags == set()
    images = [attributes for tag, attributes in shown.elements if tag == "img"]
    assert len(images) >= 4
    assert all((image["src"] or "").startswith("data:image/jpeg;base64,") for image in images)
    assert not any("onerror" in attributes for _, attributes in shown.elements)
    assert EVIL in shown.text
    rest = shown.source.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "http://" not in rest
    assert "https://" not in rest
    assert "img-src data:" in shown.source


def test_the_first_fifty_of_a_kind_are_shown(tmp_path: Path, capsys: Any) -> None:
    plant(tmp_path / "p", {f"train/cat/{k}.jpg": original(1) for k in range(60)} | {"train/dog/1.jpg": original(2)})
    page = tmp_path / "r.html"
    checked(tmp_path / "p", "--report", str(page), capsys=capsys)
    shown = Page(page)
    assert "59 found; the first 50 are shown" in shown.text
    assert sum(tag == "img" for tag, _ in shown.elements) == 100


def test_a_model_names_a_wrong_label(tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "p"
    for k in range(40):
        pixels = np.random.default_rng(k).integers(0, 60, (32, 32, 3))
        pixels[..., k % 2 * 2] += 180
        place = "red" if k % 2 == 0 or k == 7 else "blue"
        plant(folder, {f"{place}/{k}.png": encoded(Image.fromarray(pixels.astype(np.uint8)), "PNG")})
    torch.manual_seed(0)
    network = create_model("ViT-Ti/16", num_classes=2, image_size=32)
    model = Model(network, Preprocessing(crop=(32, 32)), ("a", "b")).save(tmp_path / "model")
    page = tmp_path / "r.html"
    document = checked(folder, "--model", str(model), "--report", str(page), capsys=capsys)[1]
    ((split, picture, given, suggested, low, high),) = document["suspects"]
    assert (split, Path(picture).name, given, suggested) == ("train", "7.png", "red", "blue")
    assert low < high
    assert "Suspected labels" in Page(page).text


def test_the_model_sees_pictures_as_large_as_are_allowed(folder: Path, tmp_path: Path, capsys: Any) -> None:
    network = create_model("ViT-Ti/16", num_classes=2, image_size=32)
    model = Model(network, Preprocessing(crop=(32, 32)), ("a", "b")).save(tmp_path / "model")
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "decode", lambda source, most, **_: (seen.append(most), decode(source, most))[1])
        checked(folder, "--model", str(model), "--max-pixels", "100000000", capsys=capsys)
    assert seen == [100_000_000] * 10


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--report", "page.txt"], "ends in .html"),
        (["--write-clean", "table.parquet"], "ends in .csv"),
        (["--report", "nowhere/r.html"], "no folder 'nowhere'"),
        (["--write-clean", "THERE"], "is there already"),
        (["--drop-conflicts"], "name that too"),
        (["--fail-on", "leek"], "leak"),
    ],
)
def test_bad_requests_stop_before_the_work(
    options: list[str], words: str, folder: Path, tmp_path: Path, capsys: Any
) -> None:
    there = tmp_path / "there.csv"
    there.write_text("mine")
    code = main(["data", "check", str(folder), *[str(there) if word == "THERE" else word for word in options]])
    said = capsys.readouterr()
    assert code == 2
    assert words in said.err
    assert "pictures" not in said.out
    assert there.read_text() == "mine"


def test_a_single_class_is_a_problem_and_not_an_error(tmp_path: Path, capsys: Any) -> None:
    folder = plant(tmp_path / "p", {f"cat/{seed}.jpg": original(seed) for seed in range(3)})
    code, document = checked(folder, capsys=capsys)
    assert (code, document["counts"], document["only_class"]) == (0, {"train": {"cat": 3}}, "cat")
    assert any("only one class, 'cat'" in sentence for sentence in document["problems"])


def test_what_was_found_is_followed_by_how_to_see_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["data", "check", str(folder)]
    main(command)
    assert "--report" not in capsys.readouterr().out
    for name, data in FAULTS["leak"].items():
        (folder / name).write_bytes(data)
    main(command)
    assert "--report" in capsys.readouterr().out
    main([*command, "--report", str(tmp_path / "found.html")])
    assert "next" not in capsys.readouterr().out
