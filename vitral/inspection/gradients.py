"""What a class score depends on: relevance through attention, and Grad-CAM.

Letters: n pictures, k heads, t tokens, C channels, y and x rows and columns of the deepest features.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vitral.errors import UsageError
from vitral.inspection.capture import before, hooked, require_attention, with_matrices
from vitral.inspection.subject import at_rest, name_of
from vitral.inspection.tokens import Grid, grid_of, on_grid, prefix_of, read_by_head
from vitral.models import Network


def relevance(network: Network, images: Float[Tensor, "n c h w"], classes: list[int]) -> Float[Tensor, "n y x"]:
    """How far each patch speaks for a class, through all attention: arXiv 2103.15679, Eq. 5 and 6.

    Per layer, mean over heads of the positive part of (attention x its gradient), then R <- R + that x R, from R = I.
    The map is the row of R that the head reads. This is the later and simpler rule by the authors of arXiv 2012.09838,
    with the attention itself in the place of its layer-wise relevance.

    Args:
        classes: the class whose score is asked for, per picture.

    Raises:
        UsageError: the network has no attention over the whole picture.
    """
    require_attention(network)
    pairs = zip(images.split(1), classes, strict=True)
    return torch.cat([_relevance(network, image, number) for image, number in pairs])


def _relevance(network: Network, image: Tensor, number: int) -> Tensor:
    grid = grid_of(network, image)
    with torch.enable_grad(), at_rest(network), with_matrices(network) as matrices:
        tokens = network.encode(image)
        score = network.classify(tokens)[0, number]
        gradients = torch.autograd.grad(score, matrices)
    with torch.no_grad():
        total = torch.eye(matrices[0].shape[-1], device=image.device)[None]
        for matrix, gradient in zip(matrices, gradients, strict=True):
            total = total + (matrix.detach() * gradient).clamp(min=0).mean(dim=1) @ total
        rows = read_by_head(network, tokens.detach(), grid)
        return on_grid((rows[:, None] @ total)[:, 0], grid)


def grad_cam(network: Network, images: Float[Tensor, "n c h w"], classes: list[int]) -> Float[Tensor, "n y x"]:
    """Grad-CAM, arXiv 1610.02391, Eq. 1 and 2: channels of the deepest features, each weighted by the mean over all
    places of the score's gradient; their sum's positive part.

    The features are the last map of a convolutional network and the last tokens of Swin and Mixer. Where tokens that
    are no patches stand before the others, they are the patches as they enter the last block: behind it the head reads
    none of them.

    Raises:
        UsageError: the network's features are in no place of the picture any more.
    """
    given = images.detach().clone().requires_grad_()
    grid = grid_of(network, images)
    entering: list[Tensor] = []
    handles = [before(block, entering.append) for block in _last_block(network)]
    with hooked(handles), torch.enable_grad(), at_rest(network):
        features = encoded = network.encode(given)
        scores = network.classify(encoded)
        if encoded.ndim == 3 and entering and prefix_of(encoded.shape[1], grid) > 0:
            features = entering[-1]
        chosen = scores[torch.arange(len(classes)), classes].sum()
        (gradient,) = torch.autograd.grad(chosen, features)
    maps, slopes = (_as_map(network, x.detach(), grid) for x in (features, gradient))
    return (slopes.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1).clamp(min=0)


def _last_block(network: Network) -> list[Any]:
    """The last of the network's blocks, where it has blocks of tokens."""
    blocks: Any = getattr(network, "blocks", getattr(getattr(network, "body", None), "blocks", ()))
    return [blocks[-1]] if len(blocks) else []


def _as_map(network: Network, features: Tensor, grid: Grid) -> Tensor:
    """Features in any of the usual orders as [n, C, y, x]."""
    if features.ndim == 3:
        return on_grid(features.transpose(1, 2), grid)
    if features.ndim == 4 and tuple(features.shape[1:3]) == grid:  # channels last, as in timm's Swin
        return features.permute(0, 3, 1, 2)
    if features.ndim == 4:
        return features
    raise UsageError(f"{name_of(network)} gives features without a place in the picture: look with occlusion.")
