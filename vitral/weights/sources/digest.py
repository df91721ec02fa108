"""Checksums that servers tell with a file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SLICE = 1 << 20


@dataclass(frozen=True)
class Digest:
    """`kind` is "sha256", "md5", or "git sha1" (of "blob SIZE", a zero byte, and the content)."""

    kind: str
    words: str


def digest_told(headers: Mapping[str, str], before: Mapping[str, str]) -> Digest | None:
    """The strongest checksum among the headers of an answer and of the redirects before it, named in lower case.

    Hugging Face tells a large file's SHA-256 in X-Linked-ETag, a small one's git SHA-1 in ETag; Google's storage
    tells the MD5.
    """
    every = {**before, **headers}
    linked = every.get("x-linked-etag", "").strip('"')
    if re.fullmatch("[0-9a-f]{64}", linked):
        return Digest("sha256", linked)
    match = re.search(r"\bmd5=([A-Za-z0-9+/]{22}==)", headers.get("x-goog-hash", ""))
    # a file that is stored packed is unpacked on the way, and the sum is of what is stored
    if match and headers.get("x-goog-stored-content-encoding", "identity") == "identity":
        try:
            return Digest("md5", base64.b64decode(match[1]).hex())
        except binascii.Error:
            return None
    tag = (before if "x-repo-commit" in before else headers).get("etag", "").removeprefix("W/").strip('"')
    if "x-repo-commit" in every and re.fullmatch("[0-9a-f]{40}", tag):
        return Digest("git sha1", tag)
    return None


def differs(path: Path, digest: Digest) -> bool:
    """Whether a file has another checksum.

    Raises:
        OSError: it cannot be read.
    """
    made = hashlib.new(digest.kind.removeprefix("git "), usedforsecurity=False)
    if digest.kind.startswith("git"):
        made.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(SLICE):
            made.update(chunk)
    return made.hexdigest() != digest.words
