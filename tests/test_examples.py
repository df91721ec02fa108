"""The notebooks are whole, hold no outputs, and run from top to bottom as written, at smoke scale."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from vitral.inspection.figures import available

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.ipynb"))


def cells(path: Path) -> list[dict[str, Any]]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    return list(notebook["cells"])


def shown(code: str, place: dict[str, Any]) -> Any:
    """What a notebook shows of a cell: the value of its last line, if that is an expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), place)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), place) if last else None


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["classify_and_inspect", "fine_tune_and_read_the_report"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_kept(path: Path) -> None:
    names = [cell["id"] for cell in cells(path)]
    assert len(set(names)) == len(names)
    for cell in cells(path):
        assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    available()
    monkeypatch.chdir(tmp_path)
    place: dict[str, Any] = {"__name__": "__main__"}
    drawn = 0
    for cell in cells(path):
        if cell["cell_type"] == "code":
            value = shown(re.sub(r"(?m)^EPOCHS = \d+", "EPOCHS = 0.05", "".join(cell["source"])), place)
            if hasattr(value, "_repr_png_"):
                assert value._repr_png_().startswith(b"\x89PNG")
                drawn += 1
    assert drawn == (4 if path.stem == "classify_and_inspect" else 0)
