"""What the server promises under load, over real sockets: short within the tests, long as a program of its own.

    python -m tests.serving.load --long [--pictures FOLDER --model MODEL]

prints one JSON document: each promise with what was counted and whether it held; exit code 1 if one did not. Times are
judged only here, never in the tests, and against what the machine could do in the same seconds: a process that only
sleeps says how late the machine wakes it, which is added to each limit. Where that alone is more than `machine.BUSY`, or the
clients could not make the load, "in_time" is null and "not_judged" says why: run it again on an idle machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.serving.machine import Machine, Verdict, judged
from tests.serving.running import Running, StandIn, encoded, form, red, until
from vitral.serving.guard import Guard
from vitral.serving.limits import Limits


class Reply(NamedTuple):
    """Of one request: status 0 is a connection that broke within it, -1 one that was refused."""

    status: int
    seconds: float
    headers: dict[str, str]
    body: bytes


class Wire:
    """A client's connection that is kept as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def ask(self, body: bytes, path: str = "/v1/classify", **headers: str) -> Reply:
        """POST, on the connection that is open or on a new one."""
        started = time.monotonic()
        try:
            if self.writer is None:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return Reply(-1, time.monotonic() - started, {}, b"")
        assert self.reader is not None
        try:
            lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
            lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
            self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            found = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            answer = await self.reader.readexactly(int(found["content-length"]))
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return Reply(0, time.monotonic() - started, {}, b"")
        if found.get("connection") == "close":
            self.close()
        return Reply(int(head[0].split()[1]), time.monotonic() - started, found, answer)

    def close(self) -> None:
        """Hang up."""
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


async def closed_loop(port: int, clients: int, until_: Callable[[], bool], body: Callable[[int], bytes]) -> list[Reply]:
    """As many clients as said, each with a next request as soon as it has the answer to the last."""
    replies: list[Reply] = []

    async def client(k: int) -> None:
        wire = Wire(port)
        while not until_():
            reply = await wire.ask(body(k))
            replies.append(reply)
            if reply.status == -1:
                break
            if reply.status == 429:
                await asyncio.sleep(0.02)
        wire.close()

    await asyncio.gather(*(client(k) for k in range(clients)))
    return replies


async def open_loop(port: int, rate: float, seconds: float, body: Callable[[int], bytes]) -> list[Reply]:
    """Requests at Poisson times of a rate, whatever the server does: waiting clients do not slow the next ones."""
    rng = random.Random(0)
    tasks: list[asyncio.Task[Reply]] = []
    started = now = time.monotonic()
    wires: list[Wire] = []

    async def one(k: int) -> Reply:
        wire = wires.pop() if wires else Wire(port)
        reply = await wire.ask(body(k))
        wires.append(wire)
        return reply

    while now < started + seconds:
        tasks.append(asyncio.create_task(one(len(tasks))))
        now += rng.expovariate(rate)
        await asyncio.sleep(max(0.0, now - time.monotonic()))
    replies = list(await asyncio.gather(*tasks))
    for wire in wires:
        wire.close()
    return replies


def quantile(values: list[float], share: float) -> float:
    """The value below which that share lies; the largest where there are few."""
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)] if values else 0.0


# The promises ------------------------------------------------------------------------------------------


