"""Two thousand of the mutations of `tests.weights.fuzz`; that module says what is asked of each."""

from __future__ import annotations

import pytest


@pytest.mark.slow
def test_no_mutation_of_a_file_of_weights_does_harm() -> None:
    pytest.importorskip("resource", reason="this system knows no limits of memory")
    from tests.weights import fuzz

    found = fuzz.survey(0, 2000)
    assert found["failures"] == []
    assert sum(found["counts"].values()) == 2000
    assert {name.split()[0] for name in found["counts"]} == set(fuzz.Fuzz.KINDS)
