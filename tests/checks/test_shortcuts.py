"""A planted shortcut is named; pictures without one raise no alarm."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tests.checks.photographs import dataset, encoded, textured
from vitral.checks import check
from vitral.checks.report import CheckReport


def report(change: str, count: int = 120) -> CheckReport:
    """Two classes of textures that differ in nothing but `change`."""
    rows = []
    for seed in range(count):
        label = seed % 2
        image, settings = textured(seed, (64, 64)), {"quality": 80}
        if change == "brightness" and label:
            image = ImageEnhance.Brightness(image).enhance(0.5)
        if change == "mean colour" and label:
            image = Image.fromarray((np.asarray(image) * np.array([1.0, 0.7, 0.5])).astype(np.uint8))
        if change == "size in pixels" and label:
            image = image.resize((80, 80))
        if change == "shape":
            image = image.resize((64, 80) if label else (80, 64))
        if change == "JPEG quality" and label:
            settings = {"quality": 60}
        kind = "PNG" if change == "file format" and label else "JPEG"
        rows.append((encoded(image, kind, **(settings if kind == "JPEG" else {})), (label,)))
    return check(dataset(train=rows), workers=1)


@pytest.mark.parametrize(
    "change", ["brightness", "mean colour", "size in pixels", "shape", "JPEG quality", "file format"]
)
def test_a_planted_shortcut_is_named(change: str) -> None:
    found = {one["measure"]: one for one in report(change).shortcuts}
    assert found[change]["suspicious"]
    assert found[change]["accuracy"] > 0.85
    assert any(sentence.startswith(f"{change} alone tells the class") for sentence in report(change).problems())


def test_classes_that_differ_in_nothing_have_no_shortcut() -> None:
    made = report("nothing", 200)
    assert [one["measure"] for one in made.shortcuts if one["suspicious"]] == []
    assert {one["measure"] for one in made.shortcuts} == {"brightness", "mean colour", "size of the file"}
    for one in made.shortcuts:
        assert one["chance"] == 0.5
        assert one["accuracy"] < one["bound"]


def test_a_shortcut_of_one_class_among_many_is_named_with_the_class() -> None:
    rows = []
    for seed in range(200):
        quality = 40 if seed % 8 == 5 else 80
        rows.append((encoded(textured(seed, (48, 48)), quality=quality), (seed % 8,)))
    made = check(dataset(tuple("abcdefgh"), train=rows), workers=1)
    found = {one["measure"]: one["one_class"] for one in made.shortcuts if one["suspicious"]}
    assert found in ({"JPEG quality": "f"}, {"JPEG quality": "f", "size of the file": "f"})
    assert any("JPEG quality alone tells the class 'f' from the others" in sentence for sentence in made.problems())


def test_few_pictures_several_labels_and_one_class_are_not_measured() -> None:
    few = [(encoded(textured(seed, (40, 40))), (seed % 2,)) for seed in range(20)]
    assert check(dataset(train=few), workers=1).shortcuts == ()
    one = [(encoded(textured(seed, (40, 40))), (0,)) for seed in range(60)]
    assert check(dataset(train=one), workers=1).shortcuts == ()
