"""The JSON that stands beside weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vitral.errors import DataError


def read_object(path: Path, way_out: str = "copy or download it again") -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        way_out: what the user can do about a file that is damaged.

    Raises:
        DataError: it cannot be read, is no JSON, or holds something else.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({type(error).__name__}): {way_out}.") from error
    if not isinstance(plain, dict):
        raise DataError(f"{path} must hold a JSON object, not {type(plain).__name__}: {way_out}.")
    return plain
