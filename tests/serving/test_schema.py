"""The served description is kept: a few of the requests that `python -m tests.serving.schema` makes by the hundred."""

from __future__ import annotations

import pytest

from tests.serving import schema


@pytest.mark.slow
@pytest.mark.skipif(schema.found() is None, reason="schemathesis is not installed (pip install schemathesis)")
def test_every_answer_is_as_the_description_promises() -> None:
    program = schema.found()
    assert program is not None
    done = schema.check(program, 5, "--include-path", "/v1/classify", "--include-path", "/readyz")
    assert done.returncode == 0, done.stdout
