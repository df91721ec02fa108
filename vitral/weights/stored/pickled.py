"""Weights in a .pth, .pt or .bin file of torch.save.

Such a file is a program for Python's unpickler. It is read with torch's weights-only loader, which knows tensors and
plain values alone, and in a process of its own with little time and environment, where Python may not reach the
network, start a program or write elsewhere; on Linux with little memory too (macOS and Windows keep no such limit).
What arrives here is a safetensors file. Whatever needs more is refused.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
import zipfile
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from vitral.errors import DataError
from vitral.weights.stored.directory import members_of, unpacked
from vitral.weights.stored.safetensors import SafetensorsFile

PROGRAM = Path(__file__).with_name("unpickling.py")
"""What runs in the other process."""

ZIPPED = b"PK\x03\x04"
MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How a file of torch.save begins: today's form, and that of before torch 1.6, a pickled number."""

KEPT = ("SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "TEMP", "TMP")
"""Of the environment, what a process needs to start at all."""

SPARE = 512 << 20
"""Bytes that the other process may take, beside four times the file."""

SECONDS = 60.0
"""Time that it has, beside a second for every 10 MB."""


class AnotherPickleError(ValueError):
    """A pickle that torch.save did not write."""


class PickledFile:
    """An opened .pth file; see `vitral.weights.stored.Stored`.

    Nested dictionaries are one list of names joined by dots. Where a program saved more than the weights, `notes` says
    what was taken.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        folder = tempfile.mkdtemp(prefix="vitral-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        target = Path(folder) / "model.safetensors"
        answer = self._convert(target)
        if "error" in answer or not target.is_file():
            raise self._refused(str(answer.get("error", "it gave no tensors")))
        self.notes: tuple[str, ...] = tuple(map(str, answer.get("notes", ())))
        self._plain = SafetensorsFile(target)
        self.shapes = self._plain.shapes

    def tensor(self, name: str) -> Tensor:
        """The numbers of one tensor, in memory of their own."""
        return self._plain.tensor(name)

    def _convert(self, target: Path) -> dict[str, Any]:
        """Run the other process; what it said."""
        try:
            check(self.path)
            size = self.path.stat().st_size
        except AnotherPickleError as error:
            raise self._refused(str(error)) from error
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{self.path} cannot be read as .pth ({error}): it is damaged, or of another kind; copy or download it "
                f"again."
            ) from error
        found = {str(Path(str(module.__file__)).parents[1]) for module in (torch, safetensors)}
        words = [sys.executable, "-I", "-W", "ignore", str(PROGRAM), str(self.path.resolve()), str(target)]
        kept = {name: os.environ[name] for name in KEPT if name in os.environ} | {"OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                [*words, str(SPARE + 4 * size), *sorted(found)],
                env=kept, cwd=target.parent, stdin=subprocess.DEVNULL, capture_output=True,
                timeout=SECONDS + size / 10e6, check=False,
            )  # fmt: skip
            answer = json.loads(done.stdout.decode("utf-8").splitlines()[-1])
            return answer if isinstance(answer, dict) else {}
        except subprocess.TimeoutExpired as error:
            raise self._refused(f"it was not read after {error.timeout:.0f} seconds") from error
        except (ValueError, IndexError) as error:
            raise self._refused("the process that read it came to grief") from error

    def _refused(self, reason: str) -> DataError:
        return DataError(
            f"{self.path} cannot be read as a plain .pth ({reason}): save its state_dict alone, as safetensors."
        )


def check(path: Path) -> None:
    """Look at a .pth file from outside: whether torch.save wrote it, and every member's CRC-32.

    torch's own reader compares none.

    Raises:
        ValueError, zipfile.BadZipFile: a member differs, or the file is not as it should be.
    """
    with path.open("rb") as file:
        start = file.read(len(MAGIC))
        if start.startswith(ZIPPED):
            for info in members_of(file):
                for _ in unpacked(file, info):
                    pass
        elif start[2:] != MAGIC[2:]:  # what stands before is the version of pickling
            raise AnotherPickleError("torch.save did not write it")
