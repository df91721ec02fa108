"""Each published data set in tiny files of its true format: splits, labels and pixels by the sets' own descriptions."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from tests.datasets.formats import encoded, jpeg, norb, png, write_prepared, write_tar, write_zip
from vitral.cli import main
from vitral.config import DataConfig, Preprocessing
from vitral.data.decode import decode
from vitral.datasets import read
from vitral.datasets.published import (
    PUBLISHED,
    Published,
    aerial,
    cifar,
    digits,
    locate,
    oxford,
    scenes,
    sprites,
)
from vitral.datasets.published import norb as small
from vitral.datasets.published.imagenet import imagenet
from vitral.datasets.records import Records
from vitral.errors import DataError, MissingInputError, UsageError
from vitral.models.vit import VisionTransformer, ViTConfig
from vitral.serving.predictor import Model

RNG = np.random.default_rng(0)


def labels(records: Records, field: str = "label") -> list[int]:
    return [example.fields[field] for example in records.read(range(records.count))]


def test_the_published_order_is_that_of_tensorflow_datasets() -> None:
    """The catalogue's page of CIFAR-10 shows train_16399, train_01680, train_47917, train_17307 first."""
    keys = range(50_000)
    order = Records(50_000, lambda _: [], keys).in_published_order("train")
    assert list(order[:4]) == [16399, 1680, 47917, 17307]
    assert sorted(order) == list(keys)
    names = [f"{k}/a.jpg" for k in range(50)]
    by_hand = sorted(range(50), key=lambda k: int(hashlib.md5(b"test" + names[k].encode()).hexdigest(), 16))
    assert list(Records(50, lambda _: [], names).in_published_order("test")) == by_hand


# CIFAR ----------------------------------------------------------------------------------------------


def cifar_files(folder: Path, coarse: bool, count: int = 4) -> dict[str, tuple[np.ndarray, list[int]]]:
    """An archive of the binary version, and what it holds: pixels [n, 3, 32, 32] and labels by file."""
    names = ["train.bin", "test.bin"] if coarse else [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]
    held, files = {}, {}
    for k, name in enumerate(names):
        pixels = RNG.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        fine = [(k + i) % (100 if coarse else 10) for i in range(count)]
        rows = [bytes([19, fine[i]] if coarse else [fine[i]]) + pixels[i].tobytes() for i in range(count)]
        files[f"cifar/{name}"] = b"".join(rows)
        held[name] = pixels, fine
    words = [f"c{k}" for k in range(100 if coarse else 10)]
    files["cifar/" + ("fine_label_names.txt" if coarse else "batches.meta.txt")] = ("\n".join(words) + "\n\n").encode()
    write_tar(folder / f"cifar-{'100' if coarse else '10'}-binary.tar.gz", files, "w:gz")
    return held


def test_cifar10_is_read_from_its_binary_archive(tmp_path: Path) -> None:
    held = cifar_files(tmp_path, coarse=False)
    found = cifar.cifar10(tmp_path)
    assert found is not None
    assert found.classes == tuple(f"c{k}" for k in range(10))
    assert {name: split.count for name, split in found.splits.items()} == {"train": 20, "test": 4}
    assert labels(found.splits["train"])[4:8] == held["data_batch_2.bin"][1]
    example = found.splits["train"].read([9])[0]
    assert np.array_equal(decode(example.picture), held["data_batch_3.bin"][0][1].transpose(1, 2, 0))


def test_cifar100_has_the_fine_label(tmp_path: Path) -> None:
    held = cifar_files(tmp_path, coarse=True)
    found = cifar.cifar100(tmp_path)
    assert found is not None
    assert labels(found.splits["test"]) == held["test.bin"][1]
    assert np.array_equal(decode(found.splits["test"].read([2])[0].picture), held["test.bin"][0][2].transpose(1, 2, 0))


def test_a_damaged_cifar_is_one_sentence(tmp_path: Path) -> None:
    write_tar(tmp_path / "cifar-100-binary.tar.gz", {"c/train.bin": bytes(3073), "c/test.bin": b""}, "w:gz")
    with pytest.raises(DataError, match=r"3,073 bytes, which are no records of 3,074"):
        cifar.cifar100(tmp_path)
    assert cifar.cifar10(tmp_path) is None


