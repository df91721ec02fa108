"""Masked autoencoding (arXiv 2111.06377): from the visible patches, make the pixels of the hidden ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vitral.config import Preprocessing, PretrainingConfig
from vitral.errors import UsageError
from vitral.models.mae import MaeConfig
from vitral.models.masked_autoencoder import PIXEL_EPS, DecoderConfig, MaskedAutoencoder, patches_of, picture_of
from vitral.objectives.objective import Learned


class MaeObjective:
    """The mean squared error of hidden pixels."""

    FAMILY, NUMBERS, CLASSES, ACCURACY = "mae", 1, 1, ""
    HIDDEN = "hidden"
    UNIT = "squared error per pixel"

    def __init__(self, config: PretrainingConfig) -> None:
        self.config = config

    def network(self, encoder: Any) -> MaskedAutoencoder:
        """An autoencoder whose decoder is as the configuration says; its MLP is four times as wide as its tokens."""
        if not isinstance(encoder, MaeConfig):
            raise UsageError("pre-training by mae takes MAE's own encoder: name it with --model, like MAE-B/16.")
        config = self.config
        width = config.decoder_width
        decoder = DecoderConfig(width, config.decoder_depth, 4 * width, config.decoder_heads, encoder.gelu)
        return MaskedAutoencoder(encoder, decoder, config.normalise_pixels)

    def aims(self, pixels: Tensor, patch_size: int) -> Tensor:  # noqa: ARG002
        """Nothing: the normalised pictures say it."""
        return pixels.new_zeros(len(pixels), 0)

    def learn(self, forward: Callable[..., Any], images: Tensor, aims: Tensor, numbers: Tensor) -> Learned:  # noqa: ARG002
        """Loss of each picture over its hidden patches."""
        return Learned(forward(images, self.config.mask_ratio, numbers[:, 0]).loss, None)

    def pictures(
        self,
        network: Any,
        images: Tensor,
        aims: Tensor,  # noqa: ARG002
        numbers: Tensor,
        preprocessing: Preprocessing,
    ) -> tuple[Tensor, Tensor]:
        """Hidden patches in grey; and made by the network, in the mean and deviation that each truly has, which is not
        asked of it."""
        patch, grid = network.config.patch_size, network.config.grid_size
        result = network(images, self.config.mask_ratio, numbers[:, 0])
        true, made = patches_of(images, patch), result.predicted
        if self.config.normalise_pixels:
            variance, mean = torch.var_mean(true, dim=-1, keepdim=True)
            made = made * (variance + PIXEL_EPS).sqrt() + mean
        hidden = result.mask[:, :, None]
        grey = patches_of(_grey_like(images, preprocessing), patch)
        shown = (true * (1 - hidden) + grey * hidden, true * (1 - hidden) + made * hidden)
        return picture_of(shown[0], grid, patch), picture_of(shown[1], grid, patch)


def _grey_like(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """A middle grey, normalised."""
    mean, std = (images.new_tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    return ((0.5 - mean) / std).expand_as(images)
