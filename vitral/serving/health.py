"""Is the server alive, is it ready, and what has it counted?"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vitral.serving.house import House
from vitral.serving.metrics import Metrics
from vitral.serving.refusals import Refusal
from vitral.serving.schema import document


class Health:
    """Routes for whoever watches the server.

    Attributes:
        draining: the server is about to stop, so it calls itself not ready.
    """

    def __init__(self, house: House, metrics: Metrics) -> None:
        self.house = house
        self.metrics = metrics
        self.draining = False

    def routes(self) -> list[Route]:
        """What the router takes."""
        return [
            Route("/livez", self.live, methods=["GET"]),
            Route("/readyz", self.ready, methods=["GET"]),
            Route("/metrics", self.count, methods=["GET"]),
            Route("/openapi.json", self.openapi, methods=["GET"]),
        ]

    def require_ready(self) -> None:
        """Raises a Refusal, 503, where the server should get no requests now."""
        if self.draining:
            raise Refusal(503, "the server is stopping.")
        if not self.house.ready:
            names = ", ".join(served.name for served in self.house.models.values() if not served.ready)
            raise Refusal(503, f"not ready: {names}.", retry_after=1)

    async def live(self, _: Request) -> Response:
        """The event loop answers."""
        return JSONResponse({"status": "alive"})

    async def ready(self, _: Request) -> Response:
        """Every model is loaded, has answered a trial, and answers in its usual time."""
        self.require_ready()
        return JSONResponse({"status": "ready"})

    async def count(self, _: Request) -> Response:
        """Counters for Prometheus."""
        body, kind = self.metrics.text()
        return Response(body, headers={"content-type": kind})

    async def openapi(self, _: Request) -> Response:
        """This interface, described."""
        return JSONResponse(document())
