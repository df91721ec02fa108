"""timm's other classifiers, behind vitral's adapter: timm itself says what their tensors are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from vitral.errors import UnavailableError, UsageError
from vitral.models import adapter
from vitral.models.adapter import AdapterConfig
from vitral.weights.mapping import SAME, Entry, Form
from vitral.weights.stored import Stored
from vitral.weights.timm.published import TRAINING, arguments_of, input_of

OWN = {"img_size", "in_chans", "num_classes", *TRAINING}
"""Arguments that are fields of the configuration, or that no score depends on; the others are its settings."""

ARGUMENTS = None
"""Of timm's constructor, those that are understood: all, as timm itself reads them."""

CONVOLUTION = Form("flattened", lambda parts: parts[0].flatten(1), lambda value: [value[:, :, None, None]])
"""A head kept as a 1x1 convolution."""


def configuration(name: str, published: Mapping[str, Any], _: Stored) -> tuple[AdapterConfig, dict[str, str]] | None:
    """The adapter of timm's model `name`; `None` where timm is not installed or does not take the arguments."""
    given = {key: value for key, value in arguments_of(published).items() if key not in OWN and value is not None}
    if published.get("global_pool"):
        given["global_pool"] = published["global_pool"]
    if adapter.NAME.fullmatch(name) is None or published.get("input_size", (3,))[0] != 3:
        return None
    try:
        usual = adapter.configuration(f"timm:{name}", **given)
    except (UnavailableError, UsageError):
        return None
    fields = input_of(published, usual.image_size[0])
    del fields["channels"]
    return replace(usual, **fields), {}


def entries(config: AdapterConfig, _: Stored | None) -> list[Entry]:
    """timm's name for each tensor.

    Raises:
        UsageError: the model's last layer is not a single plain one.
    """
    library = adapter.imported("timm", f"timm:{config.name}")
    last = library.get_pretrained_cfg_value(config.name, "classifier")
    with torch.device("meta"):
        whole = adapter.timm_network(config, num_classes=config.num_classes)
    layer = whole.get_submodule(last) if isinstance(last, str) else None
    if not isinstance(layer, nn.Linear | nn.Conv2d) or layer.bias is None:
        raise UsageError(f"timm's {config.name} ends in more than one plain layer: choose another layout.")
    form = CONVOLUTION if isinstance(layer, nn.Conv2d) else SAME
    head = [Entry("head.weight", (f"{last}.weight",), form), Entry("head.bias", (f"{last}.bias",))]
    body = [name for name in whole.state_dict() if not name.startswith(f"{last}.")]
    return [Entry(f"body.{name}", (name,)) for name in body] + head


def name(config: AdapterConfig) -> str | None:
    """timm's name for a network, or `None` where it is another library's."""
    return config.name if config.library == "timm" else None


def arguments(config: AdapterConfig) -> dict[str, Any]:
    """What `timm.create_model` must be told beside the name."""
    fixed = adapter.imported("timm", config.name).get_pretrained_cfg_value(config.name, "fixed_input_size")
    return adapter.settings_of(config) | ({"img_size": list(config.image_size)} if fixed else {})
