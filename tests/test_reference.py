"""The real ViT-Ti/16 on real ImageNet pictures, against reference predictions made by other code."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.places import DATA, WEIGHTS
from vitral.cli import main
from vitral.config import DataConfig
from vitral.datasets.real import real_labels

IMAGENET = DATA / "imagenet_val_1300"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (WEIGHTS.is_dir() and IMAGENET.is_dir()), reason=f"no real weights and pictures beside the project ({DATA})"
    ),
]


def test_the_published_weights_give_the_reference_predictions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "predictions.csv"
    words = [str(WEIGHTS), str(IMAGENET / "labels.csv"), "--resize", "none", "--crop", "224"]
    words += ["--real", "real_class_indices"]
    assert main(["evaluate", *words, "--device", "cpu", "--json", "--predictions", str(table)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (round(document["top1"], 4), round(document["top5"], 4)) == (0.8223, 0.9623)
    assert (document["count"], document["unreadable"]) == (1300, 0)
    assert (round(document["real_top1"], 4), document["real_count"]) == (0.8817, 1243)

    index = {name: k for k, name in enumerate(json.loads((WEIGHTS / "config.json").read_text())["label_names"])}
    ours = {Path(row["path"]).name: row for row in csv.DictReader(table.read_text().splitlines())}
    theirs = list(csv.DictReader((IMAGENET / "reference_vit_tiny.csv").read_text().splitlines()))
    assert len(theirs) == len(ours) == 1300
    for row in theirs:
        mine = ours[row["file"]]
        assert float(mine["logit"]) == pytest.approx(float(row["logit_top1"]), abs=1e-3)
        for k in range(1, 6):
            assert float(mine[f"probability{k}"]) == pytest.approx(float(row[f"p{k}"]), abs=2e-5)
        assert index[mine["top1"]] == int(row["top1"])


def test_the_published_reassessed_labels_are_those_of_the_table() -> None:
    lists = json.loads((IMAGENET / "real.json").read_text())
    assert sum(1 for labels in lists if labels) == 46_837  # arXiv 2006.07159: 3,163 of 50,000 are left out
    config = DataConfig(path=str(IMAGENET / "labels.csv"))
    with (IMAGENET / "labels.csv").open() as file:
        sources = [str(IMAGENET / row["path"]) for row in csv.DictReader(file)]
    published = real_labels(str(IMAGENET / "real.json"), config, sources, 1000)
    assert published == real_labels("real_class_indices", config, sources, 1000)
    assert sum(1 for labels in published if labels) == 1243
