"""Which network, what it starts from, and what of it learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from vitral.config.preprocessing import Size
from vitral.errors import require


@dataclass(frozen=True)
class ModelConfig:
    """Which network, and what it starts from. `None` keeps what the variant or the weights say."""

    name: Annotated[str | None, "a key of `vitral models`, like ViT-B/16; with weights, the weights say"] = None
    weights: Annotated[str | None, "folder or file of weights to start from; none trains from scratch"] = None
    image_size: Annotated[Size | None, "height and width of the input in pixels"] = None
    pool: Annotated[Literal["token", "gap", "map"] | None, "class token, mean of tokens, or attention pool"] = None
    positions: Annotated[
        Literal["learned", "learned2d", "relative", "sincos2d", "none"] | None,
        "position embedding: one for each token, for rows and columns, for distances, or fixed",
    ] = None
    positions_at: Annotated[
        Literal["stem", "every", "shared"] | None,
        "where they are added: behind the stem, at every layer, or there the same ones (Table 8 of arXiv 2010.11929)",
    ] = None
    position_resize: Annotated[
        Literal["google", "timm", "timm-npz", "huggingface", "torchvision", "dinov2"] | None,
        "whose rule brings learned positions to another image size",
    ] = None
    representation_size: Annotated[int | None, "width of the tanh pre-logits layer"] = None
    gelu: Annotated[Literal["tanh", "exact"] | None, "form of the GELU"] = None
    width: Annotated[int | None, "D, the size of a token"] = None
    depth: Annotated[int | None, "number of encoder blocks"] = None
    num_heads: Annotated[int | None, "attention heads"] = None
    mlp_dim: Annotated[int | None, "hidden size of the MLP"] = None
    dropout: Annotated[float | None, "after every dense layer but qkv, and after the positions"] = None
    stochastic_depth: Annotated[float | None, "largest rate at which a residual branch is dropped"] = None
    head_bias: Annotated[float, "initial bias of the head (sigmoid loss: about -ln of the class count)"] = 0.0
    checkpoint_blocks: Annotated[bool, "recompute each block in the backward pass to save memory"] = False
    freeze: Annotated[
        tuple[str, ...], "patterns of parameter names that do not learn, like 'patch_embedding.*,blocks.*'"
    ] = ()
    learn: Annotated[Literal["all", "head"], "everything that freeze does not name, or the head alone"] = "all"

    def __post_init__(self) -> None:
        require(abs(self.head_bias) <= 1000, f"head_bias must be -1000 to 1000, not {self.head_bias:g}")


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adaptation (arXiv 2106.09685): attention matrices learn small updates; else only the head learns."""

    rank: Annotated[int, "LoRA: rank of the update that an attention matrix learns beside fixed weights; 0 is off"] = 0
    alpha: Annotated[float | None, "the update is scaled by alpha / rank; default: the rank"] = None
    matrices: Annotated[
        tuple[Literal["q", "k", "v", "out"], ...],
        "which learn: q, k, v, and out, which follows attention (section 7.1 of the paper: q and v)",
    ] = ("q", "v")

    def __post_init__(self) -> None:
        require(0 <= self.rank <= 4096, f"rank must be 0 to 4096, not {self.rank}")
        require(self.alpha is None or 0 < self.alpha <= 1e6, f"alpha must be above 0, not {self.alpha}")
        require(len(self.matrices) > 0, "matrices must name at least one of q, k, v, out")
