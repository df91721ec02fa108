"""The paper's questions asked again: what is run, what is counted, and that nothing is run twice."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest

from tests.pictures import write_folder
from vitral.benchmarks import STUDIES
from vitral.benchmarks.measures import Asked, counted, planned
from vitral.benchmarks.paper_points import COMPUTE, OPTIMIZERS, TABLE_6
from vitral.benchmarks.pictures import few, halves, part, read_pictures
from vitral.benchmarks.scales import SCALES
from vitral.benchmarks.study import Study
from vitral.benchmarks.summary import differences_of, lines_of, summary
from vitral.catalogue import CATALOGUE
from vitral.cli import main
from vitral.commands import studies
from vitral.config import Preprocessing
from vitral.console import Screen
from vitral.datasets.dataset import TEST, TRAIN, Dataset, Split
from vitral.errors import UsageError
from vitral.models import configuration
from vitral.models.counting import parts_of
from vitral.models.vit import VisionTransformer, ViTConfig
from vitral.overrides import override
from vitral.planning import Plan, model_config
from vitral.recipes import RECIPES
from vitral.run import Result
from vitral.run_folder import held
from vitral.serving.predictor import Model

every_study = pytest.mark.parametrize(("name", "scale"), [(name, scale) for name in STUDIES for scale in SCALES])


def made(name: str, scale: str) -> Study:
    return STUDIES[name](SCALES[scale])


def test_the_command_s_words_are_the_studies() -> None:
    assert tuple(STUDIES) == studies.STUDIES
    assert tuple(SCALES) == studies.SCALES


@every_study
def test_every_member_is_a_run_that_can_be_planned(name: str, scale: str) -> None:
    study, recipe = made(name, scale), RECIPES[SCALES[scale].recipe].config
    without = RECIPES[f"{SCALES[scale].recipe}-unlabelled"].config
    assert recipe is not None
    assert without is not None
    assert recipe.model.image_size == (SCALES[scale].side,) * 2
    names = [member.name for member in study.members]
    assert len(set(names)) == len(names)
    for member in study.members:
        assert member.teacher is None or names.index(member.teacher) < names.index(member.name)
        own = {k: v for k, v in member.settings.items() if not k.startswith("distillation.")}
        config = override(without if member.kind == "pictures" else recipe, own)
        assert model_config(config, 10).image_size == config.model.image_size
    groups = {member.group for member in study.members}
    assert {panel.group for panel in study.panels} == groups
    for panel in study.panels:
        own = [member for member in study.members if member.group == panel.group]
        assert not panel.base or panel.base in {member.label for member in own}
        if panel.x is None and panel.published:
            assert panel.published.points.keys() <= {member.label for member in own}


@pytest.mark.parametrize("scale", SCALES)
def test_members_of_table_8_have_the_positions_that_they_are_called_by(scale: str) -> None:
    """Counted by hand: D numbers for each token, for the class token and half as many for each row and column."""
    base, recipe = SCALES[scale].base, RECIPES[SCALES[scale].recipe].config
    rows = SCALES[scale].side // base.patch
    tables = {
        "none": 0, "learned-stem": rows**2 + 1, "learned-shared": rows**2 + 1,
        "learned-every": base.depth * (rows**2 + 1), "learned2d-stem": rows + 1, "learned2d-shared": rows + 1,
    }  # fmt: skip
    members = {member.label: member for member in made("ablations", scale).members if member.group == "positions"}
    assert recipe is not None
    counts = {
        label: sum(p.parameters for p in parts_of(model_config(override(recipe, member.settings), 5)))
        for label, member in members.items()
    }
    for label, table in tables.items():
        assert counts[label] - counts["none"] == table * base.width, label


def test_paper_s_networks_make_the_paper_s_exaflops() -> None:
    """Table 6, by the rule: six operations for each MAC of 303 million pictures in each epoch."""
    rows = {}
    for network in (*SCALES["paper"].vits, *SCALES["paper"].hybrids, *SCALES["paper"].bits):
        name = network.settings["model.name"]
        listed = CATALOGUE.get(name)
        macs = listed.macs if listed else sum(p.macs for p in parts_of(configuration(name)))
        rows[network.label] = 6 * macs * 303e6 * network.settings["schedule.duration"].amount / 1e18
    published = {
        "ViT-B-32-7ep": 55, "ViT-B-16-7ep": 224, "ViT-L-32-7ep": 196, "ViT-L-16-7ep": 783, "ViT-L-16-14ep": 1567,
        "ViT-H-14-14ep": 4262, "BiT-R50x1-7ep": 50, "BiT-R50x2-7ep": 199, "BiT-R101x1-7ep": 96,
        "BiT-R152x1-7ep": 141, "BiT-R152x2-7ep": 563, "BiT-R152x2-14ep": 1126, "BiT-R200x3-14ep": 3306,
        "R50+ViT-B-32-7ep": 106, "R50+ViT-B-16-7ep": 274, "R50+ViT-L-32-7ep": 246, "R50+ViT-L-16-7ep": 859,
        "R50+ViT-L-16-14ep": 1668,
    }  # fmt: skip
    assert rows.keys() == published.keys()
    for label, value in published.items():
        assert rows[label] == pytest.approx(value, rel=0.045), label
    assert sorted(published.values()) == sorted(x for rows in TABLE_6.values() for _, x in rows)


def test_paper_s_networks_are_trained_as_table_3_says() -> None:
    """As the recipes of its rows, which tests/test_recipes.py holds against the table; R200x3 is in Table 6 alone."""
    scale = SCALES["paper"]
    base, rows = RECIPES[scale.recipe].config, {}
    assert base is not None
    for network in (*scale.vits, *scale.hybrids, *scale.bits):
        rows[network.label] = override(base, network.settings)
    table = [recipe.config for name, recipe in RECIPES.items() if name.startswith("table3-jft-")]
    published = {config.model.name: config for config in table if config is not None}
    assert {made.model.name for made in rows.values()} - published.keys() == {"BiT-R200x3"}
    for label, made in rows.items():
        like = published[made.model.name if "R200x3" not in label else "BiT-R152x2"]
        length = override(like, {"schedule.duration": made.schedule.duration}).schedule
        assert (made.optimizer, made.schedule, made.loss) == (like.optimizer, length, like.loss), label
        assert made.training.batch_size == like.training.batch_size
        for name in ("dropout", "representation_size", "head_bias"):
            assert (getattr(made.model, name) or 0) == (getattr(like.model, name) or 0), label


def test_means_of_table_6_are_those_of_table_7() -> None:
    by_compute = {point.x: point.y for point in COMPUTE["BiT"]}
    assert by_compute[50] == pytest.approx(OPTIMIZERS["R50"][0], abs=0.006)
    assert by_compute[563] == pytest.approx(OPTIMIZERS["R152x2"][0], abs=0.006)


# Pictures -------------------------------------------------------------------------------------------


def dataset(counts: list[int]) -> Dataset:
    labels = [(k,) for k, count in enumerate(counts) for _ in range(count)]
    split = Split([f"{k}-{i}" for i, (k,) in enumerate(labels)], labels)
    return Dataset("x", None, tuple("abcdefgh"[: len(counts)]), {TRAIN: split, TEST: split})


def test_halves_share_no_class_and_lose_no_picture() -> None:
    whole = dataset([3, 4, 5, 6, 7])
    up, down = halves(whole)
    assert (up.classes, down.classes) == (("a", "c", "e"), ("b", "d"))
    for own in (up, down):
        for split in own.splits.values():
            named = [f"{'abcde'.index(own.classes[label[0]])}-" for label in split.labels]
            assert all(source.startswith(name) for source, name in zip(split.sources, named, strict=True))
    assert sorted([*up.splits[TRAIN].sources, *down.splits[TRAIN].sources]) == sorted(whole.splits[TRAIN].sources)
    with pytest.raises(UsageError, match="--transfer-to"):
        halves(dataset([3, 3, 3]))


def test_parts_are_nested_balanced_and_another_draw_for_another_seed() -> None:
    whole = dataset([40, 20, 8])
    small, large = part(whole, 1 / 8), part(whole, 1 / 2)
    assert np.bincount([k for (k,) in small.splits[TRAIN].labels]).tolist() == [5, 2, 1]
    assert np.bincount([k for (k,) in large.splits[TRAIN].labels]).tolist() == [20, 10, 4]
    assert set(small.splits[TRAIN].sources) < set(large.splits[TRAIN].sources)
    assert part(whole, 1 / 8, seed=1).splits[TRAIN].sources != small.splits[TRAIN].sources
    assert small.splits[TEST] == whole.splits[TEST]
    assert np.bincount([k for (k,) in few(whole, 10).splits[TRAIN].labels]).tolist() == [10, 10, 8]
    assert few(whole, 0) is whole


@pytest.mark.parametrize("scale", SCALES)
def test_of_a_share_of_the_pictures_as_many_are_seen_in_all(scale: str, pictures: Path, tmp_path: Path) -> None:
    study, dataset = made("data-size", scale), read_pictures(str(pictures))
    words = {"training.batch_size": 1, "runtime.device": "cpu"}
    asked = Asked(study, SCALES[scale], dataset, dataset, words, tmp_path, Screen(quiet=True))
    shares = [member for member in study.members if member.series == study.members[0].series]
    counts = [counted(planned(member, 0, asked)) for member in shares]
    assert counts[0]["train_count"] < counts[-1]["train_count"] == len(dataset.splits[TRAIN])
    assert len({count["examples"] for count in counts}) == 1


def test_results_are_measured_on_pictures_that_nothing_learns_from(tmp_path: Path) -> None:
    for number, splits in enumerate(({"train": 5}, {"train": 5, "val": 2}, {"train": 5, "val": 2, "test": 3})):
        made = read_pictures(str(write_folder(tmp_path / str(number), splits)))
        learnt, measured = (set(map(str, made.splits[name].sources)) for name in (TRAIN, TEST))
        assert not learnt & measured
        assert len(learnt) + len(measured) == 3 * sum(splits.values())


# Numbers --------------------------------------------------------------------------------------------


def test_rows_are_means_with_the_deviation_over_seeds() -> None:
    study = made("ablations", "minutes")
    names = ["positions/none", "positions/learned-stem"]
    values = {names[0]: [0.5, 0.6, 0.7], names[1]: [0.8, 0.8, 0.9]}
    lines: list[dict[str, Any]] = [
        {"member": name, "seed": seed, "5shot": value, "macs": 7, "seconds": 1.5}
        for name, own in values.items()
        for seed, value in enumerate(own)
    ]
    lines.append({"member": names[0], "seed": 3, "error": "the loss is not finite", "seconds": None})
    rows = summary(study, lines)
    assert [row["member"] for row in rows] == names
    assert (rows[0]["seeds"], rows[0]["diverged"], rows[0]["macs"]) == (3, 1, 7)
    for row in rows:
        own = values[row["member"]]
        assert row["5shot"] == pytest.approx(fmean(own))
        assert row["5shot_std"] == pytest.approx(stdev(own))
        assert row["seconds"] == pytest.approx(4.5)
    (panel,) = [panel for panel in study.panels if panel.group == "positions"]
    away = differences_of(panel, rows)
    assert away["none"].y == pytest.approx(100 * (0.6 - 2.5 / 3))
    assert away["learned-stem"].y == 0
    assert differences_of(panel, rows[:1]) == {}  # nothing to compare with


def test_the_base_is_a_point_of_every_line() -> None:
    study = made("ablations", "minutes")
    lines = [
        {"member": member.name, "seed": 0, "5shot": 0.5, "macs": i, "seconds": 1}
        for i, member in enumerate(study.members)
        if member.group == "shape"
    ]
    (panel,) = [panel for panel in study.panels if panel.group == "shape"]
    found = lines_of(panel, summary(study, lines))
    assert list(found) == ["depth", "width", "MLP", "patch", "depth, width, MLP"]
    assert all(len(points) == 1 + len(SCALES["minutes"].factors) for points in found.values())


# The command ----------------------------------------------------------------------------------------

SMOKE = ("--seeds", "1", "--steps", "1", "--device", "cpu", "--workers", "0")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_folder(tmp_path_factory.mktemp("data"), {"train": 6, "test": 2})
    for split in ("train", "test"):  # a fourth class
        shutil.copytree(folder / split / "red", folder / split / "violet")
    return folder


def run(*words: object, code: int = 0, capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    assert main(["benchmark", *map(str, words), "--json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_what_was_run_is_not_run_again(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ("scaling", pictures, *SMOKE, "--out", out, "--only", "scaling/ViT-w32-d2")
    document = run(*words, capsys=capsys)
    assert document["finished"]
    (line,) = document["runs"]
    folder = out / "runs" / "scaling" / "ViT-w32-d2" / "seed-0"
    config = json.loads((folder / "config.json").read_text())
    assert line["examples"] == config["training"]["batch_size"]
    assert line["exaflops"] == pytest.approx(6 * line["macs"] * line["examples"] / 1e18)
    assert line["top1"] == json.loads((folder / "model/metrics.json").read_text())["test"]["top1"]
    assert line["transfer_top1"] == json.loads((folder / "transfer/model/metrics.json").read_text())["test"]["top1"]
    assert {Path(path).name for path in document["figures"]} == {
        f"{panel}.{ending}" for panel in ("transfer", "few-shot") for ending in ("png", "svg")
    }
    with (out / "results.csv").open() as file:
        assert [float(row["top1"]) for row in csv.DictReader(file)] == [line["top1"]]
    assert json.loads((out / "results.json").read_text()) == document
    written = (out / "results.jsonl").read_bytes()
    shutil.rmtree(out / "runs")  # what is in the table is not even looked at again
    (out / "results.jsonl").write_bytes(written + b'{"member": "scaling/ViT-w4')  # as a crash leaves it
    assert run(*words, capsys=capsys)["runs"] == document["runs"]
    assert (out / "results.jsonl").read_bytes() == written
    told = run("scaling", pictures, "--steps", "2", *SMOKE[4:], "--out", out, code=2, capsys=capsys)
    assert "schedule.duration: 1 steps -> 2 steps" in told["error"]["message"]


@pytest.mark.slow
def test_encoders_without_labels_are_fine_tuned(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    document = run("selfsup", pictures, *SMOKE, "--out", out, "--only", "selfsup/mae,selfsup/none", capsys=capsys)
    none, mae = document["runs"]
    assert (none["member"], mae["member"]) == ("selfsup/none", "selfsup/mae")
    weights = json.loads((out / "runs/selfsup/mae/seed-0/transfer/config.json").read_text())["model"]["weights"]
    assert weights == str(out / "runs/selfsup/mae/seed-0/model")
    assert not {"top1", "5shot", "exaflops"} & mae.keys()
    assert {"transfer_top1"} <= mae.keys() & none.keys()


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Folders and plans of runs that were begun; they end at once, but for the third, which a signal stops."""
    found: list[tuple[str, Any]] = []

    def instead(plan: Plan, folder: Path, *_: object) -> Result:
        found.append((str(folder), plan))
        stopped = len(found) == 3
        metrics = {} if stopped else {"test": {"top1": 0.5, "count": 4}}
        network = VisionTransformer(ViTConfig(4, 16, 1, 32, 2, (8, 8), len(plan.dataset.classes)))
        Model(network, Preprocessing((8, 8), (8, 8)), plan.dataset.classes).save(folder / "model")
        return Result(folder, folder / "model", metrics, not stopped, 15 if stopped else None)

    monkeypatch.setattr("vitral.benchmarks.measures.start", instead)
    monkeypatch.setattr("vitral.benchmarks.measures._fewshot", lambda *_: {"5shot": 0.25})
    monkeypatch.setattr("vitral.benchmarks.budget._step", lambda *_: 1e-3)
    return found


