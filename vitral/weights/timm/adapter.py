"""timm's other classifiers, behind vitral's adapter: timm itself says what their tensors are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from vitral.errors import DataError, UnavailableError, UsageError, VitralError
from vitral.models import adapter
from vitral.models.adapter import AdapterConfig
from vitral.weights.mapping import CONVOLUTION, SAME, Entry, Form
from vitral.weights.stored import Stored
from vitral.weights.timm.published import TRAINING, arguments_of, input_of

OWN = {"img_size", "in_chans", "num_classes", *TRAINING}
"""Arguments that are fields of the configuration, or that no score depends on; the others are its settings."""

ARGUMENTS = None
"""Of timm's constructor, those that are understood: all, as timm itself reads them."""

NOT_PLAIN = "the network ends in more than one plain layer, and an adapter has one"


def configuration(
    name: str, published: Mapping[str, Any], stored: Stored
) -> tuple[AdapterConfig, dict[str, str]] | None:
    """The adapter of timm's model `name`; `None` where timm is not installed or does not take the arguments."""
    given = _settings(published)
    if adapter.NAME.fullmatch(name) is None or published.get("input_size", (3,))[0] != 3:
        return None
    try:
        usual = adapter.configuration(f"timm:{name}", **given)
    except (UnavailableError, UsageError):
        return None
    fields = input_of(published, usual.image_size[0])
    del fields["channels"]
    config = replace(usual, **fields)
    _, form, lasts = _ends(config)
    return config, ({} if form else {key: NOT_PLAIN for key in stored.shapes if key.startswith(lasts)})


def _settings(published: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of timm's constructor that are settings of an adapter."""
    given = {key: value for key, value in arguments_of(published).items() if key not in OWN and value is not None}
    return given | ({"global_pool": published["global_pool"]} if published.get("global_pool") else {})


def refusal(name: str, published: Mapping[str, Any], others: str) -> VitralError:
    """Why timm's model `name` is not read, where neither a family of vitral's nor timm takes it.

    Args:
        others: what is read without timm.
    """
    said = f"the weights are of architecture {name!r}"
    try:
        adapter.configuration(f"timm:{name}")
        adapter.configuration(f"timm:{name}", **_settings(published))
    except UnavailableError as error:
        return UnavailableError(f"{said}, which only timm reads; without it {others} are read: {error}")
    except UsageError as error:
        return DataError(f"{said}: only {others} are read, and what the timm that is installed builds ({error})")
    return DataError(f"{said} with an input that is not of three channels, which is not read.")


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
        whole = adapter.timm_network(config, num_classes=config.num_classes)
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
    return adapter.settings_of(config) | ({"img_size": list(config.image_size)} if fixed else {})
