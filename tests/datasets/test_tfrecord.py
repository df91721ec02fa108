"""TFRecord files against TensorBoard's writer and checksum, and Examples against protobuf."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import crc32c as theirs

from tests.datasets.formats import example, png, write_prepared, write_records
from vitral.datasets.crc32c import crc32c
from vitral.datasets.stored import Part
from vitral.datasets.tfds import class_names, find_prepared, read_prepared
from vitral.datasets.tfrecord import parse_example, records
from vitral.errors import DataError, MissingInputError


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_checksums_are_those_of_rfc_3720(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum


@pytest.mark.parametrize("size", [1, 63, 64, 65, 511, 512, 513, 1000, 4096, 4097, 70_001])
def test_checksums_of_long_data_are_those_of_tensorboard(size: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8).tobytes()
    assert crc32c(data) == theirs(data)


def test_records_are_read_where_tensorboard_wrote_them(tmp_path: Path) -> None:
    rows = [b"", b"one", bytes(1000), b"four"]
    path = write_records(tmp_path / "x", rows)
    found = list(records(path))
    assert [record.data for record in found if record] == rows
    content = path.read_bytes()
    assert all(content[record.offset :][: len(record.data)] == record.data for record in found if record)
    assert [record and record.data for record in records(path, {1, 3})] == [None, b"one", None, b"four"]


def test_every_cut_and_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = write_records(tmp_path / "x", [b"first", b"second"])
    whole = path.read_bytes()
    for length in range(1, len(whole)):
        if length == 16 + len(b"first"):  # just behind the first record: only the description can tell
            continue
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut short|damaged"):
            list(records(path))
    for i in range(0, len(whole), 3):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 4]) + whole[i + 1 :])
        with pytest.raises(DataError, match=r"cut short|damaged"):
            list(records(path))
    with pytest.raises(MissingInputError):
        list(records(tmp_path / "none"))


FIELDS = {"image": b"\x89PNG" * 50, "label": 3, "big": -(2**62), "objects/type": [0, 5, 1], "places": [1.5, -2.0, 3e9]}


def test_examples_are_what_protobuf_wrote() -> None:
    data = example(FIELDS)
    found = parse_example(data)
    blob = found["image"][0]
    assert blob.data == FIELDS["image"]
    assert data[blob.offset :][: len(blob.data)] == blob.data
    assert found["label"].tolist() == [3]
    assert found["big"].tolist() == [-(2**62)]
    assert found["objects/type"].tolist() == [0, 5, 1]
    assert found["places"].tolist() == [1.5, -2.0, np.float32(3e9)]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.builds(lambda i, b: example(FIELDS)[:i] + b + example(FIELDS)[i:], st.integers(0, 300), st.binary(max_size=3)))  # fmt: skip
def test_any_bytes_are_an_example_or_one_sentence(data: bytes) -> None:
    with contextlib.suppress(DataError):
        parse_example(data)


def rows(count: int) -> list[dict[str, object]]:
    return [{"image": png(i), "label": i % 3, "id": b"x"} for i in range(count)]


def test_a_prepared_split_is_read_by_position_over_its_shards(tmp_path: Path) -> None:
    write_prepared(tmp_path / "cifar10", "cifar10", {"train": rows(7), "test": rows(2)}, shards=3)
    folder = find_prepared(tmp_path, "cifar10")
    assert folder == tmp_path / "cifar10" / "3.0.0"
    found = read_prepared(folder)
    assert {name: split.count for name, split in found.items()} == {"train": 7, "test": 2}
    examples = found["train"].read([6, 0, 2, 3])
    assert [e.fields["label"] for e in examples] == [0, 0, 2, 0]
    pictures = [e.picture for e in examples]
    assert all(isinstance(picture, Part) for picture in pictures)
    assert [picture.read() for picture in pictures] == [png(i) for i in (6, 0, 2, 3)]
    assert [str(picture).split(": ")[1] for picture in pictures] == [
        "record 2 x",
        "record 0 x",
        "record 0 x",
        "record 1 x",
    ]
    assert class_names(folder) is None
    (folder / "label.labels.txt").write_text("a\nb\nc\n")
    assert class_names(folder) == ("a", "b", "c")


def test_the_newest_version_is_taken(tmp_path: Path) -> None:
    for version in ("3.0.0", "3.10.1", "3.2.0"):
        write_prepared(tmp_path / "clevr", "clevr", {"train": rows(2)}, version=version)
    (tmp_path / "clevr" / "incomplete").mkdir()
    assert find_prepared(tmp_path, "clevr") == tmp_path / "clevr" / "3.10.1"
    assert find_prepared(tmp_path, "dtd") is None
    assert find_prepared(tmp_path, "clevr", "config") is None


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "does not describe"),
        ('{"name": "d", "splits": [{"name": "train"}]}', "does not describe"),
        ('{"name": "d", "splits": [{"name": "train", "shardLengths": ["x"]}]}', "does not describe"),
        ('{"name": "d", "splits": [{"name": "train", "shardLengths": ["-3"]}]}', "-3 records"),
        ('{"name": "../d", "splits": [{"name": "train", "shardLengths": ["1"]}]}', "no name"),
        ('{"name": "d", "splits": [{"name": "a/b", "shardLengths": ["1"]}]}', "no name"),
        ('{"name": "d", "fileFormat": "array_record", "splits": []}', "array_record"),
    ],
)
def test_a_wrong_description_is_one_sentence(info: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text(info)
    with pytest.raises(DataError, match=said):
        read_prepared(tmp_path)


def test_fewer_records_than_described_are_noticed(tmp_path: Path) -> None:
    folder = write_prepared(tmp_path / "d", "d", {"train": rows(4)}, shards=1)
    write_records(folder / "d-train.tfrecord-00000-of-00001", [example(row) for row in rows(2)])
    with pytest.raises(DataError, match="fewer than the 4 records"):
        read_prepared(folder)["train"].read([3])
    write_records(folder / "d-train.tfrecord-00000-of-00001", [example({"label": 1})] * 4)
    with pytest.raises(DataError, match="no picture 'image'"):
        read_prepared(folder)["train"].read([3])
