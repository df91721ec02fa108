"""What the server counts, for Prometheus. Names of models become label values, which the library escapes."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server, in a register of their own.

    Args:
        note: takes one sentence about something that a person who runs the server should know.
    """

    def __init__(self, note: Callable[[str], None] = lambda _: None) -> None:
        self.note = note
        self.register = CollectorRegistry(auto_describe=True)
        register = self.register
        self._requests = Counter("vitral_requests", "Answered requests.", ["route", "code"], registry=register)
        self._seconds = Histogram(
            "vitral_request_seconds",
            "From the request's headers to its answer.",
            ["route"],
            registry=register,
            buckets=SECONDS,
        )
        self._stages = Histogram(
            "vitral_stage_seconds",
            "Time of a picture by stage.",
            ["model", "stage"],
            registry=register,
            buckets=SECONDS,
        )
        self._sizes = Histogram(
            "vitral_batch_pictures", "Pictures of a forward pass.", ["model"], registry=register, buckets=SIZES
        )
        self._pictures = Counter("vitral_pictures", "Pictures by outcome.", ["model", "outcome"], registry=register)
        self._dropped = Counter(
            "vitral_dropped",
            "Pictures that nobody waited for any more; they cost no inference.",
            ["model"],
            registry=register,
        )
        self._admitted = Gauge(
            "vitral_waiting_pictures", "Pictures between read and answered.", ["model"], registry=register
        )
        self._restarts = Counter(
            "vitral_worker_starts", "Starts of a model's process after it was lost.", ["model"], registry=register
        )
        self._reloads = Counter("vitral_reloads", "Reloads by outcome.", ["model", "outcome"], registry=register)
        self._info = Gauge("vitral_model_info", "1 for the model that serves.", ["model", "sha256"], registry=register)
        self._open = Gauge("vitral_requests_open", "Requests that are being answered.", registry=register)

    def opened(self, change: int) -> None:
        """A request came (1) or went (-1)."""
        self._open.inc(change)

    def answered(self, route: str, code: int, seconds: float) -> None:
        """One request was answered. `route` is one of the server's own paths, so there are few."""
        self._requests.labels(route, str(code)).inc()
        self._seconds.labels(route).observe(seconds)

    def stage(self, model: str, stage: str, seconds: float) -> None:
        """Time of one picture in "decode", "queue" or "inference"."""
        self._stages.labels(model, stage).observe(seconds)

    def picture(self, model: str, outcome: str) -> None:
        """One picture was "answered", "undecodable" or "failed"."""
        self._pictures.labels(model, outcome).inc()

    def batch(self, model: str, size: int) -> None:
        """One forward pass."""
        self._sizes.labels(model).observe(size)

    def dropped(self, model: str) -> None:
        """One picture left the queue without an answer."""
        self._dropped.labels(model).inc()

    def admitted(self, model: str, count: int) -> None:
        """How many pictures have a place now."""
        self._admitted.labels(model).set(count)

    def restarted(self, model: str) -> None:
        """A process was lost."""
        self._restarts.labels(model).inc()

    def reloaded(self, model: str, outcome: str) -> None:
        """A reload was "done" or "refused"."""
        self._reloads.labels(model, outcome).inc()

    def serving(self, model: str, sha256: str, earlier: str | None) -> None:
        """Which weights answer from now on."""
        if earlier is not None:
            self._info.remove(model, earlier)
        self._info.labels(model, sha256).set(1)

    def text(self) -> tuple[bytes, str]:
        """All of it in Prometheus' text format, and the format's media type."""
        return generate_latest(self.register), CONTENT_TYPE_PLAIN_0_0_4
