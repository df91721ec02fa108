"""What happens from layer to layer: how long tokens are, how alike layers are, what each block adds.

Letters: n pictures, L layers, t tokens, D width, C channels, y and x rows and columns of the deepest features,
m examples.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitral.errors import UsageError
from vitral.inspection.capture import before, behind, encoded, hooked
from vitral.inspection.subject import at_rest, name_of
from vitral.inspection.tokens import Grid, grid_of, prefix_of
from vitral.models import Network

OUTLIER = 4.0
"""Times the median length from which a token is an outlier (our choice; arXiv 2309.16588 reads its own bound off a
histogram)."""

EXAMPLES = 4096
"""Most tokens, spread evenly over those there are, on which layers are compared."""


def layers_of(network: Network) -> list[nn.Module]:
    """The blocks in order, whatever the family.

    Raises:
        UsageError: no blocks are known of it.
    """
    body: Any = network if not hasattr(network, "body") else network.body
    for name in ("blocks", "stages"):
        parts: Any = getattr(body, name, None)
        if isinstance(parts, nn.ModuleList | nn.Sequential) and len(parts):
            return [block for part in parts for block in _blocks_in(part)]
    raise UsageError(f"{name_of(network)} has no blocks that are known here: its layers cannot be compared.")


def _blocks_in(part: nn.Module) -> list[nn.Module]:
    inner: Any = part if isinstance(part, nn.Sequential) else getattr(part, "blocks", None)
    return list(inner) if isinstance(inner, nn.Sequential | nn.ModuleList) and len(inner) else [part]


@torch.no_grad()
def token_norms(network: Network, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n L+1 t"]:
    """Euclidean length of every token as it enters the first block, and behind each block.

    A few tokens many times as long as the others are those of arXiv 2309.16588: the network keeps there what belongs
    to no place, and maps of attention are hot there without a reason in the picture.

    Raises:
        UsageError: the network's tokens are not the same ones in every layer.
    """
    norms: list[Tensor] = []
    blocks = _token_blocks(network)
    handles = [before(blocks[0], lambda x: norms.append(x.norm(dim=-1)))]
    handles += [behind(block, lambda _, y: norms.append(y.norm(dim=-1))) for block in blocks]
    with hooked(handles), at_rest(network):
        encoded(network, images)
    return torch.stack(norms, dim=1)


def _token_blocks(network: Network) -> list[Any]:
    """Blocks that all have the same tokens.

    Raises:
        UsageError: there are none.
    """
    blocks: Any = getattr(network, "blocks", ())
    if not len(blocks):
        raise UsageError(f"{name_of(network)} has not the same tokens in every layer: it cannot be shown.")
    return list(blocks)


@torch.no_grad()
def what_blocks_add(network: Network, images: Float[Tensor, "n c h w"]) -> dict[str, list[float]]:
    """For every block, the mean over all tokens of: `attention` and `mlp`, the length of what the branch adds over the
    length of what it is added to (in a Mixer attention is token mixing); `cosine` between a token before the block and
    behind it. And `agreement`: the share of pictures for which the head, if this block were the last, would give the
    network's own answer.

    Raises:
        UsageError: the network has no blocks with two branches.
    """
    blocks = _token_blocks(network)
    if not all(hasattr(block, "norm1") and hasattr(block, "norm2") for block in blocks):
        raise UsageError(f"{name_of(network)} has no blocks with two branches: they cannot be measured.")
    found: dict[str, list[float]] = {"attention": [], "mlp": [], "cosine": []}
    middles: list[Tensor] = []
    states: list[Tensor] = []

    def leave(entered: Tensor, left: Tensor) -> None:
        middle = middles.pop()
        found["attention"].append(float(((middle - entered).norm(dim=-1) / entered.norm(dim=-1)).mean()))
        found["mlp"].append(float(((left - middle).norm(dim=-1) / middle.norm(dim=-1)).mean()))
        found["cosine"].append(float(F.cosine_similarity(entered, left, dim=-1).mean()))
        states.append(left)

    handles = [before(block.norm2, middles.append) for block in blocks] + [behind(block, leave) for block in blocks]
    with hooked(handles), at_rest(network):
        own = network(images).argmax(dim=1)
    early = [_answers_from(network, images, state) for state in states]
    return found | {"agreement": [float((answer == own).float().mean()) for answer in early]}


class _Stored(nn.Module):
    """In the place of all blocks: gives the tokens that one of them gave."""

    def __init__(self, tokens: Tensor) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, _: Tensor) -> Tensor:
        return self.tokens


def _answers_from(network: Network, images: Tensor, tokens: Tensor) -> Tensor:
    """What the network would answer if its last block gave these tokens: [n]."""
    shortened = copy.copy(network)  # shares everything; the network itself is not touched
    shortened._modules = {**network._modules, "blocks": nn.ModuleList([_Stored(tokens)])}
    with at_rest(network):
        return torch.as_tensor(shortened(images)).argmax(dim=1)


@torch.no_grad()
def layer_similarity(network: Network, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "L L"]:
    """Linear CKA between all layers, in [0, 1]: arXiv 1905.00414.

    Examples are the places of all pictures: tokens where all layers have the same, else every layer's map averaged
    down to the grid of the last; without those that are `outliers` in some layer, a few of which would outweigh all
    others. At most `EXAMPLES` of them are compared.

    Raises:
        UsageError: no layers are known of the network.
    """
    grid = grid_of(network, images)
    found: list[Tensor] = []
    handles = [
        behind(layer, lambda _, y: found.append(_examples(y, images, grid).cpu())) for layer in layers_of(network)
    ]
    with hooked(handles), at_rest(network):
        encoded(network, images)
    usual = ~torch.stack([outliers(x.norm(dim=1)[None])[0] for x in found]).any(dim=0)
    every = max(1, math.ceil(int(usual.sum()) / EXAMPLES))
    chosen = [x[usual][::every].double() for x in found]
    return linear_cka([x - x.mean(dim=0) for x in chosen])


def outliers(norms: Float[Tensor, "*n t"]) -> Bool[Tensor, "*n t"]:
    """Which tokens are more than `OUTLIER` times as long as the median one."""
    return norms > OUTLIER * norms.median(dim=-1, keepdim=True).values


def linear_cka(centred: list[Float[Tensor, "m _"]]) -> Float[Tensor, "L L"]:
    """|Y' X|^2 / (|X' X| |Y' Y|) with Frobenius norms, for every pair of representations whose columns have mean 0."""
    size = len(centred)
    own = [(x.T @ x).norm() for x in centred]
    found = torch.eye(size, dtype=centred[0].dtype, device=centred[0].device)
    for i in range(size):
        for j in range(i):
            product = (centred[j].T @ centred[i]).square().sum()
            # Representations that are the same for all examples are like nothing.
            found[i, j] = found[j, i] = product / (own[i] * own[j]) if own[i] * own[j] > 0 else 0
    return found


def _examples(features: Tensor, images: Tensor, grid: Grid) -> Tensor:
    """Features of one layer as examples [n y x, C]: the patches' tokens, or a map averaged down to `grid`."""
    if features.ndim == 3:
        tokens = features.shape[1]
        here = grid if tokens >= grid[0] * grid[1] and tokens < 2 * grid[0] * grid[1] else _grid_with(tokens, images)
        features = features[:, prefix_of(tokens, here) :].transpose(1, 2).unflatten(2, here)
    if tuple(features.shape[2:]) != grid:
        features = F.adaptive_avg_pool2d(features, grid)
    return features.flatten(2).transpose(1, 2).flatten(0, 1)


def _grid_with(tokens: int, images: Tensor) -> Grid:
    """The grid of that many tokens: pictures cut by the stride that makes them."""
    height, width = images.shape[2:]
    for stride in range(1, max(height, width) + 1):
        rows, columns = math.ceil(height / stride), math.ceil(width / stride)
        if rows * columns == tokens:
            return rows, columns
    raise UsageError(f"{tokens} tokens lie on no grid of a picture of {height}x{width}: its layers cannot be compared.")
