"""Where attention looks: rollout, the maps of layers and heads, and how far it reaches.

After arXiv 2010.11929 (Figures 6 and 7, section 4.5, appendices D.7 and D.8) and what its authors wrote of their code
in issues 18 and 162 of google-research/vision_transformer; rollout is that of arXiv 2005.00928.

Letters: n pictures, L layers, k heads, t tokens, y and x rows and columns of patches.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitral.errors import UsageError
from vitral.inspection.capture import encoded, layer_number, portions, require_attention, watched
from vitral.inspection.subject import at_rest
from vitral.inspection.tokens import Grid, grid_of, on_grid, read_by_head
from vitral.models import Network


@torch.no_grad()
def rollout(network: Network, images: Float[Tensor, "n c h w"], layer: int | None = None) -> Float[Tensor, "n y x"]:
    """How much of each patch reaches what the head reads, if attention were all there is.

    Per layer A_l is the mean over heads; (A_l + I) with rows brought to a sum of 1 stands for attention and the
    residual connection; R = A_L ... A_1, and the map is the row of R that the head reads (the class token's; for other
    pooling see `read_by_head`), without the columns of tokens that are no patches.

    Args:
        layer: the last layer that takes part, from 0; None for all.

    Raises:
        UsageError: the network has no attention over the whole picture, or no such layer.
    """
    last = layer_number(-1 if layer is None else layer, len(require_attention(network)))
    return torch.cat([_rollout(network, part, last) for part in portions(network, images)])


def _rollout(network: Network, images: Tensor, last: int) -> Tensor:
    product: list[Tensor] = []

    def visit(number: int, matrix: Tensor) -> None:
        if number > last:
            return
        mixed = matrix.mean(dim=1)
        mixed = mixed + torch.eye(mixed.shape[-1], device=mixed.device)
        mixed = mixed / mixed.sum(dim=-1, keepdim=True)
        product[:] = [mixed @ product[0] if product else mixed]

    grid = grid_of(network, images)
    with at_rest(network), watched(network, visit):
        tokens = encoded(network, images)
    rows = read_by_head(network, tokens, grid)
    return on_grid((rows[:, None] @ product[0])[:, 0], grid)


@torch.no_grad()
def attention_maps(network: Network, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n L k y x"]:
    """Where the tokens that the head reads look, by layer and head: their rows of every attention matrix, without
    the columns of tokens that are no patches. Attention to those is what is missing to a sum of 1.

    Raises:
        UsageError: the network has no attention over the whole picture.
    """
    return torch.cat([_maps(network, part) for part in portions(network, images)])


def _maps(network: Network, images: Tensor) -> Tensor:
    grid = grid_of(network, images)
    found: list[Tensor] = []
    with at_rest(network):
        rows = read_by_head(network, encoded(network, images), grid)
        with watched(network, lambda _, matrix: found.append(torch.einsum("nt,nktu->nku", rows, matrix))):
            encoded(network, images)
    return on_grid(torch.stack(found, dim=1), grid)


def attention_map(
    network: Network, images: Float[Tensor, "n c h w"], layer: int | None = None, head: int | None = None
) -> Float[Tensor, "n y x"]:
    """One layer's map (default: the last's), of one head or as the mean over heads.

    Raises:
        UsageError: no such layer or head.
    """
    maps = attention_maps(network, images)
    chosen = maps[:, layer_number(-1 if layer is None else layer, maps.shape[1])]
    if head is None:
        return chosen.mean(dim=1)
    if not 0 <= head < chosen.shape[1]:
        raise UsageError(f"head must be 0 to {chosen.shape[1] - 1}, not {head}: there are {chosen.shape[1]}.")
    return chosen[:, head]


@torch.no_grad()
def mean_attention_distance(network: Network, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n L k"]:
    """How far attention reaches, in pixels, by picture, layer and head: Figure 7, right, of arXiv 2010.11929.

    The distance between two patches is the Euclidean one of their grid cells times the patch's side in pixels. A
    patch's distance is the sum of distances to all patches weighted by its attention; the value is the mean over
    patches. Tokens that are no patches are left out, and what remains of a row is not brought back to a sum of 1, as
    the authors do it. The paper's figure is the mean over 128 pictures.

    Raises:
        UsageError: the network has no attention over the whole picture.
    """
    grid = grid_of(network, images)
    distances = patch_distances(grid, network.config.stride).to(images.device)
    portion: list[Tensor] = []
    found: list[Tensor] = []

    def visit(_: int, matrix: Tensor) -> None:
        among = matrix[..., -len(distances) :, -len(distances) :]
        portion.append((among * distances).sum(dim=-1).mean(dim=-1))

    for part in portions(network, images):
        portion.clear()
        with at_rest(network), watched(network, visit):
            encoded(network, part)
        found.append(torch.stack(portion, dim=1))
    return torch.cat(found)


def patch_distances(grid: Grid, side: int) -> Float[Tensor, "yx yx"]:
    """Pixels between the centres of any two patches of `side` pixels."""
    places = torch.cartesian_prod(*(torch.arange(count, dtype=torch.float32) for count in grid)).view(-1, 2) * side
    return (places[:, None] - places).square().sum(dim=-1).sqrt()
