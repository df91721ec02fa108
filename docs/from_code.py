"""Tables of the site that are made from the values in the code, so that they cannot differ from it."""

from __future__ import annotations

from typing import Any

MARKER = "<!-- {} -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put each table where its page asks for it."""
    for name, table in TABLES.items():
        marker = MARKER.format(name)
        if marker in markdown:
            markdown = markdown.replace(marker, table())
    return markdown


def recipes() -> str:
    """Every recipe with its source and the score to expect."""
    from vitral.recipes import RECIPES

    return _table(
        ("recipe", "source", "expected"),
        [(f"`{name}`", recipe.source, recipe.expected) for name, recipe in RECIPES.items()],
    )


def models() -> str:
    """Every model with its size, its published score and the name its weights are fetched by."""
    from vitral.catalogue import CATALOGUE

    rows = []
    for name, model in CATALOGUE.items():
        height, width = model.image_size
        score = "" if model.score is None else f"{model.score.top1:.2f} % at {model.score.size}, {model.score.source}"
        weights = f"`{model.weights}`" if model.weights else ""
        size = f"{model.parameters:,}", f"{height}x{width}", f"{model.macs / 1e9:,.2f}"
        rows.append((f"`{name}`", *size, score, weights))
    return _table(("model", "parameters", "input", "GMACs", "ImageNet top-1, published", "weights"), rows)


def exit_codes() -> str:
    """Every kind of error with its exit code."""
    from vitral import errors

    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.VitralError) and kind is not errors.VitralError
    ]
    rows = [(f"`{kind.__name__}`", str(kind.exit_code), (kind.__doc__ or "").split("\n")[0]) for kind in kinds]
    return _table(("error", "exit code", "meaning"), sorted(rows, key=lambda row: int(row[1])))


TABLES = {"recipes": recipes, "models": models, "exit codes": exit_codes}


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
