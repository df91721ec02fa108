"""An error is one line, whatever the thing that it names is called."""

from __future__ import annotations

import pickle

import pytest

from vitral import errors
from vitral.errors import UnreadableImageError, VitralError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, VitralError)]
BREAKS = "\n\r\t\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""What ends a line for Python's `str.splitlines`, and a tab."""


@pytest.mark.parametrize("kind", KINDS)
def test_no_name_breaks_the_line_or_commands_the_terminal(kind: type[VitralError]) -> None:
    name = f"a{BREAKS}b\x1b[31mc\u202egnp.exe"
    error = kind(name, "broken") if kind is UnreadableImageError else kind(f"{name} is broken")
    assert len(str(error).splitlines()) == 1
    assert not set(str(error)) & {*BREAKS, "\x1b", "\u202e"}
    assert "a\\n\\x0d\\t\\x0b" in str(error)
    assert "b\\x1b[31mc\\u202egnp.exe" in str(error)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not UnreadableImageError])
def test_an_error_comes_back_from_another_process(kind: type[VitralError]) -> None:
    error = pickle.loads(pickle.dumps(kind("Größe\nx")))
    assert (type(error), str(error)) == (kind, "Größe\\nx")
