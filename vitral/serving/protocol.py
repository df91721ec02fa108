"""The Open Inference Protocol, version 2, over HTTP: what clients of Triton and KServe speak.

One input, "images" (BYTES: encoded pictures) or "pixels" (UINT8 [n, height, width, 3]: decoded ones, of any size;
the model's own preprocessing follows). Outputs: "probabilities" and "logits" FP32 [n, classes], "label" BYTES [n].
The version of a model is its SHA-256, so an answer says which weights gave it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vitral.serving.answers import Timing
from vitral.serving.api import Api
from vitral.serving.batcher import Batcher, Job
from vitral.serving.body import within
from vitral.serving.health import Health
from vitral.serving.pictures import Picture
from vitral.serving.refusals import Refusal
from vitral.serving.tensors import JSON_LENGTH, Sources, answer_of, request_of, sources_of, wanted
from vitral.version import VERSION

OUTPUTS = ("probabilities", "logits", "label")
USUAL = ("probabilities", "label")


class Protocol:
    """The routes under /v2."""

    def __init__(self, api: Api, health: Health) -> None:
        self.api = api
        self.health = health

    def routes(self) -> list[Route]:
        """What the router takes."""
        return [
            Route("/v2", self.server, methods=["GET"]),
            Route("/v2/health/live", self.live, methods=["GET"]),
            Route("/v2/health/ready", self.ready, methods=["GET"]),
            Route("/v2/models/{name}", self.model, methods=["GET"]),
            Route("/v2/models/{name}/ready", self.model_ready, methods=["GET"]),
            Route("/v2/models/{name}/infer", self.infer, methods=["POST"]),
            Route("/v2/models/{name}/versions/{version}", self.model, methods=["GET"]),
            Route("/v2/models/{name}/versions/{version}/ready", self.model_ready, methods=["GET"]),
            Route("/v2/models/{name}/versions/{version}/infer", self.infer, methods=["POST"]),
        ]

    async def server(self, _: Request) -> Response:
        """Name and version."""
        return JSONResponse({"name": "vitral", "version": VERSION, "extensions": ["binary_tensor_data"]})

    async def live(self, _: Request) -> Response:
        """As /livez."""
        return JSONResponse({"live": True})

    async def ready(self, _: Request) -> Response:
        """As /readyz."""
        self.health.require_ready()
        return JSONResponse({"ready": True})

    async def model(self, request: Request) -> Response:
        """Inputs and outputs of a model."""
        batcher = self._batcher(request)
        count = len(batcher.description.classes)
        return JSONResponse(
            {
                "name": batcher.name,
                "versions": [batcher.description.sha256],
                "platform": "vitral_pytorch",
                "inputs": [
                    {"name": "images", "datatype": "BYTES", "shape": [-1]},
                    {"name": "pixels", "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
                ],
                "outputs": [
                    {"name": "probabilities", "datatype": "FP32", "shape": [-1, count]},
                    {"name": "logits", "datatype": "FP32", "shape": [-1, count]},
                    {"name": "label", "datatype": "BYTES", "shape": [-1]},
                ],
            }
        )

    async def model_ready(self, request: Request) -> Response:
        """Whether one model answers."""
        batcher = self._batcher(request)
        if not batcher.ready:
            raise Refusal(503, f"{batcher.name} is not ready.", retry_after=1)
        return JSONResponse({"name": batcher.name, "ready": True})

    async def infer(self, request: Request) -> Response:
        """Scores of pictures; all of them or an error."""
        batcher = self._batcher(request)
        if batcher.full:
            raise Refusal(429, "the queue is full: try again.", retry_after=batcher.retry_after())
        async with self.api.bodies.read(request) as body:
            length = request.headers.get(JSON_LENGTH)
            identity, sources, (names, binary) = await asyncio.to_thread(self._read, body, length)

            async def work() -> tuple[list[Job], Timing]:
                return await self._jobs(batcher, sources)

            jobs, timing = await within(request, self.api.limits, work)
        answer: dict[str, Any] = {"model_name": batcher.name, "model_version": batcher.description.sha256}
        if identity is not None:
            answer["id"] = identity
        whole, cut = answer_of(answer, self._outputs(batcher, jobs, names), binary)
        headers = {"server-timing": timing.header()}
        if cut is not None:
            headers[JSON_LENGTH] = str(cut)
        kind = "application/json" if cut is None else "application/octet-stream"
        return Response(whole, media_type=kind, headers=headers)

    def _read(self, body: bytes, length: str | None) -> tuple[str | None, Sources, tuple[list[str], set[str]]]:
        document, rest = request_of(body, length)
        outputs, identity = wanted(document, OUTPUTS, USUAL), document.get("id")
        if identity is not None and not isinstance(identity, str):
            raise Refusal(400, "id must be a string.")
        return identity, sources_of(document, rest, self.api.limits.max_pictures), outputs

    async def _jobs(self, batcher: Batcher, sources: Sources) -> tuple[list[Job], Timing]:
        timing = Timing()
        answering = self.api.answering

        async def one(source: Any) -> Job:
            data = source.data if isinstance(source, Picture) else source
            pixels = await answering.pixels(batcher, data, timing)
            return await answering.ask(batcher, "scores", pixels, {}, timing)

        with answering.admitted(batcher, len(sources)):
            tasks = [asyncio.create_task(one(source)) for source in sources]
            try:
                return list(await asyncio.gather(*tasks)), timing
            finally:
                for task in tasks:
                    task.cancel()

    def _outputs(self, batcher: Batcher, jobs: list[Job], names: list[str]) -> dict[str, np.ndarray | list[str]]:
        answers = [job.answer.result()[1] for job in jobs]
        probabilities = np.concatenate([found[1] for found in answers])
        every: dict[str, np.ndarray | list[str]] = {
            "probabilities": probabilities,
            "logits": np.concatenate([found[0] for found in answers]),
            "label": [batcher.description.classes[k] for k in np.argsort(-probabilities, axis=1, kind="stable")[:, 0]],
        }
        return {name: every[name] for name in names}

    def _batcher(self, request: Request) -> Batcher:
        batcher = self.api.ready(self.api.served(request.path_params["name"]))
        version = request.path_params.get("version")
        if version not in (None, "1", batcher.description.sha256):
            raise Refusal(404, f"{batcher.name} has the version {batcher.description.sha256}.")
        return batcher
