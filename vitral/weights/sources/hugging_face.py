"""Repositories of the Hugging Face Hub: config.json and the weights beside it.

Where the huggingface_hub package is installed it does the work, with its own cache, access tokens and faster ways;
else the files come from HF_ENDPOINT by plain https. HF_HUB_OFFLINE is honoured.
"""

from __future__ import annotations

import http.client
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from vitral.errors import UnavailableError
from vitral.weights.sources.cache import cache_folder, offline
from vitral.weights.sources.download import NotFetchedError, Progress, download

FILES = ("config.json", "model.safetensors")
"""What is wanted of a repository."""

OLDER = "pytorch_model.bin"
"""The weights of repositories that have no safetensors."""

PREPROCESSOR = "preprocessor_config.json"
"""What the Transformers library keeps beside them; timm keeps it in config.json."""

ENDPOINT = "https://huggingface.co"
"""Where repositories are, unless HF_ENDPOINT says otherwise."""

PATIENCE = 10.0
"""Seconds within which the hub must answer at all."""

OWNERS = ("google", "timm", "facebook", "microsoft", "nvidia", "apple", "WinKawaks")
"""Whose repositories are known by a bare "owner/name"; others need "hf:" before it, since it may be a path."""

NAME = r"(?P<id>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(?:@(?P<revision>[\w.-]{1,100}))?"


def parsed(words: str) -> tuple[str, str] | None:
    """Repository and revision that `words` name: "hf:owner/name", "google/vit-base-patch16-224", either with
    "@revision"; `None` for anything else."""
    match = re.fullmatch(NAME, words.removeprefix("hf:"))
    if match is None or not (words.startswith("hf:") or match["id"].split("/")[0] in OWNERS):
        return None
    return match["id"], match["revision"] or "main"


def repository(identifier: str, revision: str, what: str, progress: Progress) -> Path:
    """The folder with a repository's configuration and weights.

    Args:
        what: it is, in the words of an error.

    Raises:
        UnavailableError: they are not on this machine and cannot be fetched; says which files to place where.
    """
    folder = cache_folder() / (identifier.replace("/", "--") + ("" if revision == "main" else f"--{revision}"))
    if all((folder / name).is_file() for name in (FILES[0], OLDER)) or all((folder / n).is_file() for n in FILES):
        return folder
    place = f"place {' and '.join(FILES)} of {identifier} in {folder}, or name a folder of weights instead."
    hub = _hub()
    if hub is not None and (found := _by_hub(hub, identifier, revision, what, place)):
        return found
    if offline():
        raise UnavailableError(f"{what} are not on this machine and HF_HUB_OFFLINE is set: {place}")
    endpoint = os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
    address = f"{endpoint}/{identifier}/resolve/{revision}"
    try:
        download(f"{address}/{FILES[0]}", folder / FILES[0], progress)
        if not identifier.startswith("timm/"):
            _unless_missing(f"{address}/{PREPROCESSOR}", folder / PREPROCESSOR, progress)
        if not _unless_missing(f"{address}/{FILES[1]}", folder / FILES[1], progress):
            download(f"{address}/{OLDER}", folder / OLDER, progress)
    except NotFetchedError as error:
        raise UnavailableError(f"{what} cannot be fetched ({error}): {place}") from error
    return folder


def _unless_missing(address: str, target: Path, progress: Progress) -> bool:
    """Fetch a file that may not be there; whether it is."""
    try:
        download(address, target, progress)
    except NotFetchedError as error:
        if error.missing:
            return False
        raise
    return True


def _hub() -> Any:
    """The huggingface_hub package, or `None`."""
    try:
        import huggingface_hub
    except ImportError:
        return None
    return huggingface_hub


def _by_hub(hub: Any, identifier: str, revision: str, what: str, place: str) -> Path | None:
    """The folder in the package's own cache, filled if it may ask the network."""
    found: dict[str, str] = {}
    asked = False
    for name in (FILES[0], PREPROCESSOR, FILES[1], OLDER):
        if name == OLDER and FILES[1] in found:
            break
        cached = hub.try_to_load_from_cache(identifier, name, revision=revision)
        if isinstance(cached, str):
            found[name] = cached
            continue
        if offline() or (name == PREPROCESSOR and identifier.startswith("timm/")):
            continue
        if not asked and (reason := _unreachable()):
            raise UnavailableError(f"{what} cannot be fetched ({reason}): {place}")
        asked = True
        try:
            endpoint = os.environ.get("HF_ENDPOINT") or None
            found[name] = hub.hf_hub_download(identifier, name, revision=revision, endpoint=endpoint)
        except hub.errors.LocalEntryNotFoundError as error:  # its word for a network that is not there
            raise UnavailableError(f"{what} cannot be fetched (no answer): {place}") from error
        except hub.errors.EntryNotFoundError:
            continue
        except Exception as error:  # of many kinds, of several packages
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise UnavailableError(f"{what} cannot be fetched ({reason}): {place}") from error
    if FILES[0] in found and (FILES[1] in found or OLDER in found):
        return Path(found[FILES[0]]).parent
    if not offline():
        raise UnavailableError(f"{what} cannot be fetched ({identifier} lacks {' or '.join(FILES)}): {place}")
    return None


def _unreachable() -> str | None:
    """Why the hub cannot be asked, or `None`: a quick look, since the package itself tries for over a minute."""
    endpoint = os.environ.get("HF_ENDPOINT") or ENDPOINT
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        return None  # somebody answered
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"no network: {getattr(error, 'reason', None) or error}"
    return None
