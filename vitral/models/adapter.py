"""Any classifier of timm's or of Transformers', behind the one door of `Network`: "timm:resnet18", "hf:convnextv2".

The library's network is the body, without its last layer, in whose place stands a head of ours. The library is
imported only when a body is built. Names are looked up in the library's own register: they are never paths or
addresses, so nothing that a configuration names is imported from elsewhere or fetched.
"""

from __future__ import annotations

import importlib
import json
import math
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vitral.errors import UnavailableError, UsageError
from vitral.models.network import LARGEST, Network
from vitral.registry import nearest

WORDS = re.compile(r"(timm|hf):([a-z0-9][a-z0-9_-]{0,99})")
"""How a network of another library is named."""

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")

EXTRAS = {"timm": "timm", "hf": "transformers"}
"""The package of each library, and the extra of vitral's that installs it."""

FORBIDDEN = {
    "timm": re.compile(r"pretrained.*|checkpoint.*|cache_dir|.*cfg.*|.*url.*|.*file.*|_.*"),
    "hf": re.compile(
        r"auto_map|.*backbone.*|trust.*|architectures|_.*|.*_implementation|use_kernels|gguf_file"
        r"|(adapter|distributed|fusion|kernel|quantization)_(config|kwargs)"
    ),
}
"""Settings that could name something to import or fetch."""

LONGEST = 1000
"""No list among the settings has more members."""

Setting = bool | int | float | str | None | list[Any]


