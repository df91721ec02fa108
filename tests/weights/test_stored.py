"""Files of weights of every format: numpy's and torch's own writers as the oracle, and files made to do harm."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import socket
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.places import WEIGHTS
from vitral.errors import DataError
from vitral.weights import read
from vitral.weights.report import LoadReport
from vitral.weights.stored import open_stored, unpickling
from vitral.weights.stored.npz import NpzFile
from vitral.weights.stored.pickled import PickledFile, check
from vitral.weights.stored.safetensors import SafetensorsFile

ARRAYS: dict[str, np.ndarray] = {
    "head/kernel": np.arange(12, dtype=np.float32).reshape(3, 4),
    "turned": np.asfortranarray(np.arange(24, dtype=np.float64).reshape(2, 3, 4)),
    "half": np.linspace(-2, 2, 5, dtype=np.float16),
    "step": np.array(7, dtype=np.int64),
    "small": np.array([[-1, 2], [3, -4]], dtype=np.int32),
    "bytes": np.arange(6, dtype=np.uint8).reshape(2, 3, 1),
    "truth": np.array([True, False]),
    "empty": np.zeros((0, 3), dtype=np.float32),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_gives_what_numpy_gives(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "weights.bin"  # the ending says nothing
    with path.open("wb") as file:
        save(file, **ARRAYS)
    stored = open_stored(path)
    assert isinstance(stored, NpzFile)
    with np.load(path, allow_pickle=False) as theirs:
        assert list(stored.shapes) == list(theirs.files)
        for name in theirs.files:
            ours = stored.tensor(name)
            assert stored.shapes[name] == theirs[name].shape
            assert ours.is_contiguous()
            assert ours.numpy().dtype == theirs[name].dtype
            np.testing.assert_array_equal(ours.numpy(), theirs[name])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_two_bytes_without_a_type_are_bfloat16(tmp_path: Path, save: Any) -> None:
    numbers = torch.randn(5, 3).bfloat16()
    save(tmp_path / "w.npz", a=numbers.view(torch.int16).numpy().view("V2"))
    read = open_stored(tmp_path / "w.npz").tensor("a")
    assert read.dtype == torch.bfloat16
    assert torch.equal(read, numbers)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([{}, None], dtype=object), "Python objects, which are never unpickled"),
        (np.array(["a"]), "not of plain numbers"),
        (np.zeros(2, dtype=[("a", "f4")]), "not of plain numbers"),
        (np.zeros(2, dtype=">f4"), "not of plain numbers: '>f4'"),
        (np.zeros(2, dtype=np.complex64), "not of plain numbers"),
    ],
)
def test_arrays_of_anything_but_numbers_are_refused(tmp_path: Path, array: np.ndarray, said: str) -> None:
    np.savez(tmp_path / "w.npz", good=np.zeros(3), bad=array)
    with pytest.raises(DataError, match=said):
        open_stored(tmp_path / "w.npz")


def npz_of(path: Path, *members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def npy(header: str, data: bytes = b"", length: int | None = None) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) if length is None else length) + header.encode() + data


def shaped(shape: str, data: bytes = b"", kind: str = "<f4") -> bytes:
    return npy(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n", data)


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (shaped("(1000000000000,)", b"1234"), "claims shape"),
        (shaped("(-1,)", b""), "not of plain numbers"),
        (shaped("(0, 99999999999999, 99999999999999)"), "claims shape"),
        (shaped("(2,)", b"1234"), "claims shape"),
        (shaped("(2,)", b"123456789"), "claims shape"),
        (shaped("(2,)", b"\1\2", kind="|b1"), "has others"),
        (npy("__import__('os').abort()\n"), "not of plain numbers"),
        (npy("{  ", length=60_000), "a header of 60000 bytes"),
        (b"\x93NUM", "is no array"),
        (b"", "is no array"),
    ],
)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_headers_that_lie_are_refused(tmp_path: Path, member: bytes, said: str, compression: int) -> None:
    path = npz_of(tmp_path / "w.npz", ("a.npy", member), compression=compression)
    with pytest.raises(DataError, match=said):
        open_stored(path).tensor("a")


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    bomb = shaped(f"({1 << 28},)", bytes(1 << 28), kind="|u1")
    path = npz_of(tmp_path / "w.npz", ("a.npy", bomb), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="would unpack to 268435"):
        open_stored(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = npz_of(tmp_path / "w.npz", ("a.npy", shaped("(1,)", b"1234")), ("a.npy", shaped("(1,)", b"5678")))
    with pytest.raises(DataError, match="a is there twice"):
        open_stored(path)


def test_a_flipped_bit_in_the_numbers_is_seen(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.arange(1000, dtype=np.float32))
    content = bytearray((tmp_path / "w.npz").read_bytes())
    content[2000] ^= 4
    (tmp_path / "w.npz").write_bytes(content)
    with pytest.raises(DataError, match="the checksum of a.npy is not that of its bytes"):
        open_stored(tmp_path / "w.npz").tensor("a")


# .pth ----------------------------------------------------------------------------------------------


def assert_gives(path: Path, expected: dict[str, torch.Tensor]) -> tuple[str, ...]:
    stored = open_stored(path)
    assert isinstance(stored, PickledFile)
    assert stored.path == path
    assert sorted(stored.shapes) == sorted(expected)
    for name, value in expected.items():
        assert torch.equal(stored.tensor(name), value)
        assert stored.tensor(name).dtype == value.dtype
    return stored.notes


def test_a_checkpoint_of_deit_gives_its_model_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    torch.manual_seed(0)
    whole = torch.randn(4, 3)
    tensors = {"a.weight": whole, "a.tied": whole, "a.part": whole[1:, ::2], "a.half": torch.randn(3).bfloat16()}
    ours = {"model": tensors, "model_ema": {"a": torch.zeros(1)}, "epoch": 3, "args": argparse.Namespace(lr=0.1)}
    torch.save(ours, tmp_path / "deit.pth")
    notes = assert_gives(tmp_path / "deit.pth", tensors)
    assert notes == ("of model, model_ema, epoch, args in the file, model was read",)
    assert list((tmp_path / "temporary").iterdir()) == []


def converted(source: Path, monkeypatch: pytest.MonkeyPatch, memory: int = 1 << 30) -> dict[str, Any]:
    """What the other process says of a file, said in this one."""
    monkeypatch.setattr(unpickling, "limit_memory", lambda allowed: None)
    monkeypatch.setattr(unpickling, "refuse_all_but", lambda target: None)  # a hook would stay for good
    monkeypatch.setattr(unpickling, "leave_network", lambda: None)
    monkeypatch.setattr(unpickling.sys, "dont_write_bytecode", sys.dont_write_bytecode)
    said: list[str] = []
    monkeypatch.setattr("builtins.print", said.append)
    threads = torch.get_num_threads()
    unpickling.main(str(source), str(source.with_suffix(".safetensors")), str(memory))
    torch.set_num_threads(threads)
    return json.loads(said[-1])


def test_the_old_form_nested_names_and_prefixes_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = torch.randn(3)
    saved = {"state_dict": {"module.a": value, "module.b": {"c": value + 1}, "module.n": 3}}
    torch.save(saved, tmp_path / "w.bin", _use_new_zipfile_serialization=False)
    check(tmp_path / "w.bin")
    notes = converted(tmp_path / "w.bin", monkeypatch)["notes"]
    read = load_file(tmp_path / "w.safetensors")
    assert read.keys() == {"a", "b.c"}
    assert torch.equal(read["b.c"], value + 1)
    assert notes == ["left out module.n: not tensors", 'every name began with "module.", which was taken off']


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        ({"a": torch.zeros(1).expand(1 << 40)}, "far more memory"),
        ({"epoch": 3}, "no tensors"),
        ([torch.zeros(1)], "holds list and not a dictionary"),
        (torch.nn.Linear(1, 1), "needs torch.nn.modules.linear.Linear to be unpickled"),
        ({"a": torch.zeros(2).to_sparse()}, "a is not a plain tensor"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "a is not a plain tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*Sparse")
def test_a_pth_of_anything_but_plain_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: object, said: str
) -> None:
    torch.save(saved, tmp_path / "w.pth")
    assert said in converted(tmp_path / "w.pth", monkeypatch)["error"]


def test_a_flipped_bit_in_a_pth_is_seen_before_torch_sees_it(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1000)}, tmp_path / "w.pth")
    content = bytearray((tmp_path / "w.pth").read_bytes())
    content[content.index(torch.ones(1).numpy().tobytes() * 9) + 2] ^= 8
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(DataError, match="the checksum of w/data/0 is not that of its bytes"):
        open_stored(tmp_path / "w.pth")


class Harm:
    """Runs a command when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.place}",)


