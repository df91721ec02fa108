"""The ResNets of "Big Transfer": big_transfer's files under TensorFlow's names, and big_vision's."""

from __future__ import annotations

import re

from vitral.errors import DataError
from vitral.models.bit import BiTConfig
from vitral.weights.google.forms import FLAT4
from vitral.weights.google.tree import Tree, count
from vitral.weights.mapping import HWIO, SAME, TRANSPOSED, Entry, Form

ROOT = "resnet/root_block/standardized_conv2d/kernel"
NEW_ROOT = "root_block/conv_root/kernel"

NUMBERED = re.compile(r"/standardized_conv2d_\d+/")
"""Some files number the convolutions."""

HEADS = {True: "head/kernel", False: "resnet/head/conv2d/kernel"}
"""By whether names are big_vision's."""

HEAD = Form("transposed", lambda parts: parts[0][0, 0].t(), lambda value: [value.t()[None, None]])
"""A head kept as a 1x1 convolution, [1, 1, in, out]."""


def recognises(tree: Tree) -> bool:
    """Whether this is a BiT."""
    return NEW_ROOT in tree or ROOT in _plain(tree)


def configuration(tree: Tree, size: tuple[int, int] | None) -> BiTConfig:
    """The network, by the shapes alone; they do not tell the input size."""
    plain, new = _plain(tree), NEW_ROOT in tree
    _, _, channels, root = tree.shape(NEW_ROOT if new else plain[ROOT], 4)
    if root % 64:
        raise DataError(f"its root has {root} channels: a BiT's have a multiple of 64.")
    stem = "" if new else "resnet/"
    stages = count(tree, rf"{stem}block(\d+)/")
    return BiTConfig(
        blocks=tuple(count(tree, rf"{stem}block{stage + 1}/unit(\d+)/") for stage in range(stages)),
        width_factor=root // 64,
        image_size=size or (224, 224),
        num_classes=tree.shape(HEADS[new], 2 if new else 4)[-1] if HEADS[new] in tree else 1,
        channels=channels,
    )


def notes(_: Tree) -> list[str]:
    """What a reader should know of this file."""
    return [
        "the input size is not in the file: unless a config.json says otherwise it is 224x224, as in pre-training; "
        "those fine-tuned on ImageNet were evaluated at 480x480 (arXiv 1912.11370)"
    ]


def entries(config: BiTConfig, tree: Tree | None) -> list[Entry]:
    """Where each parameter stands; big_transfer's names are written, which every reader takes."""
    if tree is not None and NEW_ROOT in tree:
        return _new(config)
    plain = _plain(tree) if tree is not None else {}
    return [Entry(e.ours, tuple(plain.get(name, name) for name in e.theirs), e.form) for e in _old(config)]


def _old(config: BiTConfig) -> list[Entry]:
    found = [Entry("root.conv.weight", (ROOT,), HWIO)]
    for ours, theirs, unit in _units(config):
        for part, letter in enumerate("abc", 1):
            place = f"resnet/{theirs}/{letter}"
            found.append(Entry(f"{ours}.norm{part}.weight", (f"{place}/group_norm/gamma",)))
            found.append(Entry(f"{ours}.norm{part}.bias", (f"{place}/group_norm/beta",)))
            found.append(Entry(f"{ours}.conv{part}.weight", (f"{place}/standardized_conv2d/kernel",), HWIO))
        if unit == 0:
            kernel = f"resnet/{theirs}/a/proj/standardized_conv2d/kernel"
            found.append(Entry(f"{ours}.projection.weight", (kernel,), HWIO))
    found += [Entry("norm.weight", ("resnet/group_norm/gamma",)), Entry("norm.bias", ("resnet/group_norm/beta",))]
    found.append(Entry("head.weight", ("resnet/head/conv2d/kernel",), HEAD))
    return [*found, Entry("head.bias", ("resnet/head/conv2d/bias",))]


def _new(config: BiTConfig) -> list[Entry]:
    norms = [("norm", "norm-pre-head")]
    found = [Entry("root.conv.weight", (NEW_ROOT,), HWIO)]
    for ours, theirs, unit in _units(config):
        for part in (1, 2, 3):
            norms.append((f"{ours}.norm{part}", f"{theirs}/gn{part}"))
            found.append(Entry(f"{ours}.conv{part}.weight", (f"{theirs}/conv{part}/kernel",), HWIO))
        if unit == 0:
            found.append(Entry(f"{ours}.projection.weight", (f"{theirs}/conv_proj/kernel",), HWIO))
    for ours, theirs in norms:
        found += [
            Entry(f"{ours}.weight", (f"{theirs}/scale",), FLAT4),
            Entry(f"{ours}.bias", (f"{theirs}/bias",), FLAT4),
        ]
    found.append(Entry("head.weight", ("head/kernel",), TRANSPOSED))
    return [*found, Entry("head.bias", ("head/bias",), SAME)]


def _units(config: BiTConfig) -> list[tuple[str, str, int]]:
    return [
        (f"stages.{stage}.{unit}", f"block{stage + 1}/unit{unit + 1:02d}", unit)
        for stage, units in enumerate(config.blocks)
        for unit in range(units)
    ]


def _plain(tree: Tree) -> dict[str, str]:
    """Names as they stand in the file by those without numbers."""
    return {NUMBERED.sub("/standardized_conv2d/", name): name for name in tree.names}
