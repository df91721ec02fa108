"""Answering over HTTP: `vitral serve`, a plain server around Transformers, and LitServe, with the same weights.

The plain server is what people write first: Starlette and uvicorn, one picture per request, Pillow, the library's
processor and its ViT, each request in a thread. LitServe runs the same in its worker, in batches of up to 8; it is left
out where it is not installed: --litserve names the Python of an environment that has it. Rows:

    vitral         as it comes
    vitral auto    --backend auto
    vitral int8    the export that --int8 names, made by `vitral export --int8 auto`
    plain, litserve

Per row and round, on servers that were warmed up:

    single ms   of a picture on its own, one after the other
    capacity    answers per second to `--clients` clients that each ask again at once (closed loop)
    core ms     that the server computed for an answer, on all cores together: a busy machine changes it least
    p50, p99    of the time to an answer, requests coming at Poisson times at 70 % of the row's own capacity (open loop)

All servers compute with all cores; the clients take some of them too, so only ratios within one run mean anything.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from bench import report
from tests.serving.load import closed_loop, open_loop, quantile, ticking

ROWS = ("vitral", "vitral auto", "vitral int8", "plain", "litserve")
READY = {"litserve": "/health"}
SHARE = 0.7

STOPPING = 15.0
"""Seconds that a server may take to end by itself."""


def plain(folder: str, port: int) -> None:
    """The other server; runs in a process of its own until it is ended."""
    import io

    import torch
    import uvicorn
    from PIL import Image
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from tests import peers

    library = peers.transformers_library()
    processor = library.AutoImageProcessor.from_pretrained(folder)
    model = library.AutoModelForImageClassification.from_pretrained(folder).eval()

    def answer(data: bytes) -> list[dict[str, Any]]:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        with torch.inference_mode():
            logits = model(**processor(images=image, return_tensors="pt")).logits
        values, places = logits.softmax(dim=1)[0].topk(5)
        pairs = zip(values.tolist(), places.tolist(), strict=True)
        return [{"label": model.config.id2label[place], "probability": value} for value, place in pairs]

    async def classify(request: Request) -> JSONResponse:
        return JSONResponse({"predictions": await run_in_threadpool(answer, await request.body())})

    async def ready(_: Request) -> JSONResponse:
        return JSONResponse({})

    routes = [Route("/v1/classify", classify, methods=["POST"]), Route("/readyz", ready)]
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="critical", access_log=False)


def words_of(row: str, arguments: argparse.Namespace, folder: str, port: int) -> list[str]:
    """The command of a row's server."""
    if row.startswith("vitral"):
        model = arguments.int8 if row == "vitral int8" else arguments.model
        more = ["--backend", "auto"] if row == "vitral auto" else []
        return [sys.executable, "-m", "vitral", "serve", model, "--port", str(port), "--quiet", *more, *arguments.serve]
    if row == "litserve":
        return [arguments.litserve, "-m", "bench.litserve_peer", folder, str(port)]
    return [sys.executable, "-m", "bench.serve", "--plain", folder, "--port", str(port)]


def left_out(arguments: argparse.Namespace) -> dict[str, str]:
    """Rows that cannot run here, and why."""
    reasons = {} if arguments.int8 else {"vitral int8": "--int8 names no export"}
    looked = [arguments.litserve, "-c", "import litserve"]
    if subprocess.run(looked, capture_output=True, check=False).returncode:
        reasons["litserve"] = f"{arguments.litserve} has no litserve"
    return reasons


