"""What runs in the process of one model: `python -m vitral.engine`, started by `vitral.serving.process`.

It reads orders from its standard input and answers on its standard output (see `vitral.serving.wire`): first what to
load, then batch after batch, until the other end is gone. An order that fails is answered with its error and the next
one is served. A crash of this process costs the server the batch that was here, and nothing else.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import Any, BinaryIO

from vitral.serving import wire

IGNORED = ("SIGINT", "SIGTERM", "SIGHUP")
"""Signals that a terminal or a service manager sends to every process: the server decides when this one ends."""


def main() -> None:
    """Load and answer until the server is gone."""
    for name in IGNORED:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not stand between the frames
    orders = sys.stdin.buffer
    try:
        order = wire.read(orders)
        if order is not None:
            _serve(order[0], orders, answers)
    except (BrokenPipeError, KeyboardInterrupt):
        pass


def _serve(first: dict[str, Any], orders: BinaryIO, answers: BinaryIO) -> None:
    try:
        import torch

        from vitral.engine import Engine

        if first["threads"] is not None:
            torch.set_num_threads(first["threads"])
        engine = Engine(first["path"], first["device"], first["preprocessing"], first["backend"])
        engine.warm_up()
    except Exception as error:
        wire.write(answers, _failure(error))
        return
    wire.write(answers, engine.described())
    while (order := wire.read(orders)) is not None:
        header, arrays = order
        try:
            said, found = engine.answer(header["kind"], arrays[0], header.get("options", {}))
        except Exception as error:
            wire.write(answers, _failure(error))
        else:
            wire.write(answers, said, found)


def _failure(error: Exception) -> dict[str, Any]:
    """An error as words; `exit_code` where it is one of vitral's own, which a user can mend."""
    from vitral.errors import VitralError

    known = isinstance(error, VitralError)
    if not known:
        traceback.print_exception(error)  # to the server's standard error, never to a client
    return {
        "error": str(error) if known else f"{type(error).__name__}: {error}",
        "kind": type(error).__name__,
        "exit_code": error.exit_code if isinstance(error, VitralError) else None,
    }


if __name__ == "__main__":
    main()
