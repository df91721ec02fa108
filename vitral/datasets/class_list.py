"""What the labels of a data set call a model's classes, where they do not use the model's own names.

The variants of ImageNet need it: folders of ImageNet-V2 are called by the classes' positions, "0" to "999", those of
ImageNet-A, -R and -Sketch by WordNet ids, whatever the model calls its classes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vitral.errors import DataError, MissingInputError, StorageError

NAMES, INDICES = "names", "indices"

_WORDNET = re.compile(r"n\d{8}")


def label_names(where: str, classes: Sequence[str]) -> tuple[str, ...]:
    """For each of the model's classes, in their order, what the labels call it.

    Args:
        where: "names" (the model's own), "indices" ("0" onwards), or a text file with a line for each class whose
            first word is the label, like the synset_words.txt of ImageNet.
        classes: the model's.

    Raises:
        MissingInputError: no such file. StorageError: it cannot be read. DataError: it is not one line per class.
    """
    if where == NAMES:
        return tuple(classes)
    if where == INDICES:
        return tuple(str(k) for k in range(len(classes)))
    path = Path(where)
    if not path.is_file():
        raise MissingInputError(
            f"there is no file {where!r}: --labels takes names, indices, or a file with one class per line."
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except ValueError:
        raise DataError(f"{where!r} is not a text in UTF-8: give a file with one class per line.") from None
    except OSError as error:
        raise StorageError(f"cannot read {where!r} ({error.strerror}): check its rights.") from None
    names = tuple(line.split(maxsplit=1)[0] for line in lines if line.strip())
    if len(names) != len(classes):
        raise DataError(
            f"{where!r} has {len(names):,} lines, but the model has {len(classes):,} classes: it must name each class "
            "once, in the model's order."
        )
    if len(set(names)) < len(names):
        twice = next(name for k, name in enumerate(names) if name in names[:k])
        raise DataError(f"{where!r} names {twice!r} twice: it must name each class once, in the model's order.")
    return names


def are_imagenet(names: Sequence[str]) -> bool:
    """Whether the classes are ImageNet's 1,000, by their WordNet ids."""
    return len(names) == 1000 and all(_WORDNET.fullmatch(name) for name in names)
