"""`vitral predict`: pictures from anywhere, answers to a file, nothing lost and nothing overwritten."""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitral
from tests.exporters.made import small_model
from tests.pictures import picture
from vitral.cli import main
from vitral.commands import answers_file
from vitral.commands.predictions import spreadsheet_safe
from vitral.datasets.pictures import Picture
from vitral.serving import stream

COUNT = 70
"""Pictures: more than two batches."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model().save(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pictures")
    for i in range(COUNT):
        picture(("red", "green", "blue")[i % 3], i, (18 + i % 5, 20)).save(place / f"{i:02}.png")
    return place


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_pictures_come_from_tables_archives_and_lists_with_the_same_answers(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    paths = sorted(str(path) for path in folder.iterdir())
    expected = vitral.load(model).predict_proba(paths).max(axis=1).tolist()
    names = [Path(path).name for path in paths]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "image"], *([i, name] for i, name in enumerate(names))])
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"file": name}) + "\n" for name in names))
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"path": paths, "z": list(range(COUNT))}), tmp_path / "t.parquet")
    with tarfile.open(tmp_path / "t.tgz", "w:gz") as tar:
        for path in paths:
            tar.add(path, Path(path).name)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(os.fsencode("\n".join(paths)))))
    base = ["--image-folder", str(folder)]
    for word, *more in ([str(folder)], [f"{folder}/*.png"], [str(tmp_path / "t.csv"), *base], [str(tmp_path / "t.jsonl"), *base],
                        [str(tmp_path / "t.parquet")], [str(tmp_path / "t.tgz")], ["-"]):  # fmt: skip
        assert main(["predict", str(model), word, *more, "--top", "1", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert [Path(answer["path"]).name for answer in document] == names, word
        assert [answer["predictions"][0]["probability"] for answer in document] == expected, word


def test_an_archive_is_never_unpacked(model: Path, folder: Path, tmp_path: Path, capsys: Any) -> None:
    data = (folder / "00.png").read_bytes()
    inside = tmp_path / "inside"
    inside.mkdir()
    with tarfile.open(inside / "odd.tar", "w") as tar:
        for name in (
            "../../up.png",
            "/tmp/vitral-absolute.png",
            "without ending",
            ".hidden.png",
            "notes.txt",
            "torn.jpg",
        ):
            content = {"notes.txt": b"words", "torn.jpg": b"\xff\xd8\xff"}.get(name, data)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert main(["predict", str(model), str(inside / "odd.tar"), "--json"]) == 65
    document = json.loads(capsys.readouterr().out)
    names = [answer["path"].removeprefix(f"{inside}/odd.tar/") for answer in document]
    assert names == ["../../up.png", "/tmp/vitral-absolute.png", "without ending", "torn.jpg"]
    assert ["error" in answer for answer in document] == [False, False, False, True]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["inside", "odd.tar"]
    assert not Path("/tmp/vitral-absolute.png").exists()


def test_a_damaged_archive_keeps_what_was_answered(model: Path, folder: Path, tmp_path: Path, capsys: Any) -> None:
    whole = tmp_path / "whole.tar"
    with tarfile.open(whole, "w") as tar:
        tar.add(folder, "pictures")
    torn = tmp_path / "torn.tar"
    torn.write_bytes(whole.read_bytes()[: int(0.9 * whole.stat().st_size)])
    out = tmp_path / "o.jsonl"
    assert main(["predict", str(model), str(torn), "--out", str(out), "--json"]) == 65
    assert "cannot be read to its end" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert not out.exists()
    kept = rows(tmp_path / "o.jsonl.part")
    assert kept[0]["predictions"][0]["probability"] > 0
    assert 32 < len(kept) < COUNT


def test_a_damaged_header_is_not_the_end_and_a_bomb_is_not_unpacked(
    model: Path, folder: Path, tmp_path: Path, capsys: Any
) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("00.png", "01.png", "02.png"):
            tar.add(folder / name, name)
        second = tar.getmembers()[1].offset
    data = bytearray((tmp_path / "a.tar").read_bytes())
    data[second + 3] ^= 1
    (tmp_path / "a.tar").write_bytes(data)
    long = tarfile.TarInfo("x")
    long.type, long.size = tarfile.GNUTYPE_LONGNAME, 8**11 - 1  # what tarfile would ask memory for
    (tmp_path / "bomb.tar").write_bytes(long.tobuf(tarfile.USTAR_FORMAT) + bytes(1 << 16))
    for name, said in (("a.tar", "damaged header"), ("bomb.tar", "the limit is 1,048,576")):
        assert main(["predict", str(model), str(tmp_path / name), "--json"]) == 65
        assert said in json.loads(capsys.readouterr().out)["error"]["message"]


def test_large_pictures_of_an_archive_wait_a_few_at_a_time(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = [path.read_bytes() for path in sorted(folder.iterdir())]
    monkeypatch.setattr(stream, "HELD", 3 * min(map(len, data)))
    found = list(stream.answered(vitral.load(model), (Picture("x", one) for one in data), 2, 10**6))
    assert max(map(len, found)) == 3
    assert sum(map(len, found)) == COUNT


def test_two_at_once_do_not_write_one_file(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    words = ["predict", str(model), f"{folder}/0*.png", "--out", str(tmp_path / "o.csv")]
    finish, codes = answers_file.AnswersFile.finish, []

    def another_in_between(self: Any) -> None:
        codes.append(main(words))
        finish(self)

    monkeypatch.setattr(answers_file.AnswersFile, "finish", another_in_between)
    assert main(words) == 0
    assert codes == [2]
    assert "another vitral is writing" in capsys.readouterr().err
    assert len(table(tmp_path / "o.csv")) == 10
    assert [path.name for path in tmp_path.iterdir()] == ["o.csv"]


def test_a_name_cannot_fake_an_answer(model: Path, folder: Path, tmp_path: Path, capsys: Any) -> None:
    for name in ("a.png\n  99.00%  cat", "b.png\nwarning: all is well"):
        (tmp_path / name).write_bytes((folder / "00.png").read_bytes() if name[0] == "a" else b"no picture")
    assert main(["predict", str(model), *sorted(map(str, tmp_path.iterdir())), "--top", "1"]) == 65
    said = capsys.readouterr()
    assert len((said.out + said.err).splitlines()) == 3


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_a_stopped_job_goes_on_after_its_last_whole_row(
    ending: str, model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    words = ["predict", str(model), str(tmp_path / "bad.png"), str(folder), "--features", "--top", "2"]
    assert main([*words, "--out", str(tmp_path / f"whole{ending}"), "--json"]) == 65
    add, calls = answers_file.AnswersFile.add, iter(range(9))

    def stop_at_the_second(self: Any, given: Any) -> None:
        if next(calls) == 1:
            raise KeyboardInterrupt
        add(self, given)

    out = tmp_path / f"o{ending}"
    with monkeypatch.context() as patch:
        patch.setattr(answers_file.AnswersFile, "add", stop_at_the_second)
        assert main([*words, "--out", str(out)]) == 130
    part = tmp_path / f"o{ending}.part"
    assert not out.exists()
    assert len(rows(part)) == 32
    with part.open("ab") as file:
        file.write(b'{"path": "half a r')  # what a crash may leave
    capsys.readouterr()
    assert main([*words, "--out", str(out), "--json"]) == 65
    document = json.loads(capsys.readouterr().out)
    assert (document["pictures"], document["resumed_after"], document["unreadable"]) == (COUNT + 1, 32, 1)
    assert out.read_bytes() == (tmp_path / f"whole{ending}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["bad.png", out.name, f"whole{ending}"])
    before = out.read_bytes()
    assert main([*words, "--out", str(out)]) == 2  # never overwritten
    assert out.read_bytes() == before


def test_other_pictures_or_another_model_are_not_mixed_in(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    out = str(tmp_path / "o.csv")
    with monkeypatch.context() as patch:
        patch.setattr(answers_file.AnswersFile, "finish", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(["predict", str(model), f"{folder}/0*.png", "--out", out]) == 130
    other = small_model(seed=1).save(tmp_path / "other")
    for words, said in (
        ([str(other), f"{folder}/0*.png"], "another model"),
        ([str(model), f"{folder}/0*.png", "--top", "1"], "another top"),
        ([str(model), f"{folder}/0*.png", "--resize", "none"], "preprocessing"),
        ([str(model), f"{folder}/1*.png"], "picture 1 was"),
        ([str(model), f"{folder}/00.png"], "is nothing now"),
    ):
        capsys.readouterr()
        assert main(["predict", *words, "--out", out, "--json"]) == 2
        assert said in json.loads(capsys.readouterr().out)["error"]["message"], words
    assert main(["predict", str(model), f"{folder}/0*.png", "--out", out]) == 0
    assert len(table(Path(out))) == 10


def test_no_cell_becomes_a_formula(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_model().save(tmp_path / "m")  # whose first class is called =sum(1)
    (tmp_path / "=1+cmd.png").write_bytes((folder / "00.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "m", "=1+cmd.png", "--out", "o.csv", "--top", "9"]) == 0
    (row,) = table(Path("o.csv"))
    assert row["path"] == "'=1+cmd.png"
    assert {row["top1"], row["top2"], row["top3"]} == {"'=sum(1)", "größe", "c"}
    assert sum(float(row[f"probability{k}"]) for k in (1, 2, 3)) == pytest.approx(1, abs=1e-5)
    safe = {"-1.5": "-1.5", "+3": "+3", "@x": "'@x", "-x": "'-x", "a=b": "a=b", "\t=x": "'\t=x", "": ""}
    assert {cell: spreadsheet_safe(cell) for cell in safe} == safe


def test_features_are_the_models_in_every_form(model: Path, folder: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["predict", str(model), f"{folder}/0*.png", "--features"]
    expected = vitral.load(model).features(sorted(str(path) for path in folder.glob("0*.png")))
    for ending in (".csv", ".jsonl", ".parquet"):
        assert main([*words, "--out", str(tmp_path / f"o{ending}"), "--quiet"]) == 0
    cells = [[float(row[f"feature{k}"]) for k in range(32)] for row in table(tmp_path / "o.csv")]
    np.testing.assert_array_equal(np.array(cells, np.float32), expected)
    np.testing.assert_array_equal(
        np.array([row["features"] for row in rows(tmp_path / "o.jsonl")], np.float32), expected
    )
    from pyarrow import parquet

    found = parquet.read_table(tmp_path / "o.parquet")
    np.testing.assert_array_equal(np.array(found["features"].to_pylist(), np.float32), expected)
    assert found["top1"].to_pylist() == [row["predictions"][0]["label"] for row in rows(tmp_path / "o.jsonl")]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--out", ""], 2, "--out is given as empty words"),
        (["--out", "o.xlsx"], 2, ".csv, .jsonl or .parquet"),
        (["--out", "no/o.csv"], 74, "cannot write"),
        (["--backend", "tensorrt"], 2, "invalid choice"),
        (["--backend", "openvino", "--device", "cuda"], 69, "device cuda is not there"),
        (["--path-column", "nme"], 2, "did you mean 'name'"),
    ],
)
def test_mistakes_of_predict(
    words: list[str], code: int, said: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("name\nx.png\n") if "--path-column" in words else Path("t.csv").write_text("path\nx.png\n")
    assert main(["predict", str(model), "t.csv", *words, "--json"]) == code
    assert said in json.loads(capsys.readouterr().out)["error"]["message"]
