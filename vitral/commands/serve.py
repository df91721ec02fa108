"""Answer over HTTP: a page for people at /, an interface for programs under /v1 and /v2."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from typing import Any

from vitral.commands.shared_options import DATA, MODEL, PREPROCESSING, SHORT, add_settings, section
from vitral.console import Screen
from vitral.errors import UnavailableError, UsageError

BACKENDS = ("torch", "openvino", "onnxruntime", "auto")

PACKAGES = ("starlette", "uvicorn", "python_multipart", "prometheus_client")
"""What the extra `serve` brings."""

DRAIN_DELAY = 1.0


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("models", metavar="MODEL", nargs="+", help=f"{MODEL}; NAME=MODEL gives it a name")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: 8000)")
    add_settings(parser, {"--device": SHORT["--device"]})
    parser.add_argument(
        "--backend", choices=BACKENDS, default="torch",
        help="what computes; auto takes MODEL/int8, if it is there, or the fastest that agrees (default: torch)",
    )  # fmt: skip
    parser.add_argument("--examples", metavar="FOLDER", help="pictures that the page offers to try, at most 12")
    group = parser.add_argument_group("who may ask")
    group.add_argument("--api-key-file", metavar="FILE", help="file with the key that requests must bring "
                       "(or the environment's VITRAL_API_KEY)")  # fmt: skip
    group.add_argument("--insecure", action="store_true", help="let everybody who reaches a public address ask")
    group.add_argument("--allow-host", metavar="NAME", action="append", default=[],
                       help="a name that this server goes by; may be repeated, * allows any")  # fmt: skip
    group = parser.add_argument_group("how much it takes on")
    group.add_argument(
        "--queue", type=int, metavar="N", help="pictures that may wait; more are answered 429 (default: 128)"
    )
    group.add_argument("--max-body", type=float, metavar="MB", help="of a request (default: 10)")
    add_settings(group, {"--max-pixels": DATA["--max-pixels"]})
    group.add_argument("--max-pictures", type=int, metavar="N", help="of one request (default: 32)")
    group.add_argument(
        "--max-batch", type=int, metavar="N", help="pictures of a forward pass (default: 8 on a CPU, else 32)"
    )
    group.add_argument("--timeout", type=float, metavar="SECONDS", help="until a request is given up (default: 30)")
    group.add_argument("--max-connections", type=int, metavar="N", help="open at a time (default: 1024)")
    group.add_argument(
        "--replicas", type=int, metavar="N",
        help="processes per model, each with the weights in memory (default: on a CPU of two cores or more 2, else 1)",
    )  # fmt: skip
    group.add_argument(
        "--threads", type=int, metavar="N", help="of each process on a CPU (default: together one per core)"
    )
    group = parser.add_argument_group("its life")
    group.add_argument(
        "--watch", action="store_true", help="load a model anew when its files change (SIGHUP always does)"
    )
    group.add_argument("--drain-delay", type=float, default=DRAIN_DELAY, metavar="SECONDS",
                       help="between SIGTERM and the last connection (default: 1)")  # fmt: skip
    add_settings(parser.add_argument_group("preprocessing, where the model's own should not hold"), PREPROCESSING)


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Serve until a signal; the document is {address, models, stopped_by}.

    Exit code 0 once every accepted request was answered; 130 or 143 where a second signal, or the time limit, cut
    that short.
    """
    _require_packages()
    from vitral.serving.address import as_url, bind, is_local
    from vitral.serving.guard import Guard, allowed_hosts, read_key

    _require_ranges(arguments)
    local = is_local(arguments.host)
    key = read_key(arguments.api_key_file)
    if key is None and not local and not arguments.insecure:
        raise UsageError(
            f"--host {arguments.host} can be reached from elsewhere: protect it with --api-key-file FILE or "
            "VITRAL_API_KEY, or say --insecure."
        )
    guard = Guard(key, allowed_hosts(arguments.host, local, arguments.allow_host))
    with bind(arguments.host, arguments.port) as bound:
        address = as_url(arguments.host, bound)
        settings = _settings(arguments, guard)
        import asyncio

        from vitral.serving.http import Life

        life = Life(settings, screen.say, screen.warn)
        document: dict[str, Any] = {"address": address, "models": []}

        def ready() -> None:
            document["models"] += [_said(served, screen) for served in life.house.models.values()]
            if not guard.locked and not local:
                screen.warn("everybody who reaches this address can use it (--insecure).")
            screen.result(f"serving on {address}  (Ctrl-C stops)")

        asyncio.run(life.live(bound, ready))
    document["stopped_by"] = life.stopped_by.name if life.stopped_by else None
    screen.say("stopped at once" if life.forced else "stopped; every accepted request was answered")
    return (128 + int(life.stopped_by) if life.forced and life.stopped_by else 0), document


def _said(served: Any, screen: Screen) -> dict[str, str]:
    """One line about a model; its part of the document."""
    known = served.batcher.description
    height, width = known.preprocessing.crop
    engine = known.backend if known.precision == "float32" else f"{known.backend} in {known.precision}"
    screen.say(
        f"{served.name}  {known.family}, {len(known.classes)} classes, {height} x {width}, {known.device}, "
        f"{engine}, version {known.sha256[:12]}"
    )
    return {"name": served.name, "sha256": known.sha256}


def _require_packages() -> None:
    for name in PACKAGES:
        if find_spec(name) is None:
            raise UnavailableError(f"serving needs {name}: pip install 'vitral[serve]'.")


def _require_ranges(arguments: argparse.Namespace) -> None:
    for name, least, most in (
        ("replicas", 1, 256),
        ("threads", 1, 1024),
        ("port", 0, 65_535),
        ("drain_delay", 0, 3600),
        ("max_body", 0, 1_000_000),
    ):
        value = getattr(arguments, name)
        if value is not None and not least <= value <= most:
            raise UsageError(f"--{name.replace('_', '-')} must be {least} to {most}, not {value:g}.")


def _settings(arguments: argparse.Namespace, guard: Any) -> Any:
    from vitral.config import DataConfig, RuntimeConfig
    from vitral.evaluation import cores
    from vitral.overrides import override
    from vitral.serving.examples import read_examples
    from vitral.serving.house import SIDE_BY_SIDE, Asked, named
    from vitral.serving.http import Settings
    from vitral.serving.limits import Limits
    from vitral.serving.process import Order

    names = ("queue", "max_pictures", "max_batch", "timeout", "max_connections")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if arguments.max_body is not None:
        given["max_body"] = int(arguments.max_body * 1_000_000)
    changed = section(arguments, "data.")
    if "max_pixels" in changed:
        given["max_pixels"] = override(DataConfig(), changed).max_pixels
    runtime = override(RuntimeConfig(), section(arguments, "runtime."))
    replicas = arguments.replicas or (None if cores() > 1 else 1)
    threads = arguments.threads or max(1, cores() // (replicas or SIDE_BY_SIDE))
    changes = section(arguments, "preprocessing.")
    orders = [
        Asked(name, Order(path, runtime.device, threads, changes, arguments.backend))
        for name, path in named(arguments.models)
    ]
    limits = Limits(**given)
    return Settings(
        orders,
        guard,
        limits,
        replicas=replicas,
        decoders=max(2, cores()),
        examples=read_examples(arguments.examples, limits) if arguments.examples else (),
        watch=arguments.watch,
        drain_delay=arguments.drain_delay,
        debug=arguments.debug,
    )
