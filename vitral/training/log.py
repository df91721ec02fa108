"""The run's own record: metrics that are the same bytes on every machine restart, and speeds that are not."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitral.errors import StorageError, UnavailableError
from vitral.files import replace_durably


class JsonLines:
    """A file of one JSON object per line, only ever appended to, and cut back when a run resumes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line and hand it to the operating system."""
        before = self.size()
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            with contextlib.suppress(OSError):
                self.cut(before)  # no torn line
            raise StorageError(
                f"cannot write {self.path} ({error.strerror}): free some space; the run can be resumed."
            ) from error

    def read(self) -> list[dict[str, Any]]:
        """Every whole line so far; what a crash tore is left out."""
        if not self.path.exists():
            return []
        records = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
            with contextlib.suppress(ValueError):
                records.append(json.loads(line))
        return records

    def size(self) -> int:
        """Bytes written so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def forget_after(self, step: int) -> None:
        """Leave out the records of later steps."""
        if self.path.exists():
            kept = [json.dumps(record) + "\n" for record in self.read() if record["step"] <= step]
            replace_durably(self.path, "".join(kept).encode())

    def cut_torn_line(self) -> None:
        """Forget what a crash tore, so that the next line does not continue it."""
        if self.path.exists():
            self.cut(self.path.read_bytes().rfind(b"\n") + 1)

    def cut(self, size: int) -> None:
        """Forget what was written after the first `size` bytes."""
        if self.size() > size:
            os.truncate(self.path, size)


class Speed:
    """Pictures per second, share of time spent waiting for data, and time left, since `restart`."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin a new stretch."""
        self.started = time.perf_counter()
        self.pictures = 0
        self.steps = 0
        self.waited = 0.0

    def add(self, pictures: int, waited: float) -> None:
        """Count one step."""
        self.pictures += pictures
        self.steps += 1
        self.waited += waited

    def read(self) -> dict[str, float]:
        """`images_per_second`, `waiting` in [0, 1] and `seconds_per_step`."""
        elapsed = max(1e-9, time.perf_counter() - self.started)
        return {
            "images_per_second": round(self.pictures / elapsed, 2),
            "waiting": round(min(1.0, self.waited / elapsed), 4),
            "seconds_per_step": elapsed / max(1, self.steps),
        }


class TensorBoard:
    """The same numbers as TensorBoard event files. Needs the extra `tensorboard`."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # slow to import, and optional
        except ImportError as error:
            raise UnavailableError("TensorBoard is not installed: pip install 'vitral[tensorboard]'.") from error
        self._writer = SummaryWriter(str(folder))

    def write(self, record: Mapping[str, Any]) -> None:
        """Add every number of one record at its step."""
        for name, value in record.items():
            if name != "step" and isinstance(value, (int, float)):
                self._writer.add_scalar(name, value, int(record["step"]))
        self._writer.flush()
