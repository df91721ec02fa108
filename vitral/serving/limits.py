"""How much a server takes on. No torch, no web framework: the command line reads the defaults from here."""

from __future__ import annotations

from dataclasses import dataclass

from vitral.errors import require


@dataclass(frozen=True)
class Limits:
    """Limits of one server.

    Attributes:
        max_body: bytes of a request's body.
        max_pixels: height times width of a picture, known from its header before anything is decoded.
        max_pictures: of one request.
        queue: pictures that may wait for a model, counted from when their request was read; more are answered 429.
        max_batch: pictures of a forward pass; `None`: 8 where a processor computes, which gains nothing from more and
            makes pictures wait, else 32.
        timeout: seconds after which a request without a deadline of its own is given up.
        read_timeout: seconds for a request's headers, and again for its body to start flowing at `MIN_RATE`.
        max_connections: open at a time; more are answered 503.
        keep_alive: seconds that an idle connection stays open.
        batch_timeout: seconds after which a model that does not answer is started anew.
        drain: seconds that accepted requests get to finish after SIGTERM.
    """

    max_body: int = 10_000_000
    max_pixels: int = 50_000_000
    max_pictures: int = 32
    queue: int = 128
    max_batch: int | None = None
    timeout: float = 30.0
    read_timeout: float = 8.0
    max_connections: int = 1024
    keep_alive: float = 15.0
    batch_timeout: float = 60.0
    drain: float = 30.0

    def __post_init__(self) -> None:
        for name in ("max_body", "max_pixels", "max_pictures", "queue", "max_batch", "max_connections"):
            require(
                getattr(self, name) is None or getattr(self, name) >= 1,
                f"{name} must be at least 1, not {getattr(self, name)}",
            )
        for name in ("timeout", "read_timeout", "keep_alive", "batch_timeout", "drain"):
            require(0 < getattr(self, name) <= 86_400, f"{name} must be above 0 and at most a day in seconds")

    def batch_on(self, device: str) -> int:
        """Pictures of a forward pass on "cpu", "cuda:0" and so on."""
        return self.max_batch or (8 if device == "cpu" else 32)

    @property
    def body_budget(self) -> int:
        """Bytes of bodies that may be held at a time, of all requests together."""
        return max(16 * self.max_body, 1 << 28)


MIN_RATE = 16_384
"""Bytes a second below which a body is too slow to wait for, once `read_timeout` has passed."""
