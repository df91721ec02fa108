"""What an evaluation's page looks like in a browser: it fits, loads nothing, can be read and tabbed through."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from tests.browser import Browser, program
from tests.pictures import picture
from tests.reports import browser
from vitral.cli import main
from vitral.datasets.labels import in_order
from vitral.reports import matrix, page
from vitral.reports.frame import frame
from vitral.reports.record import Record

HOSTILE = "<img src=x onerror=alert(1)>\u202ewolf"
LONG = "w" * 90
"""A class name without a place to break it."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training run on classes with awkward names, one of its test pictures broken."""
    root = tmp_path_factory.mktemp("browser")
    seed = 0
    for split, count in (("train", 4), ("val", 4), ("test", 12)):
        for name, colour in ((HOSTILE.replace("/", ""), "red"), (LONG, "green"), ("owl & co", "blue")):
            folder = root / "pictures" / split / name.replace("\u202e", "")
            folder.mkdir(parents=True)
            for _ in range(count):
                seed += 1
                picture(colour, seed, (40, 60)).save(folder / f"{seed}.png")
    (root / "pictures" / "test" / LONG / "<b>broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    words = ["train", str(root / "pictures"), "--model", "ViT-Ti/4", "--image-size", "8", "--model.width", "16"]
    words += ["--model.depth", "1", "--model.num-heads", "2", "--model.mlp-dim", "32", "--batch-size", "8"]
    words += ["--device", "cpu", "--workers", "0", "--steps", "2", "--out", str(root / "run"), "--quiet"]
    assert main(words) == 0
    target = str(root / "page.html")
    assert main(["evaluate", str(root / "run" / "model"), str(root / "pictures"), "--report", target, "--quiet"]) == 0
    return root


PAGES = ("page.html", "run/report.html")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("page.html", browser.NARROW, "light"),
        ("page.html", browser.WIDE, "dark"),
        ("run/report.html", browser.NARROW, "dark"),
        ("run/report.html", browser.WIDE, "light"),
    ],
)
def test_a_page_fits_loads_nothing_and_can_be_read(run: Path, name: str, width: int, scheme: str) -> None:
    found = browser.look(run / name, width, scheme)
    assert found["width"] == width
    assert (found["ground"] == "rgb(255, 255, 255)") == (scheme == "light")
    assert found["sticking"] == []
    assert found["pale"] == []
    assert found["loaded"] == []
    assert (found["images"] > 10, found["broken"]) == (True, 0)
    # a telephone shows long parts when asked to, a laptop always
    narrow = width == browser.NARROW
    assert found["folds"] >= 2
    assert found["folded"] == found["offers"] == (found["folds"] if narrow else 0)
    assert found["still"] == 0
    assert (found["height"] < 0.7 * found["unfolded"]) is narrow
    assert found["tabs"][0] == {"name": "skip", "focused": True, "outside": False, "outline": "solid"}
    assert all(tab["focused"] for tab in found["tabs"])
    assert [tab["name"] for tab in found["tabs"]].count("scroll") == found["scrolling"] > 1


def test_a_name_at_the_matrix_is_not_torn_in_the_middle_of_a_word(tmp_path: Path) -> None:
    if program() is None:
        pytest.skip("no Chromium is installed")
    names = ("banded", "blotchy", "braided", "bubbly", "bumpy", "chequered", "cobwebbed", "cracked", "crystalline")
    split = {"top1": 1.0, "count": 9, "per_class": {n: {"count": 1, "top1": 1.0} for n in names}, "confused": []}
    record = Record("", {}, {}, [], [], [], {"test": split}, {})
    file = tmp_path / "page.html"
    file.write_text(frame("report", "", "", [("Classes", matrix.matrix(record))], "", matrix.STYLE), encoding="utf-8")
    with Browser(browser.NARROW) as seen:
        seen.open(file.as_uri())
        lines = "[...document.querySelectorAll('.matrix bdi')].map(e => e.getClientRects().length)"
        assert seen.run(lines) == [1] * 2 * len(names)
        assert seen.run("document.documentElement.scrollWidth") == browser.NARROW


def test_names_of_classes_and_files_are_words_and_nothing_else(run: Path) -> None:
    for name in PAGES:
        text = (run / name).read_text(encoding="utf-8")
        assert "onerror=alert(1)&gt;" in text
        assert "<img src=x" not in text
        assert "<b>broken" not in text
        assert "&lt;b&gt;broken.png" in text
        assert "<script" not in text
        outside = re.findall(r'(?:src|href)="(?!data:image/jpeg;base64,|#)[^"]*"', text)
        assert outside == []


def test_how_to_measure_again_is_told(run: Path) -> None:
    text = (run / "page.html").read_text(encoding="utf-8")
    checksum = json.loads((run / "run" / "model" / "config.json").read_text())["checksum"]
    assert f"<code>{checksum}</code>" in text
    assert "vitral evaluate" in text
    assert f"--report {run / 'page.html'}" in text


def test_top_5_is_not_shown_of_three_classes(run: Path) -> None:
    for name in PAGES:
        assert "Top-5" not in (run / name).read_text(encoding="utf-8")
        assert "test top-5" not in (run / name).read_text(encoding="utf-8").lower()


def test_the_page_stays_below_10_mb_and_a_gallery_that_is_gone_is_named(run: Path) -> None:
    assert all((run / name).stat().st_size < 10_000_000 for name in PAGES)
    examples = (run / "run" / "examples.json").read_bytes()
    (run / "run" / "examples.json").unlink()
    try:
        assert "examples.json is missing" in page.write(run / "run").read_text(encoding="utf-8")
    finally:
        (run / "run" / "examples.json").write_bytes(examples)
        page.write(run / "run")


def test_the_confusion_matrix_is_scikit_learns(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="the oracle, scikit-learn, is not installed")
    from vitral.serving.loading import load

    model = load(run / "run" / "model")
    paths = [path for path in sorted((run / "pictures" / "test").rglob("*.png")) if "broken" not in path.name]
    answers = [row[0].label for row in model.predict(paths, top=1)]
    names = in_order({path.parent.name for path in paths})
    wanted = metrics.confusion_matrix([path.parent.name for path in paths], answers, labels=list(names))
    assert main(["evaluate", str(run / "run" / "model"), str(run / "pictures"), "--json"]) == 0
    per_class = json.loads(capsys.readouterr().out)["per_class"]
    table = (run / "page.html").read_text(encoding="utf-8").split('<table class="matrix">')[1].split("</table>")[0]
    counts = [[int(n) for n in re.findall(r">(\d+)</td>", row)] for row in table.split("<tr>")[2:]]
    columns = re.findall(r'<th scope="col"><bdi>(.*?)</bdi>', table)
    starts = [html.unescape(column).rstrip("…") for column in columns]  # a long name is cut
    order = [next(k for k, name in enumerate(names) if name.startswith(start)) for start in starts]
    rows = [list(names).index(name) for name in per_class]
    assert counts == wanted[rows][:, order].tolist()
