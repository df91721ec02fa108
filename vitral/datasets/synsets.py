"""Words for classes that are called by WordNet ids, like n01440764, from the lists that copies of ImageNet bring."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

WORDNET = re.compile(r"n\d{8}")

LISTS = ("synset_words.txt", "LOC_synset_mapping.txt", "words.txt")
"""What such lists are called: with each line an id and its words. The second is Kaggle's."""

UPWARDS = 3
"""Folders above the pictures that may hold a list: Kaggle's lies above ILSVRC/Data/CLS-LOC."""

LARGEST = 64 * 2**20
"""Bytes of the largest list that is read."""

LONGEST = 500
"""Characters of the longest words that are taken."""


def synset_words(classes: Sequence[str], root: Path) -> tuple[dict[str, str], str]:
    """Words by class name, and the list that they are from; nothing where the classes are no ids, or no list is there.

    Args:
        root: the folder that the splits, or the classes, lie in.
    """
    if not classes or not all(WORDNET.fullmatch(name) for name in classes):
        return {}, ""
    folder = root.resolve()
    for place in (folder, *folder.parents[:UPWARDS]):
        for name in LISTS:
            words = _read(place / name)
            found = {k: words[k] for k in classes if k in words}
            if found:
                return found, str(place / name)
    return {}, ""


def _read(path: Path) -> dict[str, str]:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return {}
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    pairs = (line.split(maxsplit=1) for line in lines)
    return {
        pair[0]: pair[1].strip()
        for pair in pairs
        if len(pair) == 2 and WORDNET.fullmatch(pair[0]) and len(pair[1]) <= LONGEST and pair[1].strip().isprintable()
    }
