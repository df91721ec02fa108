"""`vitral benchmark`: published numbers against the papers' own means, sweeps that go on where they stopped."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.datasets.formats import jpeg, png, write_prepared
from tests.datasets.test_published import cifar_files, write_imagenet
from tests.pictures import write_folder
from vitral.benchmarks import BENCHMARKS
from vitral.benchmarks.benchmark import means
from vitral.benchmarks.protocols import Asked, _held_out, _thinned, by_paper
from vitral.cli import main
from vitral.config import DataConfig, Preprocessing
from vitral.console import Screen
from vitral.datasets import read
from vitral.datasets.dataset import TEST, TRAIN, VALIDATION, Dataset, Split
from vitral.datasets.named import NAMED
from vitral.datasets.published import PUBLISHED
from vitral.models.vit import VisionTransformer, ViTConfig
from vitral.planning import Plan
from vitral.recipes import RECIPES
from vitral.run import Result
from vitral.run_folder import held
from vitral.serving.loading import load
from vitral.serving.predictor import Model


@pytest.mark.parametrize(
    ("column", "natural", "specialized", "structured", "mean"),
    [("H/14 JFT", 86.7, 87.0, 65.0, 77.6), ("L/16 JFT", 85.6, 86.7, 63.0, 76.3), ("L/16 i21k", 83.3, 84.7, 57.5, 72.7)],
)
def test_published_tasks_give_the_published_means(
    column: str, natural: float, specialized: float, structured: float, mean: float
) -> None:
    vtab = BENCHMARKS["vtab"]
    made = means(vtab.published[column], vtab)
    wanted = {
        "natural": (natural, 7),
        "specialized": (specialized, 4),
        "structured": (structured, 8),
        "mean": (mean, 19),
    }
    assert made.keys() == wanted.keys()
    for name, (value, count) in wanted.items():
        assert made[name][0] == pytest.approx(value, abs=0.051), name
        assert made[name][1:] == (count, count)


def test_every_entry_has_a_recipe_and_a_place_to_get_it() -> None:
    for benchmark in BENCHMARKS.values():
        for entry in benchmark.entries:
            assert entry.recipe in RECIPES
            assert entry.where
            assert all(entry.name in column for column in benchmark.published.values())
    exceptions = {e.name for e in BENCHMARKS["vtab"].entries if not e.augmentation["augmentation.flip"]}
    assert exceptions == {"dsprites_location", "dsprites_orientation", "smallnorb_azimuth"}
    uncut = {e.name for e in BENCHMARKS["vtab"].entries if e.augmentation["augmentation.crop"] == "none"}
    assert uncut == {"clevr_count", "clevr_distance", "dmlab", "kitti_distance", "dsprites_location"}


def dataset(labels: list[int]) -> Dataset:
    part = Split([f"{i}" for i in range(len(labels))], [(k,) for k in labels])
    return Dataset("x", None, ("a", "b"), {TRAIN: part, TEST: part})


def test_rates_are_tried_on_the_last_pictures_of_train() -> None:
    made = _held_out(dataset([0, 1] * 25), 0.1)
    assert made.splits[VALIDATION].sources == ["45", "46", "47", "48", "49"]
    assert len(made.splits[TRAIN]) == 45
    assert TEST not in made.splits


def test_probes_learn_from_a_part_of_large_sets_alone() -> None:
    assert {entry.probed for entry in BENCHMARKS["transfer"].entries} == {50}
    assert {entry.probed for entry in BENCHMARKS["vtab"].entries} == {0}
    whole = dataset([0] * 80 + [1] * 20)
    assert _thinned(whole, 0) is whole
    made = _thinned(whole, 50)
    assert made.splits[TRAIN].sources == [str(i) for i in (*range(50), *range(80, 100))]
    assert made.splits[TEST] == dataset([0] * 80 + [1] * 20).splits[TEST]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("model"), seed=0)


def tiny(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    network = VisionTransformer(ViTConfig(4, 16, 1, 32, 2, (8, 8), 3))
    Model(network, Preprocessing((8, 8), (8, 8)), ["blue", "green", "red"]).save(folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The textures as TensorFlow Datasets prepares them: the published sizes, pictures of one colour for each class."""
    folder = tmp_path_factory.mktemp("data")
    rows = [{"image": png(k % 47), "label": k % 47} for k in range(1880)]
    write_prepared(folder / "dtd", "dtd", dict.fromkeys(("train", "validation", "test"), rows))
    return folder


