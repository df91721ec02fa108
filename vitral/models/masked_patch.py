"""Masked patch prediction (arXiv 2010.11929, sections 4.6 and B.1.2): pre-training a Vision Transformer without labels.

Letters as in `vitral.models.vit`. Half of the patches' embeddings are corrupted: of those 80 % become a learned [mask]
embedding, 10 % the embedding of another patch, 10 % stay as they are. From every corrupted patch's representation its
mean colour is to be named, in 3 bits for each channel: one of 512.

The paper does not say where the other patch comes from; here it is one of the same picture, so that what happens to a
picture does not depend on its batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from vitral.errors import UsageError
from vitral.models.masked_autoencoder import masking
from vitral.models.pretext import PretextNetwork
from vitral.models.sizes import grid_of
from vitral.models.vit import VisionTransformer, ViTConfig, embed_patches, through

COLOURS = 512
"""3 bits for each of red, green and blue."""

MASKED, SWAPPED = 0.8, 0.1
"""Shares of the corrupted patches that become the [mask] embedding, and another patch's; the rest stays."""

MASK_STD = 0.02
"""Standard deviation of the [mask] embedding at the start (not in the paper)."""


class Corruption(NamedTuple):
    """What happens to the patches of a batch.

    Attributes:
        corrupted: the patches whose colour is to be named: [n, N].
        masked: those that become the [mask] embedding: [n, N].
        sources: for each patch, the patch whose embedding it gets: its own number for most: [n, N].
    """

    corrupted: Tensor
    masked: Tensor
    sources: Tensor


class Naming(NamedTuple):
    """What a pre-training step gives.

    Attributes:
        loss: of each picture, the mean cross-entropy in nats over its corrupted patches: [n].
        right: of each picture, the share of its corrupted patches whose colour is named rightly: [n].
        scores: of each colour, for every patch: [n, N, 512].
        corrupted: the patches that count: [n, N].
    """

    loss: Tensor
    right: Tensor
    scores: Tensor
    corrupted: Tensor


class MaskedPatchPredictor(PretextNetwork):
    """A Vision Transformer whose head names the colour of each patch, and the [mask] embedding."""

    config: ViTConfig

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        if config.pool == "map" or config.representation_size is not None:
            raise UsageError(
                "masked patch prediction looks at each patch, not at a pooled picture: leave --model.pool map and "
                "--model.representation-size out, and add them when fine-tuning."
            )
        if config.num_classes != COLOURS:
            raise UsageError(f"masked patch prediction has {COLOURS} colours to name, not {config.num_classes}.")
        self.config = config
        self.encoder = VisionTransformer(config)
        self.mask_embedding = nn.Parameter(torch.empty(1, 1, config.width))
        nn.init.normal_(self.mask_embedding, std=MASK_STD)

    def encode(self, images: Float[Tensor, "n c h w"], corruption: Corruption) -> Float[Tensor, "n N D"]:
        """The representation of each patch of pictures that are corrupted before positions are added."""
        config, encoder = self.config, self.encoder
        x = embed_patches(images, encoder.patch_embedding)
        x = x.gather(1, corruption.sources[:, :, None].expand(-1, -1, x.shape[2]))
        x = torch.where(corruption.masked[:, :, None], self.mask_embedding.to(x), x)
        x = encoder.placed(x, grid_of((images.shape[2], images.shape[3]), config.patch_size))
        x = encoder.norm(through(encoder.blocks, x, config.checkpoint_blocks and self.training))
        return x[:, config.prefix_tokens :]

    def forward(
        self,
        images: Float[Tensor, "n c h w"],
        colours: Int[Tensor, "n N"],
        numbers: Float[Tensor, "n 3 N"],
        mask_ratio: float = 0.5,
    ) -> Naming:
        """Corrupt, encode, name the colours.

        Args:
            images: normalised.
            colours: of each patch, see `mean_colours`.
            numbers: three for each patch, uniform in [0, 1), see `corruption`.
            mask_ratio: share of the patches that is corrupted; 0.5 in the paper.
        """
        made = corruption(numbers, mask_ratio)
        scores = self.encoder.head(self.encode(images, made)).float()
        losses = F.cross_entropy(scores.flatten(0, 1), colours.flatten(), reduction="none").view_as(colours)
        count = made.corrupted.sum(dim=1)
        right = (scores.argmax(dim=2) == colours) & made.corrupted
        return Naming((losses * made.corrupted).sum(dim=1) / count, right.sum(dim=1) / count, scores, made.corrupted)

    def shared(self, name: str) -> str | None:
        """What a `VisionTransformer` of the same shape calls the tensor of that name, if it has it."""
        own = name.removeprefix("encoder.")
        return None if own == name or own.startswith("head.") else own


def corruption(numbers: Float[Tensor, "n 3 N"], mask_ratio: float) -> Corruption:
    """What is done to each patch.

    Args:
        numbers: uniform in [0, 1). Of each patch the first says whether it is corrupted (those with the largest are,
            as many in every picture), the second how, the third which other patch takes its place.

    Raises:
        UsageError: no patch is left as it is, or none corrupted.
    """
    _, _, chosen = masking(numbers[:, 0], mask_ratio)
    corrupted, how = chosen.bool(), numbers[:, 1]
    count = numbers.shape[2]
    own = torch.arange(count, device=numbers.device)
    # of the count - 1 others; the product of float32 numbers may round up to count - 1 itself
    other = (numbers[:, 2] * (count - 1)).long().clamp(max=count - 2)
    other = other + (other >= own)
    swapped = corrupted & (how >= MASKED) & (how < MASKED + SWAPPED)
    return Corruption(corrupted, corrupted & (how < MASKED), torch.where(swapped, other, own))


def mean_colours(pixels: UInt8[Tensor, "n h w 3"], patch_size: int) -> Int[Tensor, "n N"]:
    """Mean colour of each patch in 3 bits per channel: 64 red + 8 green + blue, each the upper bits of the mean.

    Computed in whole numbers, so that no rounding decides.
    """
    sums = pixels.long().unflatten(2, (-1, patch_size)).unflatten(1, (-1, patch_size)).sum(dim=(2, 4))
    bits = sums // (patch_size * patch_size * 32)  # n rows columns 3, each 0 to 7
    return (bits[..., 0] * 64 + bits[..., 1] * 8 + bits[..., 2]).flatten(1)


def colour_of(colours: Int[Tensor, "n N"]) -> Float[Tensor, "n N 3"]:
    """Red, green and blue in [0, 1] of the middle of each colour."""
    bits = torch.stack([colours // 64, colours // 8 % 8, colours % 8], dim=-1)
    return (bits * 32 + 15.5) / 255
