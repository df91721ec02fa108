"""The model card: front matter that the Hub's own reader takes, and Markdown that no name can break."""

from __future__ import annotations

from typing import Any

import pytest

from vitral.config import Preprocessing
from vitral.reports.card import model_card

huggingface_hub = pytest.importorskip("huggingface_hub")

HOSTILE = "x\n---\nlicense: evil\n| a | <img src=x> # [y](http://z) \\ \x00 \"q\" 'r' : é 🌻 \u2028 {{ }}"
METRICS = {
    "validation": {"count": 500, "unreadable": 0, "top1": 0.9012, "top5": 0.9934, "loss": 0.3456, "per_class": {}},
    "test": {
        "count": 1234,
        "unreadable": 5,
        "top1": 0.8765,
        "top5": 0.9876,
        "loss": 0.4567,
        "per_class": {"daisy": {"count": 1000, "top1": 0.9}, "rose": {"count": 12, "top1": 0.25}},
    },
    "best_step": 1500,
    "step": 2000,
}


def card(**changes: Any) -> str:
    settings: dict[str, Any] = {
        "name": "flowers",
        "classes": ("daisy", "rose", "lily", "iris", "poppy", "tulip"),
        "metrics": METRICS,
        "preprocessing": Preprocessing(),
        "model_description": "ViT-B/16",
        "data_name": "my flowers",
        "recipe": "finetune",
    }
    return model_card(**settings | changes)


def front_matter(text: str) -> Any:
    return huggingface_hub.ModelCard(text).data


def body(text: str) -> str:
    return text.split("\n---\n", 1)[1]


def test_the_hub_reads_what_the_model_is() -> None:
    data = front_matter(card())
    assert (data.pipeline_tag, data.library_name) == ("image-classification", "vitral")
    assert "image-classification" in data.tags


def test_the_hub_reads_the_measured_numbers_of_the_test_split() -> None:
    results = front_matter(card()).eval_results
    assert [(r.metric_name, r.metric_value, r.dataset_split) for r in results] == [
        ("top-1", 0.8765, "test"),
        ("top-5", 0.9876, "test"),
    ]


def test_five_guesses_among_five_classes_are_no_score() -> None:
    text = card(classes=("daisy", "rose", "lily", "iris", "poppy"))
    assert [r.metric_name for r in front_matter(text).eval_results] == ["top-1"]
    assert "| test | 1,234 | 87.65% | 0.4567 | 5 |" in body(text)
    assert "top-5" not in text


def test_without_a_test_split_the_hub_reads_those_of_validation() -> None:
    metrics = {"validation": METRICS["validation"]}
    assert {r.dataset_split for r in front_matter(card(metrics=metrics)).eval_results} == {"validation"}


@pytest.mark.parametrize("metrics", [{}, {"test": {"top1": float("nan"), "count": 0}}])
def test_a_model_that_was_not_measured_claims_no_results(metrics: dict[str, Any]) -> None:
    text = card(metrics=metrics)
    assert front_matter(text).eval_results is None
    assert "Nothing was measured, so nothing is known" in text


def test_hostile_names_stay_values_of_the_front_matter() -> None:
    data = front_matter(card(name=HOSTILE, data_name=HOSTILE, model_description=HOSTILE, recipe=HOSTILE))
    assert data.license is None
    assert data.model_name == data.eval_results[0].dataset_name
    assert data.model_name.startswith("x --- license: evil | a | <img src=x>")
    assert "🌻" in data.model_name


def test_hostile_names_stay_words_of_the_text() -> None:
    per_class = {HOSTILE: {"count": 3, "top1": 0.1}, "rose": {"count": 3, "top1": 0.2}}
    metrics = {"test": {**METRICS["test"], "per_class": per_class}}
    text = body(card(name=HOSTILE, data_name=HOSTILE, recipe=HOSTILE, classes=(HOSTILE, "rose"), metrics=metrics))
    (row,) = [line for line in text.splitlines() if line.startswith("| x")]
    assert "---" not in text.splitlines()
    assert "<img" not in text
    assert "](" not in text.replace(r"\](", "")
    assert row.replace(r"\|", "").count("|") == 4


@pytest.mark.parametrize("name", ["", " ", "no", "1.0", "null", "- x", "&a", "*b", "%c", "@d", "'"])
def test_a_name_that_yaml_would_take_for_something_else_stays_a_name(name: str) -> None:
    found = front_matter(card(name=name)).model_name
    assert found == (name.strip() or "model")


@pytest.mark.parametrize(
    ("licence", "known", "name"),
    [("apache-2.0", "apache-2.0", None), ("MIT", "mit", None), ("My own: terms\n", "other", "my-own-terms")],
)
def test_a_licence_is_one_that_the_hub_knows_or_other(licence: str, known: str, name: str | None) -> None:
    data = front_matter(card(licence=licence))
    assert (data.license, data.to_dict().get("license_name")) == (known, name)


def test_no_licence_is_claimed_unless_given() -> None:
    assert front_matter(card()).license is None


def test_the_table_has_the_numbers_with_their_counts() -> None:
    text = body(card())
    assert "| validation | 500 | 90.12% | 99.34% | 0.3456 | 0 |" in text
    assert "| test | 1,234 | 87.65% | 98.76% | 0.4567 | 5 |" in text


def test_the_weakest_classes_come_worst_first() -> None:
    rows = [line for line in body(card()).splitlines() if line.startswith(("| daisy", "| rose"))]
    assert rows == ["| rose | 12 | 25.00% |", "| daisy | 1,000 | 90.00% |"]


@pytest.mark.parametrize(("count", "named", "rest"), [(50, 50, None), (51, 50, "1 more"), (1000, 50, "950 more")])
def test_up_to_50_classes_are_named(count: int, named: int, rest: str | None) -> None:
    text = body(card(classes=tuple(f"kind{k}" for k in range(count))))
    assert text.count("kind") == named
    assert ("more: `classes.json`" in text) == (rest is not None)
    assert rest is None or rest in text


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Preprocessing(), "shorter side of 256 pixels (bilinear, antialiased)"),
        (Preprocessing(resize=(384, 320)), "squashed to 384×320 pixels"),
        (Preprocessing(resize=None), "kept at its size"),
        (Preprocessing(crop=(160, 224)), "centre to 160×224 (height × width)"),
        (Preprocessing(mean=(0.485, 0.456, 0.406)), "mean 0.485, 0.456, 0.406 and std 0.5, 0.5, 0.5"),
    ],
)
def test_the_preprocessing_is_told(rule: Preprocessing, words: str) -> None:
    assert words in body(card(preprocessing=rule))


def test_a_number_from_validation_alone_is_called_flattering() -> None:
    assert "flatter" in body(card(metrics={"validation": METRICS["validation"]}))
    assert "flatter" not in body(card())


def test_precision_of_several_labels_is_reported() -> None:
    numbers = {"count": 9, "unreadable": 0, "top1": 0.5, "top5": 0.75, "mean_average_precision": 0.4567}
    numbers["per_class"] = {name: {"count": 4, "average_precision": 0.25} for name in ("cat", "dog")}
    text = card(metrics={"test": numbers})
    assert ("mean average precision", 0.4567) in [
        (r.metric_name, r.metric_value) for r in front_matter(text).eval_results
    ]
    assert "| cat | 4 | 0.2500 |" in text
