"""safetensors files: the library's own reader as the oracle, and headers that lie."""

from __future__ import annotations

import gc
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.weights.test_weights import artefact
from vitral.errors import DataError
from vitral.weights import build, checksum, folder, parallel, read
from vitral.weights.checksum import PIECE, checksum_of
from vitral.weights.stored import compared, open_stored
from vitral.weights.stored import safetensors as module

EVERY_TYPE = {
    "double": torch.randn(2, 3, dtype=torch.float64), "single": torch.randn(5), "half": torch.randn(3).half(),
    "brain": torch.randn(1, 7).bfloat16(), "i64": torch.tensor(-(2**40)), "i32": torch.tensor([[1], [-2]], dtype=torch.int32),
    "i16": torch.tensor([300], dtype=torch.int16), "i8": torch.tensor([-3, 4, 5], dtype=torch.int8),
    "u8": torch.tensor([255], dtype=torch.uint8), "truth": torch.tensor([True, False, True]), "none": torch.zeros(0, 4),
}  # fmt: skip


def test_every_type_is_read_as_the_library_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(EVERY_TYPE, path, {"format": "pt"})
    stored, theirs = open_stored(path), load_file(path)
    assert sorted(stored.shapes) == sorted(theirs)
    for name, value in theirs.items():
        ours = stored.tensor(name)
        assert (ours.dtype, ours.shape, stored.shapes[name]) == (value.dtype, value.shape, tuple(value.shape))
        assert torch.equal(ours, value)
        assert ours.data_ptr() % 64 == 0 or not ours.numel()


def test_tensors_are_read_side_by_side_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "THREADS", 3)
    monkeypatch.setattr(module, "SLICE", 1000)
    values = {f"{k:02}": torch.randn(k * 53 + 1) for k in range(40)}
    save_file(values, tmp_path / "w")
    stored = open_stored(tmp_path / "w")
    read_by_threads = parallel.side_by_side(stored.tensor, stored.shapes, parallel.MANY)
    for name, value in zip(stored.shapes, read_by_threads, strict=True):
        assert torch.equal(value, values[name])
    (tmp_path / "w").write_bytes((tmp_path / "w").read_bytes()[:-1])
    with pytest.raises(DataError, match="it changed while it was read"):
        parallel.side_by_side(stored.tensor, stored.shapes, parallel.MANY)


def test_of_several_errors_the_first_in_order_is_told() -> None:
    def fail(number: int) -> None:
        time.sleep(0.01 * (number == 1))
        if number:
            raise ValueError(number)

    with pytest.raises(ValueError, match="1"):
        parallel.side_by_side(fail, range(5), parallel.MANY)


def test_a_tensor_outlives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(1000), "b": torch.ones(2)}, path)
    stored = open_stored(path)
    kept = stored.tensor("a")
    with path.open("r+b") as file:
        file.truncate(10)
    gc.collect()
    assert kept.sum() == 1000  # a mapped file would end this process here
    with pytest.raises(DataError, match="it changed while it was read"):
        stored.tensor("b")


