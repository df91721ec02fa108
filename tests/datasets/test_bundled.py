"""The bundled digits."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitral.config import DataConfig
from vitral.datasets import read
from vitral.datasets.bundled import write_digits
from vitral.errors import UnavailableError, UsageError

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits") / "digits")


def test_all_1797_digits_are_there_and_a_fifth_of_each_is_test(folder: Path) -> None:
    dataset = read(DataConfig(path=str(folder), validation_fraction=0.0))
    assert dataset.classes == tuple("0123456789")
    counts = {name: np.bincount(np.ravel(split.labels)) for name, split in dataset.splits.items()}
    total = counts["train"] + counts["test"]
    assert total.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # scikit-learn's documentation
    assert np.abs(counts["test"] - total / 5).max() <= 0.5
    assert (dataset.notes, dataset.warnings) == (
        ("no validation split: nothing is held out, because validation_fraction is 0",),
        (),
    )


def test_pixels_are_the_digits_stretched_to_255(folder: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    for path in sorted(folder.rglob("*.png"))[::100]:
        image = Image.open(path)
        assert (image.mode, image.size) == ("L", (8, 8))
        assert np.abs(np.asarray(image) - digits.images[int(path.stem)] * 255 / 16).max() <= 0.5
        assert path.parent.name == str(digits.target[int(path.stem)])


def test_a_second_call_writes_nothing(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    write_digits(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_an_interrupted_write_is_completed_to_the_same_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = Image.Image.save, []

    def interrupted(image: Image.Image, path: Path, **options: str) -> None:
        calls.append(path)
        if len(calls) == 100:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        save(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_digits(tmp_path / "digits")
    monkeypatch.undo()
    write_digits(tmp_path / "digits")

    def content(root: Path) -> dict[str, bytes]:
        dataset = read(DataConfig(path=str(root), validation_fraction=0.0))
        paths = [Path(path) for split in dataset.splits.values() for path in split.sources]
        return {str(path.relative_to(root)): path.read_bytes() for path in paths}

    assert content(tmp_path / "digits") == content(folder)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UsageError, match="something other than the digits"):
        write_digits(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_without_scikit_learn_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UnavailableError, match=r"pip install 'vitral\[sklearn\]'"):
        write_digits(tmp_path / "digits")


def test_what_a_file_browser_leaves_behind_does_not_matter(folder: Path) -> None:
    (folder / ".DS_Store").write_bytes(b"x")
    assert write_digits(folder) == folder
