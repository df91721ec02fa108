"""The proposed clean split: what is left out and why, as a table that is read back; no file is changed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.checks.photographs import CHANGES, contents, encoded, textured
from vitral.checks import check, examine
from vitral.checks.clean import Proposal, propose, write_table
from vitral.checks.examination import Examination
from vitral.config import DataConfig
from vitral.datasets import Dataset, read
from vitral.errors import DataError, StorageError, UsageError


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def near(seed: int, change: str = "cropped by 5 %") -> bytes:
    return encoded(CHANGES[change](textured(seed), random.Random(seed)), quality=80)


def original(seed: int) -> bytes:
    return encoded(textured(seed), quality=90)


def looked_at(path: Path, **options: object) -> Examination:
    return examine(read(DataConfig(path=str(path), validation_fraction=0.0, **options)), workers=1)  # type: ignore[arg-type]


def names(seen: Examination, proposal: Proposal) -> tuple[set[str], dict[str, str]]:
    def short(name: str) -> str:
        return name.removeprefix(f"{seen.dataset.root}/")

    return {short(seen.name(place)) for place in proposal.kept}, {
        short(seen.name(place)): reason for place, reason in proposal.dropped.items()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """train with a copy and a near copy of test, a near copy of val, a copy of its own, and a cut file."""
    return write(
        tmp_path / "data",
        {
            "train/cat/good1.jpg": original(1),
            "train/cat/good2.jpg": original(2),
            "train/cat/copy of good2.jpg": original(2),
            "train/cat/leak.jpg": original(20),
            "train/cat/cut.jpg": original(3)[:900],
            "train/dog/good4.jpg": original(4),
            "train/dog/near leak.jpg": near(21, "all at once"),
            "train/dog/second near leak.jpg": near(21, "all at once"),
            "train/dog/near val.jpg": near(30),
            "train/dog/good2 mislabelled.jpg": near(2, "mirrored"),
            "val/cat/v31.jpg": original(31),
            "val/cat/near test.jpg": near(22),
            "val/dog/v30.jpg": original(30),
            "test/cat/t20.jpg": original(20),
            "test/cat/t22.jpg": original(22),
            "test/dog/t21.jpg": original(21),
        },
    )


def test_copies_of_test_and_validation_leave_train_and_the_rest_stays(folder: Path) -> None:
    seen = looked_at(folder)
    kept, dropped = names(seen, propose(seen))
    assert {name: reason.split(":")[0] for name, reason in dropped.items()} == {
        "train/cat/cut.jpg": "unreadable",
        "train/cat/leak.jpg": "a copy is in test",
        "train/dog/near leak.jpg": "a copy is in test",
        "train/dog/second near leak.jpg": "a copy is in test",
        "train/dog/near val.jpg": "a copy is in validation",
        "val/cat/near test.jpg": "a copy is in test",
    }
    assert len(kept) + len(dropped) == len(seen.looks)


def test_conflicts_stay_unless_told_otherwise(folder: Path) -> None:
    seen = looked_at(folder)
    dropped = names(seen, propose(seen, drop_conflicts=True))[1]
    conflicting = {"train/cat/good2.jpg", "train/cat/copy of good2.jpg", "train/dog/good2 mislabelled.jpg"}
    assert conflicting <= set(dropped)
    assert not conflicting & set(names(seen, propose(seen))[1])


def test_every_copy_of_a_picture_with_two_labels_is_a_conflict(tmp_path: Path) -> None:
    files = {f"train/{'dog' if k == 1 else 'cat'}/{k}.jpg": original(1) for k in range(4)}
    files |= {"train/cat/other.jpg": original(5), "train/dog/other.jpg": original(6), "val/cat/v.jpg": original(7)}
    seen = looked_at(write(tmp_path, files))
    assert names(seen, propose(seen, drop_conflicts=True))[0] == {
        "train/cat/other.jpg",
        "train/dog/other.jpg",
        "val/cat/v.jpg",
    }


def test_each_of_several_copies_in_train_of_one_in_test_leaves(tmp_path: Path) -> None:
    files = {f"train/cat/{k}.jpg": original(1) for k in range(3)} | {"test/cat/x.jpg": original(1)}
    files |= {"train/cat/other.jpg": original(5), "train/dog/other.jpg": original(6)}
    seen = looked_at(write(tmp_path, files))
    assert names(seen, propose(seen))[0] == {"test/cat/x.jpg", "train/cat/other.jpg", "train/dog/other.jpg"}


def test_where_validation_is_still_to_be_cut_only_the_first_of_several_copies_stays(tmp_path: Path) -> None:
    files = {"cat/a.jpg": original(1), "cat/b.jpg": original(1), "cat/c.jpg": near(1), "dog/d.jpg": original(2)}
    seen = looked_at(write(tmp_path, files))
    assert names(seen, propose(seen))[0] == {"cat/a.jpg", "dog/d.jpg"}


@pytest.mark.parametrize("place", ["inside", "outside"])
def test_the_table_reads_as_a_clean_data_set(folder: Path, tmp_path: Path, place: str) -> None:
    before = contents(folder)
    table = (folder if place == "inside" else tmp_path) / "clean.csv"
    seen = looked_at(folder)
    assert write_table(seen, propose(seen), table) == []
    again = read(DataConfig(path=str(table), validation_fraction=0.0))
    assert again.classes == ("cat", "dog")
    found = check(again, workers=1)
    assert (found.unreadable, found.leaks, found.near_leaks) == ((), (), ())
    assert {name: len(split) for name, split in again.splits.items()} == {"train": 5, "validation": 2, "test": 3}
    table.unlink()
    assert contents(folder) == before


def test_paths_within_the_tables_folder_move_with_it(folder: Path, tmp_path: Path) -> None:
    seen = looked_at(folder)
    write_table(seen, propose(seen), tmp_path / "clean.csv")
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert len(read(DataConfig(path=str(moved / "clean.csv"))).splits["test"]) == 3


def test_several_labels_come_back(tmp_path: Path) -> None:
    write(tmp_path, {f"{k}.jpg": original(k) for k in range(4)})
    (tmp_path / "rows.csv").write_text("path,labels\n0.jpg,cat;dog\n1.jpg,\n2.jpg,cat\n3.jpg,dog\n")
    seen = looked_at(tmp_path / "rows.csv", multi_label=True)
    write_table(seen, propose(seen), tmp_path / "clean.csv")
    again = read(DataConfig(path=str(tmp_path / "clean.csv"), multi_label=True, validation_fraction=0.0))
    assert list(again.splits["train"].labels) == [(0, 1), (), (0,), (1,)]


def test_a_row_listed_twice_is_kept_once(tmp_path: Path) -> None:
    write(tmp_path, {f"{k}.jpg": original(k) for k in range(3)})
    (tmp_path / "rows.csv").write_text("path,label,split\n0.jpg,a,train\n0.jpg,a,train\n1.jpg,b,train\n2.jpg,a,val\n")
    seen = looked_at(tmp_path / "rows.csv")
    assert [place.position for place in propose(seen).kept if place.split == "train"] == [0, 2]


def test_a_class_that_train_loses_leaves_the_other_splits(tmp_path: Path) -> None:
    files = {f"train/{name}/{seed}.jpg": original(seed) for seed, name in enumerate(["cat", "dog", "owl"])}
    seen = looked_at(write(tmp_path, files | {"test/owl/x.jpg": original(2), "test/cat/y.jpg": original(9)}))
    kept, dropped = names(seen, propose(seen))
    assert kept == {"train/cat/0.jpg", "train/dog/1.jpg", "test/cat/y.jpg"}
    assert dropped["test/owl/x.jpg"] == "its class has no picture of train left"


def test_nothing_left_to_train_on_is_an_error(tmp_path: Path) -> None:
    files = {
        f"{split}/{name}/{seed}.jpg": original(seed) for split in ("train", "test") for seed, name in enumerate("ab")
    }
    with pytest.raises(DataError, match="no class of 2 classes"):
        propose(looked_at(write(tmp_path, files)))


def test_a_table_that_is_there_stays(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("mine")
    seen = looked_at(folder)
    with pytest.raises(StorageError, match="name a new file"):
        write_table(seen, propose(seen), tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_text() == "mine"


def test_class_names_that_a_table_cannot_hold_are_refused(tmp_path: Path) -> None:
    seen = looked_at(write(tmp_path, {"a;b/1.jpg": original(1), "c/2.jpg": original(2)}))
    write_table(seen, propose(seen), tmp_path / "one.csv")
    assert read(DataConfig(path=str(tmp_path / "one.csv"))).classes == ("a;b", "c")
    several = Examination(Dataset("x", None, seen.dataset.classes, seen.dataset.splits, True), seen.looks, [], [])
    with pytest.raises(UsageError, match="'a;b'"):
        write_table(several, propose(several), tmp_path / "several.csv")
