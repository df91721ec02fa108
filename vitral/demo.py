"""`make demo`: train, evaluate and predict on real pictures, by the same commands that a user types.

Without arguments the pictures are scikit-learn's 1,797 handwritten digits, written out as a folder of PNG files.
With a folder, that folder; it then starts from published weights where the network allows.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from vitral.cli import Parser
from vitral.cli import main as vitral
from vitral.config import DataConfig
from vitral.console import error as show
from vitral.datasets import read
from vitral.datasets.bundled import write_digits
from vitral.datasets.dataset import TEST, VALIDATION
from vitral.datasets.scan import pictures_below
from vitral.errors import VitralError

FOLDER = Path("demo")


def main(words: Sequence[str]) -> int:
    """Run the demo on the folder in `words`, or on the digits; returns the exit code of the first failed command."""
    parser = Parser(prog="python -m vitral.demo", description=__doc__)
    parser.add_argument("pictures", metavar="PICTURES", nargs="?", help="folder of pictures (default: the digits)")
    try:
        pictures = parser.parse(words).pictures
        return _digits() if pictures is None else _own_pictures(Path(pictures))
    except VitralError as error:
        show(str(error))
        return error.exit_code


def _digits() -> int:
    pictures = write_digits(FOLDER / "digits")
    run = FOLDER / "run"
    unseen = [path for digit in range(3) for path in pictures_below(pictures / "test" / str(digit))[:1]]
    return _all(
        ["train", str(pictures), "--out", str(run)],
        ["evaluate", str(run / "model"), str(pictures)],
        ["predict", str(run / "model"), *unseen, "--top", "2"],
    ) or _say_where(run)


def _own_pictures(pictures: Path) -> int:
    run = FOLDER / f"run-{pictures.resolve().name}"
    code = _all(["finetune", str(pictures), "--out", str(run)], ["evaluate", str(run / "model"), str(pictures)])
    unseen = [] if code else _held_out(pictures)
    return (
        code or _all(*([["predict", str(run / "model"), *unseen, "--top", "2"]] if unseen else [])) or _say_where(run)
    )


def _held_out(pictures: Path) -> list[str]:
    """A picture of each of up to three classes that the training did not see."""
    found = read(DataConfig(path=str(pictures)))  # the cut is the one of the run: a function of names and seed
    split = found.splits.get(TEST) or found.splits.get(VALIDATION)
    if split is None:
        return []
    first = {labels[0]: str(source) for source, labels in zip(split.sources, split.labels, strict=True)}
    return list(first.values())[:3]


def _all(*commands: list[str]) -> int:
    for command in commands:
        print(f"\n$ vitral {' '.join(command)}", flush=True)
        code = vitral(command)
        if code:
            return code
    return 0


def _say_where(run: Path) -> int:
    print(f"\nmodel folder  {run / 'model'}\ncurves        {run / 'report.html'} (open it in a browser)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
