"""Checkpoints: whole or not there."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from vitral.errors import StorageError
from vitral.training import checkpoint

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1.5)}


def save(folder: Path, step: int, keep: int = 2) -> Path:
    return checkpoint.save(folder, step, {**TENSORS, "step": torch.tensor(step)}, {"step": step, "x": 0.1 + 0.2}, keep)


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    save(tmp_path, 7)
    loaded = checkpoint.load_latest(tmp_path)
    assert loaded is not None
    assert all(torch.equal(loaded.tensors[name], value) for name, value in TENSORS.items())
    assert loaded.state == {"step": 7, "x": 0.1 + 0.2}


def test_only_the_newest_are_kept_and_the_pointer_names_the_newest(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10):
        save(tmp_path, step)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "step-00000003", "step-00000010"]
    assert (tmp_path / "latest").read_text() == "step-00000010"


def test_the_same_step_with_other_numbers_takes_its_place_even_if_a_crash_cuts_the_exchange_in_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an evaluation that was interrupted at the last step and is made up for."""
    checkpoint.save(tmp_path, 7, TENSORS, {"evaluated": 5}, 1)
    real, renames = Path.rename, 0

    def crash(self: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames == 2:
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "rename", crash)
        checkpoint.save(tmp_path, 7, TENSORS, {"evaluated": 7}, 1)
    loaded = checkpoint.load_latest(tmp_path)
    assert loaded is not None
    assert loaded.state == {"evaluated": 5}
    checkpoint.save(tmp_path, 7, TENSORS, {"evaluated": 7}, 1)
    loaded = checkpoint.load_latest(tmp_path)
    assert loaded is not None
    assert loaded.state == {"evaluated": 7}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-00000007"]


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.load_latest(tmp_path) is None


@pytest.mark.parametrize("name", [checkpoint.TENSORS, checkpoint.STATE, checkpoint.MANIFEST])
def test_every_flipped_byte_is_found_and_the_older_one_used(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2) / name
    whole = path.read_bytes()
    for position in range(0, len(whole), max(1, len(whole) // 40)):
        torn = bytearray(whole)
        torn[position] ^= 0x10
        path.write_bytes(torn)
        loaded = checkpoint.load_latest(tmp_path)
        assert loaded is not None
        if loaded.rejected:
            assert (loaded.rejected, loaded.state["step"]) == (("step-00000002",), 1)
        else:  # a space in the manifest, say: allowed only if nothing that it vouches for differs
            assert name == checkpoint.MANIFEST
            assert json.loads(torn) == json.loads(whole)


def test_no_whole_checkpoint_is_an_error_that_names_them(tmp_path: Path) -> None:
    (save(tmp_path, 5) / checkpoint.TENSORS).write_bytes(b"")
    with pytest.raises(StorageError, match="step-00000005"):
        checkpoint.load_latest(tmp_path)


CALLS = ("fsync", "open", "rename", "replace", "mkdir")


def crash_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many calls into the operating system a save makes; each is a place to fail."""
    calls = _count_calls(monkeypatch, fail_at=None)
    save(tmp_path / "counted", 1)
    monkeypatch.undo()
    return calls[0]


def _count_calls(monkeypatch: pytest.MonkeyPatch, fail_at: int | None) -> list[int]:
    calls = [0]

    def wrap(real):  # type: ignore[no-untyped-def]
        def called(*arguments, **settings):  # type: ignore[no-untyped-def]
            calls[0] += 1
            if fail_at == calls[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **settings)

        return called

    monkeypatch.setattr(os, "fsync", wrap(os.fsync))
    monkeypatch.setattr(checkpoint, "save_file", wrap(checkpoint.save_file))
    for name in ("rename", "replace", "mkdir"):
        monkeypatch.setattr(Path, name, wrap(getattr(Path, name)))
    return calls


def test_a_failure_at_any_point_of_a_save_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = crash_points(tmp_path, monkeypatch)
    assert points >= 8
    for point in range(1, points + 1):
        folder = tmp_path / str(point)
        save(folder, 1)
        with monkeypatch.context() as patched:
            _count_calls(patched, fail_at=point)
            with pytest.raises(StorageError, match="MB are free; earlier checkpoints are untouched"):
                save(folder, 2)
        loaded = checkpoint.load_latest(folder)
        assert loaded is not None
        assert loaded.state["step"] in (1, 2)
        assert not loaded.rejected
        assert not list(folder.glob("*.tmp/"))


def test_files_are_flushed_before_the_rename_and_the_pointer_moves_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    fsync, rename, replace, prune = os.fsync, Path.rename, Path.replace, checkpoint._prune
    monkeypatch.setattr(
        os, "fsync", lambda fd: (said.append("fsync " + Path(os.readlink(f"/proc/self/fd/{fd}")).name), fsync(fd))[1]
    )
    monkeypatch.setattr(Path, "rename", lambda a, b: (said.append(f"rename {b.name}"), rename(a, b))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (said.append(f"replace {b.name}"), replace(a, b))[1])
    monkeypatch.setattr(checkpoint, "_prune", lambda *a: (said.append("prune"), prune(*a))[1])
    save(tmp_path, 3)
    renamed = said.index("rename step-00000003")
    for name in (checkpoint.TENSORS, checkpoint.STATE, checkpoint.MANIFEST, "step-00000003.tmp"):
        assert said.index(f"fsync {name}") < renamed
    assert renamed < said.index(f"fsync {tmp_path.name}") < said.index("replace latest") < said.index("prune")


def test_what_the_pointer_names_comes_before_a_newer_one_that_was_never_committed(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    (tmp_path / "latest").write_text("step-00000001")
    loaded = checkpoint.load_latest(tmp_path)
    assert loaded is not None
    assert loaded.state["step"] == 1


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    for step in (99_999_999, 100_000_000, 100_000_001):
        save(tmp_path, step)
    (tmp_path / "latest").unlink()
    loaded = checkpoint.load_latest(tmp_path)
    assert loaded is not None
    assert loaded.state["step"] == 100_000_001
    assert len(list(tmp_path.glob("step-*"))) == 2


def test_the_one_just_committed_is_never_pruned(tmp_path: Path) -> None:
    for step in (4, 5):
        save(tmp_path, step)
    (tmp_path / "latest").write_text("step-00000004")  # as if the pointer had not been moved to 5 in time
    save(tmp_path, 4, keep=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "step-00000004"]