@dataclass(frozen=True)
class AdapterConfig:
    """What another library's network is made from."""

    library: Literal["timm", "hf"]
    name: str  # timm's name of a model, or Transformers' of a model type
    image_size: tuple[int, int] = (224, 224)  # height, width in pixels
    num_classes: int = 1000
    stride: int = 32  # pixels, each way, for one position of the deepest features
    settings: str = "{}"  # JSON object: what differs from the defaults of the model, or of the model type
    head_bias: float = 0.0

    def __post_init__(self) -> None:
        if self.library not in EXTRAS:
            raise UsageError(f"library must be {' or '.join(EXTRAS)}, not {self.library!r}.")
        if NAME.fullmatch(self.name) is None:
            raise UsageError(f"{self.name!r} is no name of a model: it has small letters, digits, _ and -.")
        for name in ("num_classes", "stride"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if min(self.image_size) < 1:
            raise UsageError(f"an image has at least 1x1 pixels, not {self.image_size[0]}x{self.image_size[1]}.")
        settings_of(self)


def settings_of(config: AdapterConfig) -> dict[str, Setting]:
    """The settings as values: numbers, truth values, short words, and lists of them.

    Raises:
        UsageError: they are not such an object, or name something that could be imported or fetched.
    """
    try:
        settings = json.loads(config.settings)
    except ValueError as error:
        raise UsageError(f"settings must be a JSON object: {error}.") from error
    if not isinstance(settings, dict):
        raise UsageError(f"settings must be a JSON object, not {type(settings).__name__}.")
    for key, value in settings.items():
        if NAME.fullmatch(key) is None or FORBIDDEN[config.library].fullmatch(key) or not _is_plain(value):
            raise UsageError(
                f"settings cannot hold {key!r}: {value!r:.80}: only numbers below 2^24, short words and lists of them."
            )
    return settings


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= LONGEST and all(map(_is_plain, value))
    if isinstance(value, int | float):
        return math.isfinite(value) and abs(value) <= LARGEST
    return value is None or (isinstance(value, str) and NAME.fullmatch(value) is not None)


class AdaptedNetwork(Network):
    """Pictures in, class scores out: the library's `body` and our `head`."""

    COMPUTES = True  # a library's buffers that it keeps out of its files

    config: AdapterConfig

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.body, width = BODIES[config.library](config)
        self.head = nn.Linear(width, config.num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, config.head_bias)
        self._layers, self._head_layer = layers_in_order([name for name, _ in self.body.named_parameters()])

    def encode(self, images: Tensor) -> Tensor:
        """Pictures [n, c, h, w] to the body's features: timm's before pooling, Transformers' behind it."""
        if self.config.library == "timm":
            return self.body.forward_features(images)
        return self.body(images).logits

    def pooled(self, encoded: Tensor) -> Tensor:
        """Features to one vector per picture [n, R]."""
        if self.config.library == "timm":
            return self.body.forward_head(encoded, pre_logits=True)
        return encoded

    @property
    def num_layers(self) -> int:
        """Layers by the first number in the names of the body's parameters; the rest goes with the head."""
        return self._head_layer + 1

    def layer_index(self, name: str) -> int:
        """In the library's order of parameters."""
        return self._layers.get(name.removeprefix("body."), self._head_layer)


def layers_in_order(names: list[str]) -> tuple[dict[str, int], int]:
    """Layer of each parameter, and of the head: 0 until the first that is numbered, then one for each number.

    "layer1.0.conv1.weight" is of layer1.0, "blocks.3.attn.qkv.weight" of blocks.3. What has no number counts with
    what stands before it, but behind the last numbered one it is of the last layer, with the head.
    """
    keys = [match[0] if (match := re.match(r".*?\.?\b\d+(?=\.)", name)) else "" for name in names]
    numbered = list(dict.fromkeys(filter(None, keys)))
    last = max((i for i, key in enumerate(keys) if key), default=-1)
    first = 1 if keys and not keys[0] and numbered else 0  # whether there is a stem before the first number
    head = len(numbered) + first
    found, current = {}, 0
    for i, (name, key) in enumerate(zip(names, keys, strict=True)):
        current = numbered.index(key) + first if key else current
        found[name] = head if i > last else current
    return found, head


# The libraries -------------------------------------------------------------------------------------


def imported(library: str, what: str) -> Any:
    """The library's package.

    Raises:
        UnavailableError: it is not installed, or cannot be imported here.
    """
    package = EXTRAS[library]
    try:
        return importlib.import_module(package)
    except (ImportError, RuntimeError) as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name in (package, None)
        way_out = f"pip install 'vitral[{package}]'" if absent else "see what `vitral doctor` says of it"
        raise UnavailableError(f"{what} needs {package}, which cannot be imported ({error}): {way_out}.") from error


def configuration(words: str, **settings: Any) -> AdapterConfig:
    """The configuration of "timm:NAME" or "hf:TYPE", with the library's own defaults but for timm's `settings`.

    Raises:
        UsageError: the library has none of that name; the nearest are given. UnavailableError: it is not installed.
    """
    match = WORDS.fullmatch(words)
    if match is None:
        raise UsageError(f"{words!r} is no name like timm:resnet18 or hf:convnextv2.")
    library, name = match.groups()
    if library == "timm":
        timm = imported(library, words)
        _require_known(words, name, timm.list_models())
        usual = AdapterConfig("timm", name, settings=json.dumps(settings, sort_keys=True))
        with torch.device("meta"):
            body = timm_network(usual)
        size = body.pretrained_cfg.get("input_size", (3, 224, 224))
        return replace(usual, image_size=(size[1], size[2]), stride=_stride(body))
    default = transformers_defaults(name)()
    size = getattr(default, "image_size", 224)
    sides = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    return AdapterConfig("hf", name, sides, stride=_patch(default))


def _require_known(words: str, name: str, known: list[str]) -> None:
    if name not in known:
        library = words.partition(":")[0]
        close = [f"{library}:{other}" for other in nearest(name, known)]
        way_out = f"did you mean {' or '.join(close)}?" if close else "see what the library lists."
        raise UsageError(f"unknown model {words!r}: {way_out}")


def _stride(body: Any) -> int:
    stages = getattr(body, "feature_info", None)
    return int(stages[-1]["reduction"]) if stages else 32


def _patch(published: Any) -> int:
    """The patch's side of a network whose tokens all have one size; else 32, as nearly all others shrink a picture."""
    patch = getattr(published, "patch_size", None)
    return patch if isinstance(patch, int) and not hasattr(published, "depths") else 32


def timm_network(config: AdapterConfig, **arguments: Any) -> Any:
    """timm's own network with the settings of `config`, and its random initial values.

    Raises:
        UsageError: timm does not take the settings.
    """
    settings = settings_of(config)
    try:
        return imported("timm", config.name).create_model(config.name, pretrained=False, **settings, **arguments)
    except Exception as error:  # whatever a constructor makes of a setting that it cannot use
        if not settings:
            raise
        said = " ".join(str(error).split())
        raise UsageError(f"timm cannot build {config.name} with {config.settings} ({said}): change them.") from error


def _timm_body(config: AdapterConfig) -> tuple[Any, int]:
    timm = imported("timm", f"timm:{config.name}")
    _require_known(f"timm:{config.name}", config.name, timm.list_models())
    fixed = timm.get_pretrained_cfg_value(config.name, "fixed_input_size")
    sized = {"img_size": config.image_size} if fixed else {}
    body = timm_network(config, num_classes=0, **sized)
    return body, int(getattr(body, "head_hidden_size", None) or body.num_features)


def transformers_defaults(name: str) -> Any:
    """Transformers' class of configurations of a model type that has a classifier of pictures.

    Raises:
        UsageError: there is no such type. UnavailableError: Transformers is not installed.
    """
    words = f"hf:{name}"
    transformers = imported("hf", words)
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    known = [kind for kind in auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES if kind != "timm_wrapper"]
    _require_known(words, name, known)
    return type(transformers.AutoConfig.for_model(name))


def _hf_body(config: AdapterConfig) -> tuple[Any, int]:
    body = transformers_classifier(config)
    last = last_layer(body)
    width = body.get_submodule(last).in_features
    body.set_submodule(last, nn.Identity())
    return body, int(width)


def transformers_classifier(config: AdapterConfig) -> Any:
    """Transformers' own network, whole and freshly initialised.

    Raises:
        UsageError: its settings do not fit together. UnavailableError: Transformers cannot load it here.
    """
    words = f"hf:{config.name}"
    kind, network = transformers_defaults(config.name), _classifier(config.name)
    settings = settings_of(config)
    if hasattr(kind(), "image_size"):
        height, width = config.image_size
        settings["image_size"] = height if height == width else [height, width]
    try:
        return network(kind(**settings, num_labels=config.num_classes))
    except Exception as error:  # the library's checks raise classes of their own
        said = " ".join(str(error).split())
        raise UsageError(f"{words} cannot be built with {config.settings} ({said}): change its settings.") from error


def _classifier(name: str) -> Any:
    """Transformers' class of classifiers of a model type; of several, the one that learns without a teacher."""
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    found = auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES[name]
    try:
        return getattr(importlib.import_module("transformers"), found if isinstance(found, str) else found[0])
    except (ImportError, RuntimeError) as error:  # it imports a model's own needs at the first use
        said = str(error).strip().splitlines()[0].partition(". ")[0]
        raise UnavailableError(
            f"hf:{name} cannot be loaded by Transformers ({said}): see what `vitral doctor` says of it."
        ) from error


def last_layer(body: nn.Module) -> str:
    """Name of the dense layer that gives a Transformers classifier its scores.

    Raises:
        UsageError: there is none.
    """
    rows = int(body.config.num_labels)  # type: ignore[union-attr, arg-type]
    found = [
        name for name, layer in body.named_modules() if isinstance(layer, nn.Linear) and layer.out_features == rows
    ]
    if not found or not re.match(r"(\w+_)?classifier|head|fc", found[-1]):
        raise UsageError(f"{type(body).__name__} has no dense layer as its last: it cannot be given another head.")
    return found[-1]


BODIES = {"timm": _timm_body, "hf": _hf_body}
"""Each library's body without its last layer, and the size of a picture's representation."""
