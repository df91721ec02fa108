"""Words to configuration and back."""

from __future__ import annotations

import numpy as np
import pytest

from vitral.config import Duration, Preprocessing, RunConfig
from vitral.errors import UsageError
from vitral.overrides import differences, from_json, knobs, override, parse, said, to_json, values
from vitral.recipes import RECIPES

RECIPE_CONFIGS = {name: recipe.config for name, recipe in RECIPES.items() if recipe.config is not None}


@pytest.mark.parametrize(
    ("name", "words", "value"),
    [
        ("optimizer.learning_rate", "3e-4", 3e-4),
        ("training.batch_size", "1e3", 1000),
        ("preprocessing.resize", "none", None),
        ("preprocessing.resize", "256", 256),
        ("preprocessing.resize", "256x320", (256, 320)),
        ("preprocessing.crop", "224", (224, 224)),
        ("preprocessing.crop", "224x160", (224, 160)),
        ("preprocessing.mean", "0.5", (0.5, 0.5, 0.5)),
        ("preprocessing.std", "0.1,0.2,0.3", (0.1, 0.2, 0.3)),
        ("model.freeze", "blocks.*, patch_embedding.*", ("blocks.*", "patch_embedding.*")),
        ("model.pool", "gap", "gap"),
        ("model.pool", "none", None),
        ("model.positions", "none", "none"),
        ("runtime.cache", "none", "none"),
        ("augmentation.flip", "false", False),
        ("schedule.duration", "5 epochs", Duration(5, "epochs")),
        ("training.micro_batch_size", "none", None),
    ],
)
def test_words_become_values_of_the_fields_type(name: str, words: str, value: object) -> None:
    assert values(override(RunConfig(), {name: words}))[name] == value


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("optimizer.larning_rate", "1", "did you mean optimizer.learning_rate"),
        ("lerning_rate", "1", "did you mean"),
        ("optimizer.learning_rate", "fast", "takes a number"),
        ("optimizer.learning_rate", "-1", "must be above 0"),
        ("optimizer.learning_rate", "nan", "must be above 0"),
        ("training.batch_size", "2.5", "takes a whole number"),
        ("training.batch_size", "0", "must be 1 to"),
        ("training.batch_size", "99999999999", "must be 1 to"),
        ("model.pool", "max", r"token \| gap \| map"),
        ("preprocessing.crop", "0", "1 to 16384"),
        ("preprocessing.crop", "224x224x3", "SIZE or HEIGHTxWIDTH"),
        ("preprocessing.std", "0,1,1", "std must be 1e-6 or more"),
        ("schedule.duration", "soon", "write it like '10 epochs'"),
        ("schedule.duration", "0 steps", "duration must be more than 0"),
        ("augmentation.flip", "maybe", "true or false"),
        ("data.validation_fraction", "1", "at least 0 and below 1"),
        ("loss.label_smoothing", "1.5", "label_smoothing"),
        ("training.average", "1", "average must be"),
        ("runtime.workers", "-2", "workers must be"),
        ("data.multi_label", "true", "need the sigmoid loss"),
    ],
)
def test_words_that_make_no_sense_are_refused_with_a_way_out(name: str, words: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        override(RunConfig(), {name: words})


def test_rules_between_fields_see_only_the_final_values() -> None:
    changed = override(RunConfig(), {"data.multi_label": "true", "loss.name": "sigmoid"})
    assert changed.data.multi_label
    small = override(RunConfig(), {"training.micro_batch_size": "8", "training.batch_size": "16"})
    assert override(small, {"training.batch_size": "4", "training.micro_batch_size": "2"}).training.batch_size == 4


@pytest.mark.parametrize("name", RECIPE_CONFIGS)
def test_every_recipe_survives_json(name: str) -> None:
    config = RECIPE_CONFIGS[name]
    assert from_json(RunConfig, to_json(config)) == config


def test_json_with_an_unknown_field_is_refused() -> None:
    plain = to_json(Preprocessing())
    plain["crops"] = 3
    with pytest.raises(UsageError, match="did you mean crop"):
        from_json(Preprocessing, plain)


def test_differences_name_old_and_new_and_leave_out_what_they_should() -> None:
    new = override(RunConfig(), {"training.seed": "3", "runtime.workers": "7"})
    assert differences(RunConfig(), new, but=("runtime.",)) == ["training.seed: 0 -> 3"]
    old, new = (override(RunConfig(), {"schedule.duration": Duration(n, "epochs")}) for n in (0.1 + 0.2, 0.7 + 0.1))
    assert differences(old, new) == ["schedule.duration: 0.3 epochs -> 0.8 epochs"]
    almost = override(RunConfig(), {"schedule.duration": Duration(0.3, "epochs")})
    assert differences(old, almost) == ["schedule.duration: 0.30000000000000004 epochs -> 0.3 epochs"]


def test_every_setting_says_what_it_means() -> None:
    assert [knob.name for knob in knobs(RunConfig) if len(knob.meaning) < 5] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("training.batch_size", 2.5), ("training.batch_size", True), ("training.batch_size", None),
        ("optimizer.learning_rate", (1,)), ("model.image_size", 224), ("model.image_size", (224, "x")),
        ("model.image_size", (224, 224, 3)), ("augmentation.flip", 1), ("schedule.duration", 10),
        ("schedule.decay", 3), ("model.freeze", "blocks.*,norm".split), ("runtime.device", object()),
        ("preprocessing.mean", (0.5, 0.5)),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_by_the_fields_name(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{name} cannot be .*: it takes "):
        override(RunConfig(), {name: value})


def test_lists_and_numpys_numbers_are_taken() -> None:
    made = override(
        RunConfig(),
        {
            "model.image_size": [64, 32],
            "training.batch_size": np.int64(8),
            "optimizer.learning_rate": np.float32(0.5),
            "preprocessing.mean": [0, 0.5, 1],
        },
    )
    assert (made.model.image_size, made.training.batch_size, made.optimizer.learning_rate) == ((64, 32), 8, 0.5)
    assert type(made.training.batch_size) is int
    assert type(made.optimizer.learning_rate) is float


def test_text_keeps_its_spaces_and_nothing_else_does() -> None:
    made = override(RunConfig(), {"data.label_column": " label", "training.batch_size": " 8 "})
    assert (made.data.label_column, made.training.batch_size) == (" label", 8)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("model.image_size", (96, 128), "96x128"),
        ("model.image_size", None, "none"),
        ("model.freeze", ("a.*", "b.*"), "a.*,b.*"),
        ("preprocessing.mean", (0.5, 0.25, 0.5), "0.5,0.25,0.5"),
        ("schedule.warmup", Duration(4.6000000000000005, "epochs"), "4.6 epochs"),
        ("optimizer.learning_rate", 7.2e-05, "7.2e-05"),
        ("schedule.resolution", (), "none"),
    ],
)
def test_a_value_is_said_as_it_would_be_typed(name: str, value: object, words: str) -> None:
    assert said(value) == words
    knob = next(knob for knob in knobs(RunConfig) if knob.name == name)
    assert value == () or said(parse(words, knob.type, name)) == words
