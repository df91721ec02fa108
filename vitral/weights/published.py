"""Published weights by a model's name: fetched once into the cache folder, then read from there.

The files are timm's conversions of the AugReg weights (arXiv 2106.10270: ImageNet-21k, then ImageNet-1k at 224
pixels; Apache-2.0). `HF_ENDPOINT`, `HF_HUB_OFFLINE` and `XDG_CACHE_HOME` are honoured. A name is always looked up in
the table here; nothing that a file says is ever fetched.
"""

from __future__ import annotations

import os
import re
import ssl
import tempfile
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from vitral.errors import StorageError, UnavailableError
from vitral.models import VARIANTS
from vitral.registry import look_up

PUBLISHED = {
    "ViT-Ti/16": "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "ViT-S/16": "timm/vit_small_patch16_224.augreg_in21k_ft_in1k",
    "ViT-S/32": "timm/vit_small_patch32_224.augreg_in21k_ft_in1k",
    "ViT-B/8": "timm/vit_base_patch8_224.augreg_in21k_ft_in1k",
    "ViT-B/16": "timm/vit_base_patch16_224.augreg_in21k_ft_in1k",
    "ViT-B/32": "timm/vit_base_patch32_224.augreg_in21k_ft_in1k",
    "ViT-L/16": "timm/vit_large_patch16_224.augreg_in21k_ft_in1k",
}
"""Repositories by model name."""

NAME = r"[A-Za-z][A-Za-z0-9]*-[A-Za-z0-9]+/[0-9]+"
"""What the name of a Vision Transformer looks like; it need not be one of `VARIANTS`."""

FILES = ("config.json", "model.safetensors")
TIMEOUT = 20.0
"""Seconds without an answer after which a download is given up."""

CHUNK = 1 << 20
"""Bytes read at a time."""


def located(words: str | Path) -> Path:
    """The path itself, or, where nothing stands there and it looks like "ViT-B/16", the fetched weights of that name.

    Raises:
        UsageError, UnavailableError: as `fetch`.
    """
    return fetch(str(words)) if is_name(words) else Path(words)


def is_name(words: str | Path) -> bool:
    """Whether these are a model's name, and not a path that exists."""
    named = str(words) in VARIANTS or re.fullmatch(NAME, str(words)) is not None
    return named and not Path(words).exists()


def cache_folder() -> Path:
    """Where fetched weights are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vitral" / "weights"


def fetch(name: str) -> Path:
    """The folder with the published weights of model `name`, downloaded if it is not there yet.

    Raises:
        UsageError: no weights are published under that name.
        UnavailableError: they are not on this machine and cannot be fetched; says which files to place where.
    """
    repository = look_up("published model", name, PUBLISHED)
    folder = cache_folder() / repository.replace("/", "--")
    if all((folder / file).is_file() for file in FILES):
        return folder
    place = f"place {' and '.join(FILES)} of {repository} in {folder}, or give --model FOLDER."
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise UnavailableError(f"the weights of {name} are not on this machine and HF_HUB_OFFLINE is set: {place}")
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in FILES:
            _download(f"{endpoint}/{repository}/resolve/main/{file}", folder / file)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise UnavailableError(f"the weights of {name} cannot be fetched ({reason}): {place}") from error
    except OSError as error:
        raise StorageError(
            f"cannot write to {folder} ({error.strerror}): free some space or set XDG_CACHE_HOME."
        ) from error
    return folder


def _download(address: str, target: Path) -> None:
    """Fetch into a file aside, one for each process, which takes its name only when it is whole."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    aside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file, urllib.request.urlopen(address, timeout=TIMEOUT) as answer:
            expected = answer.headers.get("Content-Length")
            while chunk := answer.read(CHUNK):
                file.write(chunk)
            size = file.tell()
        if expected is not None and size != int(expected):
            raise ConnectionError(f"{size} of {expected} bytes came")
        aside.chmod(0o644)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
