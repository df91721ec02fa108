"""The page at / in a real browser, with a real server and real pictures: what a person does, and what comes out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Browser, program
from tests.serving.running import InProcess, Running, encoded, saved, tiny_model, until
from vitral.serving.examples import Example
from vitral.serving.predictor import Model
from vitral.serving.site import FOLDER

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(program() is None, reason="no Chromium is installed, so the page is not opened"),
]

HOSTILE = "=<img src=x onerror=alert(1)>.png"
NAMES = ["=cmd", "<b>bold</b>", "plain", "ünï", "+1"]


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    return {"one": tiny_model(0, labels=NAMES), "constructor": tiny_model(1, labels=NAMES)}


@pytest.fixture(scope="module")
def server(models: dict[str, Model], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("page")
    card = "---\nx: 1\n---\n# The card\n\n| a | b |\n|---|---|\n| `1` | <script>2</script> |\n\n- item **strong**\n"
    paths = {}
    for name, model in models.items():
        paths[name] = str(model.save(folder / name, card))
    examples = [Example("<b>try</b>.png", encoded(40)), Example("two.jpg", encoded(41, "JPEG"))]
    with Running(paths, start=InProcess, examples=examples) as running:
        yield running


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    found = []
    for k, name in enumerate(("a.png", HOSTILE.replace("/", ""), "c.png", "broken.png")):
        found.append(folder / name)
        found[-1].write_bytes(encoded(k) if name != "broken.png" else b"nothing")
    return found


def best(model: Model, picture: Path) -> tuple[str, float]:
    guess = model.predict(picture.read_bytes(), top=1)[0]
    return guess.label, guess.probability


def test_a_person_gets_answers_explanations_a_table_and_a_history(
    server: Running, models: dict[str, Model], pictures: list[Path], tmp_path: Path
) -> None:
    with Browser() as browser:
        browser.open(server.address)
        browser.wait("document.getElementById('state').textContent === 'Ready'")
        browser.choose_files("#files", [pictures[0]])
        browser.wait("document.querySelectorAll('.stack.explained').length === 2")
        shown = browser.run(
            "[...document.querySelectorAll('.panel')].map((p) => p.querySelector('.answer').firstChild.data)"
        )
        assert shown == [best(model, pictures[0])[0] for model in models.values()]
        width = browser.run("document.querySelector('.fill').style.width")
        assert float(width.rstrip("%")) == pytest.approx(100 * best(models["one"], pictures[0])[1], abs=0.01)
        said = browser.run("document.getElementById('said').textContent")
        assert said.startswith("a.png: ")

        # Opacity changes the map at once; a class, a layer and a head ask for another.
        browser.run(
            "(() => { const o = document.querySelector('[id$=-opacity]'); o.value = 20; o.dispatchEvent(new Event('input')); })()"
        )
        assert browser.run("document.querySelector('.over').style.opacity") == "0.2"
        before = browser.run("document.querySelector('.over').src")
        browser.run("document.querySelectorAll('.bars button')[2].click()")
        browser.wait(f"document.querySelector('.over').src !== {json.dumps(before)}")
        assert browser.run("document.querySelector('[id$=-method]').value") in ("relevance", "gradcam")
        assert browser.run("document.querySelectorAll('.bars button')[2].getAttribute('aria-pressed')") == "true"
        choose = "(() => {{ const s = document.querySelector('[id$=-{}]'); s.value = '{}'; s.dispatchEvent(new Event('change')); }})()"
        browser.run(choose.format("method", "attention"))
        browser.run(choose.format("layer", "1"))
        before = browser.run("document.querySelector('.over').src")
        browser.run(choose.format("head", "1"))
        browser.wait(f"document.querySelector('.over').src !== {json.dumps(before)}")

        # Many pictures, one of them broken: a table, and the same as CSV with formulas made harmless.
        browser.choose_files("#files", pictures[1:])
        browser.wait(
            "document.getElementById('progress').textContent === '' && document.querySelectorAll('#rows tr').length === 4"
        )
        rows = browser.run(
            "[...document.querySelectorAll('#rows tr')].map((r) => [...r.cells].map((c) => c.textContent))"
        )
        assert [row[1] for row in rows] == [path.name for path in pictures]
        assert [row[2] for row in rows[:3]] == [best(models["one"], path)[0] for path in pictures[:3]]
        assert "cannot be read" in rows[3][2]
        text = browser.run(
            "import('/page/table.js').then((t) => t.csv([{name: '=1+1', answers: {m: [{label: '@x', probability: .5}]}},"
            " {name: 'a\"b,c', answers: {m: new Error('-no')}}], [{name: 'm', sha256: 's'}], 1))"
        )
        assert list(csv.reader(io.StringIO(text)))[1:] == [
            ["'=1+1", "m", "s", "", "'@x", "0.5"], ['a"b,c', "m", "s", "'-no"]
        ]  # fmt: skip

        browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        browser.run("document.getElementById('csv').click()")
        until(lambda: (tmp_path / "predictions.csv").is_file())
        saved_rows = list(csv.DictReader(io.StringIO((tmp_path / "predictions.csv").read_text("utf-8-sig"))))
        assert len(saved_rows) == 8
        label, probability = best(models["constructor"], pictures[2])
        row = next(row for row in saved_rows if (row["picture"], row["model"]) == ("c.png", "constructor"))
        assert row["top1"].removeprefix("'") == label
        assert row["top1"].startswith("'") == label.startswith(("=", "+"))
        assert float(row["probability1"]) == probability
        assert {row["picture"] for row in saved_rows} == {"a.png", f"'{HOSTILE}", "c.png", "broken.png"}

        # Dropped and pasted pictures come in too.
        browser.run(
            "new Promise((done) => { const c = document.createElement('canvas'); c.width = c.height = 20; c.toBlob((b) => {"
            " const give = () => { const d = new DataTransfer(); d.items.add(new File([b], 'given.png')); return d; };"
            " document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: give(), bubbles: true}));"
            " document.dispatchEvent(new DragEvent('drop', {dataTransfer: give(), bubbles: true})); done(); }); })"
        )
        browser.wait(
            "document.getElementById('progress').textContent === '' && document.querySelectorAll('#rows tr').length === 6"
        )

        # The history is this browser's, and can be cleared.
        browser.wait("document.querySelectorAll('#history li').length === 5")
        browser.open(server.address)
        browser.wait(
            "document.querySelectorAll('#history li').length === 5 && document.getElementById('state').textContent === 'Ready'"
        )
        browser.run("document.getElementById('forget').click()")
        assert browser.run("localStorage.getItem('vitral-history')") is None
        assert browser.run("document.getElementById('past').hidden")

        # The card is read as words, and a snippet is there for each language.
        browser.wait("document.querySelector('#card table')")
        assert browser.run("document.querySelector('#card td:last-child').textContent") == "<script>2</script>"
        tabs = browser.run("[...document.querySelectorAll('[role=tab]')].map((t) => t.textContent)")
        assert tabs == ["curl", "Python", "JavaScript"]

        # Nothing came from elsewhere, nothing was refused by the page's own policy, nothing ran that should not.
        outside = [a for a in browser.addresses if not a.startswith((server.address, "blob:", "data:image/"))]
        assert outside == []
        assert [e for e in browser.errors if "422" not in e] == []


@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)])
def test_the_page_fits_every_screen_and_can_be_used_by_keyboard(
    server: Running, pictures: list[Path], width: int, dark: bool
) -> None:
    with Browser(width, 800, dark) as browser:
        browser.open(server.address)
        browser.wait("document.getElementById('state').textContent === 'Ready'")
        browser.choose_files("#files", pictures[:2])
        browser.wait(
            "document.querySelectorAll('.bars').length === 2 && document.querySelectorAll('#rows tr').length === 2"
        )
        assert browser.run("document.documentElement.scrollWidth") <= width
        nameless = browser.run(
            "[...document.querySelectorAll('button, input:not([hidden]), select')].filter((e) =>"
            " !(e.textContent.trim() || e.labels?.length || e.getAttribute('aria-label'))).map((e) => e.outerHTML)"
        )
        assert nameless == []
        assert browser.run("[...document.images].every((i) => i.hasAttribute('alt'))")
        assert browser.run(CONTRAST) == []
        reached = set()
        for _ in range(60):
            browser.press("Tab", 9)
            reached.add(
                browser.run(
                    "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
                )
            )
        assert {"files", "csv", "forget", "copy"} <= reached, reached
        browser.run("document.activeElement.blur()")
        browser.press("ArrowRight", 39)
        assert browser.run("document.getElementById('result-title').textContent") == pictures[1].name


def test_examples_are_tried_with_one_press(server: Running, models: dict[str, Model], tmp_path: Path) -> None:
    with Browser() as browser:
        browser.open(server.address)
        browser.wait("document.querySelectorAll('#tries img').length === 2")
        assert browser.run("[...document.querySelectorAll('#tries button')].map((b) => b.ariaLabel)") == [
            "Try <b>try</b>.png", "Try two.jpg"
        ]  # fmt: skip
        browser.run("document.querySelector('#tries button').click()")
        browser.wait("document.querySelectorAll('.bars').length === 2")
        assert browser.run("document.getElementById('result-title').textContent") == "<b>try</b>.png"
        shown = browser.run("document.querySelector('.panel .answer').firstChild.data")
        path = tmp_path / "example"
        path.write_bytes(encoded(40))
        assert shown == best(models["one"], path)[0]
        assert browser.errors == []


def test_a_locked_server_asks_for_its_key(tmp_path: Path) -> None:
    from vitral.serving.guard import Guard

    key = "0123456789abcdef0123"
    path = saved(tiny_model(), tmp_path / "m")
    with Running({"m": path}, start=InProcess, guard=Guard(key, None)) as server, Browser() as browser:
        browser.open(server.address)
        browser.wait("!document.getElementById('lock').hidden")
        browser.run(f"document.getElementById('key').value = '{key}'")
        browser.run("document.querySelector('#lock button').click()")
        browser.wait("document.getElementById('state').textContent === 'Ready'")
        assert key not in browser.run("location.href + JSON.stringify(localStorage)")
        assert "VITRAL_API_KEY" in browser.run("document.getElementById('snippet').textContent")


def test_every_file_of_the_page_is_small_and_names_no_other_place() -> None:
    for file in FOLDER.iterdir():
        text = file.read_text()
        assert len(text.splitlines()) <= 310, file
        assert not [word for word in text.split() if "://" in word and "www.w3.org/2000/svg" not in word], file


CONTRAST = """
(() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility() || e.closest('.skip')) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(`${e.tagName}.${e.className} ${(a + 0.05) / (b + 0.05)}`);
  }
  return bad;
})()
"""
"""Elements whose text has a contrast under 4.5 with what is behind it (WCAG 2.2, success criterion 1.4.3)."""