# Oxford ---------------------------------------------------------------------------------------------


def test_pets_come_from_both_archives(tmp_path: Path) -> None:
    names = [f"{breed}_{n}" for breed in ("Abyssinian", "great_pyrenees") for n in (1, 2, 3)]
    pictures = {f"images/{name}.jpg": jpeg(k) for k, name in enumerate(names)} | {"images/x.mat": b"?"}
    write_tar(tmp_path / "images.tar.gz", pictures, "w:gz")
    lines = [f"{name} {1 + k // 3} {1 + k // 3} 1" for k, name in enumerate(names)]
    write_tar(
        tmp_path / "annotations.tar.gz",
        {
            "annotations/trainval.txt": "\n".join(lines[::2]).encode(),
            "annotations/test.txt": "\n".join(lines[1::2]).encode(),
        },
        "w:gz",
    )
    found = oxford.pets(tmp_path)
    assert found is not None
    assert found.classes == ("Abyssinian", "great_pyrenees")
    assert labels(found.splits["train"]) == [0, 0, 1]
    assert labels(found.splits["test"]) == [0, 1, 1]
    assert found.splits["test"].keys == ["Abyssinian_2.jpg", "great_pyrenees_1.jpg", "great_pyrenees_3.jpg"]
    assert found.splits["test"].read([1])[0].picture.read() == jpeg(3)
    write_tar(tmp_path / "images.tar.gz", {"images/Abyssinian_1.jpg": jpeg(0)}, "w:gz")
    with pytest.raises(DataError, match="lacks 2 pictures"):
        oxford.pets(tmp_path)


def write_flowers(folder: Path, counts: tuple[int, int, int] = (2, 2, 3)) -> list[int]:
    total = sum(counts)
    write_tar(folder / "102flowers.tgz", {f"jpg/image_{n + 1:05d}.jpg": jpeg(n) for n in range(total)}, "w:gz")
    truth = [1 + (7 * n) % 102 for n in range(total)]
    numbers = np.arange(1, total + 1)[::-1]
    sets = np.split(numbers, np.cumsum(counts)[:2])
    savemat(folder / "imagelabels.mat", {"labels": np.array([truth], dtype=np.uint8)})
    savemat(folder / "setid.mat", dict(zip(("trnid", "valid", "tstid"), ([s] for s in sets), strict=True)))
    return truth


def test_flowers_come_with_their_matlab_files(tmp_path: Path) -> None:
    truth = write_flowers(tmp_path)
    found = oxford.flowers(tmp_path)
    assert found is not None
    assert {name: split.count for name, split in found.splits.items()} == {"train": 2, "validation": 2, "test": 3}
    assert labels(found.splits["train"]) == [truth[6] - 1, truth[5] - 1]
    assert found.splits["train"].read([1])[0].picture.read() == jpeg(5)
    (tmp_path / "setid.mat").write_bytes((tmp_path / "setid.mat").read_bytes()[:150])
    with pytest.raises(DataError, match=r"setid\.mat' is damaged or no MATLAB file"):
        oxford.flowers(tmp_path)
    (tmp_path / "setid.mat").unlink()
    with pytest.raises(MissingInputError, match="fetch it as well"):
        oxford.flowers(tmp_path)


