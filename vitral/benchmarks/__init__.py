"""Many runs, one table: how a model does on the tasks that papers report together, and the paper's own questions."""

from __future__ import annotations

from collections.abc import Callable

from vitral.benchmarks.ablations import ablations
from vitral.benchmarks.benchmark import Benchmark
from vitral.benchmarks.data_size import data_size
from vitral.benchmarks.scales import Scale
from vitral.benchmarks.scaling import scaling
from vitral.benchmarks.selfsup import selfsup
from vitral.benchmarks.study import Study
from vitral.benchmarks.transfer import TRANSFER
from vitral.benchmarks.vtab import VTAB

BENCHMARKS: dict[str, Benchmark] = {"vtab": VTAB, "transfer": TRANSFER}
"""By the word after `vitral benchmark`."""

STUDIES: dict[str, Callable[[Scale], Study]] = {
    "scaling": scaling,
    "data-size": data_size,
    "ablations": ablations,
    "selfsup": selfsup,
}
"""Likewise; each makes its runs for a scale."""
