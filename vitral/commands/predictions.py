"""The table of predictions that `evaluate` writes: one line per picture, for a spreadsheet or another program."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vitral.errors import StorageError


def refuse_bad_table(given: str | None) -> None:
    """Refuse, before minutes of work, a table that could not be written."""
    if given is None:
        return
    path = Path(given)
    if path.is_dir():
        raise StorageError(f"cannot write {given} (it is a folder): name a file, like answers.csv.")
    if not path.parent.is_dir():
        raise StorageError(f"cannot write {given} (there is no folder {str(path.parent)!r}): make it, or name another.")


def write_table(path: Path, model: Any, split: Any, result: Any) -> None:
    """Path, true label, and up to five classes with probabilities, of every picture of an evaluation.

    Raises:
        StorageError: it cannot be written.
    """
    import torch

    top = min(5, len(model.classes))
    columns = ["path", "label", *(f"{what}{k + 1}" for k in range(top) for what in ("top", "probability")), "logit"]
    probabilities = model.probabilities_of(torch.from_numpy(result.logits)).numpy()

    def rows() -> Iterable[Sequence[Any]]:
        for i, (source, labels) in enumerate(zip(split.sources, split.labels, strict=True)):
            guesses = [] if i in result.unreadable else model.best(probabilities[i], top)
            cells = [cell for guess in guesses for cell in (guess.label, f"{guess.probability:.6f}")]
            logit = f"{result.logits[i].max():.6f}" if guesses else ""
            yield [source, truth(model, labels), *cells, *[""] * (2 * (top - len(guesses))), logit]

    write_csv(path, columns, rows())


def truth(model: Any, labels: Iterable[int]) -> str:
    """A picture's true classes by name; nothing in the place of one that the model does not know."""
    return ";".join(model.classes[k] if k >= 0 else "" for k in labels)


def spreadsheet_safe(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: words that begin like one get an apostrophe in front, as names
    of files and classes may be anybody's (OWASP, "CSV Injection"). Numbers stay."""
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table as comma-separated values, in which no cell is a formula.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([spreadsheet_safe(cell) for cell in row] for row in rows)
    except OSError as error:
        raise StorageError(f"cannot write {path} ({error.strerror}): name another file.") from error
