"""The command: help, exit codes, one sentence for each mistake, JSON and nothing else on standard output."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import vitral
from tests.pictures import picture, write_folder
from vitral.catalogue import PUBLISHED
from vitral.cli import VERBS, main
from vitral.commands.measuring import headlines
from vitral.version import VERSION
from vitral.weights.sources.cache import cache_folder

TINY = ["--model", "ViT-Ti/4", "--image-size", "8", "--model.width", "16", "--model.depth", "1", "--model.num-heads", "2",
        "--model.mlp-dim", "32", "--steps", "2", "--batch-size", "4", "--device", "cpu", "--workers", "0"]  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), {"train": 4, "val": 2, "test": 2})


@pytest.fixture(scope="module")
def model(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", str(pictures), *TINY, "--out", str(run), "--quiet"]) == 0
    return run / "model"


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_names_its_exit_codes(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    assert "exit codes" in capsys.readouterr().out


def test_help_needs_no_torch() -> None:
    code = "import sys; from vitral.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
    for verb in VERBS:
        code = (
            "import sys\nfrom vitral.cli import main\n"
            f"try: main(['{verb}', '--help'])\nexcept SystemExit: sys.exit('torch' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0, verb


def test_version_is_printed() -> None:
    made = subprocess.run([sys.executable, "-m", "vitral", "--version"], capture_output=True, text=True, check=True)
    assert made.stdout == f"vitral {VERSION}\n"


def test_public_names_are_these() -> None:
    assert set(vitral.__all__) == {
        "Model", "VitClassifier", "create_model", "load", "DataError", "MissingInputError", "NonFiniteError",
        "StorageError", "UnavailableError", "UnreadableImageError", "UsageError", "VitralError", "__version__",
    }  # fmt: skip
    assert all(hasattr(vitral, name) for name in vitral.__all__)


def broken_weights(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"not weights")
    return folder


def flat(folder: Path) -> Path:
    folder.mkdir()
    for i in range(3):
        picture("red", i).save(folder / f"{i}.png")
    return folder


def one_class(folder: Path) -> Path:
    (folder / "red").mkdir(parents=True)
    picture("red", 1).save(folder / "red" / "1.png")
    picture("red", 2).save(folder / "red" / "2.png")
    return folder


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def text(path: Path, content: str = "hello") -> Path:
    path.write_text(content)
    return path


def others(folder: Path) -> Path:
    for name in ("zebra", "okapi"):
        (folder / name).mkdir(parents=True)
        picture("red", 1).save(folder / name / "1.png")
    return folder


def beside(folder: Path, there: str, asked: str) -> Path:
    """A path that is not there, beside a file of another name."""
    text(folder / there)
    return folder / asked


Words = Callable[[Path, Path, Path], list[object]]

MISTAKES: dict[str, tuple[Words, int, str]] = {
    # what went wrong: (words made from (temporary folder, pictures, model), exit code, part of the sentence)
    "unknown command": (lambda t, p, m: ["trian", p], 2, "did you mean train"),
    "unknown option": (lambda t, p, m: ["train", p, "--learning-rat", "1"], 2, "did you mean --learning-rate"),
    "option of another place": (lambda t, p, m: ["train", p, "--momentum", "1"], 2, "--optimizer.momentum"),
    "abbreviated option": (lambda t, p, m: ["train", p, "--batch", "1"], 2, "--batch-size"),
    "missing argument": (lambda t, p, m: ["predict"], 2, "required: MODEL"),
    "one argument too many": (lambda t, p, m: ["evaluate", m, p, p], 2, "one argument too many"),
    "unknown recipe": (lambda t, p, m: ["train", p, "--recipe", "table4-cifer"], 2, "did you mean table4-cifar"),
    "unknown model": (lambda t, p, m: ["train", p, "--model", "ViT-XS/16"], 2, "did you mean ViT-S/16"),
    "unknown published model": (lambda t, p, m: ["finetune", p, "--model", "ViT-B/17"], 2, "did you mean ViT-B/16"),
    "unknown model to show": (lambda t, p, m: ["models", "ViT-B16"], 2, "did you mean ViT-B/16"),
    "word for a number": (lambda t, p, m: ["train", p, "--learning-rate", "fast"], 2, "--learning-rate cannot be 'fast'"),
    "negative number": (lambda t, p, m: ["train", p, "--batch-size", "-4"], 2, "batch_size must be"),
    "an absurd depth": (lambda t, p, m: ["train", p, *TINY, "--model.depth", "9" * 20], 2, "depth must be below 2^24"),
    "an absurd width": (lambda t, p, m: ["train", p, *TINY, "--model.mlp-dim", "9" * 20], 2, "mlp_dim must be below 2^24"),
    "two models": (lambda t, p, m: ["train", p, "--model", "ViT-Ti/4", "--model.name", "ViT-S/4"], 2, "give one of the two"),
    "no threads": (lambda t, p, m: ["speed", m, "--threads", "0"], 2, "--threads must be 1 to 1024, not 0"),
    "absurd threads": (lambda t, p, m: ["speed", m, "--threads", "9" * 20], 2, "--threads must be 1 to 1024"),
    "a body of no size": (lambda t, p, m: ["serve", m, "--port", "0", "--max-body", "nan"], 2, "--max-body must be 0 to"),
    "a body without end": (lambda t, p, m: ["serve", m, "--port", "0", "--max-body", "inf"], 2, "--max-body must be 0 to"),
    "absurd number": (lambda t, p, m: ["train", p, "--batch-size", "1e30"], 2, "batch_size must be"),
    "two lengths": (lambda t, p, m: ["train", p, "--epochs", "1", "--schedule.duration", "2 epochs"], 2, "give one of them"),
    "negative workers": (lambda t, p, m: ["data", "check", p, "--workers", "-5"], 2, "workers must be"),
    "no epochs": (lambda t, p, m: ["train", p, "--epochs", "0"], 2, "more than 0"),
    "negative epochs": (lambda t, p, m: ["train", p, "--epochs", "-1"], 2, "between 0 and"),
    "epochs and steps": (lambda t, p, m: ["train", p, "--epochs", "1", "--steps", "1"], 2, "give one of the two"),
    "negative seed": (lambda t, p, m: ["train", p, "--seed", "-1"], 2, "seed must be"),
    "indivisible size": (lambda t, p, m: ["train", p, *TINY, "--image-size", "10"], 2, "not divisible by patch size 4"),
    "size twice": (lambda t, p, m: ["train", p, *TINY, "--image-size", "8", "--crop", "12"], 2, "differ"),
    "freeze nothing": (lambda t, p, m: ["train", p, *TINY, "--freeze", "blocs.*", "--out", t / "r"], 2, "matches no parameter"),
    "adam with decay": (lambda t, p, m: ["train", p, "--optimizer.name", "adam"], 2, "needs optimizer adamw"),
    "no such device": (lambda t, p, m: ["evaluate", m, p, "--device", "cuda:7"], 69, "--device cpu"),
    "device of no kind": (lambda t, p, m: ["evaluate", m, p, "--device", "abacus"], 2, "unknown device"),
    "missing pictures": (lambda t, p, m: ["train", p.parent / (p.name + "x")], 66, "did you mean"),
    "empty folder": (lambda t, p, m: ["train", empty(t / "e")], 66, "no picture under"),
    "pictures without classes": (lambda t, p, m: ["train", flat(t / "f")], 65, "class"),
    "one class": (lambda t, p, m: ["train", one_class(t / "o")], 65, "two classes"),
    "a picture instead of a folder": (lambda t, p, m: ["train", flat(t / "f") / "1.png"], 2, "predict"),
    "a table without a label": (lambda t, p, m: ["train", text(t / "t.csv", "path\nx.png\n")], 2, "no column called label"),
    "a table of missing files": (lambda t, p, m: ["train", text(t / "t.csv", "path,label\nx.png,a\ny.png,b\n")], 66, "x.png"),
    "an unknown table": (lambda t, p, m: ["train", text(t / "t.xlsx")], 2, "csv"),
    "missing weights": (lambda t, p, m: ["finetune", p, "--model", t / "none"], 66, "no weights at"),
    "broken weights": (lambda t, p, m: ["evaluate", broken_weights(t / "w"), p], 65, "cannot be read as safetensors"),
    "weights of another width": (lambda t, p, m: ["finetune", p, "--model", m, "--model.width", "32", "--out", t / "r"], 65, "of another shape"),
    "evaluate on other classes": (lambda t, p, m: ["evaluate", m, others(t / "z")], 65, "zebra"),
    "a split that is not there": (lambda t, p, m: ["evaluate", m, p, "--split", "tset"], 2, "test"),
    "missing picture": (lambda t, p, m: ["predict", m, t / "x.jpg"], 66, "no picture at"),
    "a pattern without a picture": (lambda t, p, m: ["predict", m, t / "*.jpg"], 66, "nothing matches the pattern"),
    "nearly a picture": (lambda t, p, m: ["predict", m, beside(t, "nofile.jpg", "nofile.jp")], 66, "nofile.jpg?"),
    "nearly weights": (lambda t, p, m: ["predict", m, beside(t, "nofile.pth", "nofile.pt")], 66, "check the path"),
    "no picture at all": (lambda t, p, m: ["predict", m, text(t / "x.jpg")], 65, "not a JPEG"),
    "empty folder to predict": (lambda t, p, m: ["predict", m, empty(t / "e")], 66, "holds no pictures"),
    "no classes wanted": (lambda t, p, m: ["predict", m, p, "--top", "0"], 2, "--top must be at least 1"),
    "a file where the run should be": (lambda t, p, m: ["train", p, *TINY, "--out", text(t / "file")], 2, "is a file"),
    "a file where a dry run would be": (lambda t, p, m: ["train", p, *TINY, "--dry-run", "--out", text(t / "file")], 2, "is a file"),
    "pictures where a dry run would be": (lambda t, p, m: ["train", p, *TINY, "--dry-run", "--out", p], 2, "holds no run"),
    "pictures where a dry sweep would be": (lambda t, p, m: ["finetune", p, "--model", m, "--dry-run", "--lr-grid", ".1,.2", "--out", p], 2, "holds no run"),
    "a folder that cannot be made": (lambda t, p, m: ["train", p, *TINY, "--out", "/proc/vitral"], 74, "--out"),
    "too large a picture": (lambda t, p, m: ["predict", m, p / "test" / "red", "--max-pixels", "9"], 65, "64 pixels"),
    "a data action left out": (lambda t, p, m: ["data", p], 2, "`vitral data check "),
    "a data action without pictures": (lambda t, p, m: ["data", "check"], 2, "say which folder"),
    "unknown data action": (lambda t, p, m: ["data", "chekc", p], 2, "check"),
    "a resize of nothing": (lambda t, p, m: ["evaluate", m, p, "--resize", "0"], 2, "1 to 16384"),
    "a standard deviation of 0": (lambda t, p, m: ["evaluate", m, p, "--std", "0"], 2, "std must be 1e-6 or more"),
    "empty words for a model": (lambda t, p, m: ["evaluate", "", p], 2, "MODEL is given as empty words"),
    "empty words for a picture": (lambda t, p, m: ["predict", m, p / "test" / "red", ""], 2, "is given as empty words"),
    "empty words for ReaL labels": (lambda t, p, m: ["evaluate", m, p, "--real", ""], 2, "--real is given as empty words"),
    "empty words for a report": (lambda t, p, m: ["evaluate", m, p, "--report="], 2, "--report is given as empty words"),
    "empty words for a grid": (lambda t, p, m: ["finetune", p, "--model", m, "--lr-grid="], 2, "--lr-grid is given as"),
    "no rate between commas": (lambda t, p, m: ["finetune", p, "--model", m, "--lr-grid", ","], 2, "--lr-grid takes learning rates"),
    "empty words for a folder": (lambda t, p, m: ["train", p, *TINY, "--out", ""], 2, "--out is given as empty words"),
    "predictions into nowhere": (lambda t, p, m: ["evaluate", m, p, "--predictions", t / "no" / "x.csv"], 2, "there is no folder"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_clear_sentence_and_its_exit_code(
    name: str,
    tmp_path: Path,
    pictures: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words, code, said = MISTAKES[name]
    given = [str(word) for word in words(tmp_path, pictures, model)]
    monkeypatch.chdir(tmp_path)
    assert main([*given, "--json"]) == code
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (document["error"]["code"], said in document["error"]["message"]) == (code, True), document
    assert "Traceback" not in err
    said_lines = err[err.index("error: ") :].strip().splitlines()
    assert len(said_lines) == 1, err
    assert not (tmp_path / "runs").exists()


def test_options_may_stand_between_pictures(pictures: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = sorted(str(path) for path in (pictures / "test" / "red").iterdir())[:2]
    assert main(["predict", str(model), first, "--top", "1", second, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(answer["path"], len(answer["predictions"])) for answer in document] == [(first, 1), (second, 1)]


def test_an_undecodable_file_name_is_written_to_the_predictions(
    tmp_path: Path, pictures: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(pictures / "test", folder)
    picture("red", 99).save(os.fsdecode(os.fsencode(folder / "red") + b"/caf\xe9.png"))
    table = tmp_path / "p.csv"
    assert main(["evaluate", str(model), str(folder), "--predictions", str(table), "--json"]) == 0
    assert "caf\\udce9.png" in table.read_text(encoding="utf-8")
    assert json.loads(capsys.readouterr().out)["count"] == 7


STOPPABLE = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs behind it without
from vitral.cli import main
from vitral.commands import doctor
def wait(arguments, screen):
    print("waiting", file=sys.stderr, flush=True)
    time.sleep(60)
doctor.call = wait
sys.exit(main(["doctor", "--json"]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_outside_of_training_leaves_one_document_too(number: int, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPABLE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "waiting\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, json.loads(out)["error"]["code"]) == (code, code)
    assert "Traceback" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [["models", "--json"], ["models"], ["--help"]])
def test_a_full_disk_behind_standard_output_is_an_error(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        made = subprocess.run([sys.executable, "-m", "vitral", *words], stdout=full, stderr=subprocess.PIPE, text=True)
    assert made.returncode == 74, made.stderr
    assert made.stderr.splitlines()[-1].startswith("error: No space left on device")
    assert "Traceback" not in made.stderr


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "nowhere", "--debug"]) == 66
    assert "Traceback" in capsys.readouterr().err


def test_finetune_prints_one_document_with_the_model_folder(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["finetune", str(pictures), "--steps", "2", "--batch-size", "4", "--device", "cpu", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert Path(document["model"]).is_dir()
    assert document["metrics"]["test"]["count"] == 6
    assert Path(document["run"]) == Path("runs") / f"finetune-{pictures.name}"


def test_finetune_without_a_model_starts_from_published_weights_or_says_why_not(
    tmp_path: Path,
    pictures: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    words = ["finetune", str(pictures), "--steps", "1", "--batch-size", "4", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "offline")]) == 0
    assert "HF_HUB_OFFLINE is set: place config.json" in capsys.readouterr().out.replace("\n", " ")
    cached = cache_folder() / PUBLISHED["ViT-Ti/16"].replace("/", "--")
    shutil.copytree(model, cached)
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    assert "starts from the published ViT-Ti/16" in capsys.readouterr().out
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"]["weights"] == "ViT-Ti/16"
    assert main([*words, "--out", str(tmp_path / "offline")]) == 0  # goes on as it began, though weights are there now


def test_train_says_at_its_end_which_step_was_kept_and_by_what(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(pictures), *TINY, "--out", str(tmp_path / "run")]) == 0
    metrics = json.loads((tmp_path / "run" / "model" / "metrics.json").read_text())
    top1 = f"{100 * metrics['validation']['top1']:.2f}%"
    said = capsys.readouterr().out
    assert f"best at step {metrics['best_step']} of 2, validation top-1 {top1}: " in said
    (tmp_path / "none").symlink_to(pictures / "train")
    words = [
        "train",
        str(tmp_path / "none"),
        *TINY,
        "--data.validation-fraction",
        "0",
        "--out",
        str(tmp_path / "other"),
    ]
    assert main(words) == 0
    assert "no validation split to choose by: the weights of the last step, 2, are kept" in capsys.readouterr().out


def test_a_network_of_other_sizes_is_not_called_by_the_name_that_it_began_from(model: Path) -> None:
    words = "ViT, 1 block of width 16, patch 4, MLP of width 32"
    run = model.parent
    assert json.loads((run / "environment.json").read_text())["model"] == words
    assert f"{words}, input 8x8" in (model / "README.md").read_text()
    assert words in (run / "report.html").read_text()
    for text in ((model / "README.md").read_text(), (run / "report.html").read_text().split("<h2")[0]):
        assert "ViT-Ti/4" not in text


def test_evaluate_prints_the_promised_keys(
    pictures: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "p.csv"
    assert main(["evaluate", str(model), str(pictures), "--json", "--predictions", str(table)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"top1", "top5", "count", "unreadable", "per_class"} <= set(document)
    written = table.read_bytes()
    assert len(written.splitlines()) == 1 + document["count"]
    for words in (["evaluate", model], ["compare", model, model]):
        assert main([*map(str, words), str(pictures), "--predictions", str(table)]) == 2
        assert "is there already: name a new file" in capsys.readouterr().err
    assert table.read_bytes() == written
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


def test_predict_lists_what_it_could_not_read_and_answers_65(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = flat(tmp_path / "some")
    (folder / "torn.png").write_bytes((folder / "0.png").read_bytes()[:50])
    assert main(["predict", str(model), str(folder), "--json", "--top", "2"]) == 65
    document = json.loads(capsys.readouterr().out)
    assert [Path(answer["path"]).name for answer in document] == ["0.png", "1.png", "2.png", "torn.png"]
    assert [len(answer["predictions"]) for answer in document] == [2, 2, 2, 0]
    assert set(document[0]["predictions"][0]) == {"label", "probability"}


@pytest.mark.parametrize(
    "words", [["models"], ["models", "ViT-B/16"], ["recipes"], ["recipes", "table4-cifar"], ["doctor"]]
)
def test_lists_are_json_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_overridden_preprocessing_is_used(pictures: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    losses = []
    for extra in ([], ["--mean", "0.1", "--std", "0.9"], ["--resize", "none"], ["--crop", "16"]):
        assert main(["evaluate", str(model), str(pictures), "--json", *extra]) == 0
        losses.append(json.loads(capsys.readouterr().out)["loss"])
    assert losses[0] != losses[1]
    assert losses[0] == losses[2]  # the pictures have the input's size already
    assert losses[0] != losses[3]


@pytest.mark.slow
def test_help_is_quick() -> None:
    """Not a timing of the machine: the slowest import that help could make, torch, takes several times as long."""
    best = min(_seconds(["-m", "vitral", "--help"]) for _ in range(3))
    assert best < _seconds(["-c", "import torch"])


def _seconds(words: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - started


@pytest.mark.parametrize(
    ("classes", "said"),
    [(5, "test: top-1 50.00% of 4 pictures"), (6, "test: top-1 50.00%, top-5 75.00% of 4 pictures")],
)
def test_top_5_is_said_where_there_are_more_classes(classes: int, said: str) -> None:
    assert headlines({"top1": 0.5, "top5": 0.75, "count": 4}, "test", classes) == [said]
