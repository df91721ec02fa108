"""Small folders of made-up pictures that can be told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (20, 40, 220), "green": (30, 200, 40), "red": (220, 30, 20)}


def picture(colour: str, seed: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    """A noisy picture of one colour."""
    rng = np.random.default_rng([seed, *colour.encode()])
    pixels = np.array(COLOURS[colour]) + rng.integers(-60, 60, (*size, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_folder(root: Path, counts: dict[str, int], size: tuple[int, int] = (8, 8)) -> Path:
    """root/SPLIT/COLOUR/N.png, `counts[split]` of each colour; a split "" puts the classes at the root."""
    seed = 0
    for split, count in counts.items():
        for colour in COLOURS:
            folder = root / split / colour
            folder.mkdir(parents=True, exist_ok=True)
            for _ in range(count):
                seed += 1
                picture(colour, seed, size).save(folder / f"{seed}.png")
    return root
