"""Weights that only another library can read: timm's by name, and folders of Transformers' other model types.

The library builds its network and reads the file; the tensors are taken over into an adapter (see
`vitral.models.adapter`), with class names and preprocessing, and from then on are in a model folder like any other.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vitral.config import Preprocessing
from vitral.errors import DataError, UnavailableError, UsageError
from vitral.models import adapter
from vitral.models.adapter import AdapterConfig
from vitral.weights import huggingface, timm
from vitral.weights.huggingface.published import class_names, size
from vitral.weights.layout import Described
from vitral.weights.sources.cache import offline

NOT_SETTINGS = {
    # what a Transformers configuration says beside the shape of the network
    "architectures", "dtype", "torch_dtype", "transformers_version", "model_type", "problem_type", "image_size",
    "id2label", "label2id", "num_labels", "label_descriptions", "out_features", "out_indices", "stage_names",
}  # fmt: skip


class InMemory:
    """Tensors that another library has read; see `vitral.weights.stored.Stored`."""

    kind = "memory"
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        self.path = path
        self.tensors = tensors
        self.shapes = {name: tuple(value.shape) for name, value in tensors.items()}

    def tensor(self, name: str) -> Tensor:
        """The numbers of one tensor."""
        return self.tensors[name].detach().clone()


def is_name(words: str | Path) -> bool:
    """Whether these name a model of another library, and not a path that exists."""
    return adapter.WORDS.fullmatch(str(words)) is not None and not Path(words).exists()


def of_timm(words: str) -> tuple[Described, InMemory]:
    """The published weights of "timm:NAME", read and, if need be, fetched by timm.

    Raises:
        UsageError: no such model, or it has no weights. UnavailableError: timm is not installed, or cannot fetch them.
    """
    config = adapter.configuration(words)
    if config.library != "timm":
        raise UsageError(
            f"{words} names a type of models, which has no weights: train it from nothing (`vitral train`), or give a "
            f"folder or repository of weights."
        )
    library = adapter.imported("timm", words)
    if not library.is_model_pretrained(config.name):
        raise UsageError(f"timm has no weights of {config.name}: train it from nothing with `vitral train`.")
    try:
        whole = library.create_model(config.name, pretrained=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = "HF_HUB_OFFLINE is set" if offline() else str(error).strip().splitlines()[0]
        raise UnavailableError(
            f"the weights of {words} are not on this machine and timm cannot fetch them ({reason}): train it from "
            f"nothing with `vitral train`, or give a folder of weights."
        ) from error
    published = whole.pretrained_cfg
    config = dataclasses.replace(config, num_classes=max(1, int(published["num_classes"])))
    tensors = _split(whole, published.get("classifier"))
    rule = timm.preprocessing_of(library.data.resolve_data_config({}, model=whole), config.image_size)
    return _described(config, rule, tensors, tuple(published.get("label_names") or ())), InMemory(Path(words), tensors)


def takes(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is of a model type that only Transformers itself can read, and that is here."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind in huggingface.model_types() or adapter.NAME.fullmatch(kind) is None:
        return False
    try:
        adapter.configuration(f"hf:{kind}")
    except (UnavailableError, UsageError):
        return False
    return True


def of_transformers(folder: Path, published: Mapping[str, Any]) -> tuple[Described, InMemory]:
    """The model in a folder, read by Transformers: from safetensors alone, without any code of the folder's.

    Raises:
        DataError: Transformers cannot read it, or it is not such that an adapter can rebuild it.
    """
    library = adapter.imported("hf", f"hf:{published['model_type']}")
    try:
        whole = library.AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"Transformers cannot read {folder} ({str(error).strip().splitlines()[0]}).") from error
    rule, notes = huggingface.preprocessing_of(folder, published)
    different = whole.config.to_diff_dict()
    settings = {k: v for k, v in different.items() if k not in NOT_SETTINGS and not k.startswith("_")}
    try:
        config = dataclasses.replace(
            adapter.configuration(f"hf:{published['model_type']}"),
            num_classes=int(whole.config.num_labels),
            image_size=size(getattr(whole.config, "image_size", None) or rule.crop),
            settings=json.dumps(settings, sort_keys=True),
        )
        tensors = _split(whole, adapter.last_layer(whole))
    except UsageError as error:
        raise DataError(f"{folder}: {error}") from error
    described = _described(config, rule, tensors, class_names(published))
    multi_label = published.get("problem_type") == huggingface.MULTI_LABEL
    return dataclasses.replace(described, notes=notes, multi_label=multi_label), InMemory(folder, tensors)


def _split(whole: nn.Module, last: Any) -> dict[str, Tensor]:
    """The tensors of a network under an adapter's names: body, and head where the last layer is a plain one."""
    state = whole.state_dict()
    names = (last,) if isinstance(last, str) else tuple(last or ())
    body = {f"body.{k}": v for k, v in state.items() if not any(k.startswith(f"{name}.") for name in names)}
    if len(names) == 1 and isinstance(whole.get_submodule(names[0]), nn.Linear | nn.Conv2d):
        weight, bias = (state.get(f"{names[0]}.{kind}") for kind in ("weight", "bias"))
        if weight is not None and bias is not None:
            body |= {"head.weight": weight.flatten(1), "head.bias": bias}
    return body


def _described(config: AdapterConfig, rule: Preprocessing, tensors: Mapping[str, Tensor], names: Any) -> Described:
    headless = "head.weight" not in tensors
    fitting = names if len(names) == config.num_classes and not headless else ()
    return Described(config, rule, tuple(map(str, fitting)), headless=headless)
