"""What the page says of a run: each rule with a run that meets it, and one that just does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vitral.reports.page import render
from vitral.reports.record import read
from vitral.reports.tiles import tiles
from vitral.reports.verdict import verdict

FLAT = [0.70, 0.70, 0.70, 0.70]
FALLING = [1.0, 0.8, 0.7, 0.6]


def said(run: Any) -> list[str]:
    return verdict(read(run.path))


def test_the_number_is_that_of_the_test_split_with_its_count(run: Any) -> None:
    assert said(run)[0].startswith("The model names the right class for 68.71% of 321 test pictures")


def test_without_a_test_split_the_number_is_that_of_validation(run: Any) -> None:
    run.write("model/metrics.json", {"validation": {"top1": 0.7123, "count": 1000}, "best_step": 400})
    assert said(run)[0].startswith("The model names the right class for 71.23% of 1,000 validation pictures")


def test_the_best_step_is_named_with_the_planned_ones(run: Any) -> None:
    run.write("model/metrics.json", {"validation": {"top1": 0.7123, "count": 1000}, "best_step": 300})
    assert said(run)[1] == "Its weights are those of step 300 of 400."


def test_epochs_are_counted_in_steps(run: Any) -> None:
    run.configure(schedule__duration="3 epochs")  # 100 pictures in batches of 8: 37.5 steps, rounded up
    assert read(run.path).total_steps == 38


def test_a_run_in_progress_says_where_it_stands(run: Any) -> None:
    run.configure(schedule__duration="4000 steps")
    assert said(run)[1] == "Training stands at step 400 of 4,000; the best step so far is 400."


@pytest.mark.parametrize(("last", "improves"), [(0.72, True), (0.705, False)])
def test_a_gain_beyond_chance_is_improvement(run: Any, last: float, improves: bool) -> None:
    run.course([0.5, 0.6, 0.7, last], FALLING)  # one standard error at 1,000 pictures is 0.0145
    assert ("still rising" in said(run)[2]) == improves


@pytest.mark.parametrize(("pictures", "improves"), [(100_000, True), (1000, False)])
def test_chance_depends_on_the_number_of_pictures(run: Any, pictures: int, improves: bool) -> None:
    run.write("environment.json", {"validation_count": pictures, "train_count": 100})
    run.course([0.5, 0.6, 0.7, 0.71], FALLING)
    assert ("still rising" in said(run)[2]) == improves


@pytest.mark.parametrize(("last", "overfits"), [(0.74, True), (0.72, False)])
def test_a_risen_validation_loss_is_overfitting(run: Any, last: float, overfits: bool) -> None:
    run.course(FLAT, [1.0, 0.8, 0.7, last])
    assert said(run)[2].startswith("It overfits") == overfits


def test_a_risen_validation_loss_is_not_overfitting_while_training_loss_rises_too(run: Any) -> None:
    run.course(FLAT, [1.0, 0.8, 0.7, 0.9], training=[1.0, 0.8, 0.7, 0.9])
    assert said(run)[2] == "Validation top-1 has levelled off."


def test_rising_top1_with_rising_loss_is_overconfidence(run: Any) -> None:
    run.course([0.5, 0.6, 0.7, 0.8], [1.0, 0.8, 0.7, 0.9])
    assert "overconfident" in said(run)[2]


def test_a_fall_at_the_end_is_measured_from_the_best(run: Any) -> None:
    run.course([0.5, 0.7, 0.75, 0.7], FALLING)
    assert "stayed 5.0 points below the best" in said(run)[2]


def test_three_evaluations_are_too_few_to_judge(run: Any) -> None:
    run.course([0.5, 0.6, 0.7], FALLING[:3])
    assert said(run)[2] == "With 3 evaluations it is too early to say how the training went."


def test_before_the_first_model_the_best_evaluation_counts(run: Any) -> None:
    (run.path / "model/metrics.json").unlink()
    run.course([0.5, 0.75, 0.7], FALLING[:3])
    assert said(run)[0] == "The best validation top-1 so far is 75.00%."
    assert "the best step so far is 200" in said(run)[1]


def test_an_empty_run_has_nothing_to_say(run: Any) -> None:
    (run.path / "model/metrics.json").unlink()
    (run.path / "metrics.jsonl").unlink()
    assert said(run) == ["Nothing has been measured yet."]


def test_a_solved_head_is_told_by_its_weight_decay_and_not_as_a_training_that_overfits(run: Any) -> None:
    run.configure(schedule__duration="4 steps")
    config = json.loads((run.path / "config.json").read_text(encoding="utf-8"))
    run.write("config.json", {**config, "optimizer": {**config["optimizer"], "name": "lbfgs"}})
    lines = []
    for step, loss in enumerate((1.0, 0.7, 0.8, 1.2), start=1):
        lines.append({"step": step, "weight_decay": 10 ** (-(step - 1) / 2), "loss": 1 / step, "top1": 1.0})
        lines.append({"step": step, "validation_top1": 0.7, "validation_loss": loss})
    run.write("metrics.jsonl", *lines)
    run.write("model/metrics.json", {"validation": {"top1": 0.7, "count": 50}, "step": 4, "best_step": 2})
    record = read(run.path)
    assert verdict(record)[1:] == ["Its head was solved with weight decay 2 of 4, 0.32."]
    page = render(record)
    assert "weight decay, one after the other" in page
    assert "Each step is another weight decay" in page
    assert "0.32" in tiles(record)
    assert "best of 4" in tiles(record)
    assert not any(word in page for word in ("overfit", "augmented pictures", "Pictures per second", "Speed"))
