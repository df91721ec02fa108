"""Labels that are not the model's own names: positions, WordNet ids of a list."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitral.datasets.class_list import are_imagenet, label_names
from vitral.errors import DataError, MissingInputError

CLASSES = ("tench, Tinca tinca", "goldfish", "shark")


def test_labels_are_the_models_names_their_positions_or_the_first_words_of_a_list(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish\n\nn01484850 great white\n")
    assert label_names("names", CLASSES) == CLASSES
    assert label_names("indices", CLASSES) == ("0", "1", "2")
    assert label_names(str(tmp_path / "words.txt"), CLASSES) == ("n01440764", "n01443537", "n01484850")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a\nb\n", "has 2 lines, but the model has 3 classes"),
        (b"a\nb\na\n", "names 'a' twice"),
        (b"\xff\xfe\x00", "is not a text in UTF-8"),
        (b"", "has 0 lines"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "words.txt").write_bytes(content)
    with pytest.raises(DataError, match=said):
        label_names(str(tmp_path / "words.txt"), CLASSES)


def test_a_list_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="names, indices, or a file"):
        label_names(str(tmp_path / "none.txt"), CLASSES)


def test_imagenet_is_known_by_a_thousand_wordnet_ids() -> None:
    names = [f"n{k:08d}" for k in range(1000)]
    assert are_imagenet(names)
    assert not are_imagenet(names[:200])
    assert not are_imagenet([*names[:999], "tench"])
