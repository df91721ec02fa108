"""Masked autoencoders (arXiv 2111.06377): pre-training a Vision Transformer without labels.

Letters as in `vitral.models.vit`; v tokens are visible to the encoder, the class token among them.

Pre-training gives no class scores, so `MaskedAutoencoder` is no `Network`. A loop takes the loss of each picture:

    autoencoder(images, generator=generator).loss.mean().backward()

and what it has learned goes on to a classifier of the same shape, whose head starts at zero:

    classifier.load_state_dict(autoencoder.encoder_tensors(), strict=False)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitral.errors import UsageError
from vitral.models.kernels import Dense, Gelu
from vitral.models.mae import TOKEN_STD, MaeConfig, initialise
from vitral.models.positions import mae_sincos2d
from vitral.models.pretext import PretextNetwork
from vitral.models.vit import LAYER_NORM_EPS, EncoderBlock, drop_rates, embed_patches, through

PIXEL_EPS = 1e-6
"""Added to a patch's variance before its pixels are divided by the root of it."""


@dataclass(frozen=True)
class DecoderConfig:
    """The shape of the decoder; the published ones are all of this size (section 4.1: 8 blocks, 512 wide)."""

    width: int = 512
    depth: int = 8
    mlp_dim: int = 2048
    num_heads: int = 16
    gelu: Gelu = "exact"
    dropout: float = 0.0
    layer_norm_eps: float = LAYER_NORM_EPS


class Reconstruction(NamedTuple):
    """What a pre-training step gives.

    Attributes:
        loss: of each picture, the mean over its masked patches: [n].
        predicted: pixels of every patch, in the units of `target`: [n, N, PPc].
        mask: 1 where a patch was masked, 0 where it was visible: [n, N].
    """

    loss: Tensor
    predicted: Tensor
    mask: Tensor


