"""Other people's implementations, as oracles for tests and opponents for benches; never part of the package.

torchvision's wheel from PyPI looks for operators that it does not bring for the CPU build of torch, and timm
and transformers import torchvision. It is enough to declare the two operators before the first import.

Each accessor returns the imported module or raises `PeerUnavailable`, on which a test skips:

    timm = peers.or_skip(peers.timm)
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable
from types import ModuleType

import torch

from vitral.errors import UnavailableError

MISSING_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


class PeerUnavailable(Exception):
    """A peer is not installed, or does not import here."""


@functools.cache
def declare_torchvision_operators() -> torch.library.Library:
    """Declare those of `MISSING_OPERATORS` that no torchvision has declared; they must never be called.

    The declarations last as long as the returned object, which the cache keeps.
    """
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in MISSING_OPERATORS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    return library


def _import(name: str) -> ModuleType:
    declare_torchvision_operators()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        raise PeerUnavailable(f"{name} does not import here: {error}") from error


def or_skip(accessor: Callable[..., ModuleType], *words: str) -> ModuleType:
    """What an accessor of this module gives; the test that asks is skipped where it has nothing."""
    import pytest  # here, as benches have no use for it

    try:
        return accessor(*words)
    except PeerUnavailable as error:
        pytest.skip(str(error))


def missing(_: str, what: str) -> ModuleType:
    """In the place of `vitral.models.adapter.imported`: no library is there."""
    raise UnavailableError(f"{what} needs a library that is not installed.")


def timm() -> ModuleType:
    """timm, with `timm.create_model` and `timm.data.create_transform`."""
    module = _import("timm")
    _import("timm.data")
    return module


def torchvision_transforms() -> ModuleType:
    """torchvision's first transforms, those on Pillow pictures."""
    return _import("torchvision.transforms")


def torchvision_models() -> ModuleType:
    """torchvision's models: `resnet50()`, `vit_b_16()` and so on."""
    return _import("torchvision.models")


def transformers_vit() -> ModuleType:
    """The Transformers library's ViT module, with `ViTConfig` and `ViTForImageClassification`."""
    _import("torchvision")
    return _import("transformers.models.vit.modeling_vit")


def transformers_library() -> ModuleType:
    """The Transformers library; its models and processors are fetched when they are first used."""
    _import("torchvision")
    return _import("transformers")


def transformers(family: str) -> ModuleType:
    """The Transformers library's module of a family: "dinov2" has `Dinov2Model`."""
    _import("torchvision")
    return _import(f"transformers.models.{family}.modeling_{family}")
