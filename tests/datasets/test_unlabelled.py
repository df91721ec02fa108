"""Pictures to learn from without labels: every shape of folder and list, and nothing of what they are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pictures import picture, write_folder
from vitral.config import DataConfig
from vitral.datasets import Dataset, read, read_unlabelled, without_labels
from vitral.errors import DataError, MissingInputError, UsageError


def named(dataset: Dataset, split: str) -> list[str]:
    return sorted(Path(source).name for source in dataset.splits[split].sources)


def flat(root: Path, count: int = 20) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        picture("red", i).save(root / f"{i:02}.png")
    return root


def test_a_flat_folder_is_read_and_a_tenth_held_out_the_same_each_time(tmp_path: Path) -> None:
    config = DataConfig(path=str(flat(tmp_path / "flat")))
    found, again = read_unlabelled(config, 3), read_unlabelled(config, 3)
    assert found.classes == ()
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 18, "validation": 2}
    assert named(found, "validation") == named(again, "validation")
    assert set(found.splits["train"].labels) == {()}
    assert not any("not learned" in note for note in found.notes)


def test_pictures_at_any_depth_are_read_and_their_folders_not_learned(tmp_path: Path) -> None:
    write_folder(tmp_path / "all", {"": 4})
    write_folder(tmp_path / "all" / "blue", {"deeper": 2})
    flat(tmp_path / "all", 3)
    found = read_unlabelled(DataConfig(path=str(tmp_path / "all"), validation_fraction=0))
    assert len(found.splits["train"]) == 12 + 6 + 3
    assert found.splits["train"].sources == sorted(found.splits["train"].sources, key=lambda path: path.rsplit("/", 1))
    assert "names of folders are not learned: pre-training has no use for labels" in found.notes


def test_splits_are_kept_and_test_is_left_alone(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "splits", {"train": 4, "val": 2, "test": 3})
    flat(root / "other", 2)
    found = read_unlabelled(DataConfig(path=str(root)))
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 12, "validation": 6}
    assert any("the test split is left alone" in note for note in found.notes)
    assert any("folders 'other'" in warning for warning in found.warnings)
    flat(root / "training", 1)
    with pytest.raises(DataError, match="several folders for train"):
        read_unlabelled(DataConfig(path=str(root)))


def test_a_table_needs_no_labels(tmp_path: Path) -> None:
    flat(tmp_path / "flat")
    table = tmp_path / "list.csv"
    table.write_text("path\n" + "".join(f"flat/{i:02}.png\n" for i in range(20)))
    found = read_unlabelled(DataConfig(path=str(table)))
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 18, "validation": 2}
    table.write_text(
        "path,label,split\n" + "".join(f"flat/{i:02}.png,,{'train' if i else 'test'}\n" for i in range(20))
    )
    found = read_unlabelled(DataConfig(path=str(table), validation_fraction=0))
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 19}
    table.write_text("path,label,split\nflat/00.png,a,test\n")
    with pytest.raises(DataError, match="no split train, only test"):
        read_unlabelled(DataConfig(path=str(table)))


def test_what_is_no_folder_of_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("words")
    with pytest.raises(MissingInputError, match=r"no picture under .*only other files \(1 .txt\)"):
        read_unlabelled(DataConfig(path=str(tmp_path / "texts")))
    with pytest.raises(MissingInputError, match="does not exist"):
        read_unlabelled(DataConfig(path=str(tmp_path / "nowhere")))
    with pytest.raises(MissingInputError, match="no data is given"):
        read_unlabelled(DataConfig())
    with pytest.raises(UsageError, match="--label-column is for tables"):
        read_unlabelled(DataConfig(path=str(tmp_path / "texts"), label_column="x"))


def test_a_labelled_data_set_is_stripped(tmp_path: Path) -> None:
    labelled = read(DataConfig(path=str(write_folder(tmp_path / "splits", {"train": 4, "val": 2, "test": 3}))))
    bare = without_labels(labelled)
    assert (bare.classes, set(bare.splits)) == ((), {"train", "validation"})
    assert bare.splits["train"].sources == labelled.splits["train"].sources
    assert set(bare.splits["train"].labels) == {()}
