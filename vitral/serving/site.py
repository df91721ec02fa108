"""The page at /: files of `vitral/serving/page`, read once. Nothing else on the disk can be asked for."""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vitral.serving.guard import PAGE_HEADERS
from vitral.serving.refusals import Refusal

FOLDER = Path(__file__).with_name("page")

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Site:
    """The page's files, by name."""

    def __init__(self) -> None:
        self._files = {file.name: file.read_bytes() for file in sorted(FOLDER.iterdir()) if file.suffix in KINDS}
        self._tags = {name: f'"{hashlib.sha256(data).hexdigest()[:16]}"' for name, data in self._files.items()}

    def routes(self) -> list[Route]:
        """What the router takes."""
        return [
            Route("/", self.index, methods=["GET"]),
            Route("/favicon.ico", self.icon, methods=["GET"]),
            Route("/page/{name}", self.file, methods=["GET"]),
        ]

    async def index(self, request: Request) -> Response:
        """The page itself."""
        return self._answer(request, "index.html")

    async def icon(self, request: Request) -> Response:
        """What a browser asks for by itself."""
        return self._answer(request, "icon.svg")

    async def file(self, request: Request) -> Response:
        """What the page loads."""
        return self._answer(request, request.path_params["name"])

    def _answer(self, request: Request, name: str) -> Response:
        if name not in self._files:
            raise Refusal(404, "the page has no such file.")
        headers = PAGE_HEADERS | {"etag": self._tags[name], "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == self._tags[name]:
            return Response(status_code=304, headers=headers)
        return Response(self._files[name], headers=headers | {"content-type": KINDS[Path(name).suffix]})
