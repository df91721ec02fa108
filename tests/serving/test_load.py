"""The promises of `tests.serving.load`, briefly; and who may ask, how much, and when the server is ready."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving import load
from tests.serving.running import Running, StandIn, form, red, until
from vitral.errors import DataError, MissingInputError, UsageError
from vitral.serving.address import is_local
from vitral.serving.guard import LOCAL_NAMES, Guard, read_key
from vitral.serving.house import named
from vitral.serving.limits import Limits
from vitral.serving.process import Order


@pytest.mark.parametrize(
    ("promise", "amount"),
    [
        ("overload", 0.8),
        ("slow_clients", 1.2),
        ("late_and_gone", 5),
        ("draining", 1),
        ("failing", 150),
        ("unswapped", 600),
        ("mutated", 200),
    ],
)
def test_a_promise_holds(promise: str, amount: float) -> None:
    arguments = (amount, 12) if promise == "slow_clients" else (amount,)
    verdict = getattr(load, promise)(*arguments)
    assert verdict["held"], verdict


def test_a_lone_picture_never_waits_for_company_and_those_that_wait_share_batches() -> None:
    model = StandIn()
    with Running(start=model) as server:
        assert server.classify(red(5)).json["results"][0]["predictions"][0] == {"label": "c5", "probability": 1.0}
        model.entered.clear()
        model.gate.clear()
        threads = [threading.Thread(target=server.classify, args=(red(k),)) for k in range(6)]
        threads[0].start()
        until(model.entered.is_set)
        batcher = server.life.house.models["m"].batcher
        assert batcher is not None
        for thread in threads[1:]:
            thread.start()
        until(lambda: len(batcher._queue) == 5)
        model.gate.set()
        for thread in threads:
            thread.join()
    assert model.sizes[:2] == [1, 1]
    assert model.sizes[2] >= 3  # half of what waits, or more where a batch saves time
    assert sum(model.sizes) == 7


def test_a_queue_that_is_full_refuses_before_the_body_is_read() -> None:
    model = StandIn()
    model.gate.clear()
    with Running(start=model, limits=Limits(queue=2)) as server:
        body, kind = form({"a": red(1), "b": red(2)})
        thread = threading.Thread(target=lambda: server.ask("POST", "/v1/classify", body, content_type=kind))
        thread.start()
        until(model.entered.is_set)
        with socket.create_connection(("127.0.0.1", server.port), timeout=120) as wire:
            wire.sendall(
                b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\nExpect: 100-continue\r\n\r\n"
            )
            answer = wire.recv(4096)
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: " in answer
        assert server.ask("GET", "/livez").status == 200
        model.gate.set()
        thread.join()
        assert server.classify(red(3)).status == 200


def test_a_hung_model_is_called_not_ready_and_started_anew() -> None:
    model = StandIn()
    with Running(start=model, limits=Limits(batch_timeout=0.3)) as server:
        model.gate.clear()
        answer = server.classify(red(1))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        until(lambda: model.starts == 2)
        assert server.classify(red(2)).status == 200
        assert server.ask("GET", "/readyz").status == 200


def test_a_process_that_cannot_be_started_again_is_said_and_tried_on(monkeypatch: pytest.MonkeyPatch) -> None:
    model = StandIn()
    tries: list[int] = []

    def start(order: Order) -> Any:
        tries.append(1)
        if len(tries) in (2, 3):
            raise DataError("planted")
        return model(order)

    monkeypatch.setattr("vitral.serving.batcher.BACK_OFF", (0.0, 0.3))
    with Running(start=start) as server:
        model.alive = False
        until(lambda: server.ask("GET", "/readyz").status == 503)
        assert server.ask("GET", "/livez").status == 200
        until(lambda: len(tries) >= 4)
        assert server.classify(red(1)).status == 200
    assert any("cannot be started again (planted)" in note for note in server.notes)


def test_a_process_that_comes_back_as_another_model_does_not_answer_in_the_old_ones_name() -> None:
    first, second = StandIn(), StandIn()
    second.description = dataclasses.replace(second.description, sha256="1" * 64, classes=tuple("ab" * 128))
    starts: list[StandIn] = []

    def start(order: Order) -> Any:
        starts.append(first if not starts else second)
        return starts[-1](order)

    with Running(start=start) as server:
        assert server.classify(red(1)).json["sha256"] == "0" * 64
        first.alive = False
        until(lambda: server.ask("GET", "/v1/models").json["models"][0]["sha256"] == "1" * 64)
        answer = server.classify(red(1), "?top=1").json
        assert (answer["sha256"], answer["results"][0]["predictions"][0]["label"]) == ("1" * 64, "b")
    assert first.seen == [1]


def test_a_model_that_does_not_load_ends_the_start() -> None:
    def start(order: Order) -> Any:
        raise DataError(f"{order.path} is broken.")

    with pytest.raises(DataError, match="stand-in is broken"), Running(start=start):
        pass


def test_while_it_loads_the_server_is_alive_and_not_ready() -> None:
    model, gate = StandIn(), threading.Event()

    def start(order: Order) -> Any:
        gate.wait()
        return model(order)

    server = Running(start=start)
    thread = threading.Thread(target=server.__enter__)
    thread.start()
    until(lambda: server.life.started)
    try:
        assert server.ask("GET", "/livez").status == 200
        assert server.ask("GET", "/readyz").status == server.classify(red(1)).status == 503
    finally:
        gate.set()
        thread.join()
        until(lambda: server.ask("GET", "/readyz").status == 200)
        server.__exit__(None, None, None)


def test_too_many_connections_are_sent_away() -> None:
    with Running(start=StandIn(), limits=Limits(max_connections=5)) as server:
        held = load.crowd(server, 5)
        with socket.create_connection(("127.0.0.1", server.port), timeout=120) as wire:
            assert wire.recv(4096).startswith(b"HTTP/1.1 503 ")
        for one in held:
            one.close()
        until(lambda: not server.life.server_state.connections)
        assert server.classify(red(1)).status == 200


def test_a_client_that_only_ends_its_sending_is_answered_and_one_that_is_gone_costs_nothing() -> None:
    model = StandIn()
    model.gate.clear()
    with Running(start=model, limits=Limits(max_batch=1)) as server:
        first = threading.Thread(target=server.classify, args=(red(1),))
        first.start()
        until(model.entered.is_set)
        body = red(2)
        head = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
        with socket.create_connection(("127.0.0.1", server.port)) as half:
            half.sendall(head + body)
            half.shutdown(socket.SHUT_WR)
            with socket.create_connection(("127.0.0.1", server.port)) as gone:
                gone.sendall(head.replace(b"%d" % len(body), b"%d" % len(red(3))) + red(3))
                batcher = server.life.house.models["m"].batcher
                assert batcher is not None
                until(lambda: batcher.admitted == 3)
            until(lambda: batcher.admitted == 2)
            model.gate.set()
            answer = b"".join(iter(lambda: half.recv(4096), b""))
        first.join()
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
    assert b'"c2"' in answer
    assert model.seen == [1, 2]


def test_a_client_that_never_reads_is_cut_off() -> None:
    with Running(start=StandIn(), limits=Limits(read_timeout=0.5, keep_alive=1)) as server:
        with socket.socket() as wire:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wire.connect(("127.0.0.1", server.port))
            wire.sendall(b"GET /page/app.js HTTP/1.1\r\nHost: x\r\n\r\n" * 400)
            until(lambda: not server.life.server_state.connections)
        assert server.classify(red(1)).status == 200


# Who may ask --------------------------------------------------------------------------------------------

KEY = "0123456789abcdef0123"


def test_without_the_key_nothing_but_health_and_the_page_is_answered() -> None:
    with Running(start=StandIn(), guard=Guard(KEY, None)) as server:
        for path in ("/", "/livez", "/readyz", "/page/app.js", "/v2/health/live", "/openapi.json"):
            assert server.ask("GET", path).status == 200, path
        for headers in (
            {},
            {"authorization": "Bearer no"},
            {"authorization": f"Basic {KEY}"},
            {"x_api_key": KEY + "x"},
        ):
            for method, path in (
                ("POST", "/v1/classify"),
                ("GET", "/v1/models"),
                ("GET", "/metrics"),
                ("GET", "/v2/models/m"),
            ):
                answer = server.ask(method, path, **headers)
                code = answer.json["code"] if path.startswith("/v2") else answer.json["error"]["code"]
                assert (answer.status, code) == (401, "unauthorised")
                assert answer.headers["www-authenticate"] == "Bearer"
        assert server.classify(red(1), authorization=f"Bearer {KEY}").status == 200
        assert server.classify(red(1), x_api_key=KEY).status == 200
        assert KEY not in "".join(server.notes)
        assert KEY not in repr(vars(server.life.settings.guard).get("hosts"))


def test_a_name_that_was_made_to_point_here_is_turned_away() -> None:
    with Running(start=StandIn(), guard=Guard(None, LOCAL_NAMES)) as server:
        assert server.ask("GET", "/v1/models", host="evil.example").status == 421
        for host in ("localhost:8000", "127.0.0.1", "[::1]:9"):
            assert server.ask("GET", "/v1/models", host=host).status == 200


def test_keys_come_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VITRAL_API_KEY", raising=False)
    assert read_key(None) is None
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    assert read_key(str(file)) == KEY
    monkeypatch.setenv("VITRAL_API_KEY", "k" * 20)
    assert read_key(None) == "k" * 20
    for text in ("short", "two words of a key here", "ключключключключ"):
        file.write_text(text)
        with pytest.raises(UsageError, match="16 or more plain characters"):
            read_key(str(file))
    with pytest.raises(MissingInputError):
        read_key(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.1.2", False), ("example.org", False)],
)  # fmt: skip
def test_local_addresses_are_told_from_public_ones(host: str, local: bool) -> None:
    assert is_local(host) is local


def test_models_are_named_by_their_folders_or_by_hand(tmp_path: Path) -> None:
    run = tmp_path / "run" / "model"
    run.mkdir(parents=True)
    assert named([str(run), "b=x/y", "hf:owner/name", "w/vit.safetensors"]) == [
        ("run", str(run)), ("b", "x/y"), ("name", "hf:owner/name"), ("vit", "w/vit.safetensors"),
    ]  # fmt: skip
    for words in (["a/m1", "b/m1"], ["=x"], ["a="], ["a=x", "a=y"]):
        with pytest.raises(UsageError):
            named(words)


def test_frames_come_back_as_they_were(tmp_path: Path) -> None:
    from vitral.serving import wire

    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((0, 4), np.uint8), np.array([3], np.int64)]
    path = tmp_path / "frames"
    with path.open("wb") as file:
        wire.write(file, {"kind": "x"}, arrays)
        wire.write(file, {})
    with path.open("rb") as file:
        header, found = wire.read(file) or ({}, [])
        assert header == {"kind": "x"}
        assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(arrays, found, strict=True))
        assert wire.read(file) == ({}, [])
        assert wire.read(file) is None
    whole = path.read_bytes()
    for cut in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:cut])
        with path.open("rb") as file:
            while wire.read(file) is not None:
                pass


def test_requests_that_come_together_are_all_answered_by_two_processes() -> None:
    model = StandIn(seconds=0.01)
    with Running(start=model, replicas=2) as server:

        async def scene() -> list[load.Reply]:
            wires = [load.Wire(server.port) for _ in range(20)]
            replies = await load.together([wire.ask(red(k)) for k, wire in enumerate(wires)])
            for wire in wires:
                wire.close()
            return replies

        assert {reply.status for reply in asyncio.run(scene())} == {200}
    assert model.starts == 2
    assert sorted(model.seen) == list(range(20))


@pytest.mark.parametrize(("precision", "then"), [("float32", "openvino"), ("int8-static", "auto")])
def test_two_processes_of_a_model_settle_on_one_engine(precision: str, then: str) -> None:
    model = StandIn()
    model.description = dataclasses.replace(model.description, backend="openvino", precision=precision)
    asked: list[str] = []

    def start(order: Order) -> Any:
        asked.append(order.backend)
        return model(order)

    with Running({"m": Order("stand-in", backend="auto")}, start=start, replicas=3) as server:
        assert server.ask("GET", "/v1/models").json["models"][0]["precision"] == precision
        assert asked == ["auto", then, then]


@pytest.mark.parametrize(("asked", "found", "count"), [("cpu", "cpu", 2), ("auto", "cpu", 2), ("auto", "cuda:0", 1)])
def test_two_processes_share_a_processor_and_one_has_a_gpu(asked: str, found: str, count: int) -> None:
    model = StandIn()
    model.description = dataclasses.replace(model.description, device=found)
    with Running({"m": Order("stand-in", device=asked)}, start=model, replicas=None) as server:
        assert server.classify(red(1)).status == 200
    assert model.starts == count