def test_a_stopped_study_goes_on_where_it_was(
    pictures: Path, tmp_path: Path, begun: list[tuple[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ("ablations", pictures, "--seeds", "2", "--device", "cpu", "--out", out, "--only", "positions/learned2d*")
    names = [f"positions/learned2d-{place}" for place in ("stem", "every", "shared")]
    out.mkdir()
    (out / "study.json.tmp").write_text('{"stu')  # a crash before it had its name
    with held(out):
        told = run(*words, code=2, capsys=capsys)
    assert "another vitral is running" in told["error"]["message"]
    assert not begun
    document = run(*words, code=143, capsys=capsys)
    assert not document["finished"]
    assert [line["member"] for line in document["runs"]] == names[:2]
    torn = (out / "results.jsonl").read_bytes() + b'{"member": "posi'  # as while another process writes it
    (out / "results.jsonl").write_bytes(torn)
    run(*words, "--dry-run", capsys=capsys)
    assert (out / "results.jsonl").read_bytes() == torn
    document = run(*words, capsys=capsys)
    assert document["finished"]
    assert [folder.removeprefix(f"{out}/runs/") for folder, _ in begun] == [
        *(f"{name}/seed-0" for name in names), f"{names[2]}/seed-0", *(f"{name}/seed-1" for name in names),
    ]  # fmt: skip
    assert [plan.config.training.seed for _, plan in begun] == [0, 0, 0, 0, 1, 1, 1]
    assert [row["seeds"] for row in document["rows"]] == [2, 2, 2]
    run(*words[:3], "3", *words[4:], capsys=capsys)  # one seed more
    assert len(begun) == 10


def test_a_teacher_is_run_first_and_its_answers_are_learned(
    pictures: Path,
    tmp_path: Path,
    begun: list[tuple[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr("vitral.teacher.find", lambda *_: (None, "0" * 16))  # nothing was trained that could be read
    words = ("ablations", pictures, "--seeds", "1", "--out", out, "--only", "distillation/hard")
    run(*words, capsys=capsys)
    (teacher, _), (student, plan) = begun
    assert (Path(teacher).parent.name, Path(student).parent.name) == ("BiT-R8x1", "hard")
    assert plan.config.distillation.teacher == f"{teacher}/model"


def test_a_dry_run_trains_nothing(
    pictures: Path, tmp_path: Path, begun: list[tuple[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ("data-size", pictures, "--out", out, "--dry-run", "--only", "*ViT-w32*")
    document = run(*words, capsys=capsys)
    assert [row["train_count"] for row in document["runs"]] == [2, 2, 4, 6, 12]
    assert all(row["seconds"] > 0 for row in document["runs"])
    assert not out.exists()
    assert begun == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("scaling", "--scale", "hours"), "name the pictures"),
        (("vtab", "--data", "."), "name the model"),
        (("scaling", ".", "--protocol", "knn"), "--protocol is not for scaling"),
        (("vtab", "m", "--data", ".", "--seeds", "2"), "--seeds is not for vtab"),
        (("scaling", "--seeds", "0"), "at least 1"),
        (("scaling", "--only", " ,"), "names no runs"),
        (("scaling", "--out", __file__), "is a file"),
        (("ablations", "--learning-rate", "1"), "learning_rate is among what ablations studies"),
    ],
)
def test_wrong_requests_are_one_sentence(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    document = run(*words, code=66 if said == "name the model" else 2, capsys=capsys)
    assert said in document["error"]["message"]


def test_patterns_that_fit_nothing_and_other_folders_are_refused(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run("scaling", pictures, "--only", "scaling/x*", "--out", tmp_path / "out", code=2, capsys=capsys)
    assert "fits no run of scaling" in told["error"]["message"]
    told = run("scaling", pictures, *SMOKE, "--only", "*w32-d2", "--out", pictures, code=2, capsys=capsys)
    assert "holds no study" in told["error"]["message"]
