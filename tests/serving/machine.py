"""How busy the machine was while something was timed, so that a verdict says no more than it can know."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

Verdict = dict[str, Any]
"""What was counted of one promise, and whether it "held"."""

BUSY = 0.025
"""Seconds that a sleeper is woken late, at the 99th percentile, above which times say nothing about the server."""

SLEEPER = """
import sys, threading, time
late, stop = [], threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
while not stop.is_set():
    before = time.monotonic()
    time.sleep(0.005)
    late.append(time.monotonic() - before - 0.005)
print(sorted(late)[int(0.99 * len(late))] if late else 0)
"""


class Machine:
    """How late the machine wakes a process that sleeps, while the context lasts.

    Attributes:
        late: seconds, the 99th percentile; known after the context.
    """

    late = 0.0

    def __enter__(self) -> Machine:
        words = [sys.executable, "-c", SLEEPER]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        said, _ = self._process.communicate()
        self.late = float(said or 0)


def judged(verdict: Verdict, machine: Machine, in_time: bool, made: float = 1.0) -> Verdict:
    """A verdict with its times judged, if the machine allows that.

    Args:
        made: share of the load that was meant which the clients did make.
    """
    verdict["machine_late_p99_ms"] = round(1000 * machine.late, 1)
    if machine.late > BUSY:
        verdict["not_judged"] = f"the machine wakes a sleeping process {1000 * machine.late:.0f} ms late"
    elif made < 0.8:
        verdict["not_judged"] = f"the clients made {made:.0%} of the load that was meant"
    verdict["in_time"] = None if "not_judged" in verdict else in_time
    return verdict