def overload(seconds: float) -> Verdict:
    """At four times its capacity the server says 429 at once, and goes on answering as much as it can."""
    model = StandIn(seconds=0.04)
    limits = Limits(queue=16, max_batch=4)  # 100 pictures a second
    with Machine() as machine, Running(start=model, limits=limits) as server:
        peak = asyncio.run(closed_loop(server.port, 8, ticking(seconds / 2), lambda k: red(k % 256)))
        peak_rate = max(1.0, sum(reply.status == 200 for reply in peak) / (seconds / 2))
        started = time.monotonic()
        replies = asyncio.run(open_loop(server.port, 4 * peak_rate, seconds, lambda k: red(k % 256)))
        took = time.monotonic() - started
        quiet = asyncio.run(closed_loop(server.port, 1, ticking(0.5), lambda _: red(1)))
        left = server.count("vitral_waiting_pictures", model="m")
    accepted = [reply for reply in replies if reply.status == 200]
    refused = [reply for reply in replies if reply.status == 429]
    wait = limits.queue / min(peak_rate, 100) + 2 * 0.04
    refused_p99, accepted_p99 = (quantile([reply.seconds for reply in some], 0.99) for some in (refused, accepted))
    verdict = {
        "statuses": dict(Counter(reply.status for reply in replies)),
        "asked_per_second": round(len(replies) / took, 1),
        "peak_per_second": round(peak_rate, 1),
        "goodput_per_second": round(len(accepted) / took, 1),
        "goodput_of_peak": round(len(accepted) / took / peak_rate, 3),
        "refused_p99_ms": round(1000 * refused_p99, 1),
        "accepted_p99_ms": round(1000 * accepted_p99, 1),
        "waiting_afterwards": left,
        "held": {reply.status for reply in replies} <= {200, 429}
        and bool(accepted)
        and bool(refused)
        and all(reply.headers.get("retry-after", "").isdecimal() for reply in refused)
        and {reply.status for reply in quiet} == {200}
        and left == 0,
    }
    in_time = (
        len(accepted) / took >= 0.9 * min(peak_rate, 100)
        and refused_p99 < 0.05 + machine.late
        and accepted_p99 <= wait + machine.late
    )
    return judged(verdict, machine, in_time, len(replies) / took / (4 * peak_rate))


def slow_clients(seconds: float, count: int = 60) -> Verdict:
    """Clients that send a byte now and then are cut off, and others do not notice them."""
    limits = Limits(read_timeout=max(0.4, min(8.0, seconds / 3)), max_connections=count + 50)
    model = StandIn()
    heads = (
        b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nX-A: ",
        b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n",
        b"",
    )

    async def drip(port: int, head: bytes, longest: list[float]) -> bytes:
        started = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = b""
        try:
            writer.write(head)
            while not reader.at_eof():
                if head:
                    writer.write(b"a")
                try:
                    answer += await asyncio.wait_for(reader.read(4096), 0.1)
                except TimeoutError:
                    continue
        except ConnectionError:
            pass
        longest.append(time.monotonic() - started)
        writer.close()
        return answer

    async def scene(port: int) -> tuple[list[bytes], list[float], list[Reply]]:
        lives: list[float] = []
        slow = [asyncio.create_task(drip(port, heads[k % 3], lives)) for k in range(count)]
        healthy = await closed_loop(port, 2, lambda: all(task.done() for task in slow), lambda k: red(k))
        return list(await asyncio.gather(*slow)), lives, healthy

    with Machine() as machine, Running(start=model, limits=limits) as server:
        quiet = asyncio.run(closed_loop(server.port, 2, ticking(min(1.0, seconds / 2)), lambda k: red(k)))
        answers, lives, healthy = asyncio.run(scene(server.port))
        until(lambda: len(server.life.server_state.connections) <= 1)
        open_now = server.count("vitral_requests_open")
    said = Counter(answer.split(b" ")[1].decode() if answer else "closed" for answer in answers)
    quiet_p99, healthy_p99 = (quantile([reply.seconds for reply in some], 0.99) for some in (quiet, healthy))
    verdict = {
        "slow_clients": count,
        "answers": dict(said),
        "longest_seconds": round(max(lives), 2),
        "healthy": dict(Counter(reply.status for reply in healthy)),
        "quiet_p99_ms": round(1000 * quiet_p99, 1),
        "healthy_p99_ms": round(1000 * healthy_p99, 1),
        "held": set(said) <= {"408", "closed"} and {r.status for r in healthy} == {200} and open_now == 1,
    }
    in_time = max(lives) <= 10 + machine.late and healthy_p99 < 2 * quiet_p99 + 0.02 + machine.late
    return judged(verdict, machine, in_time)


