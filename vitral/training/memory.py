"""How many pictures fit through a network at once, and what to make of memory that ran out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

REFUSALS = ("can't allocate memory", "backend out of memory")
"""What torch says, in a plain RuntimeError, where the CPU or an Apple GPU has no memory left."""

SHARE = 0.7
"""Of the memory that is free, what a step may be predicted to take. A step of ViT-Ti/16 on a CPU was seen to peak at
1.2 times what its forward pass keeps; other programs need some, too."""

CPU_SIZES, GPU_SIZES = (2, 4), (4, 8)
"""Pictures of the two steps that are measured: their difference is free of what is there at any size. (Of a single
picture batch norm may have nothing to average.)"""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left."""
    known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return known or any(refusal in str(error) for refusal in REFUSALS)


def fitting(batch_size: int, per_picture: float, room: float) -> int:
    """The largest of batch_size, its half, a quarter ... (rounded up) whose pictures fit into `room`; at least 1."""
    size = batch_size
    while size > 1 and size * per_picture > room:
        size = halved(size)
    return size


def halved(size: int) -> int:
    """Half of `size`, rounded up, so that two parts make a whole."""
    return -(-size // 2)


def saved_bytes(forward: Callable[[], Any]) -> int:
    """Bytes that `forward` keeps for the backward pass, on any device, the weights among them."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    del result  # until here every address is one tensor's own
    return sum(kept.values())


def peak_bytes(step: Callable[[], Any], device: torch.device) -> int:
    """Bytes that `step` took at most on a CUDA GPU, beyond what was taken before it."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def free_bytes(device: torch.device) -> int | None:
    """Memory that is free on the device, for this process to take; `None` where nobody says."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return None if device.type != "cpu" else _free_ram()


class Peak:
    """The most memory that was taken at once, beyond what was taken when this was made: of the device on a CUDA GPU, of
    the whole process on Linux, its reading threads included."""

    def __init__(self, device: torch.device, proc: Path = Path("/proc/self")) -> None:
        self._device, self._proc = device, proc
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before: int | None = torch.cuda.memory_allocated(device)
            return
        try:
            (proc / "clear_refs").write_text("5")  # Linux forgets the peak so far
        except OSError:
            self._before = None
        else:
            self._before = self._status("VmRSS")

    def read(self) -> int | None:
        """Bytes; `None` where nobody says."""
        if self._before is None:
            return None
        most = torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else self._status("VmHWM")
        return None if most is None else max(0, most - self._before)

    def _status(self, name: str) -> int | None:
        try:
            lines = dict(line.split(":", 1) for line in (self._proc / "status").read_text().splitlines())
            return int(lines[name].split()[0]) * 1024
        except (OSError, ValueError, KeyError, IndexError):
            return None


def memory_of(device: torch.device) -> int | None:
    """All the memory of a CUDA GPU; `None` of other devices."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def _free_ram(proc: Path = Path("/proc/meminfo"), group: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What Linux says is available, within the limit of this process's container."""
    try:
        lines = dict(line.split(":", 1) for line in proc.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return None
    try:
        limit = int((group / "memory.max").read_text())  # "max" where there is none
        used = int((group / "memory.current").read_text())
        pages = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        reclaimable = int(pages["inactive_file"])
    except (OSError, ValueError, KeyError):
        return free
    return max(0, min(free, limit - used + reclaimable))
