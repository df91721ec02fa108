"""Strips for a report of pre-training: a picture, what the network was shown of it, and what it made of that."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitral.config import Preprocessing
from vitral.datasets.dataset import Source

SIDE = 160
"""Pixels of a panel's longer side, about."""

GAP = 6
"""Pixels between panels."""


def to_pixels(images: Tensor, preprocessing: Preprocessing) -> np.ndarray:
    """Normalised pictures [n, 3, h, w] as bytes [n, h, w, 3]; what lies beyond black and white is cut off."""
    mean, std = (images.new_tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    values = (images.float() * std + mean).clamp(0, 1) * 255
    pixels: np.ndarray = values.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return pixels


def strip(name: str, panels: Sequence[np.ndarray]) -> dict[str, str]:
    """The panels [h, w, 3] uint8 side by side: `picture`, the name, and `image`, a JPEG in base64."""
    height, width = panels[0].shape[:2]
    times = max(1, round(SIDE / max(height, width)))
    wide = len(panels) * width * times + (len(panels) - 1) * GAP
    joined = Image.new("RGB", (wide, height * times), "white")
    for k, panel in enumerate(panels):
        enlarged = Image.fromarray(panel).resize((width * times, height * times), Image.Resampling.NEAREST)
        joined.paste(enlarged, (k * (width * times + GAP), 0))
    file = io.BytesIO()
    joined.save(file, "JPEG", quality=85, subsampling=0, optimize=True)
    return {"picture": name, "image": base64.b64encode(file.getvalue()).decode()}


def shown_name(source: Source, sample: int, root: Path | None) -> str:
    """What a picture is called on a page."""
    name = os.fsdecode(source) if isinstance(source, str | os.PathLike) else f"picture {sample}"
    return name.removeprefix(f"{root}{os.sep}" if root else "")
