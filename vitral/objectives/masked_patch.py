"""Masked patch prediction (arXiv 2010.11929, section B.1.2): name the mean colour of every corrupted patch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from vitral.config import Preprocessing, PretrainingConfig
from vitral.errors import UsageError
from vitral.models.masked_autoencoder import patches_of, picture_of
from vitral.models.masked_patch import COLOURS, MaskedPatchPredictor, colour_of, corruption, mean_colours
from vitral.models.vit import ViTConfig
from vitral.objectives.objective import Learned


class MaskedPatchObjective:
    """The cross-entropy of 512 colours."""

    FAMILY, NUMBERS, CLASSES, ACCURACY = "vit", 3, COLOURS, "patch_accuracy"
    HIDDEN = "corrupted"
    UNIT = "nats per patch"

    def __init__(self, config: PretrainingConfig) -> None:
        self.config = config

    def network(self, encoder: Any) -> MaskedPatchPredictor:
        """The encoder, with colours in the place of classes."""
        if not isinstance(encoder, ViTConfig):
            raise UsageError("masked patch prediction takes a plain ViT: name it with --model, like ViT-B/16.")
        return MaskedPatchPredictor(encoder)

    def aims(self, pixels: Tensor, patch_size: int) -> Tensor:
        """The colour of each patch [n, N]."""
        return mean_colours(pixels, patch_size)

    def learn(self, forward: Callable[..., Any], images: Tensor, aims: Tensor, numbers: Tensor) -> Learned:
        """Loss of each picture over its corrupted patches, and the share of them named rightly."""
        made = forward(images, aims, numbers, self.config.mask_ratio)
        return Learned(made.loss, made.right)

    def pictures(
        self, network: Any, images: Tensor, aims: Tensor, numbers: Tensor, preprocessing: Preprocessing
    ) -> tuple[Tensor, Tensor]:
        """Pictures as they are corrupted: [mask] in grey; and with each corrupted patch in the colour that is named."""
        patch, grid = network.config.patch_size, network.config.grid_size
        made, done = network(images, aims, numbers, self.config.mask_ratio), corruption(numbers, self.config.mask_ratio)
        true = patches_of(images, patch)
        taken = true.gather(1, done.sources[:, :, None].expand_as(true))
        mean, std = (images.new_tensor(values) for values in (preprocessing.mean, preprocessing.std))
        grey = ((0.5 - mean) / std).repeat(patch * patch)
        shown = taken.where(~done.masked[:, :, None], grey)
        named = ((colour_of(made.scores.argmax(dim=2)) - mean) / std).repeat(1, 1, patch * patch)
        told = true.where(~done.corrupted[:, :, None], named)
        return picture_of(shown, grid, patch), picture_of(told, grid, patch)
