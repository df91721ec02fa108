"""One model on every set of pictures in a folder, by every way that vitral has to adapt it: accuracy and minutes.

Each row is what one command says, run as a user would run it. Rows that are done stand in OUT/rows.jsonl and are not
run again; a row that is stopped (Ctrl-C, SIGTERM, a crash) goes on where it was with the next start, and its minutes
add up. So the bench can be stopped at any time. `--only-table` prints what there is.

A set is a folder with train/CLASS/picture and test/CLASS/picture, or one with labels.csv that has a column split; which
of its columns are path and label is told by --columns where they are not called so. Probes see pictures squashed to the
model's input; everything else sees them as vitral chooses.

    probe         vitral probe: logistic regression, nearest neighbours, few-shot ridge regression, of frozen features
    linear-probe  vitral finetune --recipe linear-probe     head-only  ... --recipe head-only
    finetune      vitral finetune, with nothing else        lora       ... --lora 8
    table4, augreg, bit   the papers' fine-tuning recipes, shortened for a CPU: 224 pixels, 150 steps of 32 pictures
"""

from __future__ import annotations

import argparse
import csv
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import report
from tests import places
from vitral.evaluators.intervals import share_interval

SHORT = ["--image-size", "224", "--training.batch-size", "32", "--steps", "150", "--schedule.warmup", "15 steps"]

METHODS: dict[str, list[str]] = {
    "probe": [],
    "linear-probe": ["--recipe", "linear-probe"],
    "head-only": ["--recipe", "head-only"],
    "finetune": [],
    "lora": ["--lora", "8"],
    "table4": ["--recipe", "table4-vtab", *SHORT],
    "augreg": ["--recipe", "augreg-finetune-vtab", *SHORT],
    "bit": ["--recipe", "bit-hyperrule", *SHORT],
}
"""By name, what follows `vitral finetune PICTURES`; "probe" is a verb of its own."""

PROBES = {"linear": "linear classifier", "1nn": "nearest neighbour", "20nn": "20 nearest neighbours"}


@dataclass(frozen=True)
class Set:
    """One set of pictures, and the words that say where they are."""

    name: str
    words: list[str]


def find_sets(data: Path, columns: dict[str, tuple[str, str]]) -> list[Set]:
    """Every set below a folder, by its place there."""
    found = []
    for folder in sorted({path.parent for path in (*data.glob("**/train"), *data.glob("**/labels.csv"))}):
        name = folder.relative_to(data).as_posix()
        if (folder / "train").is_dir() and (folder / "test").is_dir():
            found.append(Set(name, [str(folder)]))
        elif (folder / "labels.csv").is_file():
            with (folder / "labels.csv").open(newline="") as file:
                header = next(csv.reader(file), [])
            path, label = columns.get(folder.name, ("path", "label"))
            if {"split", path, label} <= set(header):
                base = folder / "images" if path == "file" and (folder / "images").is_dir() else folder
                words = ["--path-column", path, "--label-column", label, "--image-folder", str(base)]
                found.append(Set(name, [str(folder / "labels.csv"), *words]))
    return found


