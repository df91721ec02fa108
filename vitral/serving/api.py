"""vitral's own routes: what each takes is in `vitral.serving.schema`, which /openapi.json answers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vitral.errors import UsageError
from vitral.serving.answers import Answering, Timing
from vitral.serving.batcher import Batcher, Job
from vitral.serving.body import Bodies, within
from vitral.serving.explanations import WORDS, explained
from vitral.serving.house import House, Served
from vitral.serving.limits import Limits
from vitral.serving.pictures import Asked, number, pictures_of
from vitral.serving.process import Description
from vitral.serving.refusals import Refusal


class Api:
    """The routes under /v1.

    Args:
        house: the models. bodies, answering: shared with the other routes.
    """

    def __init__(self, house: House, bodies: Bodies, answering: Answering, limits: Limits) -> None:
        self.house = house
        self.bodies = bodies
        self.answering = answering
        self.limits = limits

    def routes(self) -> list[Route]:
        """What the router takes."""
        return [
            Route("/v1/classify", self.classify, methods=["POST"]),
            Route("/v1/embed", self.embed, methods=["POST"]),
            Route("/v1/explain", self.explain, methods=["POST"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{name}", self.model, methods=["GET"]),
        ]

    async def classify(self, request: Request) -> Response:
        """The likeliest classes of each picture."""
        async with self._asked(request, ("model", "top")) as (asked, batcher):
            description = batcher.description
            top = int(number(asked.words, "top", 5, 1, len(description.classes)))

            def form(job: Job) -> dict[str, Any]:
                return {"predictions": best(description, job.answer.result()[1][1][0], top)}

            return await self._entries(request, batcher, "scores", asked, form)

    async def embed(self, request: Request) -> Response:
        """What the head sees of each picture."""
        async with self._asked(request, ("model",)) as (asked, batcher):

            def form(job: Job) -> dict[str, Any]:
                return {"embedding": [float(value) for value in job.answer.result()[1][0][0]]}

            return await self._entries(request, batcher, "representations", asked, form)

    async def explain(self, request: Request) -> Response:
        """Where in one picture the answer comes from."""
        async with self._asked(request, WORDS) as (asked, batcher):
            if len(asked.pictures) > 1:
                raise Refusal(413, "one picture at a time is explained.")

            async def work() -> Response:
                return await explained(request, batcher, self.answering, asked)

            return await within(request, self.limits, work)

    async def models(self, _: Request) -> Response:
        """Every model that is served."""
        return JSONResponse({"models": [summary(served) for served in self.house.models.values()]})

    async def model(self, request: Request) -> Response:
        """One model with its classes and its card."""
        served = self.served(request.path_params["name"])
        description = described(served)
        return JSONResponse(
            summary(served)
            | {
                "classes": list(description.classes),
                "descriptions": description.descriptions,
                "card": description.card,
            }
        )

    def served(self, name: str | None) -> Served:
        """The model of that name.

        Raises:
            Refusal: 404, there is none.
        """
        try:
            return self.house.find(name)
        except UsageError as error:
            raise Refusal(404, str(error)) from None

    def ready(self, served: Served) -> Batcher:
        """What answers for a model.

        Raises:
            Refusal: 503, it is still being loaded.
        """
        if served.batcher is None:
            raise Refusal(503, f"{served.name} is still being loaded: see /readyz.", retry_after=1)
        return served.batcher

    @contextlib.asynccontextmanager
    async def _asked(self, request: Request, known: tuple[str, ...]) -> AsyncIterator[tuple[Asked, Batcher]]:
        """What a request holds, and who answers it; refused before its body is read where there is no place."""
        early = self.served(request.query_params.get("model"))
        if (batcher := self.ready(early)).full:
            raise Refusal(429, "the queue is full: try again.", retry_after=batcher.retry_after())
        async with self.bodies.read(request) as body:
            asked = await pictures_of(request, body, self.limits, known)
            yield asked, self.ready(self.served(asked.words.get("model", early.name)))

    async def _entries(self, request: Request, batcher: Batcher, kind: str, asked: Asked, form: Any) -> Response:
        async def work() -> tuple[list[dict[str, Any]], Timing]:
            return await self.answering.entries(batcher, kind, asked.pictures, form)

        entries, timing = await within(request, self.limits, work)
        answer = {
            "model": batcher.name,
            "sha256": batcher.description.sha256,
            "request_id": request.state.request_id,
            "results": entries,
        }
        return Response(
            json.dumps(answer, allow_nan=False),
            media_type="application/json",
            headers={"server-timing": timing.header()},
        )


def best(description: Description, probabilities: np.ndarray, top: int) -> list[dict[str, Any]]:
    """The `top` likeliest classes of one row [classes], as `Model.best` orders them."""
    found = []
    for k in np.argsort(-probabilities, kind="stable")[:top]:
        label = description.classes[k]
        guess: dict[str, Any] = {"label": label, "probability": float(probabilities[k])}
        if label in description.descriptions:
            guess["description"] = description.descriptions[label]
        found.append(guess)
    return found


def described(served: Served) -> Description:
    """What is known of a model.

    Raises:
        Refusal: 503, it is still being loaded.
    """
    if served.batcher is None:
        raise Refusal(503, f"{served.name} is still being loaded: see /readyz.", retry_after=1)
    return served.batcher.description


def summary(served: Served) -> dict[str, Any]:
    """A model in a few words; those that need it loaded only once it is."""
    answer: dict[str, Any] = {"name": served.name, "ready": served.ready}
    if served.batcher is None:
        return answer
    description = served.batcher.description
    return answer | {
        "sha256": description.sha256,
        "family": description.family,
        "parameters": description.parameters,
        "device": description.device,
        "backend": description.backend,
        "precision": description.precision,
        "image_size": list(description.preprocessing.crop),
        "num_classes": len(description.classes),
        "multi_label": description.multi_label,
        "calibrated": description.calibrated,
        "temperature": description.temperature,
        "explanations": description.explanations,
        "loaded_at": round(served.loaded_at, 3),
        "reload_error": served.refused,
    }