def test_textures_are_those_of_the_first_partition(tmp_path: Path) -> None:
    lists = {f"dtd/labels/{split}{k}.txt": b"" for split in ("train", "val", "test") for k in (1, 2)}
    lists |= {
        "dtd/labels/train1.txt": b"banded/banded_1.jpg\nwoven/woven_1.jpg\n",
        "dtd/labels/val1.txt": b"woven/woven_2.jpg\n",
        "dtd/labels/test1.txt": b"banded/banded_2.jpg\n",
    }
    pictures = {f"dtd/images/{c}/{c}_{n}.jpg": jpeg(n) for c in ("banded", "woven") for n in (1, 2)}
    write_tar(tmp_path / "dtd-r1.0.1.tar.gz", lists | pictures, "w:gz")
    found = oxford.textures(tmp_path)
    assert found is not None
    assert (found.classes, labels(found.splits["train"])) == (("banded", "woven"), [0, 1])
    assert labels(found.splits["validation"]) == [1]
    assert found.splits["train"].keys == ["banded/banded_1.jpg", "woven/woven_1.jpg"]
    tiny = Published("dtd", {"train": 2}, oxford.textures)
    (tmp_path / "dtd").mkdir()  # a folder for each set is as good as one for all
    (tmp_path / "dtd-r1.0.1.tar.gz").rename(tmp_path / "dtd" / "dtd-r1.0.1.tar.gz")
    again = locate(tiny, tmp_path)
    assert again is not None
    assert again.where == str(tmp_path / "dtd" / "dtd-r1.0.1.tar.gz")


# Digits, toys, sprites ------------------------------------------------------------------------------


def test_svhn_calls_ten_zero(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (32, 32, 3, 5), dtype=np.uint8)
    for split in ("train", "test"):
        savemat(
            tmp_path / f"{split}_32x32.mat", {"X": pixels, "y": np.array([[10], [1], [9], [2], [10]], dtype=np.uint8)}
        )
    found = digits.svhn(tmp_path)
    assert found is not None
    assert labels(found.splits["test"]) == [0, 1, 9, 2, 0]
    assert np.array_equal(decode(found.splits["train"].read([3])[0].picture), pixels[..., 3])
    savemat(tmp_path / "test_32x32.mat", {"X": pixels, "y": np.array([[1]])})
    with pytest.raises(DataError, match="go together"):
        digits.svhn(tmp_path)


def test_smallnorb_is_read_from_its_binary_files(tmp_path: Path) -> None:
    pictures = RNG.integers(0, 256, (6, 2, 96, 96), dtype=np.uint8)
    info = np.array([[8, k, 2 * (17 - k), 3] for k in range(6)], dtype="<i4")
    for name in small.NAMES.values():
        (tmp_path / f"{name}-dat.mat.gz").write_bytes(gzip.compress(norb(pictures, 0x1E3D4C55), 1))
        (tmp_path / f"{name}-info.mat").write_bytes(norb(info, 0x1E3D4C54))
    found = small.smallnorb(tmp_path)
    assert found is not None
    assert labels(found.splits["test"], "label_elevation") == [0, 1, 2, 3, 4, 5]
    assert labels(found.splits["test"], "label_azimuth") == [17, 16, 15, 14, 13, 12]
    grey = decode(found.splits["train"].read([4])[0].picture)
    assert np.array_equal(grey, np.repeat(pictures[4, 0, :, :, None], 3, axis=2))
    path = tmp_path / f"{small.NAMES['test']}-info.mat"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match="holds 23 values"):
        small.smallnorb(tmp_path)
    path.write_bytes(b"what")
    with pytest.raises(DataError, match="binary format"):
        small.smallnorb(tmp_path)


def test_sprites_are_read_in_a_stream_and_their_pickle_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sprites, "CHUNK", 3)
    pictures = RNG.integers(0, 2, (8, 64, 64), dtype=np.uint8)
    latents = np.array([[0, 1, 2, 39 - k, 4 * k, 31] for k in range(8)])
    path = tmp_path / sprites.FILE
    np.savez_compressed(path, metadata=np.array({"a": 1}, dtype=object), imgs=pictures, latents_classes=latents)
    found = sprites.dsprites(tmp_path)
    assert found is not None
    examples = found.splits["train"].read([7, 2, 0])
    assert [e.fields["label_orientation"] for e in examples] == [32, 37, 39]
    assert [e.fields["label_x_position"] for e in examples] == [28, 8, 0]
    assert np.array_equal(examples[1].picture.read(), pictures[2])
    np.savez(path, imgs=pictures.astype(object), latents_classes=latents)
    with pytest.raises(DataError, match=r"object|not dSprites"):
        sprites.dsprites(tmp_path)
    np.savez_compressed(path, imgs=pictures + 1, latents_classes=latents)
    with pytest.raises(DataError, match="other values than 0 and 1"):
        sprites.dsprites(tmp_path).splits["train"].read([0])  # type: ignore[union-attr]
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="damaged"):
        sprites.dsprites(tmp_path)


