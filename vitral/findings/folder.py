"""The folder of an inspection: figures, numbers, arrays, pictures under their maps, and one page to look at it all.

inspect.html    the page                       figures/    PNG and SVG of every figure
inspect.json    the numbers                    arrays/     what was measured, as .npy
maps/           each picture under each map
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitral.errors import UsageError
from vitral.findings.document import arrays_of, document_of
from vitral.findings.drawn import figures_of
from vitral.findings.measure import Findings, stem
from vitral.inspection import figures
from vitral.inspection.colours import overlay, png
from vitral.inspection.methods import stretched
from vitral.reports.inspection_page import Sheet, render
from vitral.weights.aside import written_aside

MAP_OPACITY = 0.6

LARGEST_PNG = 300_000
"""Bytes from which a figure stands in the page as JPEG."""


def require_free(folder: Path) -> None:
    """Refuse a folder that holds anything but an older inspection, before any work is done.

    Raises:
        UsageError: something else is there.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        ours = json.loads((folder / "inspect.json").read_text(encoding="utf-8"))["library"] == "vitral"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        ours = False
    if not ours:
        raise UsageError(f"{folder} is there and is no inspection of vitral's, so it is not replaced: name another.")


def write(found: Findings, folder: Path, name: str) -> dict[str, Any]:
    """Write the folder, whole or not at all, and return what inspect.json holds.

    Args:
        name: of the model, for titles.

    Raises:
        StorageError: it could not be written; an older one is untouched. UnavailableError: matplotlib is missing.
    """
    heats = {method: stretched(maps, _size(found)) for method, maps in found.maps.items()}
    document = document_of(found, name)
    with written_aside(folder) as aside:
        for part in ("figures", "arrays", "maps"):
            (aside / part).mkdir()
        sheets = []
        for key, title, draw in figures_of(found, heats):
            figure = draw()
            drawn = figures.png(figure)
            (aside / "figures" / f"{key}.png").write_bytes(drawn)
            (aside / "figures" / f"{key}.svg").write_bytes(figures.svg(figure))
            sheets.append(Sheet(key, title, _for_page(drawn)))
        for key, array in arrays_of(found, heats).items():
            np.save(aside / "arrays" / f"{key}.npy", array, allow_pickle=False)
        for i, path in enumerate(found.paths):
            for method, heat in heats.items():
                shown = png(overlay(found.pixels[i], heat[i], MAP_OPACITY))
                (aside / "maps" / f"{stem(path, i)}-{method}.png").write_bytes(shown)
        document["figures"] = [sheet.key for sheet in sheets]
        _write_text(aside / "inspect.json", json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        _write_text(aside / "inspect.html", render(document, _viewed(found), sheets))
    return document


def _for_page(drawn: bytes) -> str:
    """A figure as a data: address: what has many colours, photographs, as JPEG."""
    image = Image.open(io.BytesIO(drawn)).convert("RGB")
    if len(drawn) <= LARGEST_PNG:
        return f"data:image/png;base64,{base64.b64encode(drawn).decode()}"
    return f"data:image/jpeg;base64,{_jpeg(np.asarray(image))}"


def _write_text(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", errors="backslashreplace"))  # a path may hold bytes that are no UTF-8


def _size(found: Findings) -> tuple[int, int]:
    return found.pixels.shape[1], found.pixels.shape[2]


def _viewed(found: Findings) -> list[dict[str, Any]]:
    """Each picture with its maps as the page's script reads them: rows and columns, and bytes of a map's share of its
    maximum, 255 being the maximum."""
    viewed = []
    for i in range(len(found.paths)):
        maps: dict[str, Any] = {}
        for method, values in found.maps.items():
            maps[method] = _packed(values[i].clamp(min=0).numpy()[None, None])
        if found.attention is not None:
            heads = found.attention[i].numpy()
            maps["attention"] = _packed(np.concatenate([heads.mean(axis=1, keepdims=True), heads], axis=1))
        viewed.append({"image": _jpeg(found.pixels[i]), "maps": maps})
    return viewed


def _packed(maps: np.ndarray) -> dict[str, Any]:
    """Maps [layers, heads, y, x] for the script."""
    most = maps.max(axis=(2, 3), keepdims=True)
    bytes_ = (255 * maps / np.where(most > 0, most, 1)).round().astype(np.uint8)
    layers, heads, rows, columns = maps.shape
    return {
        "layers": layers, "heads": heads, "rows": rows, "columns": columns,
        "most": [[float(f"{x:.4g}") for x in row] for row in most[:, :, 0, 0]],
        "data": base64.b64encode(bytes_.tobytes()).decode(),
    }  # fmt: skip


def _jpeg(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return base64.b64encode(file.getvalue()).decode()
