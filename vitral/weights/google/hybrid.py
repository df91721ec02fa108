"""The hybrids of a ResNet and a Vision Transformer as vision_transformer keeps them."""

from __future__ import annotations

from vitral.errors import DataError
from vitral.models.hybrid import HybridConfig
from vitral.weights.google import vit
from vitral.weights.google.forms import FLAT, norm
from vitral.weights.google.tree import Tree, count
from vitral.weights.mapping import HWIO, Entry


def recognises(tree: Tree) -> bool:
    """Whether this is a Vision Transformer behind a ResNet."""
    return "conv_root/kernel" in tree and "embedding/kernel" in tree and "Transformer/encoder_norm/scale" in tree


def configuration(tree: Tree, size: tuple[int, int] | None) -> HybridConfig:
    """The network, by the shapes alone."""
    _, _, channels, root = tree.shape("conv_root/kernel", 4)
    patch, columns, _, _ = tree.shape("embedding/kernel", 4)
    if patch != columns or root % 64:
        raise DataError(f"its root has {root} channels and its patches are {patch}x{columns}: such are not read.")
    blocks = tuple(count(tree, rf"block{stage + 1}/unit(\d+)/") for stage in range(count(tree, r"block(\d+)/")))
    stride = patch * 4 * 2 ** max(0, len(blocks) - 1)
    return HybridConfig(
        patch_size=patch,
        channels=channels,
        blocks=blocks,
        width_factor=root // 64,
        **vit.shape(tree, stride, size),
    )


def notes(tree: Tree) -> list[str]:
    """What a reader should know of this file."""
    return vit.notes(tree)


def entries(config: HybridConfig, tree: Tree | None) -> list[Entry]:
    """Where each parameter stands."""
    found = [*vit.entries(config, tree), Entry("resnet.root.conv.weight", ("conv_root/kernel",), HWIO)]
    found += norm("resnet.root.norm", "gn_root", FLAT)
    for stage, units in enumerate(config.blocks):
        for unit in range(units):
            ours, theirs = f"resnet.stages.{stage}.{unit}", f"block{stage + 1}/unit{unit + 1}"
            for part in (1, 2, 3):
                found.append(Entry(f"{ours}.conv{part}.weight", (f"{theirs}/conv{part}/kernel",), HWIO))
                found += norm(f"{ours}.norm{part}", f"{theirs}/gn{part}", FLAT)
            if unit == 0:
                found.append(Entry(f"{ours}.projection.weight", (f"{theirs}/conv_proj/kernel",), HWIO))
                found += norm(f"{ours}.projection_norm", f"{theirs}/gn_proj", FLAT)
    return found