def late_and_gone(count: int) -> Verdict:
    """Requests whose deadline passed, and those whose client hung up, cost no inference."""
    model = StandIn()
    model.gate.clear()
    with Running(start=model, limits=Limits(queue=10 * count + 10, max_batch=4)) as server:
        first = threading.Thread(target=server.classify, args=(red(1),))
        first.start()
        until(model.entered.is_set)

        async def scene() -> list[Reply]:
            slow = [Wire(server.port) for _ in range(count)]
            late = [asyncio.create_task(wire.ask(red(2), x_request_timeout="0.2")) for wire in slow]
            gone = [Wire(server.port) for _ in range(count)]
            leaving = [asyncio.create_task(wire.ask(red(3))) for wire in gone]
            replies = list(await asyncio.gather(*late))
            while server.life.house.models["m"].batcher.admitted < count + 1:  # type: ignore[union-attr]
                await asyncio.sleep(0.01)
            for wire in slow + gone:
                wire.close()
            await asyncio.gather(*leaving, return_exceptions=True)
            return replies

        replies = asyncio.run(scene())
        batcher = server.life.house.models["m"].batcher
        assert batcher is not None
        until(lambda: batcher.admitted == 1)
        model.gate.set()
        first.join()
        after = server.classify(red(4)).status
        dropped = server.count("vitral_dropped_total", model="m")
    return {
        "late": dict(Counter(reply.status for reply in replies)),
        "gone": count,
        "asked_of_the_model": model.seen,
        "dropped": dropped,
        "held": {reply.status for reply in replies} == {504}
        and sorted(model.seen) == [1, 4]
        and after == 200
        and 0 < dropped <= 2 * count,  # the others were given up before they had been decoded
    }


def draining(trials: int, clients: int = 8) -> Verdict:
    """SIGTERM under load: what was accepted is answered, nobody is reset, and the server is gone after that."""
    statuses: Counter[int] = Counter()
    forced = 0
    for _ in range(trials):
        model = StandIn(seconds=0.01)
        with Running(start=model, drain_delay=0.5) as server:
            import signal

            def stop_soon(server: Running = server) -> None:
                time.sleep(0.2)
                server.stop(signal.SIGTERM)

            stopping = threading.Thread(target=stop_soon)
            stopping.start()
            replies = asyncio.run(closed_loop(server.port, clients, lambda: False, lambda k: red(k)))
            stopping.join()
        statuses += Counter(reply.status for reply in replies)
        forced += server.life.forced
    return {
        "trials": trials,
        "statuses": {str(k): v for k, v in statuses.items()},
        "held": set(statuses) == {200, -1} and statuses[-1] == trials * clients and not forced,
    }


