"""Tensors as the Open Inference Protocol (version 2) writes them: in JSON, or as bytes after it.

The binary form: the header Inference-Header-Content-Length says how much of the body is JSON; an input whose
parameters have "binary_data_size" takes that many of the bytes after it, in order. A BYTES tensor is then, for each
element, its length in 4 bytes, little endian, and itself; in JSON it is a list of strings in base64.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vitral.serving.pictures import Picture, from_base64, json_object
from vitral.serving.refusals import Refusal

JSON_LENGTH = "inference-header-content-length"

KINDS = {"UINT8": np.dtype(np.uint8), "FP32": np.dtype("<f4")}

MOST_VALUES = 1_000_000
"""Of a request in JSON: while it is read, every other request waits. Bytes after the JSON have no such limit."""

Sources = list[Picture] | list[np.ndarray]


def request_of(body: bytes, header: str | None) -> tuple[dict[str, Any], bytes]:
    """The JSON of a request, and the bytes after it.

    Raises:
        Refusal: 400, it is malformed. 413, it has more than `MOST_VALUES`.
    """
    if header is None:
        return _counted(body), b""
    if not header.isdecimal() or int(header) > len(body):
        raise Refusal(400, f"{JSON_LENGTH} must be at most the body's {len(body)} bytes, not {header!r:.40}.")
    return _counted(body[: int(header)]), body[int(header) :]


def _counted(words: bytes) -> dict[str, Any]:
    if words.count(b",") >= MOST_VALUES:
        raise Refusal(
            413, f"the JSON has more than {MOST_VALUES:,} values: send them as bytes after it (binary_data_size)."
        )
    return json_object(words)


def sources_of(document: Mapping[str, Any], rest: bytes, most: int) -> Sources:
    """The pictures of a request: its one input, "images" (BYTES, encoded) or "pixels" (UINT8 [n, height, width, 3]).

    Raises:
        Refusal: 400, the input is not as its datatype and shape say. 413, more than `most` pictures.
    """
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Refusal(400, 'one input is needed: "images" (BYTES) or "pixels" (UINT8).')
    tensor = inputs[0]
    name, kind, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    if (name, kind) not in (("images", "BYTES"), ("pixels", "UINT8")):
        raise Refusal(400, f'an input is "images" of BYTES or "pixels" of UINT8, not {name!r:.80} of {kind!r:.40}.')
    if not isinstance(shape, list) or not all(type(size) is int and 0 < size < 1 << 31 for size in shape):
        raise Refusal(400, f"{name}: shape must be a list of whole numbers above 0.")
    if not shape:
        raise Refusal(400, f"{name}: shape must begin with the number of pictures.")
    if not isinstance(tensor.get("data", []), list | None):
        raise Refusal(400, f"{name}: data must be a list.")
    if shape[0] > most:
        raise Refusal(413, f"{name}: the first size is the number of pictures, at most {most}.")
    raw = _raw(tensor, rest)
    if kind == "BYTES":
        if math.prod(shape) != shape[0]:
            raise Refusal(400, f"images: shape must be [n] or [n, 1], not {shape}.")
        return _encoded(tensor.get("data"), raw, shape[0])
    if len(shape) != 4 or shape[3] != 3:
        raise Refusal(400, f"pixels: shape must be [n, height, width, 3], not {shape}.")
    return list(_pixels(tensor.get("data"), raw, shape))


def answer_of(
    answer: dict[str, Any], outputs: Mapping[str, np.ndarray | list[str]], binary: set[str]
) -> tuple[bytes, int | None]:
    """The body of an answer, and how much of it is JSON where tensors follow it."""
    blobs = []
    answer["outputs"] = []
    for name, values in outputs.items():
        words = isinstance(values, list)
        entry: dict[str, Any] = {
            "name": name,
            "datatype": "BYTES" if words else "FP32",
            "shape": [len(values)] if isinstance(values, list) else list(values.shape),
        }
        if name in binary:
            blob = _packed(values) if isinstance(values, list) else values.astype("<f4").tobytes()
            entry["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            entry["data"] = values if isinstance(values, list) else [float(value) for value in values.reshape(-1)]
        answer["outputs"].append(entry)
    head = json.dumps(answer, allow_nan=False).encode()
    return b"".join([head, *blobs]), len(head) if blobs else None


def wanted(document: Mapping[str, Any], known: Sequence[str], usual: Sequence[str]) -> tuple[list[str], set[str]]:
    """Names of the outputs that a request asks for, and of those among them that should be bytes.

    Raises:
        Refusal: 400, an output is unknown.
    """
    parameters = document.get("parameters")
    all_binary = isinstance(parameters, dict) and parameters.get("binary_data_output") is True
    asked = document.get("outputs") or [{"name": name} for name in usual]
    if not isinstance(asked, list) or not all(isinstance(one, dict) and one.get("name") in known for one in asked):
        raise Refusal(400, f"outputs are among {', '.join(known)}.")
    names = [one["name"] for one in asked]
    binary = {one["name"] for one in asked if (one.get("parameters") or {}).get("binary_data", all_binary) is True}
    return names, binary


def _raw(tensor: Mapping[str, Any], rest: bytes) -> bytes | None:
    parameters = tensor.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        return None
    if type(size) is not int or size != len(rest):
        raise Refusal(400, f"binary_data_size says {size!r:.40}, {len(rest)} bytes follow the JSON.")
    return rest


def _encoded(data: Any, raw: bytes | None, count: int) -> list[Picture]:
    if raw is None:
        if not isinstance(data, list) or len(data) != count:
            raise Refusal(400, f"images: data must be a list of {count} strings in base64.")
        return [Picture(from_base64(value, f"images[{k}]")) for k, value in enumerate(data)]
    found, place = [], 0
    for _ in range(count):
        try:
            length = struct.unpack_from("<I", raw, place)[0]
        except struct.error:
            raise Refusal(400, "images: the bytes end before the last element.") from None
        found.append(Picture(raw[place + 4 : place + 4 + length]))
        place += 4 + length
    if place != len(raw):
        raise Refusal(400, f"images: {count} elements are {place} bytes, not {len(raw)}.")
    return found


def _pixels(data: Any, raw: bytes | None, shape: list[int]) -> np.ndarray:
    if raw is not None:
        values: np.ndarray = np.frombuffer(raw, np.uint8)
    else:
        try:
            values = np.array(data)
        except ValueError:
            values = np.zeros(0)
        if values.dtype.kind not in "iu" or (values.size and not 0 <= values.min() <= values.max() <= 255):
            raise Refusal(400, "pixels: data must be whole numbers from 0 to 255, in one list or nested as the shape.")
    if values.size != math.prod(shape):
        raise Refusal(400, f"pixels: the shape {shape} needs {math.prod(shape)} values, there are {values.size}.")
    return values.astype(np.uint8).reshape(shape)


def _packed(words: Sequence[str]) -> bytes:
    return b"".join(struct.pack("<I", len(word.encode())) + word.encode() for word in words)
