"""Read a folder of pictures: class/picture, or train|val|test/class/picture."""

from __future__ import annotations

import os
from pathlib import Path

from vitral.config import DataConfig
from vitral.datasets.dataset import TRAIN
from vitral.datasets.scan import Scan, Scanner
from vitral.datasets.splits import SYNONYMS, Found, Listing, listed
from vitral.errors import DataError, MissingInputError, UsageError
from vitral.registry import nearest_path

SHAPE = "class/picture.jpg, or train/class/picture.jpg with val/ and test/ beside train/"
"""What a folder must look like, for messages."""


ARCHIVES = {
    "ILSVRC2012_img_train.tar": "imagenet", "ILSVRC2012_img_val.tar": "imagenet", "fall11_whole.tar": "imagenet21k",
}  # fmt: skip
"""Files of published sets that people give the folder of, and how the set is named."""


def read_folder(config: DataConfig) -> Found:
    """The splits under `config.path`, by class name.

    Raises:
        UsageError: the path is a file, or options for tables are set.
        MissingInputError: the folder does not exist or holds no picture.
        DataError: its shape is not one of the two above, or a symbolic link leaves it.
    """
    check_request(config)
    root = Path(config.path)
    scanner = Scanner(root)
    top = scanner.scan(root)
    found = Found(root, {})
    folders = _split_folders(scanner, top, found)
    if folders:
        _read_splits(scanner, top, folders, found)
    else:
        found.splits[""] = _read_classes(scanner, root, top, found)
    if not any(len(listing) for listing in found.splits.values()):
        _complain_of_emptiness(scanner, top)
    if scanner.ignored:
        found.notes.append(f"files that are not pictures are ignored: {scanner.ignored_files()}")
    return found


def pictures_in(folder: Path) -> list[str]:
    """Paths of the pictures directly in `folder`, sorted by name.

    Raises:
        MissingInputError: the folder cannot be listed.
        DataError: a symbolic link leads out of it.
    """
    return [f"{folder}{os.sep}{name}" for name in Scanner(folder).scan(folder).pictures]


def check_request(config: DataConfig) -> None:
    """Refuse a path that is no folder, and options that are for tables."""
    path = Path(config.path)
    if path.name in ARCHIVES and path.is_file():
        raise UsageError(f"{config.path!r} is a part of a published set: write {ARCHIVES[path.name]}:{path.parent}.")
    if path.is_file():
        raise UsageError(
            f"{config.path!r} is a file: training and evaluation need a folder or a table (.csv, .tsv, .jsonl, "
            f".parquet); for single pictures use `vitral predict`."
        )
    if not path.is_dir():
        near = nearest_path(path, Path.is_dir)
        hint = f"did you mean {str(near)!r}?" if near else f"check the path, from {str(Path.cwd())!r}."
        raise MissingInputError(f"{config.path!r} does not exist: {hint}")
    for setting in ("path_column", "label_column", "image_folder"):
        if getattr(config, setting) is not None:
            raise UsageError(
                f"--{setting.replace('_', '-')} is for tables, but {config.path!r} is a folder: leave it out."
            )
    if config.multi_label:
        raise UsageError(
            f"several labels per picture need a table with labels separated by ';', but {config.path!r} is a folder."
        )


def _split_folders(scanner: Scanner, top: Scan, found: Found) -> dict[str, str]:
    """Folder name -> split name; empty where the folders are classes."""
    folders = {folder: SYNONYMS[folder.lower()] for folder in top.folders if folder.lower() in SYNONYMS}
    if len(folders) == 1 and len(top.folders) > 1:
        # A class may be called "train": then its folder holds pictures directly, as the others do.
        (folder,) = folders
        inside = scanner.scan(scanner.root / folder, counting=False)
        if inside.pictures and not inside.folders:
            found.notes.append(f"folder {folder!r} holds pictures directly, so it is taken as a class, not as a split")
            return {}
    for name in set(folders.values()):
        same = [folder for folder in folders if folders[folder] == name]
        if len(same) > 1:
            raise DataError(f"{str(scanner.root)!r} has several folders for {name}: {listed(same)}; keep one of them.")
    return folders


def _read_splits(scanner: Scanner, top: Scan, folders: dict[str, str], found: Found) -> None:
    for folder, name in folders.items():
        base = scanner.root / folder
        below = scanner.scan(base)
        if below.pictures and not below.folders:
            raise DataError(
                f"{str(base)!r} holds {len(below.pictures):,} pictures without class folders: expected {SHAPE}, or a "
                f"table that names each picture's class."
            )
        listing = _read_classes(scanner, base, below, found)
        if len(listing) or name == TRAIN:
            found.splits[name] = listing
        else:
            found.warnings.append(f"{str(base)!r} holds no picture, so there is no {name} split")
    others = [folder for folder in top.folders if folder not in folders]
    if others:
        found.warnings.append(f"folders beside the splits are not read: {listed(others)}")
    if top.pictures:
        found.warnings.append(_loose(scanner.root, top))


def _read_classes(scanner: Scanner, base: Path, below: Scan, found: Found) -> Listing:
    """The pictures of the class folders `below` base, in order."""
    listing = Listing(str(base))
    nested: list[Path] = []
    for name in below.folders:
        folder = base / name
        inside = scanner.scan(folder)
        if inside.pictures:
            listing.sources += [f"{folder}{os.sep}{picture}" for picture in inside.pictures]
            listing.names += [(name,)] * len(inside.pictures)
            if inside.folders:
                found.warnings.append(
                    f"folders inside class folder {str(folder)!r} are not read: {listed(inside.folders)}"
                )
        elif inside.folders and scanner.likely_root(folder) is not None:
            nested.append(folder)
        else:
            listing.empty.append(name)
    if nested:
        _complain_of_nesting(scanner, nested)
    if below.pictures and below.folders:
        found.warnings.append(_loose(base, below))
    return listing


def _loose(base: Path, scan: Scan) -> str:
    return f"{len(scan.pictures):,} pictures directly in {str(base)!r} belong to no class and are not read"


def _complain_of_nesting(scanner: Scanner, nested: list[Path]) -> None:
    inner = scanner.scan(nested[0], counting=False).folders
    if all(name.lower() in SYNONYMS for name in inner):
        way_out = f"splits stand above classes: {inner[0]}/{nested[0].name}, not {nested[0].name}/{inner[0]}"
    else:
        way_out = f"the right path is probably {str(scanner.likely_root(nested[0]))!r}"
    raise DataError(
        f"pictures must lie directly in class folders, but below {listed([str(path) for path in nested], 3)} they "
        f"lie deeper: expected {SHAPE}; {way_out}."
    )


def _complain_of_emptiness(scanner: Scanner, top: Scan) -> None:
    root = str(scanner.root)
    if top.pictures:
        raise DataError(
            f"{root!r} holds {len(top.pictures):,} pictures but none in a class folder: expected {SHAPE}, or a table "
            f"that names each picture's class."
        )
    for name, published in ARCHIVES.items():
        if (scanner.root / name).is_file():
            raise MissingInputError(f"{root!r} holds the archives of a published set: write {published}:{root}.")
    seen = f", only other files ({scanner.ignored_files()})" if scanner.ignored else ""
    raise MissingInputError(f"there is no picture under {root!r}{seen}: expected {SHAPE}.")
