"""Where in a picture an answer comes from, as a picture: the methods are those of `vitral.inspection`.

image/png           the picture as the network sees it, under the map at the opacity that was asked for
application/json    (by the header Accept) the two apart, each a PNG in a data: address, so that a page can mix them
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from vitral.inspection.colours import colours, overlay, png
from vitral.serving.answers import Answering, Timing
from vitral.serving.batcher import Batcher
from vitral.serving.pictures import Asked, number
from vitral.serving.refusals import Refusal

WORDS = ("model", "method", "label", "layer", "head", "opacity")

DEEPEST = 10_000


async def explained(request: Request, batcher: Batcher, answering: Answering, asked: Asked) -> Response:
    """The explanation of one picture.

    Raises:
        Refusal: 400, a word does not fit. 422, no picture. 501, the model's family has no explanation.
    """
    methods: dict[str, list[str]] = batcher.description.explanations.get("methods", {})
    if not methods:
        raise Refusal(501, f"there is no explanation for models of the family {batcher.description.family}.")
    options = _options(asked.words, methods)
    opacity = number(asked.words, "opacity", 0.5, 0, 1, whole=False)
    timing = Timing()
    with answering.admitted(batcher, 1):
        pixels = await answering.pixels(batcher, asked.pictures[0].data, timing)
        job = await answering.ask(batcher, "explain", pixels, options, timing)
    heat = job.answer.result()[1][0]
    headers = {"server-timing": timing.header(), "x-explained-by": options["method"]}
    if "application/json" in request.headers.get("accept", ""):
        seen, over = await asyncio.to_thread(lambda: (_address(pixels), _address(colours(heat))))
        return JSONResponse({"method": options["method"], "picture": seen, "map": over}, headers=headers)
    laid = await asyncio.to_thread(lambda: png(overlay(pixels, heat, opacity)))
    return Response(laid, media_type="image/png", headers=headers)


def _options(words: dict[str, str], methods: dict[str, list[str]]) -> dict[str, Any]:
    method = words.get("method", next(iter(methods)))
    if method not in methods:
        raise Refusal(400, f"method is one of {', '.join(methods)}, not {method!r:.40}.")
    for name, said in (("layer", "layer"), ("head", "head"), ("label", "class")):
        if name in words and said not in methods[method]:
            raise Refusal(400, f"{method} has no {name} to choose: leave it out.")
    return {
        "method": method,
        "label": words.get("label"),
        "layer": int(number(words, "layer", 0, -DEEPEST, DEEPEST)) if "layer" in words else None,
        "head": int(number(words, "head", 0, 0, DEEPEST)) if "head" in words else None,
    }


def _address(pixels: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode()
