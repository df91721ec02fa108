"""Weights in: recognise a layout, read it strictly, build the model they belong to.

`LAYOUTS` has one member per published layout; each says whether a file is its own, what model and preprocessing it
describes, and how each tensor of the model is made from those of the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vitral.config import Preprocessing
from vitral.errors import DataError, MissingInputError, VitralError, one_line
from vitral.models import VARIANTS, Network, build_network, changed, empty_network
from vitral.registry import nearest, nearest_path
from vitral.weights import adapted, deit, dinov2, google, huggingface, mae, microsoft, timm, torchvision
from vitral.weights import folder as vitral_folder
from vitral.weights.json_files import read_object
from vitral.weights.layout import Described, Layout, require_not_deeper, without_head
from vitral.weights.mapping import Entry
from vitral.weights.published import located
from vitral.weights.reading import read_tensors, require_equal
from vitral.weights.report import LoadReport
from vitral.weights.sources.hugging_face import parsed
from vitral.weights.stored import Stored, compared, open_stored

LAYOUTS: dict[str, Layout] = {
    "google": google,
    "vitral": vitral_folder,
    "timm": timm,
    "huggingface": huggingface,
    "deit": deit,
    "mae": mae,
    "dinov2": dinov2,
    "microsoft": microsoft,
    "torchvision": torchvision,
}
"""Layouts that can be read, by name, in the order in which they are asked: first what names alone tell."""

ENDINGS = (".safetensors", ".npz", ".pth", ".pt", ".bin")
"""Files in a folder that may be its weights."""

TIMM_LIKE = re.compile(r"[a-z0-9]+(_[a-z0-9]+)+(\.[a-z0-9_]+)?")
"""How timm spells its models: vit_base_patch16_224, or with a tag, like .augreg_in21k_ft_in1k."""


@dataclass(frozen=True)
class Pretrained:
    """Weights in their file, and all that came along. The numbers are read by `build`, or before it where Transformers
    had to give them their places."""

    source: Path
    layout: str
    described: Described
    stored: Stored
    metrics: dict[str, Any]

    @property
    def config(self) -> Any:
        """Configuration of the network."""
        return self.described.config

    @property
    def preprocessing(self) -> Preprocessing:
        """From pixels to its input."""
        return self.described.preprocessing

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the head's rows; may be empty where nothing names them."""
        return self.described.classes


def read(path: str | Path) -> Pretrained:
    """Read a folder of weights (of a run: its model), a file of weights, or published weights by the model's name.

    Raises:
        UsageError: a model's name under which nothing is published. UnavailableError: it cannot be fetched.
        MissingInputError: there is no such folder, or no weights in it.
        DataError: the layout is not known, a file is damaged, or a tensor's name has no meaning here.
    """
    by_timm = adapted.is_name(path)
    source = adapted.fetched(str(path).lower()) if by_timm else located(path)
    if not source.exists():
        near = nearest_path(source, _may_hold_weights)
        raise MissingInputError(
            f"no weights at {source}: " + (f"did you mean {near}?" if near else f"check the path{_as_name(path)}.")
        )
    if run := _is_run(source):
        source = source / "model"
    file = source if source.is_file() else _weights_in(source)
    beside = file.parent / "config.json"
    config = read_object(beside) if beside.is_file() else {}
    stored = open_stored(file)
    name = next((name for name, layout in LAYOUTS.items() if layout.recognises(stored, config)), None)
    if name is None:
        raise DataError(_unknown(stored, config, beside))
    by_transformers = name == "huggingface" and adapted.takes(config)
    try:
        if by_timm:
            described = adapted.of_timm(str(path).lower(), stored, config)
        elif by_transformers:
            described = adapted.of_transformers(config, file.parent)
        else:
            described = LAYOUTS[name].describe(stored, config, file.parent)
        require_not_deeper(described.config, stored)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, VitralError):
            said = str(error)
            named = said.startswith(one_line(str(file.parent)))  # another file of the folder may be at fault
            raise DataError(said if named else f"{beside if config else file}: {said}") from error
        raise DataError(
            f"{beside if config else file} is not as {name} writes it ({error}): fetch it again."
        ) from error
    if by_transformers:
        described, stored = adapted.loaded(described, stored)
    if run:
        note = f"{source.parent} is the folder of a run: its model folder {source} is read"
        described = replace(described, notes=(note, *described.notes))
    metrics = read_object(file.parent / "metrics.json") if (file.parent / "metrics.json").is_file() else {}
    return Pretrained(source, name, described, stored, metrics)


