"""Layouts of Hugging Face's Transformers: model.safetensors, config.json with a "model_type", and
preprocessor_config.json.

One module per family; each knows the model types that it reads by their names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import save_file
from torch import Tensor

from vitral.config import Preprocessing
from vitral.errors import DataError, UnavailableError, UsageError, VitralError
from vitral.models import family_of
from vitral.models.adapter import imported
from vitral.weights.huggingface import adapter, beit, bit, deit, dinov2, mae, processor, resnet, swin, vit
from vitral.weights.huggingface.published import class_names, labels, size
from vitral.weights.json_files import read_object
from vitral.weights.layout import Described, require_not_deeper, without_head
from vitral.weights.mapping import Entry
from vitral.weights.mapping import written as tensors_written
from vitral.weights.stored import Stored


class Architecture(Protocol):
    """What a module of `FAMILIES` offers."""

    @property
    def MODEL_TYPES(self) -> tuple[str, ...]:  # noqa: N802 - a constant of the module
        """The "model_type"s that it reads."""

    def configuration(self, published: Mapping[str, Any], stored: Stored, /) -> tuple[Any, dict[str, str]]:
        """The network of a config.json, and tensors left out with the reasons."""

    def entries(self, config: Any, stored: Stored | None, /) -> list[Entry]:
        """As `Layout.entries`."""

    def written(self, config: Any, headless: bool, /) -> dict[str, Any]:
        """The part of config.json that describes the network; raises `UsageError` where there is none like it."""


FAMILIES: dict[str, Architecture] = {
    "vit": vit, "deit": deit, "layerscale": dinov2, "mae": mae, "beit": beit, "swin": swin, "bit": bit,
    "resnet": resnet,
}  # fmt: skip
"""By the key of `vitral.models.FAMILIES`."""

EXTRA: dict[str, Callable[[Any], dict[str, Tensor]]] = {"layerscale": dinov2.extra}
"""Tensors that Transformers' network has and ours has not, by the same key."""

MARK = "embeddings.patch_embeddings.projection.weight"
"""A name that its files have and no other layout's."""

PROCESSOR = "preprocessor_config.json"
OWN_PROCESSOR = {"vit": "ViT", "beit": "Beit"}
"""Processors, by model types, whose own values are those that the published models were trained with; of the other
types the published models have other colours."""

EXAMPLE = {
    "image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256}, "crop_size": 224, "resample": 3,
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
}  # fmt: skip
"""A preprocessor_config.json, for errors: ImageNet's usual one."""

MULTI_LABEL = "multi_label_classification"


def recognises(stored: Stored, config: Mapping[str, Any]) -> bool:
    """Whether a config.json is one of Transformers', or a file beside none has its names."""
    return "model_type" in config or (not config and any(name.endswith(MARK) for name in stored.shapes))


def describe(stored: Stored, config: Mapping[str, Any], folder: Path) -> Described:
    """The model that config.json names; it says everything but the preprocessing.

    Raises:
        DataError: it is of a kind that is not read. UnavailableError: it is, by Transformers, which is not installed.
    """
    if not config:
        raise DataError(
            "the tensors have Transformers' names, which do not tell how many heads attention has: put the model's "
            "config.json beside them, as model.config.save_pretrained(FOLDER) writes it."
        )
    types = model_types()
    if config["model_type"] not in types:
        raise _refusal(config["model_type"], types)
    family = types[config["model_type"]]
    rule, said = preprocessing_of(folder, config)
    # Convolutional networks take any size, and Transformers writes none for them.
    model, left_out = family.configuration({"image_size": rule.crop, **config}, stored)
    require_not_deeper(model, stored)
    everything = family.entries(model, None)
    headless = not any(name in stored.shapes for name in _heads(everything, model))
    return Described(
        model,
        rule,
        () if headless else class_names(config),
        dict(config.get("label_descriptions", {})),
        config.get("problem_type") == MULTI_LABEL,
        left_out,
        said,
        headless=headless,
    )


def _refusal(kind: Any, types: Iterable[str]) -> VitralError:
    """Why a model type is not read."""
    said = f"the model type {kind!r} is not read"
    try:
        imported("hf", f"a model of type {kind!r}")
    except UnavailableError as error:
        return UnavailableError(f"{said} by vitral itself, which reads {', '.join(types)}: {error}")
    return DataError(
        f"{said}: only {', '.join(types)} are, and the types that Transformers has an image classifier of."
    )


def _heads(found: Sequence[Entry], config: Any) -> list[str]:
    """Transformers' names for tensors of heads."""
    body = without_head(found, config)
    return [name for entry in found if entry not in body for name in entry.theirs]


def entries(config: Any, stored: Stored | None) -> list[Entry]:
    """Where each parameter stands."""
    family = family_of(config)
    return adapter.entries(config, stored) if family == "adapter" else FAMILIES[family].entries(config, stored)


def write(folder: Path, described: Described, tensors: Mapping[str, Tensor]) -> None:
    """Write what `AutoModelForImageClassification` and `AutoImageProcessor` open.

    Raises:
        UsageError: Transformers has no such model, or no such preprocessing.
    """
    config = described.config
    family = FAMILIES.get(family_of(config))
    if family is None:
        raise UsageError(
            f"Transformers' layout is written for {', '.join(FAMILIES)}, not for {family_of(config)}: choose another."
        )
    whole = {
        **family.written(config, described.headless),
        **labels(described.classes, config.num_classes),
        "dtype": "float32",
        **({"problem_type": MULTI_LABEL} if described.multi_label else {}),
        **({"label_descriptions": described.descriptions} if described.descriptions else {}),
    }
    found = family.entries(config, None)
    if described.headless:
        found = without_head(found, config)
        whole["architectures"] = [name.replace("ForImageClassification", "Model") for name in whole["architectures"]]
    contents = {"config.json": whole, PROCESSOR: processor.written(described.preprocessing)}
    made = tensors_written(found, tensors) | EXTRA.get(family_of(config), lambda _: {})(config)
    save_file(made, folder / "model.safetensors", {"format": "pt"})
    for name, value in contents.items():
        (folder / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def model_types() -> dict[str, Architecture]:
    """Every model type that is read, and by what."""
    return {name: family for family in FAMILIES.values() for name in family.MODEL_TYPES}


def preprocessing_of(folder: Path, config: Mapping[str, Any]) -> tuple[Preprocessing, tuple[str, ...]]:
    """What a folder's preprocessor_config.json says; without one, what the model type's own processor does by itself,
    where published models were trained so.

    Returns:
        The rule, and notes for the report.

    Raises:
        DataError: there is none, and models of this type were trained otherwise than its processor does by itself.
    """
    file, image_size = folder / PROCESSOR, size(config.get("image_size", 224))
    if not file.is_file():
        kind = OWN_PROCESSOR.get(str(config["model_type"]))
        if kind is None:
            raise DataError(
                f"there is no {PROCESSOR} in {folder}, and a model of type {config['model_type']!r} does not tell how "
                f"pictures are to be prepared: put one there, like {json.dumps(EXAMPLE)}."
            )
        own = {"image_processor_type": f"{kind}ImageProcessor", "size": list(image_size)}
        note = f"there is no {PROCESSOR}: pictures are prepared as {own['image_processor_type']} does by itself"
        return processor.preprocessing(own, image_size), (note,)
    published = read_object(file)
    try:
        return processor.preprocessing(published, image_size), ()
    except (DataError, UsageError) as error:
        raise DataError(f"{file}: {error}") from error
