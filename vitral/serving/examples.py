"""Pictures that the page offers to try, chosen by whoever serves: read once at the start, and held in memory."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vitral.data.decode import decode
from vitral.datasets.scan import pictures_below
from vitral.errors import MissingInputError, UnreadableImageError
from vitral.serving.limits import Limits
from vitral.serving.refusals import Refusal

MOST = 12
"""Pictures that are offered, the first ones in order of their names."""


class Example(NamedTuple):
    """A picture's name, and its bytes as they are in its file."""

    name: str
    data: bytes


def read_examples(folder: str, limits: Limits) -> list[Example]:
    """Up to `MOST` pictures of a folder; those that the server would not take are passed over.

    Raises:
        MissingInputError: there is no such folder, or no picture in it that it would take.
    """
    root = Path(folder)
    if not root.is_dir():
        raise MissingInputError(f"no folder of examples at {folder}: check the path of --examples.")
    found = (_read(Path(path), limits) for path in pictures_below(root))
    examples = list(itertools.islice((one for one in found if one is not None), MOST))
    if not examples:
        raise MissingInputError(
            f"{folder} holds no picture that this server would take: give JPEG, PNG, WebP, BMP or GIF files of at most "
            f"{limits.max_body:,} bytes."
        )
    return examples


def _read(path: Path, limits: Limits) -> Example | None:
    try:
        if path.stat().st_size > limits.max_body:
            return None
        data = path.read_bytes()
        decode(data, limits.max_pixels)
    except (OSError, UnreadableImageError):
        return None
    return Example(path.name, data)


class Examples:
    """The routes of the examples, which need the key like everything that was not published with the page."""

    def __init__(self, examples: list[Example]) -> None:
        self._examples = examples

    def routes(self) -> list[Route]:
        """What the router takes."""
        return [
            Route("/v1/examples", self.names, methods=["GET"]),
            Route("/v1/examples/{place}", self.picture, methods=["GET"]),
        ]

    async def names(self, _: Request) -> Response:
        """What they are called, in order."""
        return JSONResponse({"examples": [one.name for one in self._examples]})

    async def picture(self, request: Request) -> Response:
        """One of them, by its place from 0."""
        place = request.path_params["place"]
        if not (place.isascii() and place.isdigit() and len(place) < 4 and int(place) < len(self._examples)):
            raise Refusal(404, "there is no such example.")
        return Response(self._examples[int(place)].data, media_type="application/octet-stream")