@pytest.mark.parametrize("form", ["zip", "old", "bare"])
def test_a_pickle_that_runs_something_is_refused_and_does_not_run(tmp_path: Path, form: str) -> None:
    content = {"model": {"a": torch.zeros(2)}, "extra": Harm(tmp_path / "ran")}
    path = tmp_path / "w.pth"
    if form == "bare":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(DataError, match=r"w.pth cannot be read as a plain .pth .*save its state_dict") as caught:
        open_stored(path)
    assert "\n" not in str(caught.value)
    if form != "bare":
        assert f"it needs {os.system.__module__}.system to be unpickled" in str(caught.value)
    assert not (tmp_path / "ran").exists()


def confined(place: Path, deed: str, hook: bool = True) -> str:
    """What becomes of a deed in a process that is guarded as the one that reads a .pth is."""
    program = f"""
import os, socket, subprocess, sys
sys.path.insert(0, {str(Path(unpickling.__file__).parent)!r})
import unpickling
unpickling.leave_network()
unpickling.limit_memory(1 << 28)
if {hook}:
    unpickling.refuse_all_but({str(place / "target")!r})
try:
    {deed}
    print("done")
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ("socket.create_connection(('127.0.0.1', 9))", "it wants socket."),
        ("subprocess.run(['touch', 'ran'])", "it wants subprocess.Popen"),
        ("os.system('touch ran')", "it wants os.system"),
        ("os.execv('/bin/true', ['true'])", "it wants os.exec"),
        ("os.posix_spawn('/bin/true', ['true'], {})", "it wants os.posix_spawn"),
        ("os.fork()", "it wants os.fork"),
        ("os.remove('ran')", "it wants os.remove"),
        ("open('ran', 'w')", "write a file of its own"),
        ("os.open('ran', os.O_CREAT | os.O_RDWR)", "write a file of its own"),
        ("open('{place}/target', 'w').close()", "done"),
        ("open(os.devnull).close()", "done"),
    ],
)
def test_the_process_that_reads_a_pth_can_do_little_else(tmp_path: Path, deed: str, said: str) -> None:
    assert said in confined(tmp_path, deed.format(place=tmp_path) if "{place}" in deed else deed)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process leave the network")
def test_without_the_hook_there_is_still_no_network_and_no_large_file(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        reach = f"socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 5)"
        answer = confined(tmp_path, reach, hook=False)
    large = f"os.truncate(os.open({str(tmp_path / 'large')!r}, os.O_CREAT | os.O_RDWR), 1 << 30)"
    assert "File too large" in confined(tmp_path, large, hook=False)
    if answer == "done":
        pytest.skip("this system does not let a process leave the network")
    assert "unreachable" in answer


# What is no file of weights ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "run git lfs pull"),
        (b"PK\x03\x04 and no more", "cut off"),
        (b"\x80\x02 and no more", "cannot be read"),
        (b"<!DOCTYPE html>", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_what_is_no_file_of_weights_says_so(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(DataError, match=said):
        open_stored(tmp_path / "w.pth")


def test_a_safetensors_file_with_another_ending_is_one(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "w.pth")
    assert isinstance(open_stored(tmp_path / "w.pth"), SafetensorsFile)
    assert torch.equal(open_stored(tmp_path / "w.pth").tensor("a"), torch.ones(3))


@pytest.mark.skipif(not WEIGHTS.is_dir(), reason=f"the real weights are not at {WEIGHTS}")
def test_real_weights_as_npz_have_the_same_bits(tmp_path: Path) -> None:
    plain = open_stored(WEIGHTS / "model.safetensors")
    np.savez(tmp_path / "w.npz", **{name: plain.tensor(name).numpy() for name in plain.shapes})
    packed = open_stored(tmp_path / "w.npz")
    assert packed.shapes == plain.shapes
    assert all(torch.equal(packed.tensor(name), plain.tensor(name)) for name in plain.shapes)


def test_archives_of_the_large_form_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)  # as if this were the end of what 32 bits can say
    np.savez(tmp_path / "w.npz", a=np.arange(100), b=np.zeros(3))
    assert b"PK\x06\x06" in (tmp_path / "w.npz").read_bytes()
    assert open_stored(tmp_path / "w.npz").tensor("a").sum() == 4950


def test_a_name_that_stands_for_two_arrays_is_refused(tmp_path: Path) -> None:
    array = shaped("(1,)", b"1234")
    path = npz_of(tmp_path / "w.npz", ("a.npy", array), ("a.npy.npy", array))
    with pytest.raises(DataError, match=r"a.npy is there twice"):
        open_stored(path)


def test_an_archive_of_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.npz").write_bytes(b"PK\x05\x06" + bytes(18))
    with pytest.raises(DataError, match="holds no arrays"):
        open_stored(tmp_path / "w.npz")


@pytest.mark.parametrize("kind", ["safetensors", "npz", "pth"])
def test_a_name_with_line_breaks_is_told_on_one_line(kind: str, tmp_path: Path) -> None:
    tensors = {"a\nb\x1b[31m": torch.zeros(1), "c\u2028d\r": torch.zeros(2)}
    path = tmp_path / "weights"
    if kind == "npz":
        with path.open("wb") as file:
            np.savez(file, **{name: value.numpy() for name, value in tensors.items()})
    elif kind == "pth":
        torch.save({**tensors, "e\nf": "no tensor"}, path)
    else:
        save_file(tensors, path)
    assert set(open_stored(path).shapes) == set(tensors)
    with pytest.raises(DataError, match=r"names like a\\nb\\x1b\[31m, c\\u2028d\\x0d") as caught:
        read(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_damaged_archive_with_line_breaks_in_a_name_is_told_on_one_line(tmp_path: Path) -> None:
    path = npz_of(tmp_path / "weights", ("a\nb\u2029.npy", b"nothing"))
    with pytest.raises(DataError, match="is no array") as caught:
        open_stored(path)
    assert len(str(caught.value).splitlines()) == 1


def test_the_account_of_a_load_has_one_line_for_each_event_whatever_the_names() -> None:
    report = LoadReport(
        "folder\nname", "timm", resized=[("a\nb", (1,), (2,))], reinitialised=["c\rd"], dropped=[("e\u2028f", "why\n")],
        notes=["left out g\x85h: not tensors"],
    )  # fmt: skip
    assert len("\n".join(report.lines()).splitlines()) == len(report.lines()) == 5