def written(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(shape: Any, begin: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


LIES: dict[str, tuple[Any, ...]] = {
    "header longer than the file": (b"{}", b"", 3),
    "header longer than any": (b"{}", b"", 2**63),
    "no object": (b"[]",),
    "nothing": (b"",),
    "not JSON": (b"{,}",),
    "not UTF-8": (b'{"\xff": 1}',),
    "deep": (b'{"a":' * 50_000,),
    "a name twice": (b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',),
    "metadata not of words": ({"__metadata__": {"a": 1}},),
    "metadata a list": ({"__metadata__": []},),
    "bytes that no tensor has": ({"a": entry([1], 0, 4)}, b"12345678"),
    "a gap": ({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, b"0" * 12),
    "an overlap": ({"a": entry([2], 0, 8), "b": entry([1], 4, 8)}, b"0" * 8),
    "the same bytes twice": ({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, b"0" * 4),
    "outside of the file": ({"a": entry([1], 4, 8)}, b"0" * 4),
    "too short": ({"a": entry([3], 0, 12)}, b"0" * 8),
    "sizes that differ": ({"a": entry([3], 0, 8)}, b"0" * 8),
    "negative shape": ({"a": entry([-1, -2], 0, 8)}, b"0" * 8),
    "negative offsets": ({"a": entry([2], -8, 0)}, b"0" * 8),
    "backwards": ({"a": entry([0], 8, 0)}, b"0" * 8),
    "huge with an empty side": ({"a": entry([0, 2**62, 2**62], 0, 0)},),
    "forty dimensions": ({"a": entry([1] * 40, 0, 4)}, b"0" * 4),
    "truth as a size": ({"a": entry([True], 0, 4)}, b"0" * 4),
    "a fraction as a size": ({"a": entry([1.0], 0, 4)}, b"0" * 4),
    "a number of any length": (b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}', b"0" * 4),
    "infinity": (b'{"a":{"dtype":"F32","shape":[Infinity],"data_offsets":[0,4]}}', b"0" * 4),
    "an unknown type": ({"a": entry([4], 0, 4, "F8_E4M3")}, b"0" * 4),
    "a type that is none": ({"a": entry([1], 0, 4, ["F32"])}, b"0" * 4),
    "an entry with more": ({"a": {**entry([1], 0, 4), "more": 1}}, b"0" * 4),
    "an entry that is none": ({"a": 3},),
}  # fmt: skip


@pytest.mark.parametrize("kind", LIES)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match="cannot be read as safetensors") as caught:
        open_stored(written(tmp_path / "w.safetensors", *LIES[kind]))
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_truth_values_of_other_bytes_are_refused(tmp_path: Path) -> None:
    stored = open_stored(written(tmp_path / "w.safetensors", {"a": entry([2], 0, 2, "BOOL")}, b"\1\2"))
    with pytest.raises(DataError, match="a is of truth values and has others"):
        stored.tensor("a")


# The checksum of a model folder --------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5])
def test_the_checksum_is_that_of_the_digests_of_the_pieces(tmp_path: Path, size: int) -> None:
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    (tmp_path / "w").write_bytes(content)
    digests = [hashlib.sha256(content[start : start + PIECE]).digest() for start in range(0, size, PIECE)]
    assert checksum_of(tmp_path / "w") == f"sha256-4MiB:{hashlib.sha256(b''.join(digests)).hexdigest()}"


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_what_is_summed_is_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(checksum, "PIECE", 700)
    monkeypatch.setattr(checksum, "SLICE", 100)
    monkeypatch.setattr(checksum, "MOST_THREADS", threads)
    monkeypatch.setattr("os.cpu_count", lambda: threads)
    content = np.random.default_rng(0).bytes(5003)
    (tmp_path / "w").write_bytes(content)
    for parts in (
        [(0, 5003)],
        [(3, 4), (4, 4), (4, 1404), (1404, 1500), (2000, 2700), (2800, 4999)],
        [(5003, 5003)],
        [],
    ):
        kept = [(begin, memoryview(bytearray(end - begin))) for begin, end in parts]
        digests = [hashlib.sha256(content[start : start + 700]).digest() for start in range(0, 5003, 700)]
        assert checksum_of(tmp_path / "w", kept) == f"sha256-4MiB:{hashlib.sha256(b''.join(digests)).hexdigest()}"
        assert [bytes(view) for _, view in kept] == [content[begin:end] for begin, end in parts]


def test_every_type_is_kept_as_it_is_compared(tmp_path: Path) -> None:
    save_file(EVERY_TYPE, tmp_path / "w")
    found = compared(open_stored(tmp_path / "w"), checksum_of(tmp_path / "w"))
    assert {name: found.tensor(name).tolist() for name in list(found.shapes)} == {
        name: value.tolist() for name, value in load_file(tmp_path / "w").items()
    }
    with pytest.raises(DataError, match="is not the file that was saved"):
        compared(open_stored(tmp_path / "w"), f"sha256-4MiB:{'0' * 64}")


def test_a_file_that_was_cut_off_after_it_was_opened_is_not_used(tmp_path: Path) -> None:
    save_file(EVERY_TYPE, tmp_path / "w")
    stored, expected = open_stored(tmp_path / "w"), checksum_of(tmp_path / "w")
    (tmp_path / "w").write_bytes((tmp_path / "w").read_bytes()[:-9])
    with pytest.raises(DataError, match="is not the file that was saved"):
        compared(stored, expected)


def test_a_file_that_was_exchanged_for_the_right_one_after_it_was_opened_is_not_used(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(4), "b": torch.ones(4)}, tmp_path / "w")
    expected = checksum_of(tmp_path / "w")
    save_file({"b": torch.ones(4), "c": torch.zeros(4)}, tmp_path / "w")
    stored = open_stored(tmp_path / "w")
    save_file({"a": torch.zeros(4), "b": torch.ones(4)}, tmp_path / "w")
    with pytest.raises(DataError, match="it changed while it was read"):
        compared(stored, expected)


def test_a_flipped_bit_in_a_model_folder_is_seen(tmp_path: Path) -> None:
    place, _ = artefact(tmp_path / "m")
    content = bytearray((place / "model.safetensors").read_bytes())
    content[-100] ^= 1
    (place / "model.safetensors").write_bytes(content)
    with pytest.raises(DataError, match="is not the file that was saved"):
        build(read(place))


@pytest.mark.parametrize(
    ("checksum", "said"), [("md5:00", "unknown kind 'md5:00': update vitral"), (3, "not a whole model folder")]
)
def test_a_checksum_that_cannot_be_compared_is_said(tmp_path: Path, checksum: object, said: str) -> None:
    place, _ = artefact(tmp_path / "m")
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "checksum": checksum}))
    with pytest.raises(DataError, match=said):
        build(read(place))


def test_a_folder_from_before_checksums_is_read(tmp_path: Path) -> None:
    place, network = artefact(tmp_path / "m")
    config = json.loads((place / "config.json").read_text())
    assert config.pop("checksum").startswith("sha256-4MiB:")
    (place / "config.json").write_text(json.dumps(config))
    loaded, _ = build(read(place))
    assert torch.equal(loaded.head.weight, network.head.weight)


# Numbers that are none -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, number: float) -> None:
    place, network = artefact(tmp_path / "m")
    state = network.state_dict()
    state["blocks.0.mlp.fc1.weight"] = state["blocks.0.mlp.fc1.weight"].clone()
    state["blocks.0.mlp.fc1.weight"][3, 2] = number
    folder.write_model(place, read(place).described, state, {}, "")
    with pytest.raises(DataError, match=r"blocks.0.mlp.fc1.weight has numbers that are infinite or not a number"):
        build(read(place))


def test_weights_whose_sum_alone_is_infinite_are_finite(tmp_path: Path) -> None:
    place, network = artefact(tmp_path / "m")
    state = {**network.state_dict(), "head.weight": torch.full_like(network.head.weight, 3e38)}
    folder.write_model(place, read(place).described, state, {}, "")
    loaded, _ = build(read(place))
    assert torch.equal(loaded.head.weight, state["head.weight"])
