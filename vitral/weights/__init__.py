"""Weights in: recognise a layout, read it strictly, build the model they belong to.

`LAYOUTS` has one member per published layout; each says whether a config.json is its own, what model and
preprocessing it describes, and what each of its names is called here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vitral.config import Preprocessing
from vitral.errors import DataError, MissingInputError, VitralError
from vitral.models.positions import resize_positions
from vitral.models.vit import VisionTransformer, ViTConfig
from vitral.registry import nearest
from vitral.weights import folder as vitral_folder
from vitral.weights import timm
from vitral.weights.published import located
from vitral.weights.report import LoadReport


class Layout(Protocol):
    """What a module of `LAYOUTS` offers."""

    def recognises(self, config: Mapping[str, Any], /) -> bool:
        """Whether a config.json is of this layout."""

    def read_config(
        self, config: Mapping[str, Any], folder: Path, /
    ) -> tuple[ViTConfig, Preprocessing, tuple[str, ...], dict[str, str], bool]:
        """Model, preprocessing, class names, their descriptions, and whether a picture can have several labels."""

    def to_ours(self, name: str, /) -> str | None:
        """What a tensor is called here; `None` if it has no meaning."""


LAYOUTS: dict[str, Layout] = {"vitral": vitral_folder, "timm": timm}
"""Layouts that can be read, by name."""

HEAD = ("head.weight", "head.bias")


@dataclass(frozen=True)
class Pretrained:
    """Weights as they stand in a file, under this library's names, with all that came along.

    `tensors` are float32 on the CPU. `classes` may be empty where the file does not name them.
    """

    source: Path
    layout: str
    config: ViTConfig
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    descriptions: dict[str, str]
    multi_label: bool
    tensors: dict[str, Tensor]
    renamed: tuple[tuple[str, str], ...]
    metrics: dict[str, Any]


def read(path: str | Path) -> Pretrained:
    """Read a folder of weights (or the model.safetensors in it), or published weights by the model's name.

    Raises:
        UsageError: a model's name under which nothing is published. UnavailableError: it cannot be fetched.
        MissingInputError: there is no such folder, or no weights in it.
        DataError: the layout is not known, a file is damaged, or a tensor's name has no meaning here.
    """
    source = located(path)
    folder = source.parent if source.suffix == ".safetensors" else source
    if not source.exists():
        near = nearest(source.name, [p.name for p in source.parent.iterdir()]) if source.parent.is_dir() else []
        raise MissingInputError(
            f"no weights at {source}: " + (f"did you mean {near[0]}?" if near else "check the path.")
        )
    file = source if source.is_file() else folder / "model.safetensors"
    if not file.is_file() or not (folder / "config.json").is_file():
        raise MissingInputError(f"{folder} holds no model: a model folder has model.safetensors and config.json.")
    config = _read_json(folder / "config.json")
    name = next((name for name, layout in LAYOUTS.items() if layout.recognises(config)), None)
    if name is None:
        raise DataError(f"{folder / 'config.json'} is of no known layout: {', '.join(LAYOUTS)} can be read.")
    try:
        described = LAYOUTS[name].read_config(config, folder)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, VitralError):
            raise DataError(f"{folder / 'config.json'}: {error}") from error
        raise DataError(f"{folder / 'config.json'} is not as {name} writes it ({error}): fetch it again.") from error
    tensors, renamed = _read_tensors(file, LAYOUTS[name].to_ours)
    metrics = _read_json(folder / "metrics.json") if (folder / "metrics.json").is_file() else {}
    return Pretrained(source, name, *described, tensors, tuple(renamed), metrics)


def build(
    pretrained: Pretrained, classes: Sequence[str] | None = None, **overrides: Any
) -> tuple[VisionTransformer, LoadReport]:
    """The model that the weights belong to, in evaluation mode, and the account of the load.

    Args:
        classes: what the head should tell apart; `None` keeps the file's. The same classes in the same order
            keep the head; any others get a zero head (section 3.2 of arXiv 2010.11929).
        overrides: fields of `ViTConfig` to change. Another `image_size` resizes the positions; dropping
            `representation_size` drops the pre-logits layer.

    Raises:
        DataError: tensors missing, left over or of another shape; both sides are listed.
    """
    config = replace(pretrained.config, **overrides)
    tensors = {name: tensor.clone() for name, tensor in pretrained.tensors.items()}  # the model's own, to train
    report = LoadReport(str(pretrained.source), pretrained.layout, renamed=list(pretrained.renamed))
    if classes is not None and tuple(classes) != pretrained.classes:
        config = replace(config, num_classes=len(classes))
        kept = [tensors.pop(name) for name in HEAD if name in tensors]
        rows = len(kept[0]) if kept else 0
        report.dropped.append(
            ("head", f"it tells apart {rows} other classes; a zero head for {len(classes)} takes its place")
        )
    if config.representation_size is None and pretrained.config.representation_size is not None:
        for name in ("pre_logits.weight", "pre_logits.bias"):
            tensors.pop(name, None)
        report.dropped.append(("pre_logits", "the model is built without a pre-logits layer"))
        if any(name in tensors for name in HEAD):
            raise DataError("the head needs its pre-logits layer: drop it only together with a new head.")
    if "position_embedding" in tensors and config.grid_size != pretrained.config.grid_size:
        old = tensors["position_embedding"]
        _require_rows(old, pretrained)
        tensors["position_embedding"] = resize_positions(old, pretrained.config.grid_size, config.grid_size)
        report.resized.append(("position_embedding", tuple(old.shape), tuple(tensors["position_embedding"].shape)))
    with torch.device("meta"):
        network = VisionTransformer(config)
    _require_equal(network, tensors, report)
    network.load_state_dict(tensors, strict=False, assign=True)
    if network.head.weight.is_meta:
        network.head = _zero_head(network.head, config.head_bias)
        report.reinitialised += HEAD
    report.read = len(tensors)
    return network.eval().requires_grad_(True), report


def _zero_head(like: nn.Linear, bias: float) -> nn.Linear:
    head = nn.Linear(like.in_features, like.out_features)
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, bias)
    return head


def _require_rows(positions: Tensor, pretrained: Pretrained) -> None:
    rows, columns = pretrained.config.grid_size
    wanted = pretrained.config.prefix_tokens + rows * columns
    if positions.shape[1] != wanted:
        raise DataError(
            f"the weights have {positions.shape[1]} positions where image size "
            f"{pretrained.config.image_size[0]}x{pretrained.config.image_size[1]} makes {wanted}: config.json is wrong."
        )


def _require_equal(network: nn.Module, tensors: Mapping[str, Tensor], report: LoadReport) -> None:
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    new_head = HEAD if any(name == "head" for name, _ in report.dropped) else ()
    missing = [name for name in wanted if name not in given and name not in new_head]
    extra = [name for name in given if name not in wanted]
    other = [
        f"{n}: {list(given[n])} in the file, {list(wanted[n])} in the model"
        for n in given
        if wanted.get(n, given[n]) != given[n]
    ]
    if not (missing or extra or other):
        return
    said = []
    if missing:
        said.append("missing " + ", ".join(_with_nearest(name, extra) for name in missing[:5]) + _more(missing))
    if extra:
        said.append("left over " + ", ".join(extra[:5]) + _more(extra))
    if other:
        said.append("of another shape " + "; ".join(other[:3]) + _more(other, 3))
    raise DataError(f"{report.source} does not fit the model: {'; '.join(said)}.")


def _with_nearest(name: str, candidates: Sequence[str]) -> str:
    close = nearest(name, candidates, 1)
    return f"{name} (nearest in the file: {close[0]})" if close else name


def _more(items: Sequence[object], shown: int = 5) -> str:
    return f" and {len(items) - shown} more" if len(items) > shown else ""


def _read_tensors(file: Path, to_ours: Any) -> tuple[dict[str, Tensor], list[tuple[str, str]]]:
    tensors: dict[str, Tensor] = {}
    renamed, unknown = [], []
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            for theirs in opened.keys():  # noqa: SIM118 - not a mapping
                ours = to_ours(theirs)
                if ours is None:
                    unknown.append(theirs)
                    continue
                # A copy of our own: aligned memory, and no tie to a file that may change.
                tensors[ours] = opened.get_tensor(theirs).to(torch.float32, copy=True)
                if ours != theirs:
                    renamed.append((theirs, ours))
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as safetensors ({error}): copy or download it again.") from error
    if unknown:
        raise DataError(f"{file} holds tensors that no ViT has: {', '.join(unknown[:5])}{_more(unknown)}.")
    return tensors, renamed


def _read_json(path: Path) -> dict[str, Any]:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}): copy or download it again.") from error
    if not isinstance(plain, dict):
        raise DataError(f"{path} must hold a JSON object, not {type(plain).__name__}.")
    return plain
