"""Where in a picture an answer comes from, as a picture: the methods are those of `vitral.inspection`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from vitral.serving.answers import Answering
from vitral.serving.batcher import Batcher
from vitral.serving.pictures import Asked
from vitral.serving.refusals import Refusal


async def explained(request: Request, batcher: Batcher, answering: Answering, asked: Asked) -> Response:
    """The overlay of one picture.

    Raises:
        Refusal: 501, the model's family has no explanation.
    """
    if not batcher.description.explanations:
        raise Refusal(
            501, f"{batcher.name} is a {batcher.description.family}: there is no explanation for that family."
        )
    raise Refusal(501, f"explanations of {batcher.name} are not offered.")