# From above -----------------------------------------------------------------------------------------


def test_eurosat_has_one_split_and_keys_of_class_and_name(tmp_path: Path) -> None:
    files = {f"EuroSAT_RGB/{c}/{c}_{n}.jpg": jpeg(n) for c in ("River", "Forest") for n in (1, 2)}
    write_zip(tmp_path / "EuroSAT_RGB.zip", files | {"EuroSAT_RGB/readme.txt": b"x"})
    found = aerial.eurosat(tmp_path)
    assert found is not None
    assert found.classes == ("Forest", "River")
    assert labels(found.splits["train"]) == [0, 0, 1, 1]
    assert found.splits["train"].keys == [
        "Forest_Forest_1.jpg",
        "Forest_Forest_2.jpg",
        "River_River_1.jpg",
        "River_River_2.jpg",
    ]


# Scenes ---------------------------------------------------------------------------------------------


def test_clevr_scenes_belong_to_pictures_by_name(tmp_path: Path) -> None:
    files = {}
    for split in ("train", "val"):
        scenes_of = [
            {
                "image_filename": f"CLEVR_{split}_{k:06d}.png",
                "objects": [{"pixel_coords": [1, 2, 7.5 + j]} for j in range(3 + k)],
            }
            for k in (1, 0)
        ]
        files[f"CLEVR_v1.0/scenes/CLEVR_{split}_scenes.json"] = json.dumps({"scenes": scenes_of}).encode()
        files |= {f"CLEVR_v1.0/images/{split}/CLEVR_{split}_{k:06d}.png": png(k) for k in (0, 1)}
    write_zip(tmp_path / "CLEVR_v1.0.zip", files)
    found = scenes.clevr(tmp_path)
    assert found is not None
    first, second = found.splits["train"].read([0, 1])
    assert first.fields["objects/pixel_coords"].tolist() == [1, 2, 7.5, 1, 2, 8.5, 1, 2, 9.5]
    assert len(second.fields["objects/pixel_coords"]) == 12
    assert second.picture.read() == png(1)
    assert found.splits["validation"].keys == ["CLEVR_val_000000.png", "CLEVR_val_000001.png"]


