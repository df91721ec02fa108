"""A program of its own: from a .pth file to a safetensors file, in a process that may do little else.

`python -I unpickling.py SOURCE TARGET MEMORY [FOLDER ...]` reads SOURCE with torch's weights-only loader, writes its
tensors to TARGET and prints {"notes": [...]} or {"error": "..."}. MEMORY is the number of bytes that it may take
beyond what torch itself needs; FOLDERs are where torch and safetensors are found. It imports nothing of vitral, so
that it starts from its path alone.

What guards it: torch's loader, which calls only what it knows; an audit hook, which refuses Python's ways to the
network, to other programs and to files other than TARGET; on Linux limits on memory, and no network at all where
a process may leave it by itself. Machine code that broke in would meet the last two alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

KEYS = ("model", "state_dict", "model_state_dict", "model_ema", "state_dict_ema", "module", "net")
"""Where training programs keep the weights in what they save, the likeliest first."""

MOST_NAMES = 100_000
DEEPEST = 20

REFUSED = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile", "pty.",
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.kill", "os.putenv", "shutil.", "urllib.", "ftplib.", "smtplib.", "webbrowser.",
)  # fmt: skip
"""Beginnings of the names of what Python's audit hooks are told of and nothing here needs."""

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CLONE_NEWUSER, CLONE_NEWNET = 0x1000_0000, 0x4000_0000  # of <linux/sched.h>
LONGEST_HEADER = 16 << 20  # bytes of the target before its numbers


def main(source: str, target: str, memory: str, *folders: str) -> None:
    sys.path += [folder for folder in folders if folder not in sys.path]
    sys.dont_write_bytecode = True
    leave_network()
    try:
        print(json.dumps({"notes": convert(source, target, int(memory))}))
    except MemoryError:
        print(json.dumps({"error": "it needs far more memory than its size"}))
    except Exception as error:  # whatever it is, it is the file's, and the parent says so
        print(json.dumps({"error": reason(error)}))


def convert(source: str, target: str, memory: int) -> list[str]:
    """Write the tensors of `source` to `target`; sentences for the report."""
    import torch
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    limit_memory(memory)
    refuse_all_but(target)
    with open(source, "rb") as file:  # noqa: PTH123
        zipped = file.read(4) == b"PK\x03\x04"
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(source, map_location="cpu", weights_only=True, mmap=zipped or None)
    chosen, notes = choose(content, torch.Tensor)
    tensors = dict(leaves(chosen))
    others = [name for name, value in tensors.items() if not isinstance(value, torch.Tensor)]
    if others:
        notes.append(f"left out {', '.join(others[:5])}{' and others' if len(others) > 5 else ''}: not tensors")
    tensors = {name: value.detach() for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ValueError("it holds no tensors")
    for name, value in tensors.items():
        if value.layout != torch.strided or value.is_quantized or value.is_complex() or value.is_meta:
            raise ValueError(f"{name} is not a plain tensor")
    if sum(value.nbytes for value in tensors.values()) > memory:
        raise MemoryError
    seen: set[int] = set()
    for name, value in tensors.items():  # tied weights become separate ones, views get memory of their own
        storage = value.untyped_storage().data_ptr()
        tensors[name] = value.clone(memory_format=torch.contiguous_format) if storage in seen else value.contiguous()
        seen.add(storage)
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
        notes.append('every name began with "module.", which was taken off')
    save_file(tensors, target)
    return notes


def choose(content: Any, kind: type) -> tuple[Mapping[Any, Any], list[str]]:
    """The state dictionary among what was saved, and what else there was."""
    notes: list[str] = []
    for _ in range(DEEPEST):
        if not isinstance(content, Mapping):
            raise ValueError(f"it holds {type(content).__name__} and not a dictionary of tensors")
        key = next((key for key in KEYS if isinstance(content.get(key), Mapping)), None)
        if key is None or any(isinstance(value, kind) for value in content.values()):
            break
        if len(content) > 1:
            notes.append(f"of {', '.join(map(str, list(content)[:10]))} in the file, {key} was read")
        content = content[key]
    return content, notes


def leaves(content: Mapping[Any, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every value by its name, the names of nested dictionaries joined by dots."""
    if depth > DEEPEST or len(content) > MOST_NAMES:
        raise ValueError("its dictionaries are too deep or too long")
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.", depth + 1)
        else:
            yield f"{prefix}{key}", value


def leave_network() -> None:
    """Go where there is no network, where Linux lets a process do so by itself; before it has other threads."""
    if sys.platform != "linux":
        return
    import ctypes

    # Root needs no new user, in whose place it would lose its right to other people's files.
    flags = CLONE_NEWNET | (0 if os.geteuid() == 0 else CLONE_NEWUSER)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).unshare(flags)


def refuse_all_but(target: str) -> None:
    """From now on let Python in this process write to `target` and do none of what `REFUSED` lists."""

    def judge(event: str, given: tuple[Any, ...]) -> None:
        if event.startswith(REFUSED):
            raise PermissionError(f"it wants {event}, which no file of weights needs")
        if event == "open" and given[0] != target:
            mode, flags = given[1:]
            if set(mode or "") & set("wax+") or (isinstance(flags, int) and flags & WRITES):
                raise PermissionError("it wants to write a file of its own")

    sys.addaudithook(judge)


def limit_memory(allowed: int) -> None:
    """Let this process take no more than `allowed` bytes beyond what it has, and write no larger file.

    Memory is limited on Linux alone: elsewhere a process is not told how much it has, or no such limit is kept.
    """
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (allowed + LONGEST_HEADER, allowed + LONGEST_HEADER))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + allowed, taken + allowed))
    except (ImportError, OSError, ValueError):
        return


def reason(error: Exception) -> str:
    """Why it cannot be read, in few words."""
    text = str(error)
    if isinstance(error, pickle.UnpicklingError):  # torch's own text advises to load it without protection
        needs = re.search(r"GLOBAL ([\w.]+\w)", text)
        return f"it needs {needs[1]} to be unpickled" if needs else "torch's loader of plain weights does not take it"
    return " ".join(text.split())[:200] or type(error).__name__


if __name__ == "__main__":
    main(*sys.argv[1:])
