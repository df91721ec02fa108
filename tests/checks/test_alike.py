"""Planted near duplicates are found, and different pictures are not taken for copies."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.checks.photographs import CHANGES, again, encoded, mirrored, resized, textured
from tests.places import DATA
from vitral.checks import alike
from vitral.checks.alike import Match, near_duplicates
from vitral.checks.look import Look, look

RECALL, FALSE_PAIRS = 0.95, 0.001


def matches(looks: Sequence[Look], groups: Sequence[int] | None = None) -> list[Match]:
    thumbnails = np.stack([one.thumbnail for one in looks if one.thumbnail is not None])
    return near_duplicates(thumbnails, np.array([one.colour for one in looks]), groups or [0] * len(looks))


def seen(image: Image.Image) -> Look:
    return look(encoded(image, quality=90), 10**8)


def recall_and_false(originals: Sequence[Image.Image], natural: bool) -> tuple[float, float]:
    """Share of planted copies found, and false pairs for each of them; real sets have copies of their own."""
    rng = random.Random(0)
    looks, origin = [seen(image) for image in originals], list(range(len(originals)))
    for k, image in enumerate(originals):
        for change in CHANGES.values():
            looks.append(seen(change(image, rng)))
            origin.append(k)
    found = matches(looks, [0] * len(originals) + [1] * (len(looks) - len(originals)))
    own = {
        frozenset((origin[m.first], origin[m.second])) for m in found if max(m.first, m.second) < len(originals)
    } if natural else set()  # fmt: skip
    planted = [(origin[i], i) for i in range(len(originals), len(looks))]
    pairs = {(m.first, m.second) for m in found}
    wrong = [p for p in pairs if origin[p[0]] != origin[p[1]] and frozenset((origin[p[0]], origin[p[1]])) not in own]
    return sum(pair in pairs for pair in planted) / len(planted), len(wrong) / len(planted)


def test_copies_of_textures_are_found_and_others_are_not() -> None:
    recall, false = recall_and_false([textured(seed) for seed in range(40)], natural=False)
    assert recall >= RECALL
    assert false == 0


@pytest.mark.parametrize("name", ["imagenet_val_1300", "cifar10_6000/train", "flowers12_224/train"])
def test_copies_of_photographs_are_found_and_others_are_not(name: str) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"no real photographs: {DATA / name} is not there")
    paths = sorted(path for path in (DATA / name).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    chosen: list[Path] = random.Random(0).sample(paths, 40)
    recall, false = recall_and_false([Image.open(path).convert("RGB") for path in chosen], natural=True)
    assert recall >= RECALL
    assert false <= FALSE_PAIRS


def test_a_match_says_what_was_done() -> None:
    whole = textured(1, (200, 200))
    part = whole.crop((10, 0, 190, 200))
    (match,) = matches([seen(whole), seen(mirrored(again(part)))])
    assert (match.first, match.second, match.mirrored, match.cropped) == (0, 1, True, 1)
    assert match.kept[0] == pytest.approx(1, abs=0.03)
    assert match.kept[1] == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize("turned", [False, True])
def test_stripes_of_another_colour_are_no_copies(turned: bool) -> None:
    def stripes(colour: tuple[int, int, int]) -> Image.Image:
        wave = (np.arange(96) // 12 % 2)[None, :, None] * np.array(colour) + np.zeros((96, 1, 3))
        return Image.fromarray((wave.transpose(1, 0, 2) if turned else wave).astype(np.uint8))

    assert matches([seen(stripes((255, 0, 180))), seen(stripes((90, 140, 200)))]) == []
    assert len(matches([seen(stripes((255, 0, 180))), seen(again(stripes((255, 0, 180)), 60))])) == 1


def test_flat_pictures_are_not_compared() -> None:
    assert matches([seen(Image.new("RGB", (64, 64), (value, 9, 9))) for value in (10, 11, 12)]) == []


def test_nothing_and_one_picture_have_no_copies() -> None:
    assert near_duplicates(np.zeros((0, 32, 32), np.uint8), np.zeros((0, 3)), []) == []
    assert matches([seen(textured(1))]) == []


def test_many_copies_in_one_split_do_not_hide_one_in_another() -> None:
    image = textured(3)
    looks = [look(encoded(image, quality=50 + k), 10**8) for k in range(40)] + [seen(resized(image, 0.7))]
    found = matches(looks, [0] * 40 + [1])
    assert {match.first for match in found if match.second == 40} == set(range(40))


def test_cells_find_what_comparing_all_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    images = [textured(seed, (64, 64)) for seed in range(200)]
    looks = [seen(image) for image in images] + [seen(CHANGES["cropped by 5 %"](image, rng)) for image in images[:60]]
    everything = matches(looks)
    monkeypatch.setattr(alike, "EXHAUSTIVE", 50)
    by_cells = {(match.first, match.second) for match in matches(looks)}
    assert len(by_cells & {(match.first, match.second) for match in everything}) >= 0.95 * len(everything) >= 0.95 * 55
