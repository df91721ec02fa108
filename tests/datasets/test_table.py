"""Tables of pictures: columns, labels, splits, and the messages for what is wrong."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.places import DATA
from vitral.config import DataConfig
from vitral.datasets import Dataset, read, read_for_evaluation
from vitral.errors import DataError, MissingInputError, UnavailableError, UsageError

needs_shared = pytest.mark.skipif(not DATA.is_dir(), reason="the shared pictures are not on this machine")

ROWS = [("c.png", "cat"), ("a.png", "dog"), ("b.png", "cat"), ("sub/d.png", "dog")]


def pictures(root: Path, paths: list[str]) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def write(
    root: Path, rows: list[tuple[Any, ...]] = ROWS, header: tuple[str, ...] = ("path", "label"), kind: str = "csv"
) -> str:
    """A table with its (empty) pictures beside it; returns its path."""
    pictures(root, [row[0] for row in rows])
    path = root / f"table.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps(dict(zip(header, row, strict=True))) for row in rows))
    elif kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
        parquet.write_table(pyarrow.table(columns), path)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter="\t" if kind == "tsv" else ",").writerows([header, *rows])
    return str(path)


def whole(path: str, **options: Any) -> Dataset:
    return read(DataConfig(path=path, validation_fraction=0.0, **options))


# --- what is read


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_gives_the_same_data_in_the_order_of_its_rows(tmp_path: Path, kind: str) -> None:
    dataset = whole(write(tmp_path, kind=kind))
    assert dataset.classes == ("cat", "dog")
    assert dataset.splits["train"].sources == [str(tmp_path / path) for path, _ in ROWS]
    assert dataset.splits["train"].labels == [(0,), (1,), (0,), (1,)]


@pytest.mark.parametrize("path_column", ["path", "file", "file_name", "filename", "image", "image_path"])
@pytest.mark.parametrize("label_column", ["label", "labels", "class", "class_name", "target"])
def test_usual_column_names_are_found(tmp_path: Path, path_column: str, label_column: str) -> None:
    rows = [("1", label, path) for path, label in ROWS]
    pictures(tmp_path, [path for path, _ in ROWS])
    path = tmp_path / "t.csv"
    path.write_text("\n".join(map(",".join, [("id", label_column, path_column), *rows])))
    assert whole(str(path)).splits["train"].labels == [(0,), (1,), (0,), (1,)]


def test_named_columns_win_over_usual_ones(tmp_path: Path) -> None:
    rows = [("a.png", "x.png", "1", "u"), ("b.png", "y.png", "1", "v")]
    path = write(tmp_path, rows, ("picture", "path", "label", "species"))
    dataset = whole(path, path_column="picture", label_column="species")
    assert dataset.classes == ("u", "v")
    assert dataset.splits["train"].sources == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]


def test_paths_start_from_image_folder_and_absolute_ones_stay(tmp_path: Path) -> None:
    pictures(tmp_path, ["images/a.png", "far/b.png"])
    (tmp_path / "t.csv").write_text(f"path,label\na.png,x\n{tmp_path}/far/b.png,y\n")
    dataset = whole(str(tmp_path / "t.csv"), image_folder=str(tmp_path / "images"))
    assert dataset.splits["train"].sources == [str(tmp_path / "images/a.png"), str(tmp_path / "far/b.png")]


def test_a_byte_order_mark_blank_lines_and_quoted_fields_are_read(tmp_path: Path) -> None:
    pictures(tmp_path, ["a, b.png", "c.png"])
    (tmp_path / "t.csv").write_bytes(b'\xef\xbb\xbfpath,label\r\n"a, b.png","large, grey"\r\n\r\nc.png,x\r\n')
    dataset = whole(str(tmp_path / "t.csv"))
    assert dataset.classes == ("large, grey", "x")
    assert dataset.splits["train"].sources[0] == str(tmp_path / "a, b.png")


def test_integer_labels_are_sorted_as_numbers_from_any_format(tmp_path: Path) -> None:
    rows = [(f"{i}.png", i) for i in (10, 9, 100, 1)]
    for kind in ("csv", "jsonl"):
        dataset = whole(write(tmp_path, rows, kind=kind))
        assert dataset.classes == ("1", "9", "10", "100")
        assert dataset.splits["train"].labels == [(2,), (1,), (3,), (0,)]


def test_labels_are_taken_as_they_stand(tmp_path: Path) -> None:
    assert whole(write(tmp_path, [("a.png", "1"), ("b.png", "x"), ("c.png", "01")])).classes == ("01", "1", "x")


def test_a_column_split_divides_the_rows_by_any_usual_name(tmp_path: Path) -> None:
    values = ["train", "Val", "TEST", "training", "dev", "testing"]
    rows = [(f"{i}.png", "ab"[i % 2], split) for i, split in enumerate([*values, "train", "train"])]
    dataset = whole(write(tmp_path, rows, ("path", "label", "split")))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 4, "validation": 2, "test": 2}


def test_a_table_without_splits_is_train_with_a_cut(tmp_path: Path) -> None:
    rows = [(f"{i}.png", "ab"[i % 2]) for i in range(40)]
    dataset = read(DataConfig(path=write(tmp_path, rows)))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 36, "validation": 4}
    assert "10 % of train (4 pictures, stratified, seed 0) held out" in dataset.notes[0]


def test_a_table_without_splits_is_evaluated_whole(tmp_path: Path) -> None:
    dataset = read_for_evaluation(DataConfig(path=write(tmp_path)), ("dog", "emu", "cat"), None)
    assert dataset.splits["test"].labels == [(2,), (0,), (2,), (0,)]


# --- several labels


def test_several_labels_are_separated_by_semicolons_and_may_be_none(tmp_path: Path) -> None:
    rows = [("a.png", "cat;dog"), ("b.png", ""), ("c.png", "emu; cat"), ("d.png", "dog")]
    dataset = whole(write(tmp_path, rows, ("path", "labels")), multi_label=True)
    assert dataset.classes == ("cat", "dog", "emu")
    assert dataset.splits["train"].labels == [(0, 1), (), (0, 2), (1,)]
    assert dataset.multi_label


def test_several_labels_may_be_a_list_in_json(tmp_path: Path) -> None:
    rows = [("a.png", ["dog", "cat"]), ("b.png", []), ("c.png", ["cat"])]
    dataset = whole(write(tmp_path, rows, ("path", "labels"), "jsonl"), multi_label=True)
    assert dataset.splits["train"].labels == [(0, 1), (), (0,)]


def test_an_unknown_class_among_several_labels_is_minus_one(tmp_path: Path) -> None:
    path = write(tmp_path, [("a.png", "cat;ant"), ("b.png", "cat")], ("path", "labels"))
    dataset = read_for_evaluation(DataConfig(path=path, multi_label=True), ("cat", "dog"), None)
    assert dataset.splits["test"].labels == [(-1, 0), (0,)]


@pytest.mark.parametrize(("kind", "value"), [("csv", "cat;dog"), ("jsonl", ["cat", "dog"])])
def test_several_labels_without_asking_for_them_point_to_the_option(tmp_path: Path, kind: str, value: Any) -> None:
    path = write(tmp_path, [("a.png", value), ("b.png", "cat")], ("path", "labels"), kind)
    with pytest.raises(UsageError, match="--multi-label"):
        whole(path)


def test_a_semicolon_in_a_column_of_single_labels_is_part_of_the_name(tmp_path: Path) -> None:
    assert whole(write(tmp_path, [("a.png", "x;y"), ("b.png", "z")])).classes == ("x;y", "z")


def test_an_empty_name_among_several_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 1 .* empty name"):
        whole(write(tmp_path, [("a.png", "cat;;dog")]), multi_label=True)


# --- refusals


def test_a_missing_column_is_refused_with_those_present(tmp_path: Path) -> None:
    path = write(tmp_path, header=("picture", "species"))
    with pytest.raises(UsageError, match=r"no column called path, file.*it has 'picture', 'species'"):
        whole(path)
    with pytest.raises(UsageError, match=r"no column 'specie'.*did you mean 'species'\?"):
        whole(path, path_column="picture", label_column="specie")


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="several columns 'label'"):
        whole(write(tmp_path, [("a.png", "x", "y")], ("path", "label", "label")))


def test_a_picture_with_two_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'a\.png' is 'dog' and 'cat'"):
        whole(write(tmp_path, [*ROWS, ("a.png", "cat")]))


def test_a_picture_named_twice_with_one_label_is_a_warning(tmp_path: Path) -> None:
    assert "1 rows" in whole(write(tmp_path, [*ROWS, ("a.png", "dog")])).warnings[0]


def test_missing_pictures_are_counted_with_an_example(tmp_path: Path) -> None:
    path = write(tmp_path, [(f"{i:03d}.png", "ab"[i % 2]) for i in range(150)])
    for i in (0, 75, 149):
        (tmp_path / f"{i:03d}.png").unlink()
    with pytest.raises(MissingInputError, match=r"2 of 100 pictures looked for do not exist, for example '.*000\.png'"):
        whole(path)


def test_at_most_a_hundred_pictures_are_looked_for_over_the_whole_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, [(f"{i:03d}.png", "ab"[i % 2]) for i in range(250)])
    looked_for: list[int] = []
    monkeypatch.setattr("os.path.exists", lambda path: looked_for.append(int(Path(path).stem)) or True)
    whole(path)
    assert len(looked_for) == 100
    assert min(looked_for) < 3
    assert max(looked_for) > 246


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("path,label\na.png,x,extra\n", "line 2 .* has 3 fields, but the header has 2"),
        ('path,label\n"a.png,x\n', "not a valid table"),
        (b"path,label\n\xff.png,x\n", "not UTF-8"),
        ("path,label\na.png,\n", "row 1 .* has no label"),
        ("path,label\n,x\n", "not the path of a picture"),
        ("path,label,split\na.png,x,holdout\n", "split 'holdout'"),
    ],
)
def test_invalid_csv_is_refused_with_its_place(tmp_path: Path, content: str | bytes, words: str) -> None:
    (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=words):
        whole(str(tmp_path / "t.csv"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "line 1 .* is not JSON"),
        ("[1]", "line 1 .* not a JSON object"),
        ('{"path": "a", "label": "x"}\n\n{"path": "b"}', "line 3 .* has no 'label'"),
        ('{"path": "a", "label": null}', "row 1 .* has no label"),
        ('{"path": "a", "label": NaN}', "row 1 .* has no label"),
        ('{"path": "a", "label": {}}', "neither a word nor a number"),
        ('{"path": 3, "label": "x"}', "3 in column 'path'"),
    ],
)
def test_invalid_jsonl_is_refused_with_its_place(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "t.jsonl").write_text(content)
    with pytest.raises(DataError, match=words):
        whole(str(tmp_path / "t.jsonl"))


def test_what_is_not_parquet_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "t.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(DataError, match="not a Parquet table"):
        whole(str(tmp_path / "t.parquet"))


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UnavailableError, match=r"pip install 'vitral\[parquet\]'"):
        whole(str(tmp_path / "t.parquet"))


@pytest.mark.parametrize("content", ["", "path,label\n"])
def test_a_table_without_rows_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises((MissingInputError, UsageError), match="holds no rows|has no column"):
        whole(str(tmp_path / "t.csv"))


def test_a_table_that_does_not_exist_is_missing_with_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(MissingInputError, match=r"did you mean '.*table\.csv'"):
        whole(str(tmp_path / "tabel.csv"))


# --- real tables


@needs_shared
def test_coil20_azimuth_reads_with_its_splits_and_bins_in_order() -> None:
    folder = DATA / "vtab_like/coil20_azimuth"
    dataset = read(
        DataConfig(
            path=str(folder / "labels.csv"),
            path_column="file",
            label_column="azimuth_bin18",
            image_folder=str(folder / "images"),
        )
    )
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 720,
        "validation": 180,
        "test": 540,
    }
    assert dataset.classes == tuple(map(str, range(18)))


@needs_shared
def test_imagenet_val_1300_reads_for_training_and_evaluation() -> None:
    config = DataConfig(path=str(DATA / "imagenet_val_1300/labels.csv"))
    dataset = read(config)
    assert sum(map(len, dataset.splits.values())) == 1300
    assert len(dataset.classes) == 725
    assert len(read_for_evaluation(config, dataset.classes, None).splits["test"]) == 1300