def failing(count: int) -> Verdict:
    """A model that raises on one picture, or whose process is lost with it, fails that picture, or that batch, alone."""
    model = StandIn(seconds=0.005)
    model.fail_on, model.die_on = {7}, {9}
    with Running(start=model, limits=Limits(queue=1000)) as server:
        rng = random.Random(0)
        asked = [rng.choice([1, 2, 3, 7, 7, 9] if k % 5 == 0 else [1, 2, 3]) for k in range(count)]

        async def scene() -> list[Reply]:
            wires = [Wire(server.port) for _ in range(12)]

            async def client(j: int) -> list[tuple[int, Reply]]:
                return [(k, await wires[j].ask(red(asked[k]))) for k in range(j, count, 12)]

            found = dict(pair for some in await asyncio.gather(*(client(j) for j in range(12))) for pair in some)
            for wire in wires:
                wire.close()
            return [found[k] for k in range(count)]

        replies = asyncio.run(scene())
        after = [server.classify(red(1)).status for _ in range(3)]
        left = server.count("vitral_waiting_pictures", model="m")
    swapped = sum(
        json.loads(reply.body)["results"][0]["predictions"][0]["label"] != f"c{value}"
        for value, reply in zip(asked, replies, strict=True)
        if reply.status == 200
    )
    by_value = {
        value: Counter(r.status for v, r in zip(asked, replies, strict=True) if v == value) for value in set(asked)
    }
    lost = sum(statuses[503] for value, statuses in by_value.items() if value not in (7, 9))
    return {
        "by_picture": {
            str(value): {str(k): v for k, v in sorted(found.items())} for value, found in sorted(by_value.items())
        },
        "lost_beside": lost,
        "swapped": swapped,
        "held": set(by_value.get(7, {500: 1})) <= {500, 503}
        and set(by_value.get(9, {503: 1})) == {503}
        and all(set(by_value[value]) <= {200, 503} for value in (1, 2, 3))
        and lost <= 11 * max(1, sum(by_value.get(9, Counter()).values()))
        and after == [200] * 3
        and swapped == 0
        and left == 0,
    }


