"""What changes a fingerprint, and which pictures count as the same."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitral.datasets.dataset import Split
from vitral.datasets.fingerprint import HEAD, fingerprint, overlaps


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, content in {"a": b"1", "b": b"22", "c": b"333"}.items():
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_bytes(content)
    return tmp_path / "data"


def split(root: Path, names: str = "abc", labels: tuple[tuple[int, ...], ...] = ((0,), (1,), (0,))) -> Split:
    return Split([str(root / name) for name in names], list(labels))


def test_a_moved_folder_keeps_its_fingerprint(root: Path, tmp_path: Path) -> None:
    before = fingerprint(split(root), root)
    shutil.move(root, tmp_path / "moved")
    assert fingerprint(split(tmp_path / "moved"), tmp_path / "moved") == before


def test_order_names_labels_and_sizes_each_change_the_fingerprint(root: Path) -> None:
    (root / "d").write_bytes(b"1")
    found = [
        fingerprint(split(root), root),
        fingerprint(split(root, "bac"), root),
        fingerprint(split(root, "dbc"), root),
        fingerprint(split(root, "ab", ((0,), (1,))), root),
        fingerprint(split(root, labels=((1,), (1,), (0,))), root),
        fingerprint(split(root, labels=((), (1,), (0,))), root),
        fingerprint(split(root, labels=((0, 1), (1,), (0,))), root),
    ]
    (root / "a").write_bytes(b"1+")
    found.append(fingerprint(split(root), root))
    (root / "a").unlink()
    found.append(fingerprint(split(root), root))
    assert len(set(found)) == len(found)


def test_a_fingerprint_is_64_hexadecimal_digits(root: Path) -> None:
    assert len(bytes.fromhex(fingerprint(split(root), None))) == 32


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"abc", b"abd"),
        (np.zeros((2, 3, 3), np.uint8), np.zeros((3, 2, 3), np.uint8)),
        (np.zeros((2, 3, 3), np.uint8), np.ones((2, 3, 3), np.uint8)),
        (Image.new("RGB", (2, 3)), Image.new("RGB", (2, 3), "red")),
        (Image.new("RGB", (2, 3)), Image.new("RGB", (3, 2))),
    ],
)
def test_the_content_of_pictures_in_memory_counts(one: object, other: object) -> None:
    same = type(one)(one) if isinstance(one, bytes) else one.copy()
    assert fingerprint(Split([one], [(0,)]), None) == fingerprint(Split([same], [(0,)]), None)
    assert fingerprint(Split([one], [(0,)]), None) != fingerprint(Split([other], [(0,)]), None)


def files(root: Path, **contents: bytes) -> list[str]:
    root.mkdir(exist_ok=True)
    for name, content in contents.items():
        (root / name).write_bytes(content)
    return [str(root / name) for name in contents]


def splits(**sources: list[object]) -> dict[str, Split]:
    return {name: Split(found, [(0,)] * len(found)) for name, found in sources.items()}


def test_equal_pictures_in_two_splits_are_found_whatever_their_names(tmp_path: Path) -> None:
    large = bytes(3 * HEAD)
    train = files(tmp_path / "train", a=b"one", b=large, c=b"two")
    test = files(tmp_path / "test", x=large, y=b"three", z=b"one")
    assert overlaps(splits(train=train, test=test), limit=10) == [
        ("train", train[0], "test", test[2]),
        ("train", train[1], "test", test[0]),
    ]


def test_pictures_that_differ_only_after_their_head_are_not_equal(tmp_path: Path) -> None:
    train = files(tmp_path / "train", a=bytes(2 * HEAD) + b"1")
    test = files(tmp_path / "test", a=bytes(2 * HEAD) + b"2")
    assert overlaps(splits(train=train, test=test), limit=10) == []


def test_copies_within_a_split_are_found_only_when_asked_for(tmp_path: Path) -> None:
    train = files(tmp_path / "train", a=b"same", b=b"same", c=b"other", d=b"same")
    data = splits(train=train, test=files(tmp_path / "test", a=b"other"))
    assert overlaps(data, limit=10, within=True) == [
        ("train", train[0], "train", train[1]),
        ("train", train[0], "train", train[3]),
    ]
    assert [pair[0::2] for pair in overlaps(data, limit=10)] == [("train", "test")]


def test_the_limit_bounds_the_pairs(tmp_path: Path) -> None:
    data = splits(
        train=files(tmp_path / "train", a=b"1", b=b"2", c=b"3"), test=files(tmp_path / "test", a=b"1", b=b"2", c=b"3")
    )
    assert len(overlaps(data, limit=2)) == 2


def test_pictures_of_unique_size_are_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = splits(train=files(tmp_path / "train", a=b"1"), test=files(tmp_path / "test", a=b"22"))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr("vitral.datasets.fingerprint.open", refuse, raising=False)
    assert overlaps(data, limit=10) == []


def test_files_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    data = splits(train=[str(tmp_path / "none"), "a\0b"], test=[str(tmp_path / "none"), "a\0b"])
    assert overlaps(data, limit=10) == []


def test_equal_pictures_in_memory_are_found() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    found = overlaps(splits(train=[b"x", pixels], test=[pixels.copy(), b"y"]), limit=10)
    assert [(a, b) for a, _, b, _ in found] == [("train", "test")]
    assert found[0][1] is pixels
