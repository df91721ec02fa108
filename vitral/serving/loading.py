"""`load`: a `Model` from a folder, a file, an export or a published name."""

from __future__ import annotations

from pathlib import Path

import torch

from vitral.errors import UsageError
from vitral.serving.device import choose_device
from vitral.serving.exported import is_export, open_export
from vitral.serving.predictor import Model
from vitral.weights import build, read


def load(path: str | Path, device: str = "cpu") -> Model:
    """Load a model folder of vitral's, an export, or published weights in a layout that `vitral.weights` knows.

    Args:
        path: a folder, a file, or a name or address as `vitral.weights.published` knows them: "ViT-B/16",
            "google/vit-base-patch16-224", "augreg/ViT-S/16@224", "https://...".

    Raises:
        MissingInputError: nothing there. DataError: not a model, or damaged. UsageError: nothing of that name.
        UnavailableError: no such device, or it cannot be fetched. StorageError: it cannot be kept.
    """
    if is_export(path):
        return _exported(Path(path), device)
    pretrained = read(path)
    network, _ = build(pretrained)
    model = Model(
        network.to(choose_device(device)),
        pretrained.preprocessing,
        pretrained.classes or None,
        pretrained.described.descriptions,
        pretrained.described.multi_label,
        pretrained.metrics,
    )
    model.headless = pretrained.described.headless
    return model


def require_classes(model: Model, path: str | Path) -> None:
    """Refuse to ask a model for classes that has learned none yet.

    Raises:
        UsageError: its weights came without a head.
    """
    if model.headless:
        raise UsageError(
            f"{path} has no head, so it tells no classes apart: `vitral finetune PICTURES --model {path}` teaches it "
            f"some, `vitral probe {path} PICTURES` measures its features."
        )


def _exported(folder: Path, device: str) -> Model:
    if device not in ("auto", "cpu"):
        raise UsageError(f"an export runs on the processor, not on {device}: leave --device out.")
    found = open_export(folder, torch.get_num_threads())
    parts = (found.network, found.preprocessing, found.classes, found.descriptions, found.multi_label, found.metrics)
    return Model(*parts).with_backend(found.backend)
