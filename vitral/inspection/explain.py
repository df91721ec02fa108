"""Why this answer: one map of one picture, at the size of the network's input, and the map laid over the picture."""

from __future__ import annotations

import numpy as np

from vitral.datasets.dataset import Source
from vitral.inspection.colours import colours, overlay, png
from vitral.inspection.methods import METHODS, Choice, best_method, methods_for, places, stretched
from vitral.inspection.subject import Subject, class_index, network_input, seen

__all__ = ["METHODS", "colours", "explain", "methods_for", "overlay", "png"]


def explain(
    model: Subject,
    image: Source,
    method: str | None = None,
    label: str | None = None,
    layer: int | None = None,
    head: int | None = None,
) -> np.ndarray:
    """Where in the picture the answer comes from: [height, width] float32 in [0, 1], of the network's input.

    Args:
        model: a model as `vitral.load` gives it.
        image: a path, encoded bytes, a `PIL.Image.Image` or a uint8 array [height, width, 3].
        method: one of `METHODS`; None takes rollout where the network has attention, else Grad-CAM, else occlusion.
        label: the class that is asked about; None takes the model's own answer.
        layer: of rollout (the last that takes part) and attention, from 0; -1 is the last.
        head: of attention, from 0; None is the mean over heads.

    Raises:
        UsageError: an unknown method or class, no such layer or head, or a method that does not fit the network.
        UnreadableImageError: the picture cannot be decoded.
    """
    images = network_input(model, seen(model, image)[:1])
    chosen = method or best_method(model.network)
    classes = None if label is None else (class_index(model.classes, label),)
    values = places(model.network, images, chosen, Choice(classes, layer, head, model.multi_label))
    return stretched(values, (images.shape[2], images.shape[3]))[0]