def build(pretrained: Pretrained, classes: Sequence[str] | None = None, **overrides: Any) -> tuple[Network, LoadReport]:
    """The model that the weights belong to, in evaluation mode, and the account of the load.

    Args:
        classes: what the head should tell apart; `None` keeps the file's. The same classes in the same order
            keep the head; any others get a zero head (section 3.2 of arXiv 2010.11929).
        overrides: fields of the configuration to change. Another `image_size` resizes what depends on it; dropping
            `representation_size` drops the pre-logits layer.

    Raises:
        UsageError: the family has no such field.
        DataError: tensors missing, left over or of another shape; both sides are listed.
    """
    config = changed(pretrained.config, **overrides)
    report = LoadReport(
        str(pretrained.source), pretrained.layout, notes=[*pretrained.stored.notes, *pretrained.described.notes]
    )
    report.dropped += pretrained.described.left_out.items()
    headless, checksum = pretrained.described.headless, pretrained.described.checksum
    stored = pretrained.stored if checksum is None else compared(pretrained.stored, checksum)
    tensors = read_tensors(stored, _entries(pretrained), pretrained.described.left_out, report)
    new_head = headless or (classes is not None and tuple(classes) != pretrained.classes)
    if new_head and classes is not None:
        config = changed(config, num_classes=len(classes))
    network = empty_network(config)
    heads = tuple(f"{layer}.{kind}" for layer in network.HEADS for kind in ("weight", "bias"))
    if headless:
        report.notes.append(f"the file has no head: one of zeros for {config.num_classes} classes is put on")
    elif new_head and classes is not None:
        kept = [tensors.pop(name) for name in heads if name in tensors]
        rows = len(kept[0]) if kept else 0
        report.dropped.append(
            ("head", f"it tells apart {rows} other classes; a zero head for {len(classes)} takes its place")
        )
    _drop_pre_logits(config, pretrained.config, tensors, heads, report)
    for name, tensor in network.resized(tensors, pretrained.config, config).items():
        report.resized.append((name, tuple(tensors[name].shape), tuple(tensor.shape)))
        tensors[name] = tensor
    require_equal(network, tensors, report, heads if new_head else ())
    if network.COMPUTES:
        network = build_network(config)  # only now, when the file has shown that it is no larger than it should be
    network.load_state_dict(tensors, strict=False, assign=True)
    for layer in network.HEADS:
        if f"{layer}.weight" not in tensors:
            network.set_submodule(layer, _zero_head(network.get_submodule(layer), getattr(config, "head_bias", 0.0)))
            report.reinitialised += [f"{layer}.weight", f"{layer}.bias"]
    report.read = len(tensors)
    return network.eval().requires_grad_(True), report


def _entries(pretrained: Pretrained) -> list[Entry]:
    """Where each tensor of the network stands in the file."""
    described = pretrained.described
    entries = LAYOUTS[pretrained.layout].entries(described.config, pretrained.stored)
    return without_head(entries, described.config) if described.headless else entries


def _drop_pre_logits(
    config: Any, stored: Any, tensors: dict[str, Tensor], heads: Sequence[str], report: LoadReport
) -> None:
    if getattr(config, "representation_size", None) is not None or getattr(stored, "representation_size", None) is None:
        return
    for name in ("pre_logits.weight", "pre_logits.bias"):
        tensors.pop(name, None)
    report.dropped.append(("pre_logits", "the model is built without a pre-logits layer"))
    if any(name in tensors for name in heads):
        raise DataError("the head needs its pre-logits layer: drop it only together with a new head.")


def _zero_head(like: nn.Module, bias: float) -> nn.Linear:
    assert isinstance(like, nn.Linear), "every head is a linear layer"
    head = nn.Linear(like.in_features, like.out_features)
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, bias)
    return head


def _unknown(stored: Stored, config: Mapping[str, Any], beside: Path) -> str:
    """A file that can be read, but is nobody's: its own words, to be told apart from a damaged one."""
    names = list(stored.shapes)
    own = f"its tensors have names like {', '.join(f'{name:.60}' for name in names[:3])}"
    if config:
        own += f", and the settings in {beside} are {', '.join(f'{name:.40}' for name in list(config)[:3])}"
    return f"{stored.path} can be read, but is of no known layout ({own}): {', '.join(LAYOUTS)} can be read."


def _as_name(words: str | Path) -> str:
    """How to say that a path that is not there was meant as a name: a repository's if it looks like one."""
    if parsed(f"hf:{words}"):
        return f", or write hf:{words} for a repository of Hugging Face"
    close = nearest(str(words), VARIANTS)
    if not close and TIMM_LIKE.fullmatch(str(words)):
        return f", or write timm:{words} for a model of timm, or a name of `vitral models`"
    return f", or the name (nearest: {', '.join(close)})" if close else ", or the name (`vitral models`)"


def _weights_in(folder: Path) -> Path:
    """The one file of weights in a folder; model.safetensors where there are several."""
    found = sorted(path for path in folder.iterdir() if path.suffix in ENDINGS and path.is_file())
    usual = folder / "model.safetensors"
    if usual in found:
        return usual
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{folder} holds several files of weights ({names}): name one of them.")
    raise MissingInputError(f"{folder} holds no model: a model folder has model.safetensors and config.json.")


def _is_run(folder: Path) -> bool:
    """Whether this is a run's folder, which holds its model in another."""
    own = any((folder / "model" / name).is_file() for name in ("model.safetensors", "config.json"))
    return own and not any(path.suffix in ENDINGS for path in folder.iterdir())


def _may_hold_weights(path: Path) -> bool:
    if path.is_dir():
        return _is_run(path) or any(inside.suffix in ENDINGS for inside in path.iterdir())
    return path.suffix in ENDINGS
