"""timm's other classifiers, behind vitral's adapter: timm itself says what their tensors are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from vitral.errors import DataError, UnavailableError, UsageError, VitralError
from vitral.models import adapter
from vitral.models.adapter import AdapterConfig
from vitral.weights.mapping import SAME, Entry, Form
from vitral.weights.stored import Stored
from vitral.weights.timm import vit

CONVOLUTION = Form("flattened", lambda parts: parts[0].flatten(1), lambda value: [value[:, :, None, None]])
"""A head kept as a 1x1 convolution."""

NOT_PLAIN = "the network ends in more than one plain layer, and an adapter has one"


ARGUMENTS = {"img_size", "num_classes"}
"""What of a config.json's "model_args" an adapter has a place for."""


def configuration(
    name: str, published: Mapping[str, Any], stored: Stored
) -> tuple[AdapterConfig, dict[str, str]] | None:
    """The adapter of timm's model `name`; `None` where timm is not installed, or the model is not as timm makes it."""
    if adapter.NAME.fullmatch(name) is None:
        return None
    try:
        usual = adapter.configuration(f"timm:{name}")
    except (UnavailableError, UsageError):
        return None
    size = vit.image_size(published, usual.image_size[0])
    count = int(published.get("num_classes", 1000))
    config = AdapterConfig("timm", name, size, count, usual.stride)
    whole, form, lasts = _ends(config)
    if _unusual(whole, published):
        return None
    left_out = {} if form else {key: NOT_PLAIN for key in stored.shapes if key.startswith(lasts)}
    return config, left_out


def refusal(name: str, published: Mapping[str, Any], others: str) -> VitralError:
    """Why timm's model `name` is not read, where neither a family of vitral's nor timm takes it.

    Args:
        others: what is read without timm.
    """
    said = f"the weights are of architecture {name!r}"
    try:
        whole, _, _ = _ends(adapter.configuration(f"timm:{name}"))
    except UnavailableError as error:
        return UnavailableError(f"{said}, which only timm reads; without it {others} are read: {error}")
    except UsageError:
        return DataError(f"{said}: only {others} are read, and what the timm that is installed knows.")
    told = ", ".join(f"{key} {value!r:.40}" for key, value in _unusual(whole, published).items())
    return DataError(f"{said} with other model_args than timm's own, which are not read: {told}.")


def _unusual(whole: Any, published: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a config.json with which timm would build another network than by the name alone."""
    place = next((layer for layer in (whole, getattr(whole, "head", None)) if hasattr(layer, "global_pool")), None)
    pool = getattr(place, "global_pool", None)
    usual = {"in_chans": 3, "global_pool": getattr(pool, "pool_type", pool)}
    given = published.get("model_args") or {}
    return {key: value for key, value in given.items() if key not in ARGUMENTS and value != usual.get(key, ...)}


def entries(config: AdapterConfig, stored: Stored | None) -> list[Entry]:
    """timm's name for each tensor. Of a file whose last layers are several, none is the head's.

    Raises:
        UsageError: such a model should be written.
    """
    whole, form, lasts = _ends(config)
    if form is None and stored is None:
        raise UsageError(f"timm's {config.name} ends in more than one plain layer: choose another layout.")
    head = (
        [Entry("head.weight", (f"{lasts[0]}weight",), form), Entry("head.bias", (f"{lasts[0]}bias",))] if form else []
    )
    return [Entry(f"body.{name}", (name,)) for name in whole.state_dict() if not name.startswith(lasts)] + head


def headless(config: AdapterConfig) -> bool:
    """Whether timm's last layers are such that our head cannot take their place with their numbers."""
    return _ends(config)[1] is None


def _ends(config: AdapterConfig) -> tuple[Any, Form | None, tuple[str, ...]]:
    """timm's whole network without numbers, the form of its last layer unless that is no single plain one, and what
    the names of the last layers' tensors begin with."""
    library = adapter.imported("timm", f"timm:{config.name}")
    last = library.get_pretrained_cfg_value(config.name, "classifier")
    with torch.device("meta"):
        whole = library.create_model(config.name, pretrained=False, num_classes=config.num_classes)
    names = (last,) if isinstance(last, str) else tuple(last or ())
    layer = whole.get_submodule(last) if isinstance(last, str) else None
    plain = isinstance(layer, nn.Linear | nn.Conv2d) and layer.bias is not None
    form = (CONVOLUTION if isinstance(layer, nn.Conv2d) else SAME) if plain else None
    return whole, form, tuple(f"{name}." for name in names)


def name(config: AdapterConfig) -> str | None:
    """timm's name for a network, or `None` where it is another library's."""
    return config.name if config.library == "timm" else None


def arguments(config: AdapterConfig) -> dict[str, Any]:
    """What `timm.create_model` must be told beside the name."""
    fixed = adapter.imported("timm", config.name).get_pretrained_cfg_value(config.name, "fixed_input_size")
    return {"img_size": list(config.image_size)} if fixed else {}