class Rows:
    """What is done, and the seconds that rows which are not have taken so far."""

    def __init__(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.path = out / "rows.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.lines: list[dict[str, Any]] = []
        for line in lines:
            try:
                self.lines.append(json.loads(line))
            except ValueError:  # torn by a crash
                continue

    def add(self, **values: Any) -> None:
        self.lines.append(values)
        with self.path.open("a") as file:
            file.write(json.dumps(values) + "\n")

    def done(self, name: str, method: str) -> bool:
        return any((line["set"], line["method"]) == (name, method) and "top1" in line for line in self.lines)

    def seconds(self, name: str, method: str) -> float:
        """Of the starts that were stopped."""
        own = [line for line in self.lines if (line["set"], line["method"]) == (name, method)]
        return float(sum(line["seconds"] for line in own if "top1" not in line))


def run(words: list[str]) -> tuple[int, dict[str, Any]]:
    """One command of vitral's, and its JSON document; a signal that stops us stops it first, and it saves its work."""
    process = subprocess.Popen([sys.executable, "-m", "vitral", *words, "--json"], stdout=subprocess.PIPE, text=True)

    def stop(number: int, _: Any) -> None:
        process.send_signal(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        output, _ = process.communicate()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    try:
        return process.returncode, json.loads(output)
    except ValueError:
        return process.returncode or 1, {}


def probe(pictures: Set, model: str) -> tuple[int, list[dict[str, Any]]]:
    """Every probe of one set: name, accuracy and how many pictures."""
    code, document = run(["probe", model, *pictures.words, "--resize", "224x224"])
    made = [
        (PROBES[name], value)
        for kind in ("linear", "knn")
        for name, value in document.get(kind, {}).items()
        if name in PROBES
    ]
    shots = [
        (f"{name.removesuffix('shot')} shots, ridge", v)
        for name, v in document.get("fewshot", {}).items()
        if name != "std"
    ]
    return code, [{"way": way, "top1": value, **_interval(value, document["count"])} for way, value in made + shots]


def _interval(top1: float, count: int) -> dict[str, Any]:
    """Of a share of so many pictures, as vitral's own: which of them were right plays no part."""
    ends = share_interval(np.arange(count) < round(top1 * count))
    return {"low": ends["low"], "high": ends["high"], "count": count}


def finetune(pictures: Set, method: str, model: str, out: Path) -> tuple[int, list[dict[str, Any]]]:
    """Fine-tune one set: accuracy on its test split."""
    folder = out / "runs" / pictures.name.replace("/", "-") / method
    words = ["finetune", *pictures.words, "--model", model, *METHODS[method], "--out", str(folder)]
    code, document = run(words)
    if code or not document.get("finished"):
        return code or 1, []
    found = document["metrics"]["test"]
    ends = found["intervals"]["top1"]
    kept = {"best_step": document["metrics"].get("best_step"), "steps": document["metrics"].get("step")}
    return 0, [{"way": method, "top1": found["top1"], **ends, "count": found["count"], **kept}]


COLUMNS = ("set", "way", "top-1", "95 % interval", "pictures", "minutes")


def show(rows: Rows) -> str:
    """The table of all that is done, sets together, the best first."""
    done = sorted((line for line in rows.lines if "top1" in line), key=lambda line: (line["set"], -line["top1"]))
    return report.table(
        COLUMNS,
        [
            (
                line["set"], line["way"], f"{line['top1']:.2%}", f"{line['low']:.1%} - {line['high']:.1%}",
                line["count"], f"{line['seconds'] / 60:.1f}",
            )
            for line in done
        ],
    )  # fmt: skip


def _columns(words: list[str]) -> dict[str, tuple[str, str]]:
    made = {}
    for word in words:
        name, _, pair = word.partition("=")
        path, _, label = pair.partition(":")
        if not label:
            raise SystemExit(f"--columns takes SET=PATH:LABEL, not {word!r}.")
        made[name] = (path, label)
    return made


def main(arguments: list[str] | None = None) -> None:
    """Run what is not done, then print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.transfer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?", default=places.DATA, help="folder of sets (default: %(default)s)")
    parser.add_argument("--model", default=str(places.WEIGHTS), help="weights (default: the real ViT-Ti/16)")
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"), help="(default: %(default)s)")
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS), help="(default: all)")
    parser.add_argument("--sets", nargs="+", help="only sets of these names (default: all)")
    parser.add_argument("--columns", nargs="+", default=["coil20_azimuth=file:azimuth_bin18"], metavar="SET=PATH:LABEL")
    parser.add_argument("--only-table", action="store_true", help="run nothing")
    options = parser.parse_args(arguments)
    rows = Rows(options.out)
    sets = [] if options.only_table else find_sets(options.data, _columns(options.columns))
    for method in options.methods:  # the cheap ones of all sets first
        for pictures in sets:
            named = not options.sets or {pictures.name, pictures.name.rsplit("/", 1)[-1]} & set(options.sets)
            if not named or rows.done(pictures.name, method):
                continue
            print(f"{pictures.name}: {method}", file=sys.stderr, flush=True)
            began = time.monotonic()
            made = (
                probe(pictures, options.model)
                if method == "probe"
                else finetune(pictures, method, options.model, options.out)
            )
            code, lines = made
            seconds = time.monotonic() - began
            if code:
                rows.add(set=pictures.name, method=method, seconds=seconds, code=code)
                if code in (130, 143):
                    raise SystemExit(code)
                print(f"{pictures.name}: {method} failed with exit code {code}", file=sys.stderr)
                continue
            seconds += rows.seconds(pictures.name, method)
            for line in lines:
                rows.add(set=pictures.name, method=method, seconds=round(seconds, 1), **line)
    print(report.heading(report.environment()) + "\n\n" + show(rows))


if __name__ == "__main__":
    main()
