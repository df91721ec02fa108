"""Several processes at one task: the one door to `torch.distributed`.

`torchrun --nproc-per-node N -m vitral evaluate ...` starts one command N times; the environment says which of them a
process is. Every process makes the same plan, works on its own batches, and process 0 puts the answers together in the
order of the pictures and goes on alone, so that whatever is counted, shown or written comes from one.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

import numpy as np

from vitral.errors import UnavailableError, UsageError

PATIENCE = timedelta(days=1)
"""How long a process waits for the others, which may have slower machines; one that died is torchrun's to notice."""


class Group(NamedTuple):
    """The processes of a task, as one of them sees it.

    Attributes:
        rank: which this is, from 0.
        size: how many there are.
        local_rank: which it is on its machine.
        local_size: how many there are on its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process puts the answers together."""
        return self.rank == 0

    def settle(self) -> None:
        """Take one of the machine's GPUs, if it has any, as the one that "auto" and "cuda" mean in this process."""
        import torch

        if self.size > 1 and torch.cuda.is_available():
            torch.cuda.set_device(self.local_rank % torch.cuda.device_count())

    def dealt(self, count: int, block: int, rank: int | None = None) -> np.ndarray:
        """Which of `count` pictures are a process's own [n] int64, ascending: each is exactly one's.

        Args:
            block: pictures of a batch. Batches are dealt whole, so they hold the same pictures for every `size`.
            rank: whose; by default this process's.
        """
        samples = np.arange(count)
        return samples[samples // block % self.size == (self.rank if rank is None else rank)]

    def together(self, own: bytes) -> list[bytes]:
        """What each process has of its own, by rank, in the process that leads; nothing in the others.

        Raises:
            UnavailableError: the processes do not find each other.
        """
        if self.size == 1:
            return [own]
        import torch
        from torch import distributed

        try:
            if not distributed.is_initialized():
                distributed.init_process_group("gloo", timeout=PATIENCE)  # bytes on the CPU, whatever computed them
                atexit.register(distributed.destroy_process_group)
            length = torch.tensor([len(own)])
            lengths = [torch.zeros_like(length) for _ in range(self.size)]
            distributed.all_gather(lengths, length)
            longest = max(int(n) for n in lengths)
            padded = torch.zeros(longest, dtype=torch.uint8)
            padded[: len(own)] = torch.frombuffer(bytearray(own), dtype=torch.uint8) if own else padded[:0]
            received = [torch.empty_like(padded) for _ in range(self.size)] if self.leads else None
            distributed.gather(padded, received)
        except (RuntimeError, ValueError) as error:
            raise UnavailableError(
                f"process {self.rank} of {self.size} does not reach the others ({error}): start them with torchrun."
            ) from error
        return [data[: int(n)].numpy().tobytes() for data, n in zip(received or (), lengths, strict=False)]


ALONE = Group()


def group_of(environment: Mapping[str, str] = os.environ) -> Group:
    """The processes that torchrun started, as its environment variables tell.

    Raises:
        UsageError: they are no counts that fit together.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    given = [environment.get(name, str(usual)) for name, usual in zip(names, ALONE, strict=True)]
    if all(word.isascii() and word.isdigit() for word in given):
        found = Group(*map(int, given))
        if found.rank < found.size and found.local_rank < found.local_size <= found.size:
            return found
    said = ", ".join(f"{name}={word}" for name, word in zip(names, given, strict=True))
    raise UsageError(f"these say of no process which of how many it is: {said}. torchrun sets them.")
