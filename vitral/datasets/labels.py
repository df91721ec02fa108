"""From class names to positions in the list of classes: by name, never by where a folder happens to stand."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from vitral.datasets.dataset import TRAIN, Split
from vitral.datasets.splits import Found, Listing, listed
from vitral.errors import DataError
from vitral.registry import nearest

UNKNOWN = -1
"""The label of a class that the model does not have."""


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names sorted by code point, or as numbers when every one is an integer (9 before 10)."""
    names = set(names)
    if all(re.fullmatch(r"-?[0-9]{1,18}", name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def positions(listing: Listing, index: Mapping[str, int]) -> Split:
    """The split with its names looked up; a name that `index` lacks becomes `UNKNOWN`."""
    # Pictures of one class share one tuple, so a million labels cost a million references.
    known = {names: tuple(sorted({index.get(name, UNKNOWN) for name in names})) for names in set(listing.names)}
    return Split(listing.sources, [known[names] for names in listing.names])


def training_classes(found: Found, fewest: int) -> tuple[str, ...]:
    """The classes of train in order, after checking that they can be learned and that the other splits agree.

    Raises:
        DataError: a class folder of train is empty, there are fewer than `fewest` classes, or another split has a
            class that train lacks.
    """
    train = found.splits[TRAIN]
    if train.empty:
        raise DataError(
            f"class folders of train in {str(found.root)!r} hold no picture: {listed(train.empty)}; add pictures or "
            f"remove the folders."
        )
    classes = in_order(train.classes())
    unwritable = [name for name in classes if not name.isprintable()]
    if unwritable:  # undecodable bytes of a folder's name, or control characters
        raise DataError(
            f"class names of train in {str(found.root)!r} hold characters that cannot be shown or saved as text: "
            f"{listed([ascii(name) for name in unwritable])}; rename them."
        )
    if len(classes) < fewest:
        raise DataError(
            f"training needs at least two classes, but {str(found.root)!r} has "
            f"{'only ' + repr(classes[0]) if classes else 'none'}: give each class its own folder (or name in the "
            f"label column), for instance one of pictures that show something else."
        )
    for name, listing in found.splits.items():
        unknown = in_order(listing.classes() - set(classes))
        if unknown:
            raise DataError(
                f"{name} has classes that train lacks: {_with_nearest(unknown, classes)}; rename them or add them "
                f"to train."
            )
        if listing.empty:
            found.warnings.append(f"class folders of {name} hold no picture: {listed(listing.empty)}")
    return classes


def evaluation_labels(name: str, listing: Listing, classes: Sequence[str], warnings: list[str]) -> Split:
    """A split with labels mapped onto a model's classes; what the model lacks becomes `UNKNOWN`, with a warning.

    Raises:
        DataError: no name is known to the model, or one is the name of several of its classes.
    """
    present = in_order(listing.classes())
    index = {known: position for position, known in enumerate(classes)}
    unknown = [label for label in present if label not in index]
    if present and len(unknown) == len(present):
        raise DataError(
            f"no class of the data is a class of the model: the data has {_with_nearest(unknown, classes)}; the "
            f"model has {listed(classes, 5)}. Class folders or labels must bear the model's class names."
        )
    counts = Counter(classes)
    ambiguous = [label for label in present if counts[label] > 1]
    if ambiguous:
        raise DataError(f"the model has several classes of the same name, so these labels are unclear: {ambiguous}.")
    if unknown:
        affected = sum(1 for names in listing.names if not index.keys() >= set(names))
        warnings.append(
            f"{name} has classes that the model lacks: {_with_nearest(unknown, classes)}; their "
            f"{affected:,} pictures always count as wrong"
        )
    if listing.empty:
        warnings.append(f"class folders of {name} hold no picture: {listed(listing.empty)}")
    return positions(listing, index)


def _with_nearest(names: Sequence[str], classes: Sequence[str], limit: int = 10) -> str:
    """Names for a sentence, each with the most similar of `classes`."""
    words = []
    for name in names[:limit]:
        close = nearest(name, classes, 1)
        words.append(f"{name!r} (did you mean {close[0]!r}?)" if close else repr(name))
    more = [f"and {len(names) - limit:,} more"] if len(names) > limit else []
    return ", ".join(words + more)
