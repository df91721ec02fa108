"""Copies of published data sets: Parquet files as Hugging Face has them, vtab-1k.zip, SUN397 with TensorFlow's lists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from tests.datasets.formats import png, write_tar, write_zip
from vitral.cli import main
from vitral.config import Preprocessing
from vitral.data.decode import decode
from vitral.datasets.dataset import TEST, TRAIN, VALIDATION
from vitral.datasets.published import PUBLISHED, Located, parquet, where_from
from vitral.datasets.published.parquet import COPIES, read_copy
from vitral.datasets.published.places import sun397
from vitral.datasets.records import Example, Records
from vitral.datasets.vtab import TASKS, dataset_of, read_task
from vitral.datasets.vtab.extracted import FOLDERS
from vitral.errors import DataError, MissingInputError, UnreadableImageError
from vitral.models.vit import VisionTransformer, ViTConfig
from vitral.serving.predictor import Model

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_parquet(
    path: Path, columns: dict[str, Any], picture: str, label: str = "", names: Sequence[str] = ()
) -> Path:
    """A file as `datasets.Dataset.to_parquet` writes it: pictures as {bytes, path}, class names in the description."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        name: pa.array(values, IMAGE) if name == picture else pa.array(values) for name, values in columns.items()
    }
    table = pa.table(arrays)
    features: dict[str, Any] = {picture: {"_type": "Image"}}
    if names:
        features[label] = {"names": list(names), "_type": "ClassLabel"}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=3)
    return path


def rows(values: Sequence[int], names: Sequence[str] = ()) -> list[dict[str, Any]]:
    return [{"bytes": png(value), "path": names[i] if names else None} for i, value in enumerate(values)]


def by_hand(split: str, keys: Sequence[str | int]) -> list[int]:
    """The order of TensorFlow Datasets, written out."""
    return sorted(range(len(keys)), key=lambda k: hashlib.md5(f"{split}{keys[k]}".encode()).hexdigest())


@pytest.mark.parametrize("few", [0, 2_000], ids=["read when asked for", "held in memory"])
def test_cifar100_keeps_its_authors_rows(few: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "FEW", few)
    folder = tmp_path / "cifar100" / "cifar100"
    names = [f"class {k}" for k in range(100)]
    for shard, values in enumerate((range(7), range(7, 12))):
        columns = {"img": rows(values), "fine_label": list(values), "coarse_label": [0] * len(values)}
        write_parquet(folder / f"train-{shard:05d}-of-00002.parquet", columns, "img", "fine_label", names)
    columns = {"img": rows(range(20, 24)), "fine_label": [9, 8, 7, 6], "coarse_label": [0] * 4}
    write_parquet(folder / "test-00000-of-00001-0123abcd.parquet", columns, "img", "fine_label", names)
    found = read_copy(COPIES["cifar100"], "cifar100", tmp_path)
    assert found is not None
    assert found.classes == tuple(names)
    assert not found.doubts
    assert {name: records.count for name, records in found.splits.items()} == {"train": 12, "test": 4}
    order = found.splits["train"].in_published_order("train")
    assert list(order) == by_hand("train", range(12))
    examples = found.splits["train"].read([11, 0, 6, 7])
    assert [example.fields["label"] for example in examples] == [11, 0, 6, 7]
    assert [example.picture.read() for example in examples] == [png(k) for k in (11, 0, 6, 7)]
    assert decode(examples[0].picture).shape == (8, 8, 3)
    assert [example.fields["label"] for example in found.splits["test"].read(range(4))] == [9, 8, 7, 6]


def test_resisc45_is_one_split_in_the_order_of_its_names(tmp_path: Path) -> None:
    classes, files, labels = ("airplane", "lake_side"), [], []
    for k, split in enumerate(("train", "validation", "test")):
        names = [f"{classes[i % 2]}_{10 * k + i:03d}.jpg" for i in range(5)]
        files += names
        labels += [i % 2 for i in range(5)]
        columns = {"image": rows(range(5 * k, 5 * k + 5), names), "label": [i % 2 for i in range(5)]}
        write_parquet(
            tmp_path / "resisc45" / "data" / f"{split}-00000-of-00001.parquet", columns, "image", "label", classes
        )
    found = read_copy(COPIES["resisc45"], "resisc45", tmp_path)
    assert found is not None
    assert list(found.splits) == ["train"]
    keys = [f"{classes[label]}_{name}" for name, label in zip(files, labels, strict=True)]
    assert list(found.splits["train"].in_published_order("train")) == by_hand("train", keys)
    assert [example.picture.read() for example in found.splits["train"].read([13])] == [png(13)]


