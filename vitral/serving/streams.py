"""Batches through a network on a CPU as two streams, each on half of the cores.

Threads that share the work of one layer wait for the slowest of them at every layer; a stream waits for nobody. The
rows of a Vision Transformer have the same bits either way (see `Model.logits`), and no more pictures are in flight: a
batch is cut into a part for each stream.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from vitral.data.loader import Batch

STREAMS = 2
"""More gain little: what is left to wait for is the memory."""

AHEAD = 2
"""Batches handed out before the first is waited for, so that no stream runs dry."""

Compute = Callable[[np.ndarray], Tensor]


def in_streams(
    batches: Iterable[Batch], compute: Compute, device: torch.device | None
) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch, in order, with `compute` of its images [n, ...]; of an empty batch nothing is computed.

    Args:
        device: of the network; on any other than a CPU there is one stream, and where another engine computes (`None`).
    """
    cores = torch.get_num_threads()
    if device is None or device.type != "cpu" or cores < STREAMS:
        for batch in batches:
            yield batch, compute(batch.images) if len(batch) else torch.zeros(0)
        return
    waiting: deque[tuple[Batch, list[Future[Tensor]]]] = deque()
    with _pool(cores) as pool:
        try:
            for batch in batches:
                size = max(1, -(-len(batch) // STREAMS))
                starts = range(0, len(batch), size)
                waiting.append((batch, [pool.submit(compute, batch.images[at : at + size]) for at in starts]))
                if len(waiting) > AHEAD:
                    yield _done(*waiting.popleft())
            while waiting:
                yield _done(*waiting.popleft())
        finally:
            for _, parts in waiting:
                for part in parts:
                    part.cancel()


def _done(batch: Batch, parts: list[Future[Tensor]]) -> tuple[Batch, Tensor]:
    return batch, torch.cat([part.result() for part in parts]) if parts else torch.zeros(0)


def _pool(cores: int) -> ThreadPoolExecutor:
    """Threads whose own layers use their share of the cores.

    torch keeps one number of threads for the process, which a thread takes over at its first layer, and one for each
    thread: so every thread first takes over the process's, then sets its own, and then the process's is put back.
    """
    ready = threading.Barrier(STREAMS + 1)

    def begin() -> None:
        torch.get_num_threads()
        ready.wait()
        torch.set_num_threads(cores // STREAMS)
        ready.wait()

    pool = ThreadPoolExecutor(STREAMS, thread_name_prefix="vitral-stream")
    begun = [pool.submit(begin) for _ in range(STREAMS)]
    ready.wait()
    ready.wait()
    for thread in begun:
        thread.result()
    torch.set_num_threads(cores)
    return pool
