"""Archives are read in place: against tarfile, zipfile and gzip, from any position, whole or damaged."""

from __future__ import annotations

import gzip
import random
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.formats import write_tar, write_zip
from vitral.datasets import inflating
from vitral.datasets.collection import inner_tar, open_collection
from vitral.datasets.inflating import Inflating
from vitral.errors import DataError, MissingInputError

FILES = {
    "set/a/1.jpg": b"one" * 100,
    "set/a/2.jpg": np.random.default_rng(0).bytes(5000),
    "set/b/1.jpg": b"",
    "set/list.txt": b"x\n\ny\n",
}


def as_folder(path: Path) -> Path:
    for name, data in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


FORMS = {
    "folder": lambda path: as_folder(path),
    "tar": lambda path: write_tar(path, FILES),
    "tar.gz": lambda path: write_tar(path, FILES, "w:gz"),
    "deflated zip": lambda path: write_zip(path, FILES),
    "stored zip": lambda path: write_zip(path, FILES, zipfile.ZIP_STORED),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_files(form: str, tmp_path: Path) -> None:
    inside = open_collection(FORMS[form](tmp_path / "set"))
    assert {name: part.read() for name, part in inside.parts.items()} == FILES
    assert inside.read("b/1.jpg") == b""
    assert inside.read("2.jpg") == FILES["set/a/2.jpg"]
    assert inside.text("list.txt") == ["x", "y"]
    shown = f"{tmp_path / 'set'}: set/a/1.jpg" if form != "folder" else str(tmp_path / "set/set/a/1.jpg")
    assert str(inside.ending("a/1.jpg")) == shown
    with pytest.raises(DataError, match=r"holds 2 files '1\.jpg'"):
        inside.ending("1.jpg")
    with pytest.raises(DataError, match=r"holds no files 'ist\.txt'"):
        inside.ending("ist.txt")
    with pytest.raises(DataError, match="is no text"):
        inside.text("2.jpg")


@pytest.mark.parametrize("form", ["tar.gz", "deflated zip", "stored zip"])
def test_a_cut_archive_is_one_sentence(form: str, tmp_path: Path) -> None:
    path = FORMS[form](tmp_path / "set")
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 611):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=re.escape(repr(str(path)))):
            open_collection(path)


def test_a_cut_tar_is_one_sentence_or_shorter(tmp_path: Path) -> None:
    """A tar has no table of its contents; what reads a set knows which pictures it should hold."""
    path = FORMS["tar"](tmp_path / "set")
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        members = tar.getmembers()
    for member in members[:2]:  # in the middle of one's data
        path.write_bytes(whole[: member.offset_data + member.size // 2])
        with pytest.raises(DataError, match="damaged or no archive"):
            open_collection(path)
    path.write_bytes(whole[: members[1].offset])
    assert list(open_collection(path).parts) == [members[0].name]


def test_what_is_no_archive_is_said(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no archive at all" * 100)
    with pytest.raises(DataError, match="damaged or no archive"):
        open_collection(tmp_path / "x")
    with pytest.raises(MissingInputError):
        open_collection(tmp_path / "none")


def test_names_that_lead_out_lead_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = write_tar(folder / "x.tar", {"../out.txt": b"1", "/abs.txt": b"2"})
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    inside = open_collection(path)
    assert inside.read("out.txt") == b"1"
    assert not any("link" in name for name in inside.parts)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["in", "x.tar"]
    (folder / "passwd").symlink_to("/etc/passwd")
    assert "passwd" not in open_collection(folder).parts


def test_a_tar_inside_a_tar_is_read_in_place(tmp_path: Path) -> None:
    inner = write_tar(tmp_path / "n01.tar", FILES)
    outer = write_tar(tmp_path / "outer.tar", {"pad": b"x" * 700, "n01.tar": inner.read_bytes()})
    parts = inner_tar(open_collection(outer).ending("n01.tar"))
    assert {name: part.read() for name, part in parts.items()} == FILES


@pytest.mark.parametrize("streams", [1, 3])
def test_a_gzip_file_is_read_from_any_position(streams: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflating, "EVERY", 10_000)
    monkeypatch.setattr(inflating, "CHUNK", 1_000)
    parts = [np.random.default_rng(k).integers(0, 40, 40_000, dtype=np.uint8).tobytes() for k in range(streams)]
    path = tmp_path / "x.gz"
    path.write_bytes(b"".join(map(gzip.compress, parts)) + bytes(512))
    whole = b"".join(parts)
    inside = Inflating(path)
    assert inside.size == len(whole)
    assert len(inside._states) > 2 * streams
    rng = random.Random(0)
    for _ in range(60):
        offset, length = rng.randrange(len(whole)), rng.choice([0, 1, 500, 30_000])
        assert inside.at(offset, length) == whole[offset : offset + length]
    assert inside.at(len(whole) + 5, 3) == b""


def test_a_member_of_a_zip_is_checked(tmp_path: Path) -> None:
    inside = open_collection(write_zip(tmp_path / "x.zip", FILES))
    data = (tmp_path / "x.zip").read_bytes()
    start = inside.parts["set/a/2.jpg"].offset
    (tmp_path / "x.zip").write_bytes(data[: start + 40] + b"\xff" * 60 + data[start + 100 :])
    with pytest.raises(DataError, match="cannot read"):
        inside.read("2.jpg")
    assert inside.read("a/1.jpg") == FILES["set/a/1.jpg"]