@contextlib.contextmanager
def running(row: str, arguments: argparse.Namespace, folder: str) -> Iterator[tuple[int, int]]:
    """A server's port and process, once it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = words_of(row, arguments, folder, port)
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            while not answers(port, READY.get(row, "/readyz")):
                if process.poll() is not None:
                    raise SystemExit(f"the server of {row} ended before it was ready")
                time.sleep(0.1)
            yield port, process.pid
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOPPING)
            with contextlib.suppress(ProcessLookupError):  # what it left running would slow the next row
                os.killpg(process.pid, signal.SIGKILL)


def answers(port: int, path: str) -> bool:
    """Whether it is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def core_seconds(pid: int) -> float:
    """What a process and those that it started have computed until now, on all cores together."""
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def measure(port: int, pid: int, pictures: list[bytes], clients: int, seconds: float) -> dict[str, float]:
    """Time of one, capacity, then times at 70 % of it."""

    def picture(k: int) -> bytes:
        return pictures[k % len(pictures)]

    asyncio.run(closed_loop(port, clients, ticking(seconds / 4), picture))
    alone = asyncio.run(closed_loop(port, 1, ticking(seconds / 2), picture))
    single = 1000 * statistics.median(reply.seconds for reply in alone)
    before = core_seconds(pid)
    replies = asyncio.run(closed_loop(port, clients, ticking(seconds), picture))
    used = core_seconds(pid) - before
    answered = sum(reply.status == 200 for reply in replies)
    if not answered:
        raise SystemExit(f"not one of {len(replies)} requests was answered within {seconds:g} s: take more --seconds")
    capacity = answered / seconds
    steady = asyncio.run(open_loop(port, SHARE * capacity, seconds, picture))
    times = [1000 * reply.seconds for reply in steady if reply.status == 200]
    return {
        "single ms": single,
        "capacity": capacity,
        "core ms each": 1000 * used / answered,
        "p50 ms": statistics.median(times),
        "p99 ms": quantile(times, 0.99),
        "p99 to single": quantile(times, 0.99) / single,
        "failed": sum(reply.status != 200 for reply in [*alone, *replies, *steady]),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="weights of a Vision Transformer")
    parser.add_argument("--pictures", type=Path, help="folder of pictures, of which the first 200 are sent")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each part of a round")
    parser.add_argument("--clients", type=int, default=16)
    report.add_common_options(parser)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--int8", help="a folder that `vitral export --int8 auto` wrote")
    parser.add_argument("--litserve", metavar="PYTHON", default=sys.executable, help="a Python that has LitServe")
    parser.add_argument("--serve", nargs=argparse.REMAINDER, default=[], help="last: further options of vitral serve")
    parser.add_argument("--plain", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plain:
        plain(arguments.plain, arguments.port)
        return
    missing = left_out(arguments)
    measured = [row for row in arguments.rows if row not in missing]
    environment = report.environment()
    files = sorted(path for path in arguments.pictures.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    pictures = [path.read_bytes() for path in files[:200]]
    found: dict[str, list[dict[str, float]]] = {row: [] for row in measured}
    with tempfile.TemporaryDirectory() as place:
        folder = str(Path(place) / "transformers")
        convert = ["convert", arguments.model, "--to", "huggingface", "--out", folder, "--quiet"]
        subprocess.run([sys.executable, "-m", "vitral", *convert], check=True)
        for _ in range(arguments.rounds):
            for row in measured:
                sent = [json.dumps({"image": base64.b64encode(one).decode()}).encode() for one in pictures]
                with running(row, arguments, folder) as (port, pid):
                    bodies = sent if row == "litserve" else pictures
                    found[row].append(measure(port, pid, bodies, arguments.clients, arguments.seconds))
    print(report.heading(environment))
    print(
        f"{len(pictures)} pictures, {arguments.clients} clients, {arguments.rounds} rounds of {arguments.seconds:g} s\n"
    )
    columns = list(found[measured[0]][0])
    rows = [
        [row, *(f"{report.spread([one[name] for one in rounds])['median']:.1f}" for name in columns)]
        for row, rounds in found.items()
    ]
    print(report.table(["server", *columns], rows))
    for row in measured[1:]:
        capacities = [[one["capacity"] for one in found[each]] for each in (measured[0], row)]
        print(f"capacity, {measured[0]} to {row}, median of the rounds: {report.paired_ratio(*capacities):.2f}")
    for row, reason in missing.items():
        print(f"{row} is left out: {reason}")
    report.write_json(arguments.json, {"environment": environment, "rounds": found})


if __name__ == "__main__":
    main()