def soak(seconds: float, model: str, pictures: list[bytes]) -> Verdict:
    """Load from eight clients for long: no error, no growth of memory or of open files."""
    import psutil

    with Running({"m": model}, guard=Guard(None, None)) as server:
        here = psutil.Process()
        marks: list[tuple[int, int]] = []

        async def scene() -> list[Reply]:
            end = time.monotonic() + seconds
            task = asyncio.create_task(
                closed_loop(
                    server.port, 8, lambda: time.monotonic() > end, lambda k: pictures[random.randrange(len(pictures))]
                )
            )
            while not task.done():
                await asyncio.sleep(seconds / 20)
                marks.append(
                    (here.memory_info().rss + sum(c.memory_info().rss for c in here.children()), here.num_fds())
                )
            return await task

        replies = asyncio.run(scene())
    growth = marks[-1][0] / marks[len(marks) // 4][0] - 1
    statuses = Counter(reply.status for reply in replies)
    return {
        "requests": len(replies),
        "per_second": round(len(replies) / seconds, 1),
        "p50_ms": round(1000 * statistics.median(reply.seconds for reply in replies), 1),
        "p99_ms": round(1000 * quantile([reply.seconds for reply in replies], 0.99), 1),
        "statuses": dict(statuses),
        "memory_growth": round(growth, 4),
        "open_files": [mark[1] for mark in marks[:: max(1, len(marks) // 5)]],
        "held": set(statuses) <= {200, 422} and growth < 0.05,
    }


def unswapped(count: int, together_: int = 32) -> Verdict:
    """Each picture of each answer has the class that its own pixels name, whoever asks beside it."""
    swapped = answered = other = 0
    with Running(start=StandIn(), limits=Limits(queue=1000)) as server:

        async def client(j: int, requests: int) -> None:
            nonlocal swapped, answered, other
            rng, wire = random.Random(j), Wire(server.port)
            for k in range(requests):
                values = [rng.randrange(256) for _ in range(1 if k % 8 == 0 else together_)]
                body, kind = form({f"{place}-{value}": red(value) for place, value in enumerate(values)})
                reply = await wire.ask(body, content_type=kind, x_request_id=f"{j}-{k}")
                if reply.status != 200:
                    other += 1
                    continue
                answer = json.loads(reply.body)
                own = answer["request_id"] == f"{j}-{k}"
                for value, entry in zip(values, answer["results"], strict=True):
                    answered += 1
                    swapped += not own or entry["predictions"][0]["label"] != f"c{value}"
            wire.close()

        async def scene() -> None:
            mean = (1 + 7 * together_) / 8
            await asyncio.gather(*(client(j, math.ceil(count / 8 / mean)) for j in range(8)))

        asyncio.run(scene())
    return {"answers": answered, "swapped": swapped, "other": other, "held": swapped == other == 0 < answered}


def mutated(count: int, together_: int = 32) -> Verdict:
    """Damaged pictures of every kind are answered or named as unreadable, one by one, and the server lives on."""
    seeds = [encoded(k, kind) for k, kind in enumerate(("JPEG", "PNG", "WEBP", "GIF", "BMP"))]
    rng = random.Random(0)
    statuses: Counter[int] = Counter()
    longest = 0.0

    def damaged() -> bytes:
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        way = rng.randrange(4)
        if way == 0:
            del data[rng.randrange(1, len(data)) :]
        elif way == 1:  # a piece elsewhere
            start, length = rng.randrange(len(data)), rng.randrange(1, 64)
            piece = data[start : start + length]
            del data[start : start + length]
            place = rng.randrange(len(data) + 1)
            data[place:place] = piece
        return bytes(data)

    with Running(start=StandIn(), limits=Limits(queue=1000)) as server:

        async def scene() -> None:
            nonlocal longest
            wire = Wire(server.port)
            for _ in range(math.ceil(count / together_)):
                body, kind = form({str(k): damaged() for k in range(together_)})
                reply = await wire.ask(body, content_type=kind)
                longest = max(longest, reply.seconds)
                if reply.status == 200:
                    statuses.update(entry["status"] for entry in json.loads(reply.body)["results"])
                else:
                    statuses[reply.status] += together_
            wire.close()

        asyncio.run(scene())
        after = server.classify(red(3)).status
    return {
        "pictures": statuses.total(),
        "statuses": {str(k): v for k, v in sorted(statuses.items())},
        "longest_request_seconds": round(longest, 2),
        "held": set(statuses) <= {200, 422} and after == 200,
    }


def ticking(seconds: float) -> Callable[[], bool]:
    """True once that many seconds have passed since now."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def crowd(server: Running, count: int) -> list[socket.socket]:
    """Open connections that say nothing."""
    return [socket.create_connection(("127.0.0.1", server.port)) for _ in range(count)]


async def together(work: list[Awaitable[Any]]) -> list[Any]:
    """All results, in order."""
    return list(await asyncio.gather(*work))


def main() -> int:
    """Every promise at length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="20 s and more for each, instead of about one")
    parser.add_argument("--model", help="for the soak: what `vitral serve` takes")
    parser.add_argument("--pictures", type=Path, help="a folder of pictures for the soak")
    parser.add_argument("--soak", type=float, default=0.0, help="seconds of it")
    parser.add_argument("--only", nargs="+", metavar="PROMISE", help="these of them")
    arguments = parser.parse_args()
    long = arguments.long
    every: dict[str, Callable[[], Verdict]] = {
        "overload": lambda: overload(20 if long else 2),
        "slow_clients": lambda: slow_clients(24 if long else 1.2, 500 if long else 30),
        "late_and_gone": lambda: late_and_gone(200 if long else 5),
        "draining": lambda: draining(20 if long else 1),
        "failing": lambda: failing(5000 if long else 200),
        "unswapped": lambda: unswapped(100_000 if long else 2000),
        "mutated": lambda: mutated(100_000 if long else 2000),
    }
    verdicts = {name: promise() for name, promise in every.items() if name in (arguments.only or every)}
    if arguments.model and arguments.soak:
        files = sorted(path for path in arguments.pictures.rglob("*") if path.is_file()) if arguments.pictures else []
        pictures = [path.read_bytes() for path in files[:500]] or [encoded(k) for k in range(50)]
        verdicts["soak"] = soak(arguments.soak, arguments.model, pictures)
    held = all(verdict["held"] and verdict.get("in_time") is not False for verdict in verdicts.values())
    unknown = [name for name, verdict in verdicts.items() if "not_judged" in verdict]
    print(json.dumps({"held": held, "times_not_judged": unknown, **verdicts}, indent=1))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
