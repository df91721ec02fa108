"""The check of a data set finds what was planted, and nothing else."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitral.checks import CheckReport, check
from vitral.datasets.dataset import Dataset, Source, Split


def encoded(seed: int, kind: str = "PNG", size: tuple[int, int] = (6, 8), mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind)
    return file.getvalue()


def dataset(classes: Sequence[str] = ("cat", "dog"), **splits: list[tuple[Source, tuple[int, ...]]]) -> Dataset:
    made = {
        name: Split([source for source, _ in rows], [labels for _, labels in rows]) for name, rows in splits.items()
    }
    return Dataset("made up", None, tuple(classes), made)


@pytest.fixture
def report(tmp_path: Path) -> CheckReport:
    """train: a (cat), b (copy of a, dog), c (truncated), d (a PNG called .jpg), e (JPEG); test: x (copy of e), y."""
    contents = {
        "a.png": encoded(1),
        "b.png": encoded(1),
        "c.png": encoded(2)[:100],
        "d.jpg": encoded(3, size=(10, 4), mode="L"),
        "e.jpg": encoded(4, "JPEG"),
        "x.jpg": encoded(4, "JPEG"),
        "y.webp": encoded(5, "WebP"),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    train = [(str(tmp_path / name), (int(name == "b.png"),)) for name in list(contents)[:5]]
    test = [(str(tmp_path / "x.jpg"), (0,)), (str(tmp_path / "y.webp"), (1,))]
    return check(dataset(train=train, test=test), workers=2, max_pixels=10**6)


def names(rows: Sequence[tuple[str, ...]]) -> list[list[str]]:
    return [[Path(word).name for word in row] for row in rows]


def test_pictures_are_counted_by_split_and_class(report: CheckReport) -> None:
    assert report.counts == {"train": {"cat": 4, "dog": 1}, "test": {"cat": 1, "dog": 1}}
    assert report.imbalance == 4.0


def test_sizes_formats_and_modes_are_counted(report: CheckReport) -> None:
    assert (report.width, report.height) == ((4, 8, 8), (6, 6, 10))
    assert report.formats == {"PNG": 4, "JPEG": 2, "WebP": 1}
    assert report.modes == {"RGB": 6, "grey": 1}


def test_unreadable_pictures_are_listed_with_the_reason(report: CheckReport) -> None:
    assert names(report.unreadable) == [["c.png", "truncated"]]


def test_pictures_with_the_ending_of_another_format_are_listed(report: CheckReport) -> None:
    assert names(report.wrong_ending) == [["d.jpg", "PNG"]]


def test_leaks_copies_and_conflicting_labels_are_listed(report: CheckReport) -> None:
    assert names(report.leaks) == [["train", "e.jpg", "test", "x.jpg"]]
    assert names(report.duplicates) == [["train", "a.png", "train", "b.png"]]
    assert names(report.conflicts) == [["a.png", "cat", "b.png", "dog"]]


def test_each_kind_of_problem_is_one_sentence(report: CheckReport) -> None:
    problems = report.problems()
    assert len(problems) == 5
    for sentence, words in zip(
        problems,
        [
            "1 picture cannot be read",
            "measured accuracy is too good",
            "other labels",
            "within one split",
            "d.jpg is PNG",
        ],
        strict=True,
    ):
        assert words in sentence


def test_the_report_is_json(report: CheckReport) -> None:
    document = json.loads(json.dumps(report.to_json()))
    assert document["leaks"][0][0::2] == ["train", "test"]
    assert document["problems"] == report.problems()


def test_good_data_has_no_problem() -> None:
    made = dataset(train=[(encoded(i), (i % 2,)) for i in range(6)], test=[(encoded(9), (0,))])
    assert check(made, workers=1, max_pixels=10**6).problems() == []


def test_the_number_of_threads_does_not_change_the_report() -> None:
    made = dataset(train=[(encoded(i % 150), (i % 2,)) for i in range(200)])
    assert check(made, workers=0, max_pixels=10**6) == check(made, workers=7, max_pixels=10**6)


def test_a_large_imbalance_is_a_problem() -> None:
    made = dataset(train=[(encoded(i), (int(i == 0),)) for i in range(12)])
    assert check(made, workers=1, max_pixels=10**6).problems() == [
        "the largest class of train has 11 times the pictures of the smallest"
    ]


def test_the_pixel_budget_counts_as_unreadable() -> None:
    (found,) = check(dataset(train=[(encoded(1), (0,))]), workers=1, max_pixels=10).unreadable
    assert found[0] == "train[0]"
    assert "limit of 10" in found[1]


def test_pictures_in_memory_are_checked_too() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    made = dataset(train=[(pixels, (0,)), (pixels[:, ::-1], (1,))], test=[(Image.fromarray(pixels), (0,))])
    found = check(made, workers=1, max_pixels=10**6)
    assert found.leaks == (("train", "train[0]", "test", "test[0]"),)
    assert found.width == (8, 8, 8)


def test_unknown_and_absent_labels_are_counted_under_their_own_names() -> None:
    made = dataset(test=[(encoded(1), (-1,)), (encoded(2), ()), (encoded(3), (0, 1))])
    found = check(made, workers=1, max_pixels=10**6)
    assert found.counts == {"test": {"cat": 1, "dog": 1, "(unknown)": 1, "(none)": 1}}
    assert found.imbalance is None


def test_unreadable_files_are_not_copies_of_each_other(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    made = dataset(train=[(str(tmp_path / name), (0,)) for name in ("a.png", "b.png")])
    found = check(made, workers=1, max_pixels=10**6)
    assert found.duplicates == ()
    assert [reason for _, reason in found.unreadable] == ["the file is empty"] * 2