def run(*words: object, code: int = 0, capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    assert main(["benchmark", *map(str, words), "--device", "cpu", "--workers", "0", "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_what_is_there_is_measured_once_and_the_rest_is_listed(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ("vtab", model, "--data", data, "--protocol", "knn", "--out", out)
    made = run(*words, capsys=capsys)
    line = made["results"]["dtd"]
    assert line["top1"] == 1.0  # pictures of a class are all alike
    assert (line["count"], line["train_count"], line["group"]) == (1880, 1000, "natural")
    assert len(made["missing"]) == 18
    assert "cifar-100-binary.tar.gz" in made["missing"]["cifar100"]
    assert made["mean"] == {"top1": 1.0, "tasks": 1, "of": 19}
    assert made["published"]["columns"]["H/14 JFT"]["dtd"] == 75.2
    written = (out / "results.jsonl").read_bytes()
    shutil.move(data / "dtd", tmp_path / "away")  # what has been measured is not even read again
    try:
        again = run(*words, capsys=capsys)
    finally:
        shutil.move(tmp_path / "away", data / "dtd")
    assert again["results"] == made["results"]
    assert (out / "results.jsonl").read_bytes() == written


def test_another_model_or_protocol_is_refused_in_the_same_folder(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = write_folder(tmp_path / "own", {"train": 3, "test": 2})
    words = ("--own", pictures, "--out", tmp_path / "out")
    run("vtab", model, *words, "--protocol", "knn", capsys=capsys)
    told = run("vtab", model, *words, "--protocol", "linear", code=2, capsys=capsys)
    assert "protocol: knn -> linear" in told["error"]["message"]
    other = tiny(tmp_path, seed=1)
    shutil.copytree(other, model.parent / "other")
    told = run("vtab", model.parent / "other", *words, "--protocol", "knn", code=2, capsys=capsys)
    assert "weights_sha256" in told["error"]["message"]
    for name in ("", "..", "../up", "a,b"):
        told = run("vtab", model, "--own", f"{name}={pictures}", "--out", tmp_path / "else", code=2, capsys=capsys)
        assert "--own takes NAME=PICTURES" in str(told)
    assert not (tmp_path / "else").exists()
    told = run("vtab", model, "--own", pictures, "--out", pictures, "--protocol", "knn", code=2, capsys=capsys)
    assert "holds no results" in told["error"]["message"]


def test_one_process_at_a_time_measures_into_a_folder_that_a_crash_may_have_left(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures, out = write_folder(tmp_path / "own", {"train": 3, "test": 2}), tmp_path / "out"
    words = ("vtab", model, "--own", pictures, "--protocol", "knn", "--out", out)
    out.mkdir()
    (out / "benchmark.json.tmp").write_text('{"benchm')  # a crash before it had its name
    with held(out):
        told = run(*words, code=2, capsys=capsys)
    assert "another vitral is running" in told["error"]["message"]
    assert not (out / "results.jsonl").exists()
    assert run(*words, capsys=capsys)["results"].keys() == {"own/own"}
    assert not (out / "benchmark.json.tmp").exists()


def test_own_pictures_stand_beside_the_published_tasks(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = write_folder(tmp_path / "colours", {"train": 6, "val": 2, "test": 4})
    words = ("--own", pictures, "--own", f"twice={pictures}", "--out", tmp_path / "out")
    made = run("vtab", model, *words, "--protocol", "knn", "--tasks", "own/twice,own/colours", capsys=capsys)
    assert list(made["results"]) == ["own/twice", "own/colours"]
    assert made["results"]["own/colours"]["train_count"] == 24
    assert made["results"]["own/colours"]["top1"] == made["results"]["own/twice"]["top1"]
    assert (made["mean"], made["groups"]) == (None, {})
    with (tmp_path / "out" / "results.jsonl").open("a") as file:
        file.write('{"task": "own/torn", "to')  # as a crash leaves it
    third = run("vtab", model, "--own", f"third={pictures}", *words[4:], "--protocol", "knn", capsys=capsys)
    assert set(third["results"]) == {"own/twice", "own/colours", "own/third"}
    again = run("vtab", model, "--own", f"third={pictures}", *words[4:], "--protocol", "knn", capsys=capsys)
    assert again["results"] == third["results"]
    others = write_folder(tmp_path / "others" / "colours", {"train": 6, "test": 4})
    told = run("vtab", model, "--own", others, "--out", tmp_path / "out", "--protocol", "knn", code=2, capsys=capsys)
    assert "own/colours of other pictures" in told["error"]["message"]


def test_the_linear_protocol_is_the_probe_of_squashed_pictures(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vitral.evaluators.probe.DECAYS", (1.0, 0.1))  # two, for speed
    pictures = write_folder(tmp_path / "colours", {"train": 3, "val": 1, "test": 2}, size=(9, 17))
    made = run("vtab", model, "--own", pictures, "--protocol", "linear", "--out", tmp_path / "out", capsys=capsys)
    assert main(["probe", str(model), str(pictures), "--method", "linear", "--resize", "8x8", "--json"]) == 0
    probed = json.loads(capsys.readouterr().out)["linear"]
    line = made["results"]["own/colours"]
    assert (line["top1"], line["weight_decay"]) == (probed["linear"], probed["weight_decay"])


@pytest.mark.parametrize("protocol", ["paper", "finetune"])
def test_fine_tuning_learns_from_train_and_validation_and_goes_on(
    protocol: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = write_folder(tmp_path / "colours", {"train": 4, "val": 2, "test": 3})
    words = ("vtab", model, "--own", pictures, "--protocol", protocol, "--steps", "2", "--batch-size", "4",
             "--image-size", "8", "--out", tmp_path / "out")  # fmt: skip
    made = run(*words, capsys=capsys)["results"]["own/colours"]
    assert (made["count"], made["train_count"]) == (9, 18)
    metrics = json.loads((Path(made["run"]) / "model" / "metrics.json").read_text())
    assert metrics["test"]["top1"] == made["top1"]
    (tmp_path / "out" / "results.jsonl").unlink()  # as after a crash between the run and its line
    assert run(*words, capsys=capsys)["results"]["own/colours"] == made


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "--data"),
        (("--data", "/nowhere"), 66, "is no folder"),
        (("--data", ".", "--tasks", "ctd"), 2, "did you mean dtd"),
        (("--data", str(Path(__file__).parent), "--tasks", "svhn"), 66, "for svhn, say, put there train_32x32.mat"),
        (("--own", "a", "--own", "b/a"), 2, "same name"),
        (("--own", ".", "--protocol", "knn", "--steps", "3"), 2, "trains nothing"),
    ],
)
def test_wrong_requests_are_one_sentence(
    words: tuple[str, ...], code: int, said: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in run("vtab", model, *words, "--out", tmp_path / "out", code=code, capsys=capsys)["error"]["message"]


def test_a_damaged_set_is_named_and_the_others_are_measured(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cifar-100-binary.tar.gz").write_bytes(b"no archive")
    pictures = write_folder(tmp_path / "colours", {"train": 3, "test": 2})
    made = run("vtab", model, "--data", tmp_path, "--own", pictures, "--tasks", "cifar100,own/colours", "--protocol",
               "knn", "--out", tmp_path / "out", code=65, capsys=capsys)  # fmt: skip
    assert list(made["results"]) == ["own/colours"]
    assert "damaged or no archive" in made["failed"]["cifar100"]


@pytest.mark.parametrize(
    ("name", "crop", "resize", "flip"),
    [
        ("dtd", "resize-random", (448, 448), True),
        ("smallnorb_azimuth", "resize-random", (448, 448), False),
        ("kitti_distance", "none", None, True),
        ("dsprites_location", "none", None, False),
    ],
)
def test_the_paper_s_protocol_is_table_4_with_bit_s_exceptions(
    name: str, crop: str, resize: tuple[int, int] | None, flip: bool, model: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    plans: list[Plan] = []

    def instead(plan: Plan, folder: Path, *_: object) -> Result:
        plans.append(plan)
        return Result(folder, folder / "model", {"test": {"top1": 0.5, "count": 1, "unreadable": 0}}, True)

    monkeypatch.setattr("vitral.benchmarks.protocols.start", instead)
    (entry,) = [entry for entry in BENCHMARKS["vtab"].entries if entry.name == name]
    folder = write_folder(tmp_path / "colours", {"train": 4, "val": 2, "test": 3})
    pictures = read(DataConfig(path=str(folder)))
    asked = Asked(load(model), str(model), {}, tmp_path, tmp_path, Screen(quiet=True))
    by_paper(entry, pictures, asked)
    by_paper(entry, pictures, replace(asked, words={"model.image_size": (192, 192)}))
    config = plans[0].config
    assert config.optimizer == replace(config.optimizer, name="sgd", learning_rate=0.01, momentum=0.9, clip_norm=1.0)
    assert (str(config.schedule.duration), config.schedule.decay, config.training.batch_size) == (
        "2500 steps",
        "cosine",
        512,
    )
    assert (config.preprocessing.crop, config.preprocessing.resize) == ((384, 384), (384, 384))
    augmentation = config.augmentation
    assert (augmentation.crop, augmentation.resize, augmentation.flip) == (crop, resize, flip)
    assert {split: len(part) for split, part in plans[0].dataset.splits.items()} == {"train": 18, "test": 9}
    smaller = plans[1].config
    assert (smaller.preprocessing.crop, smaller.preprocessing.resize) == ((192, 192), (192, 192))
    assert smaller.augmentation.resize == (resize and (224, 224))


def test_a_signal_stops_the_sweep_and_says_so(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def instead(plan: Plan, folder: Path, *_: object) -> Result:
        return Result(folder, folder / "model", {}, False, 15)

    monkeypatch.setattr("vitral.benchmarks.protocols.start", instead)
    pictures = write_folder(tmp_path / "colours", {"train": 4, "test": 3})
    words = ("--own", pictures, "--own", f"b={pictures}", "--protocol", "finetune", "--out", tmp_path / "out")
    assert run("vtab", model, *words, code=143, capsys=capsys)["results"] == {}


# Transfer -------------------------------------------------------------------------------------------


def test_the_paper_s_rates_are_tried_and_the_best_is_taken_on_all_of_train(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = PUBLISHED["cifar10"]
    monkeypatch.setitem(PUBLISHED, "cifar10", replace(whole, sizes={"train": 100, "test": 20}))
    cifar_files(tmp_path, coarse=False, count=20)
    made = run("transfer", model, "--data", tmp_path, "--tasks", "cifar10", "--protocol", "paper", "--steps", "1",
               "--batch-size", "4", "--image-size", "8", "--out", tmp_path / "out", capsys=capsys)  # fmt: skip
    line = made["results"]["cifar10"]
    assert list(line["tried"]) == ["0.001", "0.003", "0.01", "0.03"]
    assert line["tried"][f"{line['learning_rate']:g}"] == max(line["tried"].values())
    assert (line["count"], line["train_count"]) == (20, 100)
    tried = json.loads((tmp_path / "out/runs/cifar10/rate-0.03/data.json").read_text())["splits"]
    assert {name: split["count"] for name, split in tried.items()} == {"train": 98, "validation": 2}
    assert made["published"]["columns"]["B/16 i21k"]["cifar10"] == 98.95


def test_a_model_of_imagenet_is_measured_as_it_is_with_real_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PUBLISHED, "imagenet2012", replace(PUBLISHED["imagenet2012"], sizes={"validation": 4}))
    monkeypatch.setitem(NAMED, "imagenet", replace(NAMED["imagenet"], classes=3))
    write_imagenet(tmp_path)
    torch.manual_seed(0)
    network = VisionTransformer(ViTConfig(4, 16, 1, 32, 2, (8, 8), 3))
    torch.nn.init.normal_(network.head.weight)
    names = ["n03000000", "n01000000", "n02000000"]  # the model's own order
    model = Model(network, Preprocessing((8, 8), (8, 8)), names)
    guesses = [model.predict(jpeg(n), top=1)[0].label for n in (1, 2, 3, 4)]
    real = [[names.index(guesses[0])], [], [(names.index(guesses[2]) + 1) % 3], [0, 1, 2]]
    (tmp_path / "real.json").write_text(json.dumps(real))
    made = run("transfer", model.save(tmp_path / "model"), "--data", tmp_path, "--tasks", "imagenet", "--protocol",
               "knn", "--out", tmp_path / "out", capsys=capsys)["results"]["imagenet"]  # fmt: skip
    truth = ["n02000000", "n03000000", "n01000000", "n03000000"]
    assert made["top1"] == sum(a == b for a, b in zip(guesses, truth, strict=True)) / 4
    assert (made["real_top1"], made["real_count"]) == (2 / 3, 3)
