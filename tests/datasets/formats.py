"""Tiny files in the formats in which data sets are published, written by other people's code where there is some:
protobuf and TensorBoard's record writer for TFRecord, scipy for MATLAB's files, tarfile and zipfile for archives."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from PIL import Image
from tensorboard.summary.writer.record_writer import RecordWriter


def _example_class() -> Any:
    """tf.train.Example, by its definition (tensorflow/core/example/example.proto and feature.proto)."""
    file = descriptor_pb2.FileDescriptorProto(name="example_for_tests.proto", package="t", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name: str, *fields: tuple[str, int, int, int, str]) -> Any:
        made = file.message_type.add(name=name)
        for field, number, kind, label, of in fields:
            made.field.add(name=field, number=number, type=kind, label=label, **({"type_name": of} if of else {}))
        return made

    one, many = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED
    message("BytesList", ("value", 1, kinds.TYPE_BYTES, many, ""))
    message("FloatList", ("value", 1, kinds.TYPE_FLOAT, many, ""))
    message("Int64List", ("value", 1, kinds.TYPE_INT64, many, ""))
    feature = message(
        "Feature",
        ("bytes_list", 1, kinds.TYPE_MESSAGE, one, ".t.BytesList"),
        ("float_list", 2, kinds.TYPE_MESSAGE, one, ".t.FloatList"),
        ("int64_list", 3, kinds.TYPE_MESSAGE, one, ".t.Int64List"),
    )
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    features = message("Features", ("feature", 1, kinds.TYPE_MESSAGE, many, ".t.Features.FeatureEntry"))
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=kinds.TYPE_STRING, label=one)
    entry.field.add(name="value", number=2, type=kinds.TYPE_MESSAGE, label=one, type_name=".t.Feature")
    message("Example", ("features", 1, kinds.TYPE_MESSAGE, one, ".t.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


EXAMPLE = _example_class()


def example(fields: Mapping[str, Any]) -> bytes:
    """A serialised tf.train.Example: bytes, whole numbers, or lists of numbers."""
    made = EXAMPLE()
    for name, value in fields.items():
        feature = made.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif isinstance(value, int):
            feature.int64_list.value.append(value)
        elif all(isinstance(v, int) for v in value) and len(value):
            feature.int64_list.value.extend(value)
        else:
            feature.float_list.value.extend(value)
    return bytes(made.SerializeToString())


def write_records(path: Path, rows: Iterable[bytes]) -> Path:
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for row in rows:
            writer.write(row)
        writer.flush()
    return path


def write_prepared(
    folder: Path, name: str, splits: Mapping[str, Sequence[Mapping[str, Any]]], shards: int = 2, version: str = "3.0.0"
) -> Path:
    """A data set as TensorFlow Datasets prepares it."""
    place = folder / version
    place.mkdir(parents=True)
    described = []
    for split, rows in splits.items():
        cuts = [len(rows) * k // shards for k in range(shards + 1)]
        for k in range(shards):
            path = place / f"{name}-{split}.tfrecord-{k:05d}-of-{shards:05d}"
            write_records(path, (example(row) for row in rows[cuts[k] : cuts[k + 1]]))
        lengths = [str(cuts[k + 1] - cuts[k]) for k in range(shards)]
        described.append({"name": split, "numBytes": "1", "shardLengths": lengths})
    info = {"name": name, "version": version, "fileFormat": "tfrecord", "splits": described}
    (place / "dataset_info.json").write_text(json.dumps(info))
    (place / "features.json").write_text("{}")
    return place


def png(value: int, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> bytes:
    """A picture of one colour that depends on `value`."""
    colour = (value * 37 % 256, value * 91 % 256, value // 256 * 16 % 256)
    return encoded(Image.new(mode, size, colour if mode == "RGB" else value), "PNG")


def jpeg(value: int) -> bytes:
    return encoded(Image.new("RGB", (8, 8), (value * 37 % 256, value * 91 % 256, 0)), "JPEG")


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_zip(path: Path, files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def norb(values: np.ndarray, magic: int) -> bytes:
    """smallNORB's binary format, as its page describes it."""
    sizes = [*values.shape, *[1] * (3 - values.ndim)]
    return np.array([magic, values.ndim, *sizes], dtype="<i4").tobytes() + values.tobytes()
