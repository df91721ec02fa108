"""ImageNet-21k in tiny tars of its form, and ImageNet's classes shown as words."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path

import pytest

from tests.datasets.formats import jpeg, write_tar
from tests.datasets.test_published import write_imagenet
from vitral.config import DataConfig
from vitral.data.decode import decode
from vitral.datasets import imagenet21k, read, read_for_evaluation
from vitral.datasets.published import PUBLISHED, Published
from vitral.errors import DataError, MissingInputError, UsageError
from vitral.planning import plan
from vitral.run import _descriptions

SYNSETS = ("n00004475", "n02084071", "n12345678")
COUNT = 7


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet21k, "CLASSES", 5)
    monkeypatch.setattr(imagenet21k, "HELD_OUT", 4)


def write_release(folder: Path, whole: bool) -> dict[str, bytes]:
    """The release with three synsets; what each picture is, by name."""
    inner, held = {}, {}
    for k, synset in enumerate(SYNSETS):
        own = {f"{synset}_{10 * n + k}.JPEG": jpeg(100 * k + n) for n in range(COUNT, 0, -1)}
        held |= own
        path = write_tar(folder / f"{synset}.tar", own | {"readme.txt": b"no picture"})
        inner[f"{synset}.tar"] = path.read_bytes()
        if whole:
            path.unlink()
    if whole:
        write_tar(folder / "fall11_whole.tar", inner)
    return held


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("whole", [True, False])
def test_pictures_are_read_inside_their_tars(tmp_path: Path, whole: bool) -> None:
    held = write_release(tmp_path, whole)
    dataset = read(DataConfig(path=f"imagenet21k:{tmp_path}"))
    assert dataset.classes == tuple(sorted({*SYNSETS, "n03931044", "n09859684"}))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 13, "validation": 4, "test": 4}
    seen = {}
    for split in dataset.splits.values():
        for source, (label,) in zip(split.sources, split.labels, strict=True):
            name = str(source).split(": ")[1] if ": " in str(source) else source.name
            assert dataset.classes[label] == name.split("_")[0]
            seen[name] = source.read()
    assert seen == held
    assert decode(dataset.splits["train"].sources[0]).shape[2] == 3
    by_hand = sorted(held, key=lambda name: hashlib.md5(b"full" + name.encode()).digest())
    names = [[source.name for source in dataset.splits[split].sources] for split in ("test", "validation")]
    assert names == [by_hand[:4], by_hand[4:8]]
    again = read_for_evaluation(DataConfig(path=f"imagenet21k:{tmp_path}"), dataset.classes, "validation")
    assert [source.name for source in again.splits["validation"].sources] == by_hand[4:8]


@pytest.mark.usefixtures("small")
def test_offsets_are_those_of_pythons_tarfile(tmp_path: Path) -> None:
    write_release(tmp_path, whole=False)
    dataset = imagenet21k.read_imagenet21k(tmp_path)
    assert dataset is not None
    places = {source.name: (source.offset, source.length) for s in dataset.splits.values() for source in s.sources}
    for synset in SYNSETS:
        with tarfile.open(tmp_path / f"{synset}.tar") as tar:
            for member in tar:
                if member.name.endswith(".JPEG"):
                    assert places[member.name] == (member.offset_data, member.size)


def test_what_is_not_the_release_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingInputError, match=r"imagenet21k is not in .*fall11_whole\.tar"):
        read(DataConfig(path=f"imagenet21k:{tmp_path}"))
    write_release(tmp_path, whole=False)
    with pytest.raises(DataError, match="tars of 3 synsets: with the two empty ones that is 5 classes"):
        read(DataConfig(path=f"imagenet21k:{tmp_path}"))
    monkeypatch.setattr(imagenet21k, "CLASSES", 5)
    path = tmp_path / f"{SYNSETS[1]}.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[:1400])
    with pytest.raises(DataError, match="is truncated"):
        read(DataConfig(path=f"imagenet21k:{tmp_path}"))
    path.write_bytes(b"x" * 1024)
    with pytest.raises(DataError, match="damaged or no archive"):
        read(DataConfig(path=f"imagenet21k:{tmp_path}"))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("size", [b"-0000001000\0", b"0_000001000\0", b"\x80" + bytes(10) + b"\1", b" " * 12])
def test_a_size_that_is_no_octal_number_leads_nowhere(tmp_path: Path, size: bytes) -> None:
    write_release(tmp_path, whole=False)
    path = tmp_path / f"{SYNSETS[1]}.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[:124] + size + whole[136:])
    with pytest.raises(DataError, match="damaged or no archive"):
        read(DataConfig(path=f"imagenet21k:{tmp_path}"))


@pytest.mark.usefixtures("small")
def test_what_is_called_like_a_tar_and_is_none_is_not_opened(tmp_path: Path) -> None:
    write_release(tmp_path, whole=False)
    (tmp_path / f"{SYNSETS[1]}.tar").unlink()
    os.mkfifo(tmp_path / f"{SYNSETS[1]}.tar")  # who opened it would wait for ever
    with pytest.raises(DataError, match="tars of 2 synsets"):
        read(DataConfig(path=f"imagenet21k:{tmp_path}"))


def test_the_two_empty_synsets_make_the_published_number() -> None:
    assert (imagenet21k.CLASSES, len(imagenet21k.EMPTY), imagenet21k.HELD_OUT) == (21_841 + 2, 2, 25_600)


# ImageNet-1k ---------------------------------------------------------------------------------------


@pytest.fixture
def tiny_imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from vitral.datasets import named

    whole = PUBLISHED["imagenet2012"]
    monkeypatch.setitem(PUBLISHED, "imagenet2012", Published(whole.name, {"validation": 4}, whole.archive))
    monkeypatch.setitem(named.NAMED, "imagenet", named.Named("imagenet2012", 3, named.NAMED["imagenet"].splits))
    write_imagenet(tmp_path)
    return tmp_path


def test_imagenets_archives_are_pictures_to_train_with_and_their_classes_have_words(tiny_imagenet: Path) -> None:
    planned = plan("plain-S/16-90ep", {"data.path": f"imagenet:{tiny_imagenet}", "runtime.device": "cpu"})
    dataset = planned.dataset
    assert dataset.classes == ("n01000000", "n02000000", "n03000000")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 3, "validation": 3, "test": 4}
    assert [label for (label,) in dataset.splits["test"].labels] == [1, 2, 0, 2]  # as the devkit says
    assert _descriptions(planned) == dict.fromkeys(dataset.classes, "word")
    measured = read_for_evaluation(DataConfig(path=f"imagenet:{tiny_imagenet}"), dataset.classes, None)
    assert len(measured.splits["test"]) == 4


def test_a_folder_of_archives_says_how_they_are_named(tiny_imagenet: Path) -> None:
    with pytest.raises(MissingInputError, match=f"write imagenet:{tiny_imagenet}"):
        read(DataConfig(path=str(tiny_imagenet)))
    with pytest.raises(UsageError, match=f"write imagenet:{tiny_imagenet}"):
        read(DataConfig(path=str(tiny_imagenet / "ILSVRC2012_img_train.tar")))


@pytest.mark.parametrize(
    ("place", "lines"),
    [("synset_words.txt", "n01440764 tench, Tinca tinca\nn01443537 goldfish\n"),
     ("../../LOC_synset_mapping.txt", "n01440764 tench, Tinca tinca\nn01443537 goldfish\n\n"),
     ("words.txt", "n01440764\ttench, Tinca tinca\nn01443537\tgoldfish\nn00000000\t\x1b[31mred\n")],
)  # fmt: skip
def test_folders_of_synsets_are_shown_as_words(tmp_path: Path, place: str, lines: str) -> None:
    root = tmp_path / "a" / "b" / "imagenet"
    for split in ("train", "val"):
        for synset in ("n01440764", "n01443537"):
            folder = root / split / synset
            folder.mkdir(parents=True)
            (folder / "1.jpg").write_bytes(jpeg(1))
    (root / place).write_text(lines)
    dataset = read(DataConfig(path=str(root)))
    assert dataset.descriptions == {"n01440764": "tench, Tinca tinca", "n01443537": "goldfish"}
    assert any("shown with their words in" in note for note in dataset.notes)
    (root / place).write_bytes(b"n01440764 \xff\n")
    assert read(DataConfig(path=str(root))).descriptions == {}
