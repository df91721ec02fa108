"""The server's end of a model's process: start it, ask it, end it. Everything here blocks; call it in a thread."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vitral import errors
from vitral.config import Preprocessing
from vitral.errors import VitralError
from vitral.serving import wire

ROOT = Path(__file__).resolve().parents[2]
"""The folder that this package stands in: the process must run the same one."""

PROGRAM = ("-m", "vitral.engine")
"""What runs there."""

SECRETS = ("VITRAL_API_KEY",)
"""Of the environment, what a model has no business with."""

PATIENCE = 5.0
"""Seconds that a process gets to end by itself."""


class WorkerLostError(Exception):
    """The process ended, or was ended, while it owed an answer."""


class ModelFailedError(Exception):
    """The model raised: this batch has no answer, the next one may."""


@dataclass(frozen=True)
class Order:
    """What a process should load, and with how many threads it computes; `None` leaves that to torch."""

    path: str
    device: str = "cpu"
    threads: int | None = None
    preprocessing: dict[str, Any] = field(default_factory=dict)
    backend: str = "torch"


@dataclass(frozen=True)
class Description:
    """What the server knows of a model; see `vitral.engine.Engine.described`."""

    family: str
    parameters: int | None
    device: str
    backend: str
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    descriptions: dict[str, str]
    multi_label: bool
    temperature: float
    calibrated: bool
    explanations: dict[str, Any]
    card: str
    sha256: str
    batch_size: int
    precision: str = "float32"


class Worker:
    """A running process with a loaded and tried model.

    Args:
        launched: gets the process as soon as there is one, so that it can be ended while it loads.

    Raises:
        VitralError: the model cannot be loaded; it is of the class that `load` raised there.
        WorkerLostError: the process ended before it had loaded.
    """

    def __init__(self, order: Order, launched: Callable[[subprocess.Popen[bytes]], None] = lambda _: None) -> None:
        known = {name: value for name, value in os.environ.items() if name not in SECRETS}
        path = os.pathsep.join(filter(None, (str(ROOT), known.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            [sys.executable, "-P", *PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=known | {"PYTHONPATH": path},
        )
        launched(self.process)
        self._lock = threading.Lock()
        try:
            header, _ = self._ask(
                {
                    "path": order.path,
                    "device": order.device,
                    "threads": order.threads,
                    "preprocessing": order.preprocessing,
                    "backend": order.backend,
                }
            )
            if "error" in header:
                raise _known(header)
            self.description = description_of(header)
        except BaseException:
            self.kill()
            raise

    def ask(self, kind: str, pixels: np.ndarray, options: dict[str, Any] | None = None) -> wire.Frame:
        """The answer to one batch.

        Raises:
            WorkerLostError: the process is gone. ModelFailedError: the model raised.
            UsageError: the options do not fit.
        """
        header, arrays = self._ask({"kind": kind, "options": options or {}}, [pixels])
        if "error" in header:
            if header["exit_code"] == errors.UsageError.exit_code:
                raise errors.UsageError(header["error"])
            raise ModelFailedError(header["error"])
        return header, arrays

    def _ask(self, header: dict[str, Any], arrays: list[np.ndarray] | None = None) -> wire.Frame:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with self._lock:
            try:
                wire.write(self.process.stdin, header, arrays or [])
                frame = wire.read(self.process.stdout)
            except (OSError, ValueError) as error:  # the pipe is closed, at the other end or by `kill`
                raise WorkerLostError(str(error)) from error
        if frame is None:
            raise WorkerLostError("it ended")
        return frame

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def stop(self) -> None:
        """End the process: politely, then by force."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE)
        self.kill()

    def kill(self) -> None:
        """End the process at once; whoever waits for its answer gets `WorkerLostError`."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not self._lock.locked():
                with contextlib.suppress(OSError):
                    pipe.close()


def _known(header: dict[str, Any]) -> Exception:
    """The error that the process met, as an object of the class that it was there."""
    kind = getattr(errors, header["kind"], None)
    if isinstance(kind, type) and issubclass(kind, VitralError) and kind is not errors.UnreadableImageError:
        return kind(header["error"])
    return VitralError(f"the model cannot be loaded: {header['error']}")


def description_of(header: dict[str, Any]) -> Description:
    """What `Engine.described` said, as an object again."""
    preprocessing = dict(header.pop("preprocessing"))
    for name, value in preprocessing.items():
        preprocessing[name] = tuple(value) if isinstance(value, list) else value
    header["classes"] = tuple(header["classes"])
    return Description(preprocessing=Preprocessing(**preprocessing), **header)
