"""MLP-Mixers as vision_transformer and big_vision keep them, and as they were first published."""

from __future__ import annotations

from vitral.errors import DataError
from vitral.models.mixer import MixerConfig
from vitral.weights.google.forms import FLAT, kernel, norm
from vitral.weights.google.tree import Tree, count, not_square, square
from vitral.weights.mapping import HWIO, TRANSPOSED, Entry, Form

SQUEEZED = Form("transposed", lambda parts: parts[0].squeeze().t(), lambda value: [value.t()])
"""A dense kernel that was kept with further dimensions of one."""

HEAD = "head/kernel"

FIRST = "Mixer/encoderblock_"
"""How blocks were called at first."""


def recognises(tree: Tree) -> bool:
    """Whether this is an MLP-Mixer."""
    return ("stem/kernel" in tree and "MixerBlock_0/LayerNorm_0/scale" in tree) or _is_first(tree)


def configuration(tree: Tree, size: tuple[int, int] | None) -> MixerConfig:
    """The network, by the shapes alone."""
    first = _is_first(tree)
    rows, columns, channels, width = tree.shape("embedding/kernel" if first else "stem/kernel", 4)
    if rows != columns:
        raise DataError(f"its patches are of {rows}x{columns} pixels: only square ones are read.")
    patches, tokens_mlp_dim = _matrix(tree, "token_mixing")
    image_size = square(patches, rows, size)
    if image_size is None:
        raise not_square(patches, size)
    return MixerConfig(
        patch_size=rows,
        width=width,
        depth=count(tree, rf"{FIRST}(\d+)/" if first else r"MixerBlock_(\d+)/"),
        tokens_mlp_dim=tokens_mlp_dim,
        channels_mlp_dim=_matrix(tree, "channel_mixing")[1],
        image_size=image_size,
        num_classes=tree.shape(HEAD, 2)[1] if HEAD in tree else 1,
        channels=channels,
    )


def notes(_: Tree) -> list[str]:
    """What a reader should know of this file."""
    return []


def entries(config: MixerConfig, tree: Tree | None) -> list[Entry]:
    """Where each parameter stands."""
    first = tree is not None and _is_first(tree)
    found = kernel("patch_embedding", "embedding" if first else "stem", HWIO)
    for i in range(config.depth):
        ours, theirs = f"blocks.{i}", f"{FIRST}{i}" if first else f"MixerBlock_{i}"
        second = "LayerNorm_2" if tree is not None and f"{theirs}/LayerNorm_2/scale" in tree else "LayerNorm_1"
        found += norm(f"{ours}.norm1", f"{theirs}/LayerNorm_0") + norm(f"{ours}.norm2", f"{theirs}/{second}")
        for kind in ("token_mixing", "channel_mixing"):
            for layer in (1, 2):
                place = f"{ours}.{kind}.fc{layer}"
                if first:
                    phase = f"{theirs}/{kind}_phase_0"
                    found.append(Entry(f"{place}.weight", (f"{phase}/kernel{layer}",), SQUEEZED))
                    found.append(Entry(f"{place}.bias", (f"{phase}/bias{layer}",), FLAT))
                else:
                    found += kernel(place, f"{theirs}/{kind}/Dense_{layer - 1}", TRANSPOSED)
    found += norm("norm", "Mixer/encoder_norm" if first else "pre_head_layer_norm")
    return found + kernel("head", "head", TRANSPOSED)


def _is_first(tree: Tree) -> bool:
    return "embedding/kernel" in tree and "Mixer/encoder_norm/scale" in tree


def _matrix(tree: Tree, kind: str) -> tuple[int, int]:
    """Rows and columns of a block's first kernel."""
    if not _is_first(tree):
        rows, columns = tree.shape(f"MixerBlock_0/{kind}/Dense_0/kernel", 2)
        return rows, columns
    name = f"{FIRST}0/{kind}_phase_0/kernel1"
    sides = [side for side in tree.stored.shapes.get(f"{tree.prefix}{name}", ()) if side > 1]
    if len(sides) != 2:
        raise DataError(f"{tree.prefix}{name} is missing or no matrix: copy or download it again.")
    return sides[0], sides[1]
