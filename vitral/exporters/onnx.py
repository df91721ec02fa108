"""ONNX: opens in ONNX Runtime, OpenVINO, TensorRT, browsers, and wherever else."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from vitral.errors import UnavailableError
from vitral.exporters.graph import explained, quiet, traced
from vitral.exporters.metadata import metadata
from vitral.exporters.options import Options
from vitral.serving.predictor import Model

FILE = "model.onnx"

BATCH = "n"
"""What the first axis of inputs and outputs is called."""

LARGEST_FILE = 1_900_000_000
"""Bytes of weights above which they stand in a file beside: one of protobuf's cannot be larger than 2 GB."""


def write(model: Model, folder: Path, options: Options) -> Path:
    """Write model.onnx (and, of very large models, model.onnx.data) into a folder.

    Raises:
        UnavailableError: onnx, onnxscript or ONNX Runtime is not installed. UsageError: the network cannot be traced.
    """
    if options.kind == "int8-dynamic":
        with tempfile.TemporaryDirectory(prefix="vitral-") as temporary:
            plain = options.plain or write(model, Path(temporary), Options("float32", options.features))
            return _dynamic(plain, folder / FILE, metadata(model, options.kind))
    if options.kind == "float32" and options.plain is not None:
        return Path(shutil.copy(options.plain, folder / FILE))
    onnx = _imported("onnx")
    _imported("onnxscript")
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels' own layout of memory stands in the way of a conversion
        program = traced(model, options.stored, options.features)
        names = ["probabilities", "logits", *(["features"] if options.features else [])]
        with quiet():
            made = explained(
                "ONNX",
                lambda: torch.onnx.export(program, input_names=["pixels"], output_names=names, verbose=False),
            ).model_proto
    _tidy(made)
    onnx.helper.set_model_props(made, metadata(model, options.kind))
    beside = made.ByteSize() > LARGEST_FILE
    onnx.save(made, folder / FILE, save_as_external_data=beside, location=f"{FILE}.data" if beside else None)
    return folder / FILE


def _dynamic(plain: Path, file: Path, words: dict[str, str]) -> Path:
    """Matrix products in int8: weights by row ahead, what they are multiplied with by its range, as it comes."""
    onnx, quantization = _imported("onnx"), _imported("onnxruntime.quantization")
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)  # it recommends a step that does nothing here
    try:
        explained(
            "ONNX Runtime's quantization",
            lambda: quantization.quantize_dynamic(
                plain,
                file,
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                weight_type=quantization.QuantType.QInt8,
            ),
        )
    finally:
        root.setLevel(level)
    made = onnx.load(file)
    onnx.helper.set_model_props(made, words)
    onnx.save(made, file)
    return file


def _tidy(made: Any) -> None:
    """Take out of a graph what torch writes into it of this machine's paths, and give its free axis a name."""
    del made.metadata_props[:]
    graph = made.graph
    for thing in (made, graph):
        thing.doc_string = ""
    for thing in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del thing.metadata_props[:]
        thing.doc_string = ""
    for value in (*graph.value_info, *graph.input, *graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param and axis.dim_param.isidentifier():
                axis.dim_param = BATCH


def _imported(name: str) -> Any:
    from importlib import import_module

    try:
        with quiet():
            return import_module(name)
    except ImportError:
        raise UnavailableError(
            f"writing ONNX needs {name.split('.')[0]}, which is not installed: pip install 'vitral[onnx]'."
        ) from None
