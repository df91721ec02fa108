"""Which pictures a network finds alike: nearest neighbours, and maps of many pictures on a plane.

Letters: n pictures asked about, N pictures to choose from, R size of a representation.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from vitral.errors import UnavailableError, UsageError

PERPLEXITY = 30.0
"""t-SNE's own default; of few pictures, a third of their number."""


def nearest(
    asked: Float[np.ndarray, "n R"], known: Float[np.ndarray, "N R"], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers [n, count] of the nearest of `known` by cosine, nearest first, and the cosines [n, count]; of equals
    the first."""
    cosines = _unit(asked) @ _unit(known).T
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(cosines, order, axis=1)


def principal_plane(features: Float[np.ndarray, "n R"]) -> tuple[np.ndarray, np.ndarray]:
    """Places [n, 2] on the two principal axes of the representations, and the share of variance of each [2].

    Raises:
        UsageError: fewer than three pictures.
    """
    _require_several(features)
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])  # else they hang on the library
    total = max(float((sizes**2).sum()), np.finfo(np.float64).tiny)
    return (left * sizes * signs)[:, :2], sizes[:2] ** 2 / total


def neighbourhood_plane(features: Float[np.ndarray, "n R"], seed: int = 0) -> np.ndarray:
    """Places [n, 2] by t-SNE on cosines: near is alike, but distances and directions mean nothing more.

    Raises:
        UsageError: fewer than three pictures. UnavailableError: scikit-learn is not installed.
    """
    _require_several(features)
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise UnavailableError("t-SNE needs scikit-learn: pip install 'vitral[sklearn]'.") from error
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    plane = TSNE(metric="cosine", init="random", perplexity=perplexity, random_state=seed)
    return np.asarray(plane.fit_transform(features.astype(np.float64)), dtype=np.float64)


def _unit(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(length > 0, length, 1))


def _require_several(features: np.ndarray) -> None:
    if len(features) < 3:
        raise UsageError(f"{len(features)} pictures make no map: give at least 3.")
