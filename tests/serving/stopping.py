"""`vitral serve` within a test's own process, stopped by itself once it answers."""

from __future__ import annotations

import signal
import threading
import time

from vitral.serving.address import bind
from vitral.serving.client import Client


def stopped_once_ready() -> int:
    """A free port; what serves there is ended as by Ctrl-C, once it answers."""
    with bind("127.0.0.1", 0) as free:
        port = int(free.getsockname()[1])
    threading.Thread(target=_stop, args=(port,), daemon=True).start()
    return port


def _stop(port: int) -> None:
    client = Client(f"http://127.0.0.1:{port}")
    while not client.ready():
        time.sleep(0.1)
    signal.raise_signal(signal.SIGINT)
