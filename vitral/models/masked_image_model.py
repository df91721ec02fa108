"""BEiT's pre-training task: name the visual tokens of masked patches (arXiv 2106.08254, section 2.3).

Letters as in `vitral.models.vit`; m masked patches in the whole batch, V visual tokens in the vocabulary.

It gives no class scores, so `MaskedImageModel` is no `Network`. The visual tokens come from a tokenizer of its own,
which looks at the whole picture; a training step is

    model.loss(images, masked, tokens).backward()

and what was learned goes on to a classifier of the same shape, whose norm and head start anew:

    classifier.load_state_dict(model.encoder_tensors(), strict=False)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitral.models.beit import WEIGHT_STD, BEiTBlock, BEiTConfig, embed_patches, initialise_blocks
from vitral.models.vit import LAYER_NORM_EPS

VOCABULARY = 8192
"""Visual tokens of the tokenizer that BEiT was trained with (section 2.1.2)."""


class MaskedImageModel(nn.Module):
    """A BEiT that sees a learned token in the place of each masked patch, and says which visual token belongs there.

    All blocks share one table of relative positions, as the authors pre-train; a classifier gets a copy in each.

    Attributes:
        config: of the classifier; `num_classes` and `head_bias` are not used.
    """

    def __init__(self, config: BEiTConfig, vocabulary: int = VOCABULARY) -> None:
        super().__init__()
        self.config = config
        width, patch = config.width, config.patch_size
        self.patch_embedding = nn.Conv2d(config.channels, width, kernel_size=patch, stride=patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.dropout = nn.Dropout(config.dropout)
        rates = [config.stochastic_depth * i / max(1, config.depth - 1) for i in range(config.depth)]
        blocks = [BEiTBlock(config, rate) for rate in rates]
        for block in blocks:
            block.attention.relative_positions = blocks[0].attention.relative_positions
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.head = nn.Linear(width, vocabulary)
        initialise_blocks(self.blocks, config.layer_scale)
        for parameter in (self.class_token, self.mask_token, self.head.weight, self.patch_embedding.weight):
            nn.init.trunc_normal_(parameter, std=WEIGHT_STD)
        for layer in (self.head, self.patch_embedding):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def encode(self, images: Float[Tensor, "n c h w"], masked: Bool[Tensor, "n N"]) -> Float[Tensor, "n N D"]:
        """The normalised tokens of all patches, of pictures of `config.image_size`."""
        x = torch.where(masked[..., None], self.mask_token, embed_patches(images, self.patch_embedding))
        x = self.dropout(torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1))
        for block in self.blocks:
            if self.config.checkpoint_blocks and self.training:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return self.norm(x)[:, 1:]

    def forward(self, images: Float[Tensor, "n c h w"], masked: Bool[Tensor, "n N"]) -> Float[Tensor, "m V"]:
        """Scores of the visual tokens at the masked patches, picture by picture and row by row (Eq. 2)."""
        return self.head(self.encode(images, masked)[masked])

    def loss(
        self, images: Float[Tensor, "n c h w"], masked: Bool[Tensor, "n N"], tokens: Int[Tensor, "n N"]
    ) -> Float[Tensor, ""]:
        """The mean negative logarithm of the right tokens' probabilities over the masked patches (Eq. 3)."""
        return F.cross_entropy(self(images, masked), tokens[masked])

    def encoder_tensors(self) -> dict[str, Tensor]:
        """What a `BEiT` takes over: all but its norm, which stands behind the mean of the patches, and its head."""
        own = ("mask_token", "norm.", "head.")
        return {name: value for name, value in self.state_dict().items() if not name.startswith(own)}