@pytest.mark.parametrize(
    ("name", "column", "values", "keys"),
    [
        ("oxford_iiit_pet", "image_id", ["Abyssinian_1", "boxer_7"], ["Abyssinian_1.jpg", "boxer_7.jpg"]),
        ("oxford_flowers102", "file_name", ["image_00004.jpg", "image_00001.jpg"], ["image_00004.jpg", "image_00001.jpg"]),
        ("patch_camelyon", "id", ["train_1", "train_0"], ["train_1", "train_0"]),
        ("sun397", "file_name", ["/a/abbey/x.jpg", "/z/zoo/y.jpg"], ["/a/abbey/x.jpg", "/z/zoo/y.jpg"]),
        ("caltech101", "image/file_name", ["image_0001.jpg", "image_0002.jpg"], ["ant/image_0001.jpg", "Faces/image_0002.jpg"]),
    ],
)  # fmt: skip
def test_pictures_are_ordered_by_what_they_were_called(
    name: str, column: str, values: list[str], keys: list[str], tmp_path: Path
) -> None:
    columns = {"image": rows([1, 2]), "label": [0, 1], column: values}
    write_parquet(tmp_path / name / "train-00000-of-00001.parquet", columns, "image", "label", ("ant", "faces"))
    found = read_copy(COPIES[name], name, tmp_path)
    assert found is not None
    assert found.splits["train"].keys == keys


def test_a_copy_without_names_keeps_its_order_and_says_so(tmp_path: Path) -> None:
    labels = [k % 102 for k in range(3060)]
    for split, count in (("train", 3060), ("test", 6084)):
        pictures = [{"bytes": b"%d" % k, "path": None} for k in range(count)]
        columns = {"image": pictures, "label": (labels * 2)[:count]}
        write_parquet(tmp_path / "caltech101" / "default" / split / "0000.parquet", columns, "image")
    made = read_task(TASKS["caltech101"], tmp_path)
    assert made is not None
    assert [len(made.splits[split]) for split in (TRAIN, VALIDATION, TEST)] == [800, 200, 6084]
    assert made.splits[VALIDATION].sources[0].read() == b"2754"
    assert "does not say what TensorFlow Datasets calls its pictures" in made.warnings[0]


def test_what_is_no_copy_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "cifar10" / "train-00000-of-00001.parquet"

    def read() -> Located | None:
        return read_copy(COPIES["cifar10"], "cifar10", tmp_path)

    assert read() is None
    write_parquet(path, {"img": rows([1]), "other": [1]}, "img")
    with pytest.raises(DataError, match=r"no column 'label': it is no copy of uoft-cs/cifar10"):
        read()
    write_parquet(path, {"img": rows([1]), "label": [None]}, "img")
    with pytest.raises(DataError, match="label None"):
        read()
    write_parquet(path, {"img": [1.0], "label": [1]}, "")
    with pytest.raises(DataError, match="no pictures in column 'img'"):
        read()
    path.write_bytes(b"PAR1" + bytes(50))
    with pytest.raises(DataError, match=r"damaged or no Parquet file .*: fetch it again"):
        read()
    picture = pa.array(rows([1]), pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    for names in (["img", "img", "label"], ["img", "label", "label"]):
        columns = [{"img": picture, "label": pa.array([1])}[name] for name in names]
        pq.write_table(pa.table(columns, names=names), path)
        with pytest.raises(DataError, match=r"several columns '(img|label)'"):
            read()
    no_text = pa.array([b"\xff"]).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table([picture, pa.array([1]), no_text], names=["img", "label", "id"]), path)
    with pytest.raises(DataError, match=r"damaged or no Parquet file .*: fetch it again"):
        read()


def test_damaged_text_in_place_of_a_picture_is_an_unreadable_picture(tmp_path: Path) -> None:
    no_text = pa.StructArray.from_arrays([pa.array([b"\xff"]).view(pa.string())], ["bytes"])
    path = tmp_path / "cifar10" / "train-00000-of-00001.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table([no_text, pa.array([1])], names=["img", "label"]), path)
    found = read_copy(COPIES["cifar10"], "cifar10", tmp_path)
    assert found is not None
    with pytest.raises(UnreadableImageError, match="damaged"):
        found.splits["train"].read([0])[0].picture.read()


def test_a_row_without_a_picture_is_unreadable_and_the_rest_is_not(tmp_path: Path) -> None:
    pictures = [{"bytes": png(1), "path": None}, {"bytes": None, "path": "gone.png"}]
    columns = {"img": pictures, "label": [1, 2]}
    write_parquet(tmp_path / "cifar10" / "test-00000-of-00001.parquet", columns, "img")
    found = read_copy(COPIES["cifar10"], "cifar10", tmp_path)
    assert found is not None
    good, bad = (example.picture for example in found.splits["test"].read([0, 1]))
    assert good.read() == png(1)
    with pytest.raises(UnreadableImageError, match="the row holds no picture"):
        bad.read()


# vtab-1k.zip ------------------------------------------------------------------------------------------


