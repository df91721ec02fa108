"""Classify pictures with this folder alone, without vitral: python example.py picture.jpg ...

Needs numpy and Pillow, and onnxruntime, openvino or torch, whichever the folder was exported for.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

FOLDER = Path(__file__).resolve().parent
LONGEST = 32  # of a picture, in shorter sides: what is longer is trimmed at both ends before it is resized
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def read(path: str) -> Image.Image:
    """An upright RGB picture; what is transparent is laid over white."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def prepare(image: Image.Image, preprocessing: dict[str, Any]) -> np.ndarray:
    """Pixels [height, width, 3] uint8 for the graph: resized, then cut at the centre. The graph does the rest.

    Pillow and vitral resize to within one unit of 255 of each other.
    """
    (height, width), resize = preprocessing["crop"], preprocessing["resize"]
    if isinstance(resize, list):
        size = (resize[1], resize[0])  # Pillow says width first
    else:
        longest = LONGEST * min(image.size)
        image = centre(image, min(image.width, longest), min(image.height, longest))
        size, shorter = image.size, min(image.size)
        if resize is not None:
            size = (
                (2 * size[0] * resize + shorter) // (2 * shorter),
                (2 * size[1] * resize + shorter) // (2 * shorter),
            )
    factor = max(width / size[0], height / size[1])
    if factor > 1:  # the cut must fit in
        size = (max(width, round(size[0] * factor)), max(height, round(size[1] * factor)))
    if image.size != size:
        image = image.resize(size, FILTERS[preprocessing["interpolation"]])
    return np.asarray(centre(image, width, height))


def centre(image: Image.Image, width: int, height: int) -> Image.Image:
    """The middle of a picture."""
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def probabilities(pixels: np.ndarray, file: Path) -> np.ndarray:
    """Probabilities [n, classes] of pixels [n, height, width, 3] uint8."""
    if file.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(["probabilities"], {"pixels": pixels})[0])
    if file.suffix == ".xml":
        import openvino

        return np.asarray(openvino.compile_model(str(file), "CPU")(pixels)["probabilities"])
    import torch

    return np.asarray(torch.export.load(file).module()(torch.from_numpy(pixels))["probabilities"].detach())


def main() -> None:
    """Print the likeliest class of each picture with its probability."""
    preprocessing = json.loads((FOLDER / "preprocessing.json").read_text(encoding="utf-8"))
    classes = json.loads((FOLDER / "classes.json").read_text(encoding="utf-8"))["names"]
    file = FOLDER / json.loads((FOLDER / "export.json").read_text(encoding="utf-8"))["file"]
    pixels = np.stack([prepare(read(path), preprocessing) for path in sys.argv[1:]])
    for path, row in zip(sys.argv[1:], probabilities(pixels, file), strict=True):
        print(f"{path}\t{classes[row.argmax()]}\t{row.max():.6f}")


if __name__ == "__main__":
    main()
