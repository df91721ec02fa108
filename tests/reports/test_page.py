"""The page of a run: whole, offline, escaped, and with the numbers of the run's files."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from vitral.errors import MissingInputError, StorageError
from vitral.reports import page

VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = '</td></svg><script>alert("x")</script>&\'\n\x00\x1b\u202e'
FILES = ("config.json", "environment.json", "metrics.jsonl", "speed.jsonl", "model/metrics.json")


class Page(HTMLParser):
    """Checks that every element is closed in order, and gathers text, elements and attributes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(self.source)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        if "style" not in self.open:
            self.words.append(text)
            if self.open[-3:-1] and "tr" in self.open and text.strip():
                self.rows[-1].append(text)

    @property
    def text(self) -> str:
        return "".join(self.words)

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    def section(self, name: str) -> str:
        """The source of one section."""
        return self.source.split(f'<section aria-labelledby="{name}">')[1].split("</section>")[0]


def made(run: Any) -> Page:
    return Page(page.write(run.path))


def test_the_page_is_report_html_in_the_run_folder_and_nothing_is_left_beside_it(run: Any) -> None:
    before = {path.name for path in run.path.iterdir()}
    assert page.write(run.path) == run.path / "report.html"
    assert {path.name for path in run.path.iterdir()} == before | {"report.html"}


def test_the_page_names_no_address_outside_itself(run: Any) -> None:
    made_page = made(run)
    rest = made_page.source.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?://|url\(|@import|src=", rest)
    assert all((attributes["href"] or "").startswith("#") for tag, attributes in made_page.elements if tag == "a")


def test_the_page_has_no_script(run: Any) -> None:
    made_page = made(run)
    assert "script" not in made_page.tags
    assert not [name for _, attributes in made_page.elements for name in attributes if name.startswith("on")]


def test_the_measured_numbers_are_those_of_the_files_without_top_5_of_three_classes(run: Any) -> None:
    assert [row for row in made(run).rows if row[0] in ("Pictures", "Top-1", "Top-5", "Loss", "Unreadable")] == [
        ["Pictures", "1,000", "321"],
        ["Top-1", "71.23%", "68.71%"],
        ["Loss", "0.6543", "0.6543"],
        ["Unreadable", "2", "2"],
    ]


def test_classes_are_those_of_the_test_split_worst_first(run: Any) -> None:
    rows = [row[:3] for row in made(run).rows if row[0] in ("cat", "dog", "owl")]
    assert rows == [["dog", "121", "34.56%"], ["owl", "100", "54.32%"], ["cat", "100", "87.65%"]]


def test_of_1000_classes_the_worst_30_and_the_best_10_are_shown(run: Any) -> None:
    per_class = {f"class{k:04d}": {"count": 5, "top1": k / 1000} for k in range(1000)}
    run.write("model/metrics.json", {"validation": {"top1": 0.5, "count": 5000, "per_class": per_class}})
    shown = re.findall(r"class\d{4}", made(run).section("classes"))
    assert shown == [f"class{k:04d}" for k in (*range(30), *range(990, 1000))]


def test_a_run_with_1000_classes_and_long_logs_stays_below_200_kb(run: Any) -> None:
    per_class = {f"{k}" + '"' * 300: {"count": 5, "top1": k / 1000} for k in range(1000)}
    run.write("model/metrics.json", {"validation": {"top1": 0.5, "count": 5000, "per_class": per_class}})
    lines = [{"step": k, "loss": 1 / k, "top1": 0.5 + (k % 7) / 100, "learning_rate": 1 / k} for k in range(1, 20_000)]
    run.write("metrics.jsonl", *lines)
    run.write("speed.jsonl", *[{"step": k, "images_per_second": k % 97, "waiting": 0.1} for k in range(1, 20_000)])
    assert len(made(run).source.encode()) < 200_000


def test_everything_from_the_user_is_escaped(run: Any, tmp_path: Path) -> None:
    environment = {"command": ["vitral", HOSTILE], "decisions": [HOSTILE], "warnings": [HOSTILE], "device": HOSTILE}
    run.write("environment.json", {**environment, "vitral": HOSTILE, "classes": 1})
    run.configure(data__path=HOSTILE, model__weights=HOSTILE)
    numbers = {"top1": 0.5, "count": 8, "per_class": {HOSTILE: {"count": 8, "top1": 0.5}}}
    run.write("model/metrics.json", {"test": numbers, "best_step": 3})
    run.path = run.path.rename(tmp_path / "<script>&'\"")
    shown = made(run)
    assert "script" not in shown.tags
    assert not set("\x00\x1b\u202e") & set(shown.source)
    assert shown.text.count('</td></svg><script>alert("x")</script>&') >= 7