def kitti_files(above: str, test: int = 711) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for name, count in (("train800.txt", 800), ("val200.txt", 200), ("test.txt", test)):
        lines = [f"images/{name[:3]}/{k:05d}.jpg {(k + len(name)) % 4}" for k in range(count)]
        files[f"{above}{name}"] = "\n".join(lines).encode() + b"\n"
        files |= {above + line.split()[0]: png(k) for k, line in enumerate(lines)}
    return files


@pytest.mark.parametrize("packed", [True, False], ids=["zip", "folder"])
def test_all_tasks_come_from_the_archive_that_others_made(packed: bool, tmp_path: Path) -> None:
    above = f"vtab-1k/{FOLDERS['kitti_distance']}/"
    if packed:
        write_zip(tmp_path / "vtab-1k.zip", kitti_files(above))
    else:
        for name, data in kitti_files(above).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
    made = read_task(TASKS["kitti_distance"], tmp_path)
    assert made is not None
    assert [len(made.splits[split]) for split in (TRAIN, VALIDATION, TEST)] == [800, 200, 711]
    assert made.splits[TEST].labels[:3] == [(0,), (1,), (2,)]
    assert made.splits[VALIDATION].sources[7].read() == png(7)
    assert "took out of the set" in made.notes[0]
    assert read_task(TASKS["dmlab"], tmp_path) is None
    assert set(FOLDERS) == set(TASKS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"test.txt": b"images/tra/00000.jpg 1\n"}, r"names 1 pictures, but the task has 711"),
        ({"val200.txt": b"images/tra/00000.jpg 4\n"}, r"class '4', but there are 4 classes"),
        ({"val200.txt": b"images/tra/99999.jpg 1\n"}, r"names 'images/tra/99999.jpg', which is not there"),
        ({"val200.txt": b"\xff\xff"}, r"damaged or no text"),
    ],
)
def test_a_damaged_archive_is_one_sentence(change: dict[str, bytes], said: str, tmp_path: Path) -> None:
    files = kitti_files("vtab-1k/kitti/", test=1)
    write_zip(tmp_path / "vtab-1k.zip", files | {f"vtab-1k/kitti/{name}": data for name, data in change.items()})
    with pytest.raises(DataError, match=said):
        read_task(TASKS["kitti_distance"], tmp_path)


# SUN397 -----------------------------------------------------------------------------------------------


def test_sun397_is_split_by_tensorflows_lists(tmp_path: Path) -> None:
    names = [f"/{place[0]}/{place}/sun_{k}.jpg" for place in ("abbey", "zoo") for k in range(4)]
    write_tar(tmp_path / "SUN397.tar.gz", {f"SUN397{name}": png(k) for k, name in enumerate(names)}, "w:gz")
    with pytest.raises(MissingInputError, match="sun397_tfds_tr.txt"):
        sun397(tmp_path)
    for short, listed in (("tr", names[::2]), ("va", names[1::4]), ("te", names[3::4])):
        (tmp_path / f"sun397_tfds_{short}.txt").write_text("\n".join(listed) + "\n")
    found = sun397(tmp_path)
    assert found is not None
    assert found.classes == ("/a/abbey", "/z/zoo")
    assert list(found.splits["train"].in_published_order("train")) == by_hand("train", names[::2])
    (example,) = found.splits["test"].read([1])
    assert (example.fields["label"], example.picture.read()) == (1, png(7))
    assert "at most 120,000 pixels" in found.doubts[0]
    (tmp_path / "sun397_tfds_te.txt").write_text("/a/abbey/none.jpg\n")
    with pytest.raises(DataError, match=r"lacks 1 pictures, like '/a/abbey/none.jpg'"):
        sun397(tmp_path)


def test_doubts_are_warnings_of_the_task(tmp_path: Path) -> None:
    def records(size: int) -> Any:
        return Records(size, lambda positions: [Example(np.zeros((1, 1, 3), np.uint8), {"label": 1})] * len(positions))

    found = Located("here", {s: records(1880) for s in ("train", "validation", "test")}, doubts=("as it may be",))
    assert dataset_of(TASKS["dtd"], found, tmp_path).warnings == ("as it may be",)


def test_what_is_missing_is_said_with_every_way_to_get_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "https://huggingface.co/datasets/timm/resisc45 in resisc45" in where_from(PUBLISHED["resisc45"])
    assert "its authors' files do not do" in where_from(PUBLISHED["dmlab"])
    config = ViTConfig(image_size=(8, 8), patch_size=8, width=8, depth=1, num_heads=1, mlp_dim=8, num_classes=2)
    Model(VisionTransformer(config), Preprocessing(crop=(8, 8), resize=8), ("a", "b")).save(tmp_path / "model")
    (tmp_path / "data").mkdir()
    words = ["benchmark", "vtab", str(tmp_path / "model"), "--data", str(tmp_path / "data"), "--protocol", "knn"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 66
    said = capsys.readouterr()
    assert "https://huggingface.co/datasets/XiN0919/VTAB-1k" in said.err + said.out