def write_kitti(folder: Path, videos: int = 20, each: int = 3) -> dict[str, set[int]]:
    """Pictures of some videos; returns which belong to which split, by the rule written out."""
    total = videos * each
    rows = np.random.default_rng(5).permutation(total) + 1
    lines = [f"2011_09_26 2011_09_26_drive_{(k // each):04d}_sync {k:010d}" for k in range(total)]
    devkit = {
        "mapping/train_rand.txt": ",".join(map(str, rows)).encode(),
        "mapping/train_mapping.txt": "\n".join(lines).encode(),
    }
    write_zip(folder / "devkit_object.zip", devkit)
    text = b"DontCare -1 -1 -10 0 0 1 1 -1 -1 -1 -1000 -1000 -1000 -10\nVan 0 0 1 0 0 1 1 1 1 1 0.5 1.5 %d.25 0\n"
    write_zip(folder / "data_object_label_2.zip", {f"training/label_2/{k:06d}.txt": text % k for k in range(total)})
    write_zip(folder / "data_object_image_2.zip", {f"training/image_2/{k:06d}.png": png(k) for k in range(total)})
    np.random.seed(seed=123)
    names = sorted({line.split(" ")[1] for line in lines})
    test = set(np.random.choice(names, max(1, 10 * videos // 100), replace=False))
    rest = sorted(set(names) - test)
    validation = set(np.random.choice(rest, max(1, 10 * videos // 100), replace=False))
    splits: dict[str, set[int]] = {"train": set(), "validation": set(), "test": set()}
    for picture, row in enumerate(rows):
        video = lines[row - 1].split(" ")[1]
        splits["test" if video in test else "validation" if video in validation else "train"].add(picture)
    return splits


def test_kitti_keeps_videos_together(tmp_path: Path) -> None:
    wanted = write_kitti(tmp_path)
    found = scenes.kitti(tmp_path)
    assert found is not None
    names = {
        split: {int(str(key).removesuffix(".png")) for key in records.keys or ()}
        for split, records in found.splits.items()
    }
    assert names == wanted
    assert [len(wanted[split]) for split in ("train", "validation", "test")] == [48, 6, 6]
    example = found.splits["test"].read([2])[0]
    number = sorted(wanted["test"])[2]
    assert example.fields["objects/type"].tolist() == [1]
    assert example.fields["objects/location"].tolist() == [0.5, 1.5, number + 0.25]
    assert example.picture.read() == png(number)


# ImageNet -------------------------------------------------------------------------------------------


def write_imagenet(folder: Path) -> None:
    """Three classes, whose own numbers run against the order of their WordNet ids, and a group of classes."""
    ids = {1: "n03000000", 2: "n01000000", 3: "n02000000", 1001: "n00000001"}
    kind = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object)]
    synsets = np.array([(np.array([[n]]), w, "word") for n, w in ids.items()], dtype=kind).reshape(-1, 1)
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets})
    truth = b"3\n1\n2\n1\n"
    kit = {"kit/data/meta.mat": meta.getvalue(), "kit/data/ILSVRC2012_validation_ground_truth.txt": truth}
    write_tar(folder / "ILSVRC2012_devkit_t12.tar.gz", kit, "w:gz")
    write_tar(folder / "ILSVRC2012_img_val.tar", {f"ILSVRC2012_val_{n:08d}.JPEG": jpeg(n) for n in (2, 1, 4, 3)})
    inner = {}
    for n, word in ids.items():
        if n <= 1000:
            path = write_tar(folder / "inner", {f"{word}_{k}.JPEG": jpeg(10 * n + k) for k in (2, 1)})
            inner[f"{word}.tar"] = path.read_bytes()
            path.unlink()
    write_tar(folder / "ILSVRC2012_img_train.tar", inner)


def test_imagenet_is_read_inside_its_tars(tmp_path: Path) -> None:
    write_imagenet(tmp_path)
    found = imagenet(tmp_path)
    assert found is not None
    assert found.classes == ("n01000000", "n02000000", "n03000000")
    assert labels(found.splits["validation"]) == [1, 2, 0, 2]
    assert [e.picture.read() for e in found.splits["validation"].read(range(4))] == [jpeg(n) for n in (1, 2, 3, 4)]
    assert labels(found.splits["train"]) == [0, 0, 1, 1, 2, 2]
    assert [e.picture.read() for e in found.splits["train"].read([0, 1, 5])] == [jpeg(21), jpeg(22), jpeg(12)]
    write_tar(tmp_path / "ILSVRC2012_img_val.tar", {"ILSVRC2012_val_00000001.JPEG": jpeg(1)})
    with pytest.raises(DataError, match="1 pictures, but 4 have labels"):
        imagenet(tmp_path)


# As PICTURES ----------------------------------------------------------------------------------------


@pytest.fixture
def tiny_cifar(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = PUBLISHED["cifar10"]
    tiny = Published(whole.name, {"train": 20, "test": 4}, whole.archive, whole.files)
    monkeypatch.setitem(PUBLISHED, "cifar10", tiny)


@pytest.mark.usefixtures("tiny_cifar")
def test_a_published_set_is_pictures_by_its_name(tmp_path: Path) -> None:
    held = cifar_files(tmp_path, coarse=False)
    dataset = read(DataConfig(path=f"cifar10:{tmp_path}", validation_fraction=0.25))
    assert (dataset.name, dataset.classes) == ("cifar10", tuple(f"c{k}" for k in range(10)))
    assert sum(map(len, dataset.splits.values())) == 24
    assert [label for (label,) in dataset.splits["test"].labels] == held["test_batch.bin"][1]
    assert read(DataConfig(path=f"cifar10:{tmp_path}", validation_fraction=0.25)).cut == dataset.cut
    with pytest.raises(UsageError, match="is for tables"):
        read(DataConfig(path=f"cifar10:{tmp_path}", label_column="x"))
    with pytest.raises(UsageError, match="did you mean cifar10"):
        read(DataConfig(path=f"cifar11:{tmp_path}"))
    with pytest.raises(MissingInputError, match=r"pets is not in .*images\.tar\.gz"):
        read(DataConfig(path=f"pets:{tmp_path}"))
    with pytest.raises(MissingInputError, match="is no folder"):
        read(DataConfig(path="pets:/nowhere/at/all"))


@pytest.mark.usefixtures("tiny_cifar")
def test_a_published_set_is_checked_and_measured_like_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = cifar_files(tmp_path, coarse=False)
    assert main(["data", "check", f"cifar10:{tmp_path}", "--json", "--report", str(tmp_path / "page.html")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(sum(of_class.values()) for of_class in found["counts"].values()) == 24
    assert main(["data", "check", f"cifar10:{tmp_path}", "--json", "--write-clean", str(tmp_path / "c.csv")]) == 2
    assert "inside an archive" in json.loads(capsys.readouterr().out)["error"]["message"]
    torch.manual_seed(0)
    network = VisionTransformer(ViTConfig(4, 16, 1, 32, 2, (8, 8), 10))
    torch.nn.init.normal_(network.head.weight)
    model = Model(network, Preprocessing((8, 8), (8, 8)), [f"c{k}" for k in range(10)])
    folder = model.save(tmp_path / "model")
    table = tmp_path / "predictions.csv"
    words = ["evaluate", str(folder), f"cifar10:{tmp_path}", "--device", "cpu", "--json", "--predictions", str(table)]
    assert main(words) == 0
    pixels, truth = held["test_batch.bin"]
    guesses = [model.predict(picture.transpose(1, 2, 0), top=1)[0].label for picture in pixels]
    right = sum(guess == f"c{label}" for guess, label in zip(guesses, truth, strict=True))
    assert json.loads(capsys.readouterr().out)["top1"] == right / 4
    assert [line.split(",")[2] for line in table.read_text().splitlines()[1:]] == guesses


def test_a_set_of_another_size_is_refused(tmp_path: Path) -> None:
    cifar_files(tmp_path, coarse=False)
    with pytest.raises(DataError, match="20 examples in train, but cifar10 has 50,000"):
        locate(PUBLISHED["cifar10"], tmp_path)


@pytest.mark.usefixtures("tiny_cifar")
def test_prepared_and_own_archives_give_the_same_split(tmp_path: Path) -> None:
    """TensorFlow Datasets' writer is re-enacted: examples sorted by MD5 of split and key, in shards one after another."""
    held = cifar_files(tmp_path, coarse=False)
    pixels = np.concatenate([held[f"data_batch_{k}.bin"][0] for k in range(1, 6)]).transpose(0, 2, 3, 1)
    truth = [label for k in range(1, 6) for label in held[f"data_batch_{k}.bin"][1]]

    def row(k: int) -> dict[str, object]:
        return {"id": b"x", "image": encoded(Image.fromarray(pixels[k]), "PNG"), "label": truth[k]}

    order = sorted(range(20), key=lambda k: hashlib.md5(f"train{k}".encode()).digest())
    prepared = tmp_path / "prepared"
    write_prepared(prepared / "cifar10", "cifar10", {"train": [row(k) for k in order], "test": [row(0)] * 4})
    ours, theirs = locate(PUBLISHED["cifar10"], tmp_path), locate(PUBLISHED["cifar10"], prepared)
    assert ours is not None
    assert theirs is not None
    mine = ours.splits["train"]
    for a, b in zip(
        mine.read(mine.in_published_order("train")[3:9]), theirs.splits["train"].read(range(3, 9)), strict=True
    ):
        assert a.fields["label"] == b.fields["label"]
        assert np.array_equal(decode(a.picture), decode(b.picture))
