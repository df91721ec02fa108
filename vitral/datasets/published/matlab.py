"""MATLAB's .mat files, by scipy (extra: scipy). Its reader runs nothing that a file holds."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from vitral.errors import DataError, MissingInputError, UnavailableError


def matrices(source: Path | bytes, name: str = "") -> dict[str, Any]:
    """The variables of a file by name.

    Args:
        source: its path, or its bytes, which then are called `name` in messages.

    Raises:
        UnavailableError: scipy is not installed. DataError: it is damaged. MissingInputError: it cannot be read.
    """
    shown = str(source) if isinstance(source, Path) else name
    try:
        from scipy.io import loadmat
    except ImportError:
        raise UnavailableError(f"reading {shown!r} needs scipy: pip install 'vitral[scipy]'") from None
    try:
        data = source.read_bytes() if isinstance(source, Path) else source
    except OSError as error:
        raise MissingInputError(f"cannot read {shown!r}: {error.strerror or error}.") from None
    try:
        return dict(loadmat(io.BytesIO(data)))
    except Exception as error:  # damaged bytes raise nearly anything within scipy
        raise DataError(f"{shown!r} is damaged or no MATLAB file ({type(error).__name__}): fetch it again.") from None
