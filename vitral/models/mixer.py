"""The MLP-Mixer (arXiv 2105.01601): a ViT's patches, mixed across places and across channels by MLPs alone.

Letters used for shapes, as in `vitral.models.vit`:
    n  pictures in the batch        c  colour channels       h, w  height and width in pixels
    N  patches (the paper's S)      D  width of a token (the paper's C)

The paper's D_S and D_C are `tokens_mlp_dim` and `channels_mlp_dim`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from vitral.errors import UsageError
from vitral.models.initial import lecun_normal
from vitral.models.kernels import Gelu
from vitral.models.network import Network, layer_of
from vitral.models.sizes import Patched, grid_of, require_positive, require_rates
from vitral.models.vit import LAYER_NORM_EPS, Mlp, StochasticDepth, drop_rates, embed_patches, through


@dataclass(frozen=True)
class MixerConfig(Patched):
    """The shape of an MLP-Mixer."""

    patch_size: int
    width: int
    depth: int
    tokens_mlp_dim: int
    channels_mlp_dim: int
    image_size: tuple[int, int] = (224, 224)  # height, width in pixels
    num_classes: int = 1000
    gelu: Gelu = "tanh"
    stochastic_depth: float = 0.0  # of the last block; block l has l / (L - 1) of it
    head_bias: float = 0.0
    channels: int = 3

    def __post_init__(self) -> None:
        sizes = ("patch_size", "width", "depth", "tokens_mlp_dim", "channels_mlp_dim", "num_classes", "channels")
        require_positive(self, sizes)
        require_rates(self, ("stochastic_depth",))
        grid_of(self.image_size, self.patch_size)


class MixerBlock(nn.Module):
    """Token mixing and channel mixing, each in a residual branch: Eq. 1."""

    def __init__(self, config: MixerConfig, drop_rate: float) -> None:
        super().__init__()
        patches = config.grid_size[0] * config.grid_size[1]
        self.norm1 = nn.LayerNorm(config.width, eps=LAYER_NORM_EPS)
        self.token_mixing = Mlp(patches, config.tokens_mlp_dim, config.gelu, 0.0)
        self.norm2 = nn.LayerNorm(config.width, eps=LAYER_NORM_EPS)
        self.channel_mixing = Mlp(config.width, config.channels_mlp_dim, config.gelu, 0.0)
        # Scaled up where a branch is kept, as in the ViT; big_vision's Mixer leaves it as it is.
        self.drop_branch = StochasticDepth(drop_rate)

    def forward(self, x: Float[Tensor, "n N D"]) -> Float[Tensor, "n N D"]:
        mixed = self.token_mixing(self.norm1(x).transpose(1, 2))  # the same MLP for every channel
        x = x + self.drop_branch(mixed.transpose(1, 2))
        return x + self.drop_branch(self.channel_mixing(self.norm2(x)))


class MlpMixer(Network):
    """Pictures in, class scores out: `forward` is `head(pooled(encode(images)))`.

    Its weights belong to one number of patches: pictures have `config.image_size`.
    """

    config: MixerConfig

    def __init__(self, config: MixerConfig) -> None:
        super().__init__()
        self.config = config
        patch = config.patch_size
        self.patch_embedding = nn.Conv2d(config.channels, config.width, kernel_size=patch, stride=patch)
        rates = drop_rates(config.stochastic_depth, config.depth)
        self.blocks = nn.ModuleList(MixerBlock(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(config.width, eps=LAYER_NORM_EPS)
        self.head = nn.Linear(config.width, config.num_classes)
        initialise(self)

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n N D"]:
        """The last block's output, normalised.

        Raises:
            UsageError: the pictures are not of `config.image_size`.
        """
        height, width = self.config.image_size
        if (images.shape[2], images.shape[3]) != (height, width):
            raise UsageError(
                f"this Mixer takes pictures of {height}x{width}, not {images.shape[2]}x{images.shape[3]}: resize them."
            )
        return self.norm(through(self.blocks, embed_patches(images, self.patch_embedding), recompute=False))

    def pooled(self, encoded: Float[Tensor, "n N D"]) -> Float[Tensor, "n D"]:
        """The mean over all patches."""
        return encoded.mean(dim=1)

    @property
    def num_layers(self) -> int:
        """The embedding, the blocks, and the rest."""
        return self.config.depth + 2

    def layer_index(self, name: str) -> int:
        """0 for the embedding, 1 to L for the blocks, L + 1 for the rest."""
        return layer_of(name, self.config.depth)

    @staticmethod
    def resized(tensors: Mapping[str, Tensor], old: Any, new: Any) -> dict[str, Tensor]:  # noqa: ARG004
        """Nothing can be: a Mixer's MLPs across places have a weight for every patch.

        Raises:
            UsageError: there are other patches.
        """
        if old.grid_size != new.grid_size:
            raise UsageError(
                f"a Mixer's weights fit one input size: keep {old.image_size[0]}x{old.image_size[1]}, or take a ViT."
            )
        return {}


def initialise(model: MlpMixer) -> None:
    """Give every parameter the authors' initial distribution.

    embedding, MLPs    lecun normal, bias 0        LayerNorm    weight 1, bias 0
    head               weight 0, bias `head_bias`
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            lecun_normal(module)
    nn.init.zeros_(model.head.weight)
    nn.init.constant_(model.head.bias, model.config.head_bias)


# Variants ------------------------------------------------------------------------------------------

SIZES: dict[str, dict[str, Any]] = {
    # Table 1
    "S": {"width": 512, "depth": 8, "tokens_mlp_dim": 256, "channels_mlp_dim": 2048},
    "B": {"width": 768, "depth": 12, "tokens_mlp_dim": 384, "channels_mlp_dim": 3072},
    "L": {"width": 1024, "depth": 24, "tokens_mlp_dim": 512, "channels_mlp_dim": 4096},
}

VARIANTS = {
    f"Mixer-{size}/{patch}": MixerConfig(patch_size=patch, **shape)
    for size, shape in SIZES.items()
    for patch in (32, 16)
}
