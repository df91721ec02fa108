"""Folders of pictures: what is read, in which order, and what is refused with which way out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vitral.config import DataConfig
from vitral.datasets import read, read_for_evaluation
from vitral.datasets.dataset import Dataset
from vitral.datasets.folder import pictures_in
from vitral.errors import DataError, MissingInputError, UsageError

SIGNATURES = {
    "jpeg": b"\xff\xd8\xff\xe0",
    "png": b"\x89PNG\r\n\x1a\n",
    "gif": b"GIF89a",
    "webp": b"RIFF\0\0\0\0WEBP",
    "bmp": b"BM\x10\0\0\0\0\0\0\0\x36\0",
}


def make(root: Path, *paths: str) -> Path:
    """Empty files: a reader of folders looks at names alone. A path that ends in / is an empty folder."""
    for path in paths:
        if path.endswith("/"):
            (root / path).mkdir(parents=True, exist_ok=True)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
    return root


def two_classes(root: Path, *splits: str, count: int = 4) -> Path:
    for split in splits or ("",):
        make(root, *(f"{split}/{name}/{i}.png".lstrip("/") for name in ("cat", "dog") for i in range(count)))
    return root


def whole(root: Path, **options: object) -> Dataset:
    """Read without a cut."""
    return read(DataConfig(path=str(root), validation_fraction=0.0, **options))


def names(dataset: Dataset, split: str) -> list[tuple[str, str]]:
    """(class, file name) of each picture."""
    found = dataset.splits[split]
    return [
        (dataset.classes[label], Path(source).name)
        for source, (label,) in zip(found.sources, found.labels, strict=True)
    ]


# --- what is read


def test_class_folders_are_classes_in_order_of_their_names(tmp_path: Path) -> None:
    make(tmp_path, "b/1.png", "a/2.png", "a/1.png", "C/1.png")
    dataset = whole(tmp_path)
    assert dataset.classes == ("C", "a", "b")
    assert names(dataset, "train") == [("C", "1.png"), ("a", "1.png"), ("a", "2.png"), ("b", "1.png")]


def test_sources_are_paths_that_exist(tmp_path: Path) -> None:
    assert all(Path(path).is_file() for path in whole(two_classes(tmp_path)).splits["train"].sources)


@pytest.mark.parametrize(
    "folders",
    [
        ("train", "val", "test"),
        ("Training", "VALID", "Testing"),
        ("train", "validation", "test"),
        ("TRAIN", "dev", "Test"),
    ],
)
def test_splits_are_found_by_any_usual_name_in_any_case(tmp_path: Path, folders: tuple[str, ...]) -> None:
    assert list(whole(two_classes(tmp_path, *folders)).splits) == ["train", "validation", "test"]


def test_integer_class_names_are_sorted_as_numbers(tmp_path: Path) -> None:
    make(tmp_path, *(f"{i}/x.png" for i in (10, 9, 100, 0)))
    assert whole(tmp_path).classes == ("0", "9", "10", "100")


def test_endings_are_taken_in_any_case_without_looking_inside(tmp_path: Path) -> None:
    files = ["1.jpg", "2.JPEG", "3.jpe", "4.JfIf", "5.png", "6.webp", "7.bmp", "8.gif"]
    make(tmp_path, *(f"a/{name}" for name in files), "b/1.png")
    assert [name for label, name in names(whole(tmp_path), "train") if label == "a"] == files


@pytest.mark.parametrize("kind", SIGNATURES)
@pytest.mark.parametrize("ending", ["", ".dat"])
def test_another_ending_is_taken_if_the_content_is_a_picture(tmp_path: Path, kind: str, ending: str) -> None:
    make(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / f"picture{ending}").write_bytes(SIGNATURES[kind] + bytes(20))
    assert ("a", f"picture{ending}") in names(whole(tmp_path), "train")


def test_other_files_are_ignored_with_one_note_that_counts_them(tmp_path: Path) -> None:
    two_classes(tmp_path)
    make(tmp_path, "cat/a.txt", "dog/b.TXT", "dog/readme", "dog/BMW", "labels.xml")
    (tmp_path / "dog/BMW").write_bytes(b"BMW is a text")
    dataset = whole(tmp_path)
    assert len(dataset.splits["train"]) == 8
    assert [note for note in dataset.notes if "ignored" in note] == [
        "files that are not pictures are ignored: 2 .txt, 1 .xml, 2 without ending"
    ]


def test_hidden_files_and_folders_do_not_exist_for_the_reader(tmp_path: Path) -> None:
    two_classes(tmp_path)
    make(tmp_path, ".cache/x.png", "cat/._1.png", "cat/.DS_Store")
    dataset = whole(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.splits["train"]) == 8
    assert not any("ignored" in note for note in dataset.notes)


def test_a_pipe_with_an_unknown_ending_does_not_hang_the_reader(tmp_path: Path) -> None:
    two_classes(tmp_path)
    os.mkfifo(tmp_path / "cat" / "pipe")
    assert len(whole(tmp_path).splits["train"]) == 8


@pytest.mark.parametrize(
    "name",
    [
        b"with space.png",
        b"quote'\".png",
        b"new\nline.png",
        b"\xff\xfe latin \xe9.png",
        b"x" * 251 + b".png",
        "é雪.png".encode(),
    ],
)
def test_any_file_name_works_and_opens_again(tmp_path: Path, name: bytes) -> None:
    two_classes(tmp_path)
    (tmp_path / "cat" / os.fsdecode(name)).write_bytes(b"content")
    found = [path for path in whole(tmp_path).splits["train"].sources if os.fsencode(path).endswith(b"/" + name)]
    assert len(found) == 1
    assert Path(found[0]).read_bytes() == b"content"


def test_the_order_of_the_file_system_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, *(f"{label}/{i}.png" for label in "cab" for i in (3, 1, 20)))
    expected = whole(tmp_path)
    scandir = os.scandir

    class Backwards:
        def __init__(self, path: Path) -> None:
            with scandir(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(os, "scandir", Backwards)
    assert whole(tmp_path) == expected


def test_reading_a_folder_opens_no_picture_and_imports_nothing_heavy(tmp_path: Path) -> None:
    two_classes(tmp_path, count=50)
    script = (
        "import sys\nfrom vitral.config import DataConfig\nfrom vitral.datasets import read\nseen = []\n"
        "sys.addaudithook(lambda event, args: seen.append(str(args[0])) if event == 'open' else None)\n"
        f"read(DataConfig(path={str(tmp_path)!r}))\nassert not [path for path in seen if path.endswith('.png')], seen\n"
        "heavy = {'torch', 'PIL', 'pyarrow', 'sklearn'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_pictures_in_lists_one_folder_in_order(tmp_path: Path) -> None:
    make(tmp_path, "b.png", "a.jpg", "notes.txt", ".hidden.png", "deeper/c.png")
    assert pictures_in(tmp_path) == [str(tmp_path / "a.jpg"), str(tmp_path / "b.png")]


# --- the traps of other libraries


def test_a_validation_split_that_lacks_a_class_keeps_the_labels_of_train(tmp_path: Path) -> None:
    # timm indexes each split by itself: b, c of validation become 0, 1.
    make(tmp_path, *(f"train/{label}/1.png" for label in "abc"), "val/b/2.png", "val/c/3.png")
    dataset = whole(tmp_path)
    assert dataset.splits["validation"].labels == [(1,), (2,)]
    assert names(dataset, "validation") == [("b", "2.png"), ("c", "3.png")]


def test_without_a_validation_folder_it_is_cut_from_train_and_never_the_whole_root(tmp_path: Path) -> None:
    # timm validates on train and test together.
    two_classes(tmp_path, "train", "test", count=10)
    dataset = read(DataConfig(path=str(tmp_path), validation_fraction=0.2))
    sources = {name: set(split.sources) for name, split in dataset.splits.items()}
    assert len(sources["validation"]) == 4
    assert all(path.startswith(str(tmp_path / "train")) for path in sources["validation"])
    assert sources["train"].isdisjoint(sources["validation"])
    assert len(sources["train"]) == 16
    assert len(sources["test"]) == 20


# --- warnings


def test_pictures_beside_class_folders_are_counted_in_a_warning(tmp_path: Path) -> None:
    make(two_classes(tmp_path), "loose1.png", "loose2.png")
    (warning,) = whole(tmp_path).warnings
    assert warning.startswith("2 pictures directly in")


def test_an_empty_class_folder_of_validation_is_a_warning(tmp_path: Path) -> None:
    make(two_classes(tmp_path, "train"), "val/cat/1.png", "val/dog/")
    (warning,) = whole(tmp_path).warnings
    assert warning == "class folders of validation hold no picture: 'dog'"


def test_a_split_without_pictures_is_a_warning_and_validation_is_cut(tmp_path: Path) -> None:
    make(two_classes(tmp_path, "train"), "val/cat/", "val/dog/")
    dataset = read(DataConfig(path=str(tmp_path)))
    assert "there is no validation split" in dataset.warnings[0]
    assert len(dataset.splits["validation"]) == 2


def test_folders_beside_splits_and_inside_classes_are_named_in_warnings(tmp_path: Path) -> None:
    make(two_classes(tmp_path, "train", "val"), "extra/x.png", "train/cat/more/y.png")
    assert [warning.split(":")[0].split(" '")[0] for warning in whole(tmp_path).warnings] == [
        "folders inside class folder",
        "folders beside the splits are not read",
    ]


def test_a_class_called_train_is_a_class_among_others_with_a_note(tmp_path: Path) -> None:
    make(tmp_path, "bus/1.png", "train/1.png", "tram/1.png")
    dataset = whole(tmp_path)
    assert dataset.classes == ("bus", "train", "tram")
    assert any("taken as a class" in note for note in dataset.notes)


# --- refusals


def refusal(kind: type[Exception], root: Path, **options: object) -> str:
    with pytest.raises(kind) as caught:
        whole(root, **options)
    return str(caught.value)


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    message = refusal(DataError, two_classes(tmp_path, "train", "val", "valid"))
    assert "several folders for validation: 'val', 'valid'" in message


@pytest.mark.parametrize("splits", [("train", "val"), ("train",)])
def test_flat_splits_are_refused_with_the_expected_shape(tmp_path: Path, splits: tuple[str, ...]) -> None:
    message = refusal(DataError, make(tmp_path, *(f"{split}/{i}.png" for split in splits for i in range(3))))
    assert "3 pictures without class folders" in message
    assert "train/class/picture.jpg" in message


def test_a_flat_validation_beside_a_good_train_is_refused(tmp_path: Path) -> None:
    # The layout of ImageNet's validation pictures as they are downloaded.
    make(two_classes(tmp_path, "train"), "val/ILSVRC2012_val_00000001.JPEG")
    assert f"{str(tmp_path / 'val')!r} holds 1 pictures without class folders" in refusal(DataError, tmp_path)


def test_a_root_one_level_too_high_is_refused_with_the_right_root(tmp_path: Path) -> None:
    two_classes(tmp_path / "animals-v1")
    assert f"the right path is probably {str(tmp_path / 'animals-v1')!r}" in refusal(DataError, tmp_path)


def test_a_root_above_folders_with_splits_is_refused_with_the_right_root(tmp_path: Path) -> None:
    two_classes(tmp_path / "download" / "animals", "train", "val")
    assert f"the right path is probably {str(tmp_path / 'download' / 'animals')!r}" in refusal(DataError, tmp_path)


def test_splits_inside_classes_are_refused_with_the_right_way_round(tmp_path: Path) -> None:
    make(tmp_path, *(f"{label}/{split}/1.png" for label in ("cat", "dog") for split in ("train", "val")))
    assert "train/cat, not cat/train" in refusal(DataError, tmp_path)


def test_one_class_is_refused(tmp_path: Path) -> None:
    message = refusal(DataError, make(tmp_path, "cat/1.png", "cat/2.png"))
    assert "needs at least two classes" in message
    assert "only 'cat'" in message


def test_empty_class_folders_of_train_are_listed(tmp_path: Path) -> None:
    assert "hold no picture: 'emu', 'fox'" in refusal(DataError, make(two_classes(tmp_path), "emu/", "fox/"))


def test_a_class_unknown_to_train_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    make(two_classes(tmp_path, "train"), "val/cats/1.png", "val/zebra/1.png")
    message = refusal(DataError, tmp_path)
    assert "validation has classes that train lacks: 'cats' (did you mean 'cat'?), 'zebra'" in message


def test_a_root_that_does_not_exist_is_missing_with_the_nearest_sibling(tmp_path: Path) -> None:
    (tmp_path / "flowers").mkdir()
    message = refusal(MissingInputError, tmp_path / "flowres")
    assert f"did you mean {str(tmp_path / 'flowers')!r}" in message


@pytest.mark.parametrize("paths", [(), ("sub/",), ("sub/deeper/",), ("notes.txt",)])
def test_a_root_without_any_picture_is_missing(tmp_path: Path, paths: tuple[str, ...]) -> None:
    assert "no picture under" in refusal(MissingInputError, make(tmp_path, *paths))


def test_no_path_at_all_is_missing() -> None:
    with pytest.raises(MissingInputError, match="no data is given"):
        read(DataConfig())


def test_pictures_without_any_class_folder_are_refused(tmp_path: Path) -> None:
    assert "2 pictures but none in a class folder" in refusal(DataError, make(tmp_path, "1.png", "2.png"))


def test_a_single_picture_points_to_predict(tmp_path: Path) -> None:
    assert "vitral predict" in refusal(UsageError, make(tmp_path, "1.png") / "1.png")


def test_train_is_needed_to_train(tmp_path: Path) -> None:
    assert "no split train, only test" in refusal(DataError, two_classes(tmp_path, "test"))


@pytest.mark.parametrize("options", [{"path_column": "a"}, {"label_column": "a"}, {"image_folder": "a"}], ids=str)
def test_options_of_tables_are_refused_for_a_folder(tmp_path: Path, options: dict[str, str]) -> None:
    assert "is for tables" in refusal(UsageError, two_classes(tmp_path), **options)


def test_several_labels_per_picture_are_refused_for_a_folder(tmp_path: Path) -> None:
    assert "need a table" in refusal(UsageError, two_classes(tmp_path), multi_label=True)


# --- symbolic links


def test_a_picture_linked_from_outside_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "secret.png")
    root = two_classes(tmp_path / "data")
    (root / "cat" / "link.png").symlink_to(tmp_path / "secret.png")
    assert "leads out of" in refusal(DataError, root)


def test_a_class_folder_linked_from_outside_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/1.png")
    root = two_classes(tmp_path / "data")
    (root / "emu").symlink_to(tmp_path / "elsewhere")
    assert "leads out of" in refusal(DataError, root)


def test_a_sibling_whose_name_begins_like_the_root_is_outside(tmp_path: Path) -> None:
    make(tmp_path, "data-private/1.png")
    root = two_classes(tmp_path / "data")
    (root / "cat" / "link.png").symlink_to(tmp_path / "data-private" / "1.png")
    assert "leads out of" in refusal(DataError, root)


def test_links_inside_the_root_and_the_root_itself_are_followed(tmp_path: Path) -> None:
    root = two_classes(tmp_path / "data")
    (root / "dog" / "link.png").symlink_to(root / "cat" / "1.png")
    (tmp_path / "link").symlink_to(root)
    assert ("dog", "link.png") in names(whole(tmp_path / "link"), "train")


# --- evaluation


def evaluation(root: Path, classes: tuple[str, ...] | None = ("cat", "dog"), split: str | None = None) -> Dataset:
    return read_for_evaluation(DataConfig(path=str(root)), classes, split)


def test_labels_are_mapped_by_name_onto_the_models_classes(tmp_path: Path) -> None:
    make(tmp_path, "cat/1.png", "dog/2.png")
    dataset = evaluation(tmp_path, ("dog", "emu", "cat"))
    assert dataset.classes == ("dog", "emu", "cat")
    assert dataset.splits["test"].labels == [(2,), (0,)]


def test_a_test_split_that_lacks_a_class_keeps_the_models_labels(tmp_path: Path) -> None:
    make(tmp_path, "train/ant/1.png", "test/cat/1.png", "test/dog/2.png")
    assert evaluation(tmp_path, ("ant", "cat", "dog")).splits["test"].labels == [(1,), (2,)]


def test_a_class_that_the_model_lacks_is_minus_one_with_a_warning(tmp_path: Path) -> None:
    make(tmp_path, "ant/1.png", "ant/2.png", "cat/1.png", "cats/1.png", "dog/1.png")
    dataset = evaluation(tmp_path)
    assert dataset.splits["test"].labels == [(-1,), (-1,), (0,), (-1,), (1,)]
    (warning,) = dataset.warnings
    assert "'ant'" in warning
    assert "'cats' (did you mean 'cat'?)" in warning
    assert "3 pictures always count as wrong" in warning


def test_data_of_which_the_model_knows_no_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no class of the data.*'cats' \(did you mean 'cat'\?\).*the model has 'cat', 'dog'"
    ):
        evaluation(make(tmp_path, "cats/1.png", "birds/1.png"))


def test_a_name_that_two_classes_of_the_model_share_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="several classes of the same name"):
        evaluation(make(tmp_path, "crane/1.png"), ("crane", "cat", "crane"))


@pytest.mark.parametrize(
    ("present", "chosen"),
    [(("train", "val", "test"), "test"), (("train", "val"), "validation"), (("test",), "test")],
)
def test_evaluation_takes_test_else_validation(tmp_path: Path, present: tuple[str, ...], chosen: str) -> None:
    dataset = evaluation(two_classes(tmp_path, *present))
    assert list(dataset.splits) == [chosen]
    assert len(dataset.splits[chosen]) == 8


def test_data_without_splits_is_evaluated_whole_as_test(tmp_path: Path) -> None:
    dataset = evaluation(two_classes(tmp_path))
    assert [(name, len(split)) for name, split in dataset.splits.items()] == [("test", 8)]
    assert any("all 8 pictures" in note for note in dataset.notes)


def test_one_class_is_enough_to_evaluate(tmp_path: Path) -> None:
    assert evaluation(make(tmp_path, "dog/1.png")).splits["test"].labels == [(1,)]


@pytest.mark.parametrize("asked", ["val", "validation", "DEV"])
def test_a_split_can_be_asked_for_by_any_usual_name(tmp_path: Path, asked: str) -> None:
    assert list(evaluation(two_classes(tmp_path, "train", "valid", "test"), split=asked).splits) == ["validation"]


def test_a_split_that_is_absent_is_refused_with_those_present(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose one of train, test"):
        evaluation(two_classes(tmp_path, "train", "test"), split="val")
    with pytest.raises(UsageError, match="has no splits"):
        evaluation(two_classes(tmp_path / "train"), split="val")


def test_training_pictures_are_evaluated_only_when_asked_for(tmp_path: Path) -> None:
    two_classes(tmp_path, "train")
    with pytest.raises(UsageError, match="only the split train"):
        evaluation(tmp_path)
    assert len(evaluation(tmp_path, split="train").splits["train"]) == 8


def test_without_a_model_the_classes_are_those_of_train(tmp_path: Path) -> None:
    make(tmp_path, "train/ant/1.png", "train/cat/1.png", "test/cat/2.png")
    dataset = evaluation(tmp_path, None)
    assert dataset.classes == ("ant", "cat")
    assert dataset.splits["test"].labels == [(1,)]
