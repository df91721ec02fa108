"""Data sets as their authors, Hugging Face or TensorFlow Datasets publish them: what they are called, how large they
are, which files hold them and where these come from. Names, sizes and class counts are those of TensorFlow Datasets'
catalogue; sources of the files are in each reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vitral.datasets.published.aerial import eurosat, resisc45
from vitral.datasets.published.cifar import cifar10, cifar100
from vitral.datasets.published.digits import svhn
from vitral.datasets.published.imagenet import imagenet
from vitral.datasets.published.located import Located
from vitral.datasets.published.norb import smallnorb
from vitral.datasets.published.oxford import flowers, pets, textures
from vitral.datasets.published.parquet import COPIES, read_copy
from vitral.datasets.published.places import sun397
from vitral.datasets.published.scenes import clevr, kitti
from vitral.datasets.published.sprites import dsprites
from vitral.datasets.tfds import class_names, find_prepared, read_prepared
from vitral.errors import DataError

__all__ = ["PUBLISHED", "Located", "Published", "locate"]


@dataclass(frozen=True)
class Published:
    """One published data set.

    Attributes:
        name, config: in TensorFlow Datasets.
        sizes: examples by split; a copy with other numbers is refused, since its splits would be others.
        archive: reads the authors' files in a folder; `None` if they are not there. Some sets can be had with their
            published splits only from TensorFlow Datasets, and have none.
        files: what the authors' files are called, and where they are.
    """

    name: str
    sizes: Mapping[str, int]
    archive: Callable[[Path], Located | None] | None = None
    files: str = ""
    config: str = ""

    @property
    def place(self) -> str:
        """Its folder among prepared data sets."""
        return f"{self.name}/{self.config}" if self.config else self.name


_WITHOUT_ARCHIVE = {
    # Why the authors' files do not do: VTAB counts in an order, or uses pictures, that only copies have.
    "caltech101": "its train split was drawn in the order of a disk's folder",
    "diabetic_retinopathy_detection": "its pictures were cut, made smaller and encoded anew",
    "patch_camelyon": "published as HDF5",
    "dmlab": "published as TFRecords of its own",
}

PUBLISHED: dict[str, Published] = {
    found.name: found
    for found in (
        Published("caltech101", {"train": 3_060, "test": 6_084}),
        Published("cifar10", {"train": 50_000, "test": 10_000}, cifar10,
                  "cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html"),
        Published("cifar100", {"train": 50_000, "test": 10_000}, cifar100,
                  "cifar-100-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html"),
        Published("dtd", {"train": 1_880, "validation": 1_880, "test": 1_880}, textures,
                  "dtd-r1.0.1.tar.gz from https://www.robots.ox.ac.uk/~vgg/data/dtd/"),
        Published("oxford_flowers102", {"train": 1_020, "validation": 1_020, "test": 6_149}, flowers,
                  "102flowers.tgz, imagelabels.mat and setid.mat from https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"),
        Published("oxford_iiit_pet", {"train": 3_680, "test": 3_669}, pets,
                  "images.tar.gz and annotations.tar.gz from https://www.robots.ox.ac.uk/~vgg/data/pets/"),
        Published("sun397", {"train": 76_128, "validation": 10_875, "test": 21_750}, sun397,
                  "SUN397.tar.gz (37 GB) from https://vision.princeton.edu/projects/2010/SUN/ with sun397_tfds_tr.txt, "
                  "sun397_tfds_va.txt and sun397_tfds_te.txt from tensorflow_datasets/image_classification of "
                  "https://github.com/tensorflow/datasets", config="tfds"),
        Published("svhn_cropped", {"train": 73_257, "test": 26_032}, svhn,
                  "train_32x32.mat and test_32x32.mat from http://ufldl.stanford.edu/housenumbers/"),
        Published("patch_camelyon", {"train": 262_144, "validation": 32_768, "test": 32_768}),
        Published("eurosat", {"train": 27_000}, eurosat, "EuroSAT_RGB.zip from https://zenodo.org/records/7711810",
                  config="rgb"),
        Published("resisc45", {"train": 31_500}, resisc45,
                  "the folder NWPU-RESISC45, unpacked from the authors' .rar"),
        Published("diabetic_retinopathy_detection", {"train": 35_126, "validation": 10_906, "test": 42_670},
                  config="btgraham-300"),
        Published("clevr", {"train": 70_000, "validation": 15_000}, clevr,
                  "CLEVR_v1.0.zip from https://cs.stanford.edu/people/jcjohns/clevr/"),
        Published("dmlab", {"train": 65_550, "validation": 22_628, "test": 22_735}),
        Published("dsprites", {"train": 737_280}, dsprites,
                  "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz from https://github.com/deepmind/dsprites-dataset"),
        Published("kitti", {"train": 6_347, "validation": 423, "test": 711}, kitti,
                  "data_object_image_2.zip, data_object_label_2.zip and devkit_object.zip from "
                  "https://www.cvlibs.net/datasets/kitti/eval_object.php"),
        Published("smallnorb", {"train": 24_300, "test": 24_300}, smallnorb,
                  "the six smallnorb-*.mat.gz from https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/"),
        Published("imagenet2012", {"validation": 50_000}, imagenet,
                  "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz from "
                  "https://image-net.org"),
    )
}  # fmt: skip
"""By name in TensorFlow Datasets."""


def locate(published: Published, folder: Path) -> Located | None:
    """The data set, from its prepared copy `folder`/NAME[/CONFIG]/VERSION, from its authors' files in `folder`/NAME or
    `folder`, or from Hugging Face's Parquet files below `folder`/NAME; `None` if none of them is there.

    Raises:
        DataError: what is there is damaged, or has other sizes than the published set.
        MissingInputError: a part of it is missing. UnavailableError: a package to read it is.
    """
    prepared = find_prepared(folder, published.name, published.config)
    if prepared is not None:
        found: Located | None = Located(str(prepared), read_prepared(prepared), class_names(prepared))
    else:
        found = _authors(published, folder)
        if found is None and published.name in COPIES:
            found = read_copy(COPIES[published.name], published.name, folder)
    if found is not None:
        for split, size in published.sizes.items():
            count = found.splits[split].count if split in found.splits else 0
            if count != size:
                raise DataError(
                    f"{found.where!r} has {count:,} examples in {split}, but {published.name} has {size:,}: it is not "
                    "whole, or another set."
                )
    return found


def _authors(published: Published, folder: Path) -> Located | None:
    places = [place for place in (folder / published.name, folder) if place.is_dir()]
    made = (published.archive(place) for place in places) if published.archive else iter(())
    return next((located for located in made if located is not None), None)


def where_from(published: Published) -> str:
    """What to put into the folder of data, in a sentence's words."""
    ways = [published.files] if published.archive else []
    if published.name in COPIES:
        ways.append(f"{COPIES[published.name].where} in {published.name}")
    ways.append(f"{published.place}/VERSION as TensorFlow Datasets prepares it")
    why = _WITHOUT_ARCHIVE.get(published.name)
    return "; or ".join(ways) + (f" (its authors' files do not do: {why})" if why else "")
