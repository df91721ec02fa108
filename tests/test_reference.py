"""The real ViT-Ti/16 on real ImageNet pictures, against reference predictions made by other code."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.places import DATA, WEIGHTS
from vitral.cli import main

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
    assert main(["evaluate", *words, "--device", "cpu", "--json", "--predictions", str(table)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (round(document["top1"], 4), round(document["top5"], 4)) == (0.8223, 0.9623)
    assert (document["count"], document["unreadable"]) == (1300, 0)

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
