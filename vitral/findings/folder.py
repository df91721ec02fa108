"""The folder of an inspection: figures, numbers, arrays, pictures under their maps, and one page to look at it all.

inspect.html    the page                       figures/    PNG and SVG of every figure
inspect.json    the numbers                    arrays/     what was measured, as .npy
maps/           each picture under each map
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitral.data.decode import decode
from vitral.errors import UnreadableImageError, UsageError
from vitral.findings.measure import CHANCE, SAMPLE, Findings, mean_curves, stem
from vitral.inspection import figures
from vitral.inspection.colours import overlay, png
from vitral.inspection.layers import outliers
from vitral.inspection.methods import stretched
from vitral.reports.inspection_page import Sheet, render
from vitral.version import VERSION
from vitral.weights.aside import written_aside

SHEET = 6
"""Pictures on a sheet of examples."""

OPENED = 3
"""Pictures of which every head is drawn."""

MAP_OPACITY = 0.6

THUMBNAIL = 96
"""Pixels of the longer side of a small picture."""

MOST_ON_PLANE = 300
"""Pictures laid on a plane in the figure, spread evenly over all; the array has all of them."""

LARGEST_PNG = 300_000
"""Bytes from which a figure stands in the page as JPEG."""

Draw = Callable[[], Any]


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
        for key, title, draw in _figures(found, heats):
            figure = draw()
            drawn = figures.png(figure)
            (aside / "figures" / f"{key}.png").write_bytes(drawn)
            (aside / "figures" / f"{key}.svg").write_bytes(figures.svg(figure))
            sheets.append(Sheet(key, title, _for_page(drawn)))
        for key, array in _arrays(found, heats).items():
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


# Numbers -------------------------------------------------------------------------------------------


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


def _arrays(found: Findings, heats: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
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


# Figures -------------------------------------------------------------------------------------------


def _figures(found: Findings, heats: dict[str, np.ndarray]) -> list[tuple[str, str, Draw]]:
    """Key, section of the page, and how it is drawn, of every figure that there is something for."""
    asked = [_in_words(found, found.model.classes[number]) for number in found.asked]
    names = [_in_words(found, guesses[0].label) for guesses in found.guesses]
    few, count = slice(0, SHEET), len(found.paths)
    drawn: list[tuple[str, str, Draw]] = []
    if heats:
        sheet = {method: heat[few] for method, heat in heats.items()}
        drawn.append(("maps", "Maps", lambda: figures.draw_methods(found.pixels[few], sheet, asked[few])))
    if "rollout" in heats:
        rolled = heats["rollout"]
        drawn.append(
            ("rollout", "Maps", lambda: figures.draw_attention_examples(found.pixels[few], rolled[few], names[few]))
        )
    if found.curves:
        means = {k: v for k, v in mean_curves(found.curves).items() if k != CHANCE}
        means |= {CHANCE: mean_curves(found.curves)[CHANCE]}
        tested = len(found.curves[CHANCE])
        drawn.append(("faithfulness", "Can the maps be believed", lambda: figures.draw_curves(means, tested)))
    if found.distances is not None:
        distances = found.distances.mean(dim=0).numpy()
        drawn.append(("attention-distance", "Attention", lambda: figures.draw_distance(distances, count)))
    if found.attention is not None:
        drawn += [_heads(found, i, names[i]) for i in range(min(OPENED, count))]
    return drawn + _figures_of_depth(found) + _figures_of_places(found, names)


def _heads(found: Findings, number: int, name: str) -> tuple[str, str, Draw]:
    assert found.attention is not None
    maps, picture = found.attention[number].numpy(), found.pixels[number]
    key = f"heads-{stem(found.paths[number], number)}"
    return key, "Attention", lambda: figures.draw_heads(picture, maps, name)


def _figures_of_depth(found: Findings) -> list[tuple[str, str, Draw]]:
    drawn: list[tuple[str, str, Draw]] = []
    count = min(SAMPLE, len(found.paths))
    if found.norms is not None:
        norms = found.norms.numpy()
        drawn.append(("token-lengths", "From layer to layer", lambda: figures.draw_norms(norms, found.prefix)))
    if found.blocks:
        drawn.append(("blocks", "From layer to layer", lambda: figures.draw_blocks(found.blocks, count)))
    if found.similarity is not None:
        alike = found.similarity.numpy()
        drawn.append(("layer-similarity", "From layer to layer", lambda: figures.draw_similarity(alike, count)))
    return drawn


def _figures_of_places(found: Findings, names: list[str]) -> list[tuple[str, str, Draw]]:
    drawn: list[tuple[str, str, Draw]] = []
    if found.positions is not None:
        positions = found.positions
        drawn.append(("positions", "Filters and positions", lambda: figures.draw_positions(positions)))
    if found.filters is not None:
        filters = found.filters
        drawn.append(("filters", "Filters and positions", lambda: figures.draw_filters(filters)))
    if found.near:
        near = found.near[:SHEET]
        small = [[thumbnail(path) for path, _, _ in row] for row in near]
        said = [[f"{cosine:.3f} {label}" for _, label, cosine in row] for row in near]
        pixels = found.pixels[:SHEET]
        drawn.append(
            ("neighbours", "Other pictures", lambda: figures.draw_neighbours(pixels, names[:SHEET], small, said))
        )
    if found.plane is not None:
        at, paths, axes, title = found.plane
        every = max(1, -(-len(paths) // MOST_ON_PLANE))
        shown = title if every == 1 else f"{title}, one in {every} shown"
        drawn.append(
            (
                "map-of-pictures",
                "Other pictures",
                lambda: figures.draw_map(at[::every], [thumbnail(p) for p in paths[::every]], axes, shown),
            )
        )
    return drawn


def _in_words(found: Findings, label: str) -> str:
    return found.model.descriptions.get(label, label)


def thumbnail(path: str) -> np.ndarray:
    """Small pixels of a picture; a grey square where it cannot be read any more."""
    try:
        image = Image.fromarray(decode(path))
    except UnreadableImageError:
        return np.full((THUMBNAIL, THUMBNAIL, 3), 128, dtype=np.uint8)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(image)


# What the page shows -------------------------------------------------------------------------------


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