class MaskedAutoencoder(PretextNetwork):
    """The encoder sees a quarter of the patches; the decoder, from them, makes the pixels of the others.

    Attributes:
        config: of the encoder; `num_classes` and `pool` mean nothing here.
        decoder: of the decoder.
        normalise_pixels: whether the pixels to be made are normalised within their patch (section 3), which the
            published models were trained with.
    """

    position_embedding: Tensor
    decoder_position_embedding: Tensor

    def __init__(self, config: MaeConfig, decoder: DecoderConfig | None = None, normalise_pixels: bool = True) -> None:
        super().__init__()
        self.config, self.decoder, self.normalise_pixels = config, decoder or DecoderConfig(), normalise_pixels
        width, patch = config.width, config.patch_size
        self.patch_embedding = nn.Conv2d(config.channels, width, kernel_size=patch, stride=patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.register_buffer("position_embedding", mae_sincos2d(config.grid_size, width))
        rates = drop_rates(config.stochastic_depth, config.depth)
        self.blocks = nn.ModuleList(EncoderBlock(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        narrow = self.decoder.width
        self.decoder_embedding = Dense(width, narrow)
        self.mask_token = nn.Parameter(torch.empty(1, 1, narrow))
        self.register_buffer("decoder_position_embedding", mae_sincos2d(config.grid_size, narrow))
        self.decoder_blocks = nn.ModuleList(EncoderBlock(self.decoder, 0.0) for _ in range(self.decoder.depth))
        self.decoder_norm = nn.LayerNorm(narrow, eps=self.decoder.layer_norm_eps)
        self.pixels = Dense(narrow, patch * patch * config.channels)
        initialise(self, self.patch_embedding, self.class_token)
        nn.init.normal_(self.mask_token, std=TOKEN_STD)

    def encode(self, images: Float[Tensor, "n c h w"], visible: Int[Tensor, "n visible"]) -> Float[Tensor, "n v D"]:
        """The class token and the visible patches, in the order of `visible`, through the encoder."""
        x = embed_patches(images, self.patch_embedding) + self.position_embedding[:, 1:]
        x = x.gather(1, visible[:, :, None].expand(-1, -1, x.shape[2]))
        first = self.class_token + self.position_embedding[:, :1]
        x = torch.cat([first.expand(x.shape[0], -1, -1), x], dim=1)
        return self.norm(through(self.blocks, x, self.config.checkpoint_blocks and self.training))

    def decode(self, encoded: Float[Tensor, "n v D"], places: Int[Tensor, "n N"]) -> Float[Tensor, "n N PPc"]:
        """Pixels of all patches.

        Args:
            places: for each patch, its rank in the shuffled order: below v - 1 for the visible ones.
        """
        x = self.decoder_embedding(encoded)
        masked = self.mask_token.expand(x.shape[0], places.shape[1] + 1 - x.shape[1], -1)
        patches = torch.cat([x[:, 1:], masked], dim=1).gather(1, places[:, :, None].expand(-1, -1, x.shape[2]))
        x = torch.cat([x[:, :1], patches], dim=1) + self.decoder_position_embedding
        return self.pixels(self.decoder_norm(through(self.decoder_blocks, x, recompute=False)))[:, 1:]

    def target(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n N PPc"]:
        """What `decode` should give: the patches' pixels, each patch normalised where asked for (section 3)."""
        pixels = patches_of(images, self.config.patch_size)
        if not self.normalise_pixels:
            return pixels
        variance, mean = torch.var_mean(pixels, dim=-1, keepdim=True)
        return (pixels - mean) / (variance + PIXEL_EPS).sqrt()

    def forward(
        self,
        images: Float[Tensor, "n c h w"],
        mask_ratio: float = 0.75,
        noise: Float[Tensor, "n N"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Reconstruction:
        """Mask, encode, decode, and the mean squared error on the masked patches (section 3).

        Args:
            images: of `config.image_size`, normalised.
            mask_ratio: share of the patches that is masked; 0.75 in the paper.
            noise: one number per patch, in [0, 1): those with the largest are masked. `None` draws it.
            generator: that it is drawn with; on the device of `images`.

        Raises:
            UsageError: the pictures are of another size, or the ratio leaves no patch visible or none masked.
        """
        self._require_size(images)
        if noise is None:
            rows, columns = self.config.grid_size
            noise = torch.rand(images.shape[0], rows * columns, generator=generator, device=images.device)
        visible, places, mask = masking(noise, mask_ratio)
        predicted = self.decode(self.encode(images, visible), places)
        return Reconstruction(self._loss(predicted, images, mask), predicted, mask)

    def _loss(
        self, predicted: Float[Tensor, "n N PPc"], images: Float[Tensor, "n c h w"], mask: Float[Tensor, "n N"]
    ) -> Float[Tensor, " n"]:
        error = (predicted - self.target(images)).square().mean(dim=-1)
        return (error * mask).sum(dim=1) / mask.sum(dim=1)

    def _require_size(self, images: Float[Tensor, "n c h w"]) -> None:
        if images.shape[2:] != self.config.image_size:
            raise UsageError(
                f"the autoencoder is made for {self.config.image_size[0]}x{self.config.image_size[1]} pixels, the "
                f"pictures have {images.shape[2]}x{images.shape[3]}: make it with their image_size."
            )

    def shared(self, name: str) -> str | None:
        """What a `MaeTransformer` of the same shape calls the tensor of that name, if it has it."""
        ours = ("patch_embedding.", "class_token", "position_embedding", "blocks.", "norm.")
        return name if name.startswith(ours) else None


def masking(
    noise: Float[Tensor, "n N"], mask_ratio: float
) -> tuple[Int[Tensor, "n visible"], Int[Tensor, "n N"], Float[Tensor, "n N"]]:
    """Which patches are masked: those of the largest noise, the same number in every picture.

    Returns:
        The visible patches' numbers, in the order of their noise; each patch's rank in that order; and the mask,
        1 where a patch is masked.

    Raises:
        UsageError: no patch is left visible, or none masked.
    """
    count = noise.shape[1]
    visible = int(count * (1 - mask_ratio))
    if not 0 < visible < count:
        raise UsageError(
            f"mask_ratio {mask_ratio:g} leaves {visible} of {count} patches visible: bring it nearer to 0.5."
        )
    order = noise.argsort(dim=1)
    places = order.argsort(dim=1)
    return order[:, :visible], places, (places >= visible).to(noise.dtype)


def patches_of(images: Float[Tensor, "n c h w"], patch_size: int) -> Float[Tensor, "n N PPc"]:
    """Pixels patch by patch, each in the order row, column, channel: MAE's, where `vit.patchify` has channels first."""
    rows = images.unflatten(3, (-1, patch_size)).unflatten(2, (-1, patch_size))  # n c rows P columns P
    return rows.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def picture_of(
    patches: Float[Tensor, "n N PPc"], grid_size: tuple[int, int], patch_size: int
) -> Float[Tensor, "n c h w"]:
    """The inverse of `patches_of`."""
    parts = patches.unflatten(1, grid_size).unflatten(3, (patch_size, patch_size, -1))  # n rows columns P P c
    return parts.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)
