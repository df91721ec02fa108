"""Where a network computes, by the name that a user gives it."""

from __future__ import annotations

import torch

from vitral.errors import UnavailableError, UsageError


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is the first GPU that is there, else the CPU.

    Raises:
        UsageError: no such kind of device. UnavailableError: this machine has none.
    """
    if name == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}: it takes auto, cpu, cuda, cuda:1 or mps.") from error
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}.get(
        device.type, 0
    )
    if (device.index or 0) >= count:
        raise UnavailableError(
            f"device {name} is not there ({count} of its kind): use --device cpu, or see `vitral doctor`."
        )
    return device
