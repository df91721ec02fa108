"""The cut of a validation split: how many, which, and what it depends on."""

import random
from pathlib import Path

import pytest

from vitral.datasets.dataset import TRAIN, VALIDATION
from vitral.datasets.splits import Found, Listing, cut_validation, held_out


def found(counts: dict[str, int], base: str = "/data/train", order: int | None = None) -> Found:
    pictures = [(f"{base}/{name}/{i}.png", (name,)) for name, count in counts.items() for i in range(count)]
    if order is not None:
        random.Random(order).shuffle(pictures)
    return Found(Path(base), {TRAIN: Listing(base, [path for path, _ in pictures], [names for _, names in pictures])})


def cut(data: Found, fraction: float = 0.1, seed: int = 0, multi_label: bool = False) -> Found:
    cut_validation(data, fraction, seed, multi_label)
    return data


def held(data: Found) -> set[str]:
    return {path.removeprefix(data.splits[TRAIN].base) for path in data.splits[VALIDATION].sources}


@pytest.mark.parametrize(
    ("count", "fraction", "expected"),
    [(100, 0.1, 10), (14, 0.1, 1), (15, 0.1, 2), (2, 0.1, 1), (3, 0.01, 1), (2, 0.9, 1), (25, 0.1, 3), (100, 0.29, 29)],
)
def test_each_class_gives_the_rounded_share_at_least_one_and_never_all(
    count: int, fraction: float, expected: int
) -> None:
    data = cut(found({"a": count, "b": 50}), fraction)
    assert sum(names == ("a",) for names in data.splits[VALIDATION].names) == expected


def test_the_two_parts_make_up_the_whole_in_its_order() -> None:
    whole = found({"a": 30, "b": 20}, order=1).splits[TRAIN]
    data = cut(found({"a": 30, "b": 20}, order=1))
    train, validation = data.splits[TRAIN].sources, data.splits[VALIDATION].sources
    assert [path for path in whole.sources if path in train] == train
    assert [path for path in whole.sources if path in validation] == validation
    assert sorted(train + validation) == sorted(whole.sources)


def test_the_cut_does_not_depend_on_the_order_of_the_pictures() -> None:
    assert held(cut(found({"a": 40, "b": 30}, order=1))) == held(cut(found({"a": 40, "b": 30}, order=2)))


def test_the_cut_of_a_class_does_not_depend_on_the_other_classes() -> None:
    alone = {path for path in held(cut(found({"a": 40, "b": 30}))) if path.startswith("/a/")}
    assert alone <= held(cut(found({"a": 40, "c": 99, "d": 7})))


def test_the_cut_does_not_depend_on_where_the_data_lies() -> None:
    assert held(cut(found({"a": 40, "b": 30}, base="/x"))) == held(cut(found({"a": 40, "b": 30}, base="/y/train")))


def test_another_seed_cuts_other_pictures() -> None:
    assert held(cut(found({"a": 40, "b": 30}), seed=0)) != held(cut(found({"a": 40, "b": 30}), seed=1))


def test_every_picture_is_equally_likely_to_be_held_out() -> None:
    times = dict.fromkeys(map(str, range(20)), 0)
    for seed in range(2000):
        for name in held_out(list(times), 0.25, seed, "class"):
            times[name] += 1
    # Binomial(2000, 1/4): mean 500, standard deviation 19.4.
    assert all(abs(count - 500) < 5 * 19.4 for count in times.values())


def test_the_note_says_what_was_held_out() -> None:
    data = cut(found({"a": 360, "b": 360}))
    assert data.notes == ["no validation split: 10 % of train (72 pictures, stratified, seed 0) held out"]


def test_a_class_of_one_picture_stays_in_train_with_a_warning() -> None:
    data = cut(found({"a": 1, "b": 10, "c": 1}))
    assert set(data.splits[VALIDATION].names) == {("b",)}
    assert {("a",), ("c",)} <= set(data.splits[TRAIN].names)
    assert "2 classes have a single picture" in data.warnings[0]
    assert "'a', 'c'" in data.warnings[0]


def test_classes_of_one_picture_only_give_no_validation_split_and_a_note() -> None:
    data = cut(found({"a": 1, "b": 1}))
    assert VALIDATION not in data.splits
    assert "too few pictures" in data.notes[0]


def test_a_fraction_of_zero_cuts_nothing_and_says_so() -> None:
    data = cut(found({"a": 10, "b": 10}), fraction=0.0)
    assert list(data.splits) == [TRAIN]
    assert "nothing is held out" in data.notes[0]


def test_a_validation_split_that_is_there_stays_untouched() -> None:
    data = found({"a": 10, "b": 10})
    data.splits[VALIDATION] = Listing("/data/val", ["/data/val/a/1.png"], [("a",)])
    cut(data)
    assert (len(data.splits[TRAIN]), len(data.splits[VALIDATION]), data.notes) == (20, 1, [])


def test_multi_label_pictures_are_cut_as_one_group() -> None:
    pictures = [f"/data/{i}.png" for i in range(100)]
    names = [("a", "b") if i % 2 else () for i in range(100)]
    data = cut(Found(Path("/data"), {TRAIN: Listing("/data", pictures, names)}), multi_label=True)
    assert len(data.splits[VALIDATION]) == 10
    assert data.notes == ["no validation split: 10 % of train (10 pictures, seed 0) held out"]


def test_copies_of_one_path_stay_on_one_side_of_the_cut() -> None:
    data = found({"a": 20, "b": 20})
    listing = data.splits[TRAIN]
    data.splits[TRAIN] = Listing(listing.base, listing.sources * 2, listing.names * 2)
    cut(data, 0.3)
    assert set(data.splits[TRAIN].sources).isdisjoint(data.splits[VALIDATION].sources)