def test_the_command_can_be_pasted_into_a_shell(run: Any) -> None:
    assert "vitral train 'my pictures'" in made(run).text


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("content", "word"), [(None, "missing"), (b"", "empty"), (b'{"step', "damaged")])
def test_a_file_that_says_nothing_is_named(run: Any, name: str, content: bytes | None, word: str) -> None:
    (run.path / name).unlink()
    if content is not None:
        (run.path / name).write_bytes(content)
    assert f"{name} is {word}" in made(run).text


@pytest.mark.parametrize("content", ["[]", "3", '{"validation": 3, "test": []}', '{"validation": {"top1": NaN}}', "{}"])
def test_odd_metrics_leave_a_sentence(run: Any, content: str) -> None:
    (run.path / "model/metrics.json").write_text(content)
    assert "No class has been measured yet." in made(run).text


def test_a_torn_last_line_changes_nothing(run: Any) -> None:
    whole = made(run).source
    for name in ("metrics.jsonl", "speed.jsonl"):
        with (run.path / name).open("a") as file:
            file.write('{"step": 500, "loss": 9')
    assert made(run).source == whole


def test_lines_written_again_after_a_resume_replace_the_first(run: Any) -> None:
    whole = made(run).source
    speeds = (run.path / "speed.jsonl").read_text().splitlines(keepends=True)
    ahead = (
        '{"step": 20, "images_per_second": 99999, "waiting": 1}\n{"step": 35, "images_per_second": 3, "waiting": 1}\n'
    )
    (run.path / "speed.jsonl").write_text(speeds[0] + ahead + "".join(speeds[1:]))
    assert made(run).source == whole


def test_every_chart_has_a_title_and_a_description(run: Any) -> None:
    shown = made(run)
    ids = [attributes["id"] for _, attributes in shown.elements if attributes.get("id")]
    labels = [a["aria-labelledby"] or "" for tag, a in shown.elements if tag == "svg" and a.get("role") == "img"]
    assert len(ids) == len(set(ids))
    assert len(labels) == 4
    assert all(name in ids for label in labels for name in label.split())


def test_charts_of_several_labels_show_their_precision(run: Any) -> None:
    run.configure(data__multi_label=True, loss__name="sigmoid")
    lines = [{"step": k, "validation_mean_average_precision": k / 10, "validation_top1": 0.5} for k in range(1, 6)]
    run.write("metrics.jsonl", {"step": 1, "loss": 3.0, "top1": 0.9}, *lines)
    numbers = {"top1": 0.5, "mean_average_precision": 0.4567, "exact_match": 0.1234, "count": 9}
    numbers["per_class"] = {"cat": {"count": 4, "average_precision": 0.7891}}
    run.write("model/metrics.json", {"test": numbers, "best_step": 5})
    shown = made(run)
    assert ["Mean average precision", "0.4567"] in shown.rows
    assert ["cat", "4", "0.7891"] in shown.rows
    assert "training 90" in shown.text


def test_the_losses_of_the_sigmoid_are_drawn_apart(run: Any) -> None:
    run.configure(loss__name="sigmoid")
    titles = re.findall(r"<title id=[^>]*>([^<]*)", made(run).source)
    assert titles[:2] == ["Training loss", "Validation loss"]


def test_settings_that_differ_from_the_default_stand_out(run: Any) -> None:
    run.configure(optimizer__learning_rate=0.0421)
    assert re.findall(r"<strong>([^<]*)</strong>", made(run).section("settings")) == [
        "ViT-B/16",
        "0.0421",
        "400 steps",
        "8",
    ]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no run folder"):
        page.write(tmp_path / "none")


def test_a_failed_write_leaves_the_older_page(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    old = page.write(run.path).read_text()

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    run.write("environment.json")
    with pytest.raises(StorageError, match="No space left"):
        page.write(run.path)
    assert (run.path / "report.html").read_text() == old
    assert [path.name for path in run.path.glob(".*")] == []
