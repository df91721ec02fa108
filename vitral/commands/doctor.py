"""Versions, devices, and what is missing, with the way to get it."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from importlib import import_module, metadata
from typing import Any

from vitral.console import Screen
from vitral.version import VERSION

NEEDED = ("torch", "numpy", "pillow", "safetensors", "simplejpeg", "rich", "jaxtyping")
EXTRAS = {
    # package: extra
    "pyarrow": "parquet",
    "scikit-learn": "sklearn",
    "scipy": "scipy",
    "tensorboard": "tensorboard",
    "matplotlib": "inspect",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "nncf": "openvino",
    "huggingface-hub": "hub",
    "timm": "timm",
    "transformers": "transformers",
    "starlette": "serve",
    "uvicorn": "serve",
    "python-multipart": "serve",
    "prometheus-client": "serve",
}

FRAGILE = ("timm", "transformers")
"""Extras that may be installed and not work: they import torchvision, which must be built for this very torch."""


def options(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def call(_: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Look around; exit code 69 if something that vitral needs is missing."""
    packages = {name: _version(name) for name in (*NEEDED, *EXTRAS)}
    missing = [name for name in NEEDED if packages[name] is None]
    found: dict[str, Any] = {
        "vitral": VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "free_disk_gb": round(shutil.disk_usage(".").free / 1e9, 1),
        "packages": packages,
        "devices": ["cpu"] if missing else _devices(),
        "missing": missing,
        "broken": {} if missing else _broken(packages),
    }
    rows = [(name, str(found[name])) for name in ("vitral", "python", "platform", "cores", "free_disk_gb")]
    rows += [(name, version or _way_out(name)) for name, version in packages.items()]
    rows += [("devices", ", ".join(found["devices"]))]
    screen.table(("what", "found"), rows)
    for name in missing:
        screen.warn(f"{name} is missing: pip install {name}")
    for name, reason in found["broken"].items():
        screen.warn(f"{name} is installed and does not work ({reason}): reinstall torchvision for this torch.")
    if not missing:
        screen.result("everything that vitral needs is here")
    return (69 if missing else 0), found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _broken(packages: dict[str, str | None]) -> dict[str, str]:
    """Why an installed extra cannot be imported, by its name."""
    found = {}
    for name in FRAGILE:
        if packages[name] is None:
            continue
        try:
            import_module("torchvision" if name == "transformers" and _version("torchvision") else name)
        except (ImportError, RuntimeError, OSError) as error:
            found[name] = str(error).splitlines()[0]
    return found


def _way_out(name: str) -> str:
    return f"not installed (optional: pip install 'vitral[{EXTRAS[name]}]')" if name in EXTRAS else "missing"


def _devices() -> list[str]:
    import torch

    gpus = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]
