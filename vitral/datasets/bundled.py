"""Real pictures that need no download: scikit-learn's handwritten digits, written out as a folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from vitral.datasets.dataset import TEST, TRAIN
from vitral.datasets.splits import held_out
from vitral.errors import StorageError, UnavailableError, UsageError

TEST_FRACTION = 0.2
LARGEST = 16  # of the digits' grey values, which start at 0


def write_digits(folder: Path | str) -> Path:
    """Write 1,797 digits, grey PNG of 8 x 8 pixels, as train/0 ... train/9 and test/0 ... test/9.

    Values 0 to 16 become round(value / 16 * 255). The same fifth of each digit is test every time. Files that are
    there stay as they are; each comes into being whole, so an interrupted call is completed by the next.

    Returns:
        `folder`.

    Raises:
        UnavailableError: scikit-learn is not installed.
        UsageError: `folder` holds something else.
        StorageError: writing failed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UnavailableError("the digits come with scikit-learn: pip install 'vitral[sklearn]'") from None
    folder = Path(folder)
    if folder.exists() and (
        not folder.is_dir()
        or {name for path in folder.iterdir() if not (name := path.name).startswith(".")} - {TRAIN, TEST}
    ):
        raise UsageError(f"{str(folder)!r} holds something other than the digits: name a new folder for them.")
    digits = load_digits()
    values = np.rint(digits.images * (255 / LARGEST)).astype(np.uint8)
    try:
        for label in range(10):
            _write_class(
                folder, str(label), {f"{i:04d}.png": values[i] for i in np.flatnonzero(digits.target == label)}
            )
    except OSError as error:
        raise StorageError(f"cannot write the digits to {str(folder)!r}: {error.strerror or error}.") from None
    return folder


def _write_class(folder: Path, label: str, pictures: dict[str, np.ndarray]) -> None:
    from PIL import Image

    test = set(held_out(list(pictures), TEST_FRACTION, 0, label))
    for split in (TRAIN, TEST):
        (folder / split / label).mkdir(parents=True, exist_ok=True)
    for name, pixels in pictures.items():
        path = folder / (TEST if name in test else TRAIN) / label / name
        if not path.exists():
            # Hidden until it is whole: a reader never sees half a picture, and a leftover does no harm.
            partial = path.with_name(f".{name}.{os.getpid()}")
            Image.fromarray(pixels).save(partial, format="PNG")
            partial.replace(path)
