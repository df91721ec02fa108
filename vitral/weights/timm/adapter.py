"""timm's other classifiers, behind vitral's adapter: timm itself says what their tensors are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from vitral.errors import UnavailableError, UsageError
from vitral.models import adapter
from vitral.models.adapter import AdapterConfig
from vitral.weights.mapping import CONVOLUTION, SAME, Entry
from vitral.weights.stored import Stored
from vitral.weights.timm import vit


def configuration(name: str, published: Mapping[str, Any], _: Stored) -> tuple[AdapterConfig, dict[str, str]] | None:
    """The adapter of timm's model `name`; `None` where timm is not installed, or the model is not as timm makes it."""
    if adapter.NAME.fullmatch(name) is None or published.get("model_args", {}).keys() - {"img_size"}:
        return None
    try:
        usual = adapter.configuration(f"timm:{name}")
    except (UnavailableError, UsageError):
        return None
    size = vit.image_size(published, usual.image_size[0])
    count = int(published.get("num_classes", 1000))
    return AdapterConfig("timm", name, size, count, usual.stride), {}


def entries(config: AdapterConfig, _: Stored | None) -> list[Entry]:
    """timm's name for each tensor.

    Raises:
        UsageError: the model's last layer is not a single plain one.
    """
    library = adapter.imported("timm", f"timm:{config.name}")
    last = library.get_pretrained_cfg_value(config.name, "classifier")
    with torch.device("meta"):
        whole = library.create_model(config.name, pretrained=False, num_classes=config.num_classes)
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
    return {"img_size": list(config.image_size)} if fixed else {}
