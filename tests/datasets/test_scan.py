"""Listing folders: links that lead out or round in a circle, names that cannot be shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.pictures import picture, write_folder
from vitral.config import DataConfig
from vitral.datasets import read
from vitral.datasets.scan import pictures_below
from vitral.errors import DataError


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_link_back_to_a_folder_above_is_refused(tmp_path: Path, target: str) -> None:
    root = tmp_path / "a"
    (root / "b" / "c").mkdir(parents=True)
    picture("red", 1).save(root / "b" / "c" / "1.png")
    (root / "b" / "c" / "round").symlink_to(target)
    with pytest.raises(DataError, match=r"leads back to .*: remove it"):
        pictures_below(root)


def test_a_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "b")
    with pytest.raises(DataError, match="leads out of"):
        pictures_below(tmp_path / "a")


def test_a_link_to_a_picture_beside_it_is_followed(tmp_path: Path) -> None:
    picture("red", 1).save(tmp_path / "1.png")
    (tmp_path / "2.png").symlink_to("1.png")
    assert [Path(path).name for path in pictures_below(tmp_path)] == ["1.png", "2.png"]


@pytest.mark.parametrize("name", [b"caf\xe9", b"a\x1b[31mb", b"two\nlines"])
def test_class_names_that_cannot_be_saved_as_text_are_refused(tmp_path: Path, name: bytes) -> None:
    root = write_folder(tmp_path / "p", {"train": 3})
    folder = os.fsdecode(os.fsencode(root / "train") + b"/" + name)
    Path(folder).mkdir()
    picture("red", 1).save(Path(folder) / "1.png")
    with pytest.raises(DataError, match="cannot be shown or saved as text"):
        read(DataConfig(path=str(root)), seed=0)
