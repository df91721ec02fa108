"""Many runs, one table: how a model does on the tasks that papers report together."""

from __future__ import annotations

from vitral.benchmarks.benchmark import Benchmark
from vitral.benchmarks.transfer import TRANSFER
from vitral.benchmarks.vtab import VTAB

BENCHMARKS: dict[str, Benchmark] = {"vtab": VTAB, "transfer": TRANSFER}
"""By the word after `vitral benchmark`."""
