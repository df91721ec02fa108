"""Published weights by name: fetched once into the cache folder, then read from there.

    ViT-B/16                        a model's name: the picked weights of `PUBLISHED`
    google/vit-base-patch16-224     a repository of Hugging Face; "hf:owner/name" of any owner
    augreg/ViT-S/16@224             the authors' file for a model and a size
    bit/R50x1-ILSVRC2012            likewise
    https://...                     a file

Anything else is a path. `vitral.weights.sources` fetches.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vitral.catalogue import PUBLISHED, SOURCES
from vitral.errors import UsageError
from vitral.models import VARIANTS, named
from vitral.registry import look_up
from vitral.weights.sources import google, hugging_face
from vitral.weights.sources.cache import cache_folder, kept
from vitral.weights.sources.download import NotFetchedError, require_safe
from vitral.weights.sources.progress import Progress, to_stderr

NAME = r"[A-Za-z][A-Za-z0-9]*-[A-Za-z0-9]+/[0-9]+"
"""What the name of a Vision Transformer looks like; it need not be one of `VARIANTS`."""


def located(words: str | Path, progress: Progress | None = None) -> Path:
    """Where the weights that `words` name are on this machine, once they are fetched; of a path, the path itself.

    Args:
        progress: is told how far a download is; `None` tells standard error.

    Raises:
        UsageError: nothing is published under that name. UnavailableError: it cannot be fetched; says which file to
        place where. StorageError: it cannot be written.
    """
    text, show = str(words), progress or to_stderr()
    if isinstance(words, Path) or Path(text).exists():
        return Path(words)
    if re.match(r"[a-z]+://", text):
        return _from_address(text, show)
    if is_name(text):
        return fetch(text, show)
    if Path(text).parts[:1] and Path(Path(text).parts[0]).is_dir():
        return Path(text)  # a path that is not there: of a folder that is
    if found := hugging_face.parsed(text):
        return hugging_face.repository(*found, f"the weights of {text}", show)
    return google.fetch(text, show) or Path(text)


def is_name(words: str | Path) -> bool:
    """Whether these are a model's name, and not a path that exists."""
    is_ours = named(str(words)) in VARIANTS or re.fullmatch(NAME, str(words)) is not None
    return is_ours and not Path(words).exists()


def fetch(name: str, progress: Progress | None = None) -> Path:
    """The folder with the published weights of model `name`, downloaded if it is not there yet.

    Raises:
        UsageError: no weights are published under that name.
        UnavailableError: they are not on this machine and cannot be fetched; says which files to place where.
    """
    name = named(name)
    if name in SOURCES:
        raise UsageError(f"the name {name} alone fetches nothing: name the weights themselves, {SOURCES[name]}.")
    identifier = look_up("published model", name, PUBLISHED, "vitral models")
    return hugging_face.repository(identifier, "main", f"the weights of {name}", progress or to_stderr())


def _from_address(address: str, progress: Progress) -> Path:
    """The file of an address, in a folder of the address's own."""
    try:
        require_safe(address)
    except NotFetchedError as error:
        raise UsageError(f"{error}: download it yourself and give the file.") from error
    name = unquote(urlsplit(address).path).rpartition("/")[2]
    if re.fullmatch(r"[\w][\w.+ -]{0,200}", name) is None:
        raise UsageError(f"{address} does not end in a file's name: download it yourself and give the file.")
    folder = cache_folder() / "addresses" / hashlib.sha256(address.encode()).hexdigest()[:16]
    return kept(address, folder / name, f"the file of {address}", progress)
