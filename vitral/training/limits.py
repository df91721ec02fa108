"""What holds training up: the network, the disk, or too little work on pictures beside it."""

from __future__ import annotations

import threading

LITTLE = 0.1
"""Share of the time spent waiting for data below which the network is what takes the time."""

MODEL, DISK, WORKERS, PICTURES = "model", "disk", "workers", "pictures"

WORDS = {
    MODEL: "the model",
    DISK: "the disk",
    WORKERS: "too few workers",
    PICTURES: "decoding and varying pictures",
}
"""What each limit is called on the screen."""


class Work:
    """Seconds that threads spent on pictures, since `restart`: reading them, and what follows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.restart()

    def restart(self) -> None:
        """Begin a new stretch."""
        self.read = self.made = 0.0

    def note(self, read: float, made: float) -> None:
        """One picture; from any thread."""
        with self._lock:
            self.read += read
            self.made += made


def limit(waiting: float, read: float, made: float, workers: int, cores: int) -> str:
    """What holds training up.

    Args:
        waiting: share of the time in which the network waited for data, in [0, 1].
        read, made: seconds in which threads read pictures, and decoded and varied them.
        workers: threads that do so.
        cores: that this process may use.

    Returns:
        MODEL where the network hardly waits; else DISK where reading takes longer than what follows; else WORKERS
        where more threads could run, or PICTURES where every core has one.
    """
    if waiting < LITTLE:
        return MODEL
    if read > made:
        return DISK
    return WORKERS if workers < cores else PICTURES
