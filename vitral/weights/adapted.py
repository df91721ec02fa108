"""Weights of networks that only another library can build: timm's by name, and Transformers' other model types.

The library builds the network and says what its tensors are called; vitral fetches and reads the files. They are
taken over into an adapter (see `vitral.models.adapter`), with class names and preprocessing, and from then on are in
a model folder like any other.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitral.errors import DataError, UnavailableError, UsageError
from vitral.models import adapter
from vitral.models.network import LARGEST
from vitral.weights import huggingface, timm
from vitral.weights.huggingface.published import class_names, size
from vitral.weights.layout import Described
from vitral.weights.parallel import numbers_in, side_by_side
from vitral.weights.report import other_shape, require_no_differences
from vitral.weights.sources import hugging_face
from vitral.weights.sources.progress import to_stderr
from vitral.weights.stored import Stored

NOT_SETTINGS = {
    # what a Transformers configuration says beside the shape of the network
    "architectures", "dtype", "torch_dtype", "transformers_version", "model_type", "problem_type", "image_size",
    "id2label", "label2id", "num_labels", "label_descriptions", "out_features", "out_indices", "stage_names",
}  # fmt: skip

SPARE = 1 << 20
"""Numbers that a small file's network may have beyond twice the file's: a head that it lacks."""


class InMemory:
    """Tensors of a file under the names that another library gives them; see `vitral.weights.stored.Stored`."""

    kind = "memory"

    def __init__(self, path: Path, tensors: Mapping[str, Tensor], notes: tuple[str, ...] = ()) -> None:
        self.path = path
        self.notes = notes
        self.tensors = tensors
        self.shapes = {name: tuple(value.shape) for name, value in tensors.items()}

    def tensor(self, name: str) -> Tensor:
        """The numbers of one tensor."""
        return self.tensors[name].detach().clone()


def is_name(words: str | Path) -> bool:
    """Whether these name a model of another library, and not a path that exists."""
    return adapter.WORDS.fullmatch(str(words).lower()) is not None and not Path(words).exists()


def fetched(words: str) -> Path:
    """The folder with the published weights of "timm:NAME", downloaded if it is not there yet: by vitral, not by timm.

    Raises:
        UsageError: no such model, or it has no weights in a repository of timm's form.
        UnavailableError: timm is not installed, or they cannot be fetched; says which files to place where.
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
    published = library.get_pretrained_cfg(config.name)
    repository = hugging_face.parsed(f"hf:{published.hf_hub_id}")
    if repository is None or published.hf_hub_filename:
        place = published.hf_hub_id or published.url or published.file
        raise UsageError(
            f"timm has the weights of {config.name} as a file of another form ({place}), which is not read: train it "
            f"from nothing with `vitral train`, or give a folder of weights."
        )
    return hugging_face.repository(*repository, f"the weights of {words}", to_stderr())


def of_timm(words: str, stored: Stored, published: Mapping[str, Any]) -> Described:
    """The model of "timm:NAME" in its repository's file and config.json, as an adapter even where vitral has its own.

    Raises:
        DataError: the repository is another model's.
    """
    described = timm.described(stored, published, {"adapter": timm.adapter})
    if f"timm:{described.config.name}" != words:
        raise DataError(f"it is of timm's {described.config.name}, not of {words}.")
    return described


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


def of_transformers(published: Mapping[str, Any], folder: Path) -> Described:
    """What a config.json says of a model that only Transformers can build; it sees only what `settings_of` lets by.

    Raises:
        UsageError: a setting is not of the plain ones.
    """
    kind = str(published["model_type"])
    usual = adapter.transformers_defaults(kind)().to_dict()
    settings = {
        name: value
        for name, value in published.items()
        if name not in NOT_SETTINGS and not name.startswith("_") and not (name in usual and value == usual[name])
    }
    given = {"image_size": usual["image_size"]} if usual.get("image_size") else {}
    given |= {name: value for name, value in published.items() if value is not None}
    rule, notes = huggingface.preprocessing_of(folder, given)
    config = dataclasses.replace(
        adapter.configuration(f"hf:{kind}"),
        num_classes=len(given.get("id2label") or ()) or int(given.get("num_labels", 2)),
        image_size=size(given.get("image_size", rule.crop)),
        settings=json.dumps(settings, sort_keys=True),
    )
    if max(config.num_classes, *config.image_size) > LARGEST:
        raise UsageError(f"no number may be above 2^24, as {max(config.num_classes, *config.image_size)} is.")
    multi_label = published.get("problem_type") == huggingface.MULTI_LABEL
    return Described(config, rule, class_names(published), multi_label=multi_label, notes=notes)


def loaded(described: Described, stored: Stored) -> tuple[Described, InMemory]:
    """The file's tensors as Transformers' network has them, and whether there is a head among them.

    The file is read by vitral, and Transformers gives each tensor its place; it may leave none out, and make up none
    but a whole head.

    Raises:
        DataError: tensors missing, left over or of another shape; both sides are listed.
    """
    with torch.device("meta"):
        whole = adapter.transformers_classifier(described.config)
    last = adapter.last_layer(whole)
    head = {f"{last}.weight", f"{last}.bias"}
    if not head <= whole.state_dict().keys():
        raise DataError(f"{stored.path}: the last layer of {type(whole).__name__} has no bias, which is not read.")
    _require_likely_size(whole, stored)
    read = side_by_side(stored.tensor, stored.shapes, numbers_in(stored.shapes.values()))
    tensors = {
        name: value.to(torch.float32) if value.is_floating_point() else value
        for name, value in zip(stored.shapes, read, strict=True)
    }
    filled, account = _filled(whole, tensors, stored.path)
    missing = set(account["missing_keys"])
    headless = head <= missing
    require_no_differences(
        stored.path,
        sorted(missing - (head if headless else set())),
        sorted(account["unexpected_keys"]),
        [other_shape(*found) for found in account["mismatched_keys"]],
    )
    state = {name: value for name, value in filled.state_dict().items() if not (headless and name in head)}
    renamed = sum(name not in stored.shapes for name in state)
    notes = (f"Transformers has {renamed} of the tensors under other names than the file",) if renamed else ()
    described = dataclasses.replace(
        described,
        headless=headless,
        classes=() if headless else described.classes,
        notes=(*described.notes, *notes),
    )
    return described, InMemory(stored.path, state, stored.notes)


def _require_likely_size(whole: nn.Module, stored: Stored) -> None:
    """Refuse a configuration of a far larger network than the file's, before memory is taken for it."""
    wanted = sum(value.numel() for value in whole.parameters())
    given = sum(math.prod(shape) for shape in stored.shapes.values())
    if wanted > 2 * given + SPARE:
        raise DataError(
            f"{stored.path} has {given:,} numbers, the model that config.json describes {wanted:,}: one of the two is "
            f"another model's."
        )


def _filled(whole: Any, tensors: dict[str, Tensor], path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Transformers' network with these tensors, and its own account of what was missing and left over."""
    words = importlib.import_module("transformers.utils.logging")
    level, shown = words.get_verbosity(), words.is_progress_bar_enabled()
    words.set_verbosity(words.CRITICAL)
    words.disable_progress_bar()
    try:
        filled, account = type(whole).from_pretrained(
            None,
            config=whole.config,
            state_dict=tensors,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # they are in the account
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"Transformers cannot take the tensors of {path} ({said}).") from error
    finally:
        words.set_verbosity(level)
        if shown:
            words.enable_progress_bar()
    if account.get("error_msgs"):
        raise DataError(f"Transformers cannot take the tensors of {path} ({account['error_msgs'][0]}).")
    return filled, account
