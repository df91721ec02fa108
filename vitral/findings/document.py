"""An inspection as numbers: what inspect.json holds, and the arrays beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from vitral.findings.measure import SAMPLE, Findings, mean_curves, stem
from vitral.inspection.layers import outliers
from vitral.version import VERSION


def document_of(found: Findings, name: str) -> dict[str, Any]:
    """What inspect.json holds: every number, by name."""
    model = found.model
    areas = {method: [one.areas() for one in several] for method, several in found.curves.items()}
    pictures = []
    for i, path in enumerate(found.paths):
        one: dict[str, Any] = {
            "path": path,
            "predictions": [guess._asdict() for guess in found.guesses[i]],
            "explained": model.classes[found.asked[i]],
            "maps": {method: f"maps/{stem(path, i)}-{method}.png" for method in found.maps},
        }
        if i < len(next(iter(areas.values()), [])):
            one["faithfulness"] = {method: several[i] for method, several in areas.items()}
        if found.near:
            one["neighbours"] = [{"path": p, "label": c, "cosine": s} for p, c, s in found.near[i]]
        pictures.append(one)
    return {
        "library": "vitral", "version": VERSION, "model": name, "image_size": list(model.preprocessing.crop),
        "pictures": pictures, "methods": list(found.maps),
        "faithfulness": {method: one.areas() for method, one in mean_curves(found.curves).items()},
        "faithfulness_pictures": len(next(iter(found.curves.values()), [])),
        "mean_attention_distance": None if found.distances is None else found.distances.mean(dim=0).tolist(),
        "token_norms": _norms(found),
        "blocks": found.blocks, "layer_similarity": None if found.similarity is None else found.similarity.tolist(),
        "layer_pictures": min(SAMPLE, len(found.paths)),
        "positions": None if found.positions is None else {"kind": found.positions.kind, "grid": found.positions.grid},
        "filters": None if found.filters is None else {"shares": found.filters.shares.tolist()},
        "descriptions": {k: v for k, v in model.descriptions.items() if k in _named(found)}, "absent": found.absent,
    }  # fmt: skip


def _named(found: Findings) -> set[str]:
    """Classes that are named in the document."""
    own = {guess.label for guesses in found.guesses for guess in guesses}
    return own | {found.model.classes[i] for i in found.asked}


def _norms(found: Findings) -> dict[str, Any] | None:
    if found.norms is None:
        return None
    patches = found.norms[:, :, found.prefix :]
    return {
        "median": patches.transpose(0, 1).flatten(1).median(dim=1).values.tolist(),
        "largest": patches.amax(dim=(0, 2)).tolist(),
        "outlier_share": outliers(patches).float().mean(dim=(0, 2)).tolist(),
    }


def arrays_of(found: Findings, heats: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What was found as arrays, by the name of the file that holds it.

    Args:
        heats: by method, maps in the pictures' size [pictures, height, width], in [0, 1].
    """
    arrays = {f"map_{method}": maps.numpy() for method, maps in found.maps.items()}
    arrays |= {f"heat_{method}": heat for method, heat in heats.items()}
    for key, tensor in (
        ("attention", found.attention), ("mean_attention_distance", found.distances), ("token_norms", found.norms),
        ("layer_similarity", found.similarity),
    ):  # fmt: skip
        if tensor is not None:
            arrays[key] = tensor.numpy()
    for method, one in mean_curves(found.curves).items():
        arrays[f"curves_{method}"] = np.stack([one.fraction, one.deletion, one.insertion])
    if found.filters:
        arrays["filters"] = found.filters.components
    if found.positions:
        arrays["positions"] = found.positions.similarity
    if found.plane:
        arrays["plane"] = found.plane[0]
    return arrays
