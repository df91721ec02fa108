"""Who may ask: the key, the host name, the page that a browser shows. And what every answer carries."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from vitral.errors import MissingInputError, UsageError
from vitral.serving.refusals import Refusal

KEY_VARIABLE = "VITRAL_API_KEY"
SHORTEST_KEY = 16

OPEN = ("/", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/openapi.json", "/favicon.ico")
"""What needs no key: it says nothing of the models. Files of the page (/page/...) need none either."""

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
"""On every answer. None allows another origin to read it: CORS is closed."""

PAGE_HEADERS = {
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
    "permissions-policy": "geolocation=(), microphone=(), camera=(self)",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
"""On the page. The policy lets the page run its own files and nothing else: no script or style in the HTML."""


class Guard:
    """What a request must bring.

    Args:
        key: the secret, or `None` where anyone may ask.
        hosts: names that the Host header may have; `None` allows any. A page elsewhere whose name was made to point
            here (DNS rebinding) is turned away by it.
    """

    def __init__(self, key: str | None, hosts: Iterable[str] | None) -> None:
        self._key = None if key is None else key.encode()
        self.hosts = None if hosts is None else {host.lower() for host in hosts}

    @property
    def locked(self) -> bool:
        """Whether a key is needed."""
        return self._key is not None

    def check(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        """Let a request pass.

        Raises:
            Refusal: 401 without the key, 403 from a page of another site, 421 for an unknown host.
        """
        if self.hosts is not None and _host(headers.get("host", "")) not in self.hosts:
            raise Refusal(421, "this server does not go by that host name: start it with --allow-host NAME.")
        if method not in ("GET", "HEAD") and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Refusal(403, "pages of other sites may not use this server.")
        if self._key is None or path in OPEN or path.startswith("/page/"):
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        given = given.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not hmac.compare_digest(given.encode(), self._key):
            raise Refusal(401, "an API key is needed: send it as Authorization: Bearer KEY.")


def read_key(file: str | None) -> str | None:
    """The key from a file, or from the environment; `None` where neither has one.

    Raises:
        MissingInputError: the file cannot be read. UsageError: the key is short, or not one line of plain characters.
    """
    key, place = os.environ.get(KEY_VARIABLE), KEY_VARIABLE
    if file is not None:
        place = file
        try:
            key = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            said = getattr(error, "strerror", None) or "it is no text"
            raise MissingInputError(f"the key file {file} cannot be read ({said}): check the path.") from error
    if key is None:
        return None
    if len(key) < SHORTEST_KEY or not all("!" <= character <= "~" for character in key):
        raise UsageError(
            f"the key in {place} must be one word of {SHORTEST_KEY} or more plain characters: "
            "`openssl rand -hex 32` makes one."
        )
    return key


def allowed_hosts(host: str, local: bool, named: Iterable[str]) -> set[str] | None:
    """Names that the Host header may have: those given by hand; of a local address its own; otherwise any (`None`)."""
    given = set(named)
    if "*" in given or (not local and not given):
        return None
    return {*LOCAL_NAMES, *given, f"[{host.strip('[]')}]" if ":" in host else host}


def _host(header: str) -> str:
    """Host without its port, in lower case."""
    name = header.strip().lower()
    return name[: name.index("]") + 1] if name.startswith("[") and "]" in name else name.partition(":")[0]
