"""What a request gets, over a real socket from a real model's process: answers, refusals, and never a traceback."""

from __future__ import annotations

import base64
import io
import json
import random
import socket
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.serving.running import Answer, InProcess, Running, StandIn, encoded, form, saved, tiny_model, until
from vitral.errors import MissingInputError
from vitral.inspection import explain, overlay
from vitral.serving.client import Client, RefusedError
from vitral.serving.examples import MOST, read_examples
from vitral.serving.limits import Limits
from vitral.serving.predictor import Model
from vitral.serving.refusals import CODES
from vitral.serving.schema import document

LIMITS = Limits(max_body=200_000, max_pixels=1_000_000, read_timeout=30)
CODES_OF = {*CODES.values(), "no_picture", "model_failed"}


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    return {"first": tiny_model(0), "<b>\u202ename": tiny_model(1, labels=["=1+1", "<script>", "c", "d", "e"])}


@pytest.fixture(scope="module")
def server(models: dict[str, Model], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("served")
    paths = {name: saved(model, folder / str(k)) for k, (name, model) in enumerate(models.items())}
    with Running(paths, start=InProcess, limits=LIMITS) as running:
        yield running


def error_of(answer: Answer) -> dict[str, str]:
    """The error in an answer, whose form is checked."""
    error = answer.json["error"]
    if isinstance(error, str):  # under /v2, by its protocol
        error = {**answer.json, "message": error}
        del error["error"]
    assert set(error) == {"code", "message", "request_id"}
    assert error["code"] in CODES_OF
    assert error["request_id"] == answer.headers.get("x-request-id", error["request_id"])
    assert "Traceback" not in error["message"]
    assert "/vitral/" not in error["message"]
    return error


# Answers ------------------------------------------------------------------------------------------------


def test_an_answer_is_bit_for_bit_the_models_own(server: Running, models: dict[str, Model]) -> None:
    data = encoded(1)
    expected = [guess._asdict() for guess in models["first"].predict(data)]
    one = server.classify(data).json["results"][0]
    assert (one["index"], one["name"], one["status"]) == (0, None, 200)
    assert one["predictions"] == expected
    body, kind = form({"a.png": data, "b.png": encoded(2)}, top="2")
    several = server.ask("POST", "/v1/classify", body, content_type=kind).json
    assert [entry["name"] for entry in several["results"]] == ["a.png", "b.png"]
    assert several["results"][0]["predictions"] == expected[:2]
    words = {"images": [base64.b64encode(data).decode(), {"data": base64.b64encode(encoded(2)).decode(), "name": "b"}]}
    answer = server.ask("POST", "/v1/classify", json.dumps(words), content_type="application/json").json
    assert [entry["predictions"] for entry in answer["results"]] == [
        [guess._asdict() for guess in models["first"].predict(encoded(k))] for k in (1, 2)
    ]
    assert answer["sha256"] == server.ask("GET", "/v1/models/first").json["sha256"]


def test_alone_or_among_others_the_bits_are_the_same_and_no_reply_is_swapped(
    server: Running, models: dict[str, Model]
) -> None:
    pictures = [encoded(seed, size=(8 + seed % 17, 30)) for seed in range(60)]
    alone = [[guess._asdict() for guess in models["first"].predict(data)] for data in pictures]

    def one(k: int) -> bool:
        answer = server.classify(pictures[k], x_request_id=f"r-{k}")
        return answer.json["results"][0]["predictions"] == alone[k] and answer.json["request_id"] == f"r-{k}"

    order = [*range(60)] * 4
    random.Random(0).shuffle(order)
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, order))
    assert server.count("vitral_batch_pictures_count", model="first") < server.count(
        "vitral_batch_pictures_sum", model="first"
    )


def test_one_bad_picture_among_31_good_ones_is_one_entry(server: Running) -> None:
    pictures = {f"{k}.png": encoded(k) if k != 17 else b"no picture" for k in range(32)}
    body, kind = form(pictures)
    results = server.ask("POST", "/v1/classify", body, content_type=kind).json["results"]
    assert [entry["status"] for entry in results] == [422 if k == 17 else 200 for k in range(32)]
    assert results[17]["error"]["code"] == "undecodable"
    assert "predictions" not in results[17]


def test_embeddings_are_what_the_head_sees(server: Running, models: dict[str, Model]) -> None:
    answer = server.ask("POST", "/v1/embed?model=first", encoded(3)).json["results"][0]["embedding"]
    assert np.array_equal(np.array(answer, dtype=np.float32), models["first"].features(encoded(3))[0])


def test_an_explanation_is_inspections_own(server: Running, models: dict[str, Model]) -> None:
    data = encoded(4, size=(16, 16))  # the size that the network sees, so that both see the same pixels
    answer = server.ask("POST", "/v1/explain?method=gradcam&label=c1&opacity=0.25", data)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    heat = explain(models["first"], data, "gradcam", "c1")
    seen = models["first"].pixels(data)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.body))), overlay(seen, heat, 0.25))
    apart = server.ask("POST", "/v1/explain?layer=0", data, accept="application/json").json
    picture = base64.b64decode(apart["picture"].partition(",")[2])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(picture))), seen)
    for words, code in (
        ("layer=9", 400),
        ("method=gradcam&layer=1", 400),
        ("method=x", 400),
        ("label=c1", 400),
        ("head=1", 400),
    ):
        answer = server.ask("POST", f"/v1/explain?{words}", data)
        assert (answer.status, error_of(answer)["code"]) == (code, "malformed"), words


def test_the_client_says_the_same(server: Running, models: dict[str, Model], tmp_path: Path) -> None:
    client = Client(server.address)
    path = tmp_path / 'name "quoted"\n.png'
    path.write_bytes(encoded(5))
    found = client.classify([path, b"nothing"], model="first", top=2)
    assert [(p.label, p.probability) for p in found[0].predictions] == models["first"].predict(path, top=2)
    assert found[1].error is not None
    assert found[1].error.status == 422
    assert client.ready()
    assert client.embed(path)[0].embedding == [float(v) for v in models["first"].features(path)[0]]
    assert client.explain(path, method="rollout")[:4] == b"\x89PNG"
    assert [model["name"] for model in client.models()] == list(models)
    with pytest.raises(RefusedError, match="unknown model"):
        client.classify(path, model="firts")


# The Open Inference Protocol ----------------------------------------------------------------------------


def test_the_open_inference_protocol_answers_in_words_and_bytes(server: Running, models: dict[str, Model]) -> None:
    pictures = [encoded(k) for k in range(3)]
    expected = models["first"].predict_proba(pictures)
    words = [base64.b64encode(data).decode() for data in pictures]
    asked = {"id": "7", "inputs": [{"name": "images", "datatype": "BYTES", "shape": [3], "data": words}]}
    answer = server.ask("POST", "/v2/models/first/infer", json.dumps(asked)).json
    outputs = {tensor["name"]: tensor for tensor in answer["outputs"]}
    assert (answer["id"], answer["model_name"], outputs["probabilities"]["shape"]) == ("7", "first", [3, 5])
    assert np.array_equal(np.array(outputs["probabilities"]["data"], np.float32).reshape(3, 5), expected)
    assert outputs["label"]["data"] == [f"c{k}" for k in expected.argmax(axis=1)]

    pixels = np.random.default_rng(0).integers(0, 256, (2, 30, 40, 3)).astype(np.uint8)
    tensor = {
        "name": "pixels",
        "datatype": "UINT8",
        "shape": [2, 30, 40, 3],
        "parameters": {"binary_data_size": pixels.size},
    }
    head = json.dumps(
        {"inputs": [tensor], "outputs": [{"name": "logits", "parameters": {"binary_data": True}}]}
    ).encode()
    length = {"inference_header_content_length": str(len(head))}
    answer_bytes = server.ask("POST", "/v2/models/first/infer", head + pixels.tobytes(), **length)
    cut = int(answer_bytes.headers["inference-header-content-length"])
    described = json.loads(answer_bytes.body[:cut])["outputs"][0]
    assert (described["name"], described["shape"]) == ("logits", [2, 5])
    logits = np.frombuffer(answer_bytes.body[cut:], "<f4").reshape(2, 5)
    seen = np.stack([models["first"].pixels(picture) for picture in pixels])
    assert np.array_equal(logits, models["first"].logits(seen).numpy())
    assert server.ask("GET", "/v2/models/first/ready").json["ready"] is True
    assert server.ask("GET", "/v2/health/ready").status == server.ask("GET", "/v2/health/live").status == 200


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"name": "x"}, 400), ({"datatype": "FP32"}, 400), ({"shape": [2]}, 400), ({"shape": []}, 400),
        ({"shape": [99]}, 413), ({"shape": [1, 2]}, 400), ({"data": ["?"]}, 400), ({"data": None}, 400),
        ({"data": [base64.b64encode(b"no picture").decode()]}, 422), ({"shape": ["1"]}, 400),
        ({"parameters": {"binary_data_size": 5}}, 400), ({"shape": [True]}, 400),
        ({"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [256, 0, 0]}, 400),
        ({"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [[0], [1, 2]]}, 400),
        ({"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [0.5, 0, 0]}, 400),
        ({"name": "pixels", "datatype": "UINT8", "shape": [1, 1 << 30, 1 << 30, 3], "data": [0]}, 400),
    ],
)  # fmt: skip
def test_a_wrong_tensor_is_named(change: dict[str, Any], status: int, server: Running) -> None:
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(encoded(0)).decode()]}
    answer = server.ask("POST", "/v2/models/first/infer", json.dumps({"inputs": [tensor | change]}))
    assert answer.status == status, answer.body
    error_of(answer)


def test_tensors_of_very_many_numbers_come_as_bytes(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitral.serving.tensors.MOST_VALUES", 100)
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, 6, 6, 3], "data": [0] * 108}
    answer = server.ask("POST", "/v2/models/first/infer", json.dumps({"inputs": [tensor]}))
    assert answer.status == 413
    assert "bytes after it" in error_of(answer)["message"]
    head = json.dumps({"inputs": [{**tensor, "data": None, "parameters": {"binary_data_size": 108}}]}).encode()
    length = {"inference_header_content_length": str(len(head))}
    assert server.ask("POST", "/v2/models/first/infer", head + bytes(108), **length).status == 200


# Refusals -----------------------------------------------------------------------------------------------

J = {"content_type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code"),
    [
        ("POST", "/v1/classify", b"", {}, 422, "no_picture"),
        ("POST", "/v1/classify", b"GIF89a", {}, 422, "undecodable"),
        ("POST", "/v1/classify", b"<html>", {}, 422, "undecodable"),
        ("POST", "/v1/classify", b"x", {"content_type": "text/html"}, 415, "unsupported_media_type"),
        ("POST", "/v1/classify", b"x", {"content_encoding": "gzip"}, 415, "unsupported_media_type"),
        ("POST", "/v1/classify", b"x" * 200_001, {}, 413, "too_large"),
        ("POST", "/v1/classify", b"{", J, 400, "malformed"),
        ("POST", "/v1/classify", b"[" * 100_000, J, 400, "malformed"),
        ("POST", "/v1/classify", b"[]", J, 400, "malformed"),
        ("POST", "/v1/classify", b'{"images": ["???"]}', J, 400, "malformed"),
        ("POST", "/v1/classify", b'{"images": [{"url": "http://127.0.0.1/x"}]}', J, 400, "malformed"),
        ("POST", "/v1/classify", b'{"images": ["http://169.254.169.254/"]}', J, 400, "malformed"),
        ("POST", "/v1/classify", b'{"images": ["aa=="], "top": []}', J, 400, "malformed"),
        ("POST", "/v1/classify", json.dumps({"images": ["aa=="] * 33}), J, 413, "too_large"),
        ("POST", "/v1/classify", b'{"images": [' + b"[]," * 20_000 + b"[]]}", J, 413, "too_large"),
        ("POST", "/v1/classify", b"x", {"content_type": "multipart/form-data"}, 400, "malformed"),
        ("POST", "/v1/classify", b"x", {"content_type": "multipart/form-data; boundary=" + "y" * 300}, 400, "malformed"),
        ("POST", "/v1/classify", b"--e\r\n\r\n", {"content_type": "multipart/form-data; boundary=e"}, 400, "malformed"),
        ("POST", "/v1/classify?top=0", encoded(0), {}, 400, "malformed"),
        ("POST", "/v1/classify?top=1e3", encoded(0), {}, 400, "malformed"),
        ("POST", "/v1/classify?tpo=3", encoded(0), {}, 400, "malformed"),
        ("POST", "/v1/classify?model=none", encoded(0), {}, 404, "not_found"),
        ("POST", "/v1/classify", encoded(0), {"x_request_timeout": "soon"}, 400, "malformed"),
        ("POST", "/v1/classify", encoded(0), {"x_request_timeout": "nan"}, 400, "malformed"),
        ("POST", "/v1/classify", encoded(0), {"sec_fetch_site": "cross-site"}, 403, "forbidden"),
        ("GET", "/v1/classify", None, {}, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", None, {}, 405, "method_not_allowed"),
        ("GET", "/v1/models/%2e%2e%2fetc", None, {}, 404, "not_found"),
        ("GET", "/page/../http.py", None, {}, 404, "not_found"),
        ("GET", "/page/%2e%2e%2fhttp.py", None, {}, 404, "not_found"),
        ("GET", "/nothing", None, {}, 404, "not_found"),
        ("POST", "/v2/models/first/infer", b"{}", {}, 400, "malformed"),
        ("POST", "/v2/models/first/infer", b"{}", {"inference_header_content_length": "9"}, 400, "malformed"),
        ("POST", "/v2/models/first/versions/9/infer", b"{}", {}, 404, "not_found"),
    ],
)  # fmt: skip
def test_a_bad_request_gets_its_code(
    method: str, path: str, body: Any, headers: dict[str, str], status: int, code: str, server: Running
) -> None:
    answer = server.ask(method, path, body, **headers)
    assert (answer.status, error_of(answer)["code"]) == (status, code), answer.body
    assert server.ask("GET", "/livez").status == 200


def png_of(width: int, height: int, extra: bytes = b"") -> bytes:
    """The header of a PNG of that size, with next to nothing behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_bombs_are_turned_away_by_their_header(server: Running) -> None:
    text = zlib.compress(bytes(50_000_000), 9)
    bomb = struct.pack(">I", len(text) + 3) + b"zTXt" + b"a\0\0" + text
    bomb += struct.pack(">I", zlib.crc32(b"zTXt" + b"a\0\0" + text))
    jpeg = bytearray(encoded(0, "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    webp = bytearray(encoded(0, "WEBP"))
    bombs = [png_of(50_000, 50_000), png_of(1 << 31, 1), png_of(64, 64, bomb), bytes(jpeg), bytes(webp[:-9])]
    for k, data in enumerate(bombs):
        answer = server.classify(data)
        assert answer.status == 422, (k, answer)
        error_of(answer)
    polyglot = encoded(1, "GIF") + b"<script>alert(1)</script>" + b"PK\x03\x04"
    assert server.classify(polyglot).status == 200


def test_mutated_pictures_are_answered_or_named(server: Running) -> None:
    rng = random.Random(0)
    seeds = [encoded(0, kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP")]

    def one(k: int) -> int:
        data = bytearray(seeds[k % 5])
        if k % 3:
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        else:
            del data[rng.randrange(len(data)) :]
        answer = server.classify(bytes(data))
        if answer.status != 200:
            error_of(answer)
        return answer.status

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(one, range(300))) <= {200, 422}


def raw(server: Running, data: bytes, more: bool = False, limit: float = 120.0) -> bytes:
    """What comes back for these very bytes, until the server hangs up; after them nothing, or perhaps more, is sent."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=limit) as wire:
        found = b""
        try:
            wire.sendall(data)
            if not more:
                wire.shutdown(socket.SHUT_WR)
            while part := wire.recv(65536):
                found += part
        except ConnectionError:
            pass
        return found


def test_what_is_not_http_is_answered_in_json_or_hung_up_on(server: Running) -> None:
    rng = np.random.default_rng(0)
    assert b"400 Bad Request" in raw(server, b"HELLO\r\n\r\n")
    assert b'"code": "malformed"' in raw(server, b"HELLO\r\n\r\n")
    assert b"431 " in raw(server, b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000)
    assert b"431 " in raw(server, b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 5500 + b"\r\n")
    smuggle = (
        b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert b" 400 " in raw(server, smuggle)
    assert b"vitral_requests" not in raw(server, smuggle)
    for _ in range(100):
        raw(server, rng.bytes(int(rng.integers(1, 400))))
        start = bytearray(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n" + bytes(20))
        start[int(rng.integers(0, len(start)))] = int(rng.integers(0, 256))
        raw(server, bytes(start))
    assert server.ask("GET", "/livez").status == 200
    assert not any("mistake" in note for note in server.notes), server.notes


def test_a_body_in_chunks_has_the_same_limits(server: Running) -> None:
    head = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = encoded(6)
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(data[k : k + 99]), data[k : k + 99]) for k in range(0, len(data), 99))
    close = head.replace(b"Host: x", b"Host: x\r\nConnection: close")
    assert b" 200 OK" in raw(server, close + pieces + b"0\r\n\r\n", more=True)
    assert b" 413 " in raw(server, head + (b"8000\r\n" + bytes(0x8000) + b"\r\n") * 20, more=True)
    assert b" 413 " in raw(server, head + b"1\r\nx\r\n" * 30_000, more=True)


def test_every_answer_carries_its_headers(server: Running) -> None:
    for path in ("/", "/page/app.js", "/v1/models", "/nothing"):
        headers = server.ask("GET", path, origin="https://elsewhere.example").headers
        assert headers["x-content-type-options"] == "nosniff"
        assert not [name for name in headers if name.startswith("access-control")]
        assert "set-cookie" not in headers
        assert "uvicorn" not in json.dumps(headers)
    policy = server.ask("GET", "/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    tag = server.ask("GET", "/page/app.js").headers["etag"]
    assert server.ask("GET", "/page/app.js", if_none_match=tag).status == 304
    assert "queue;dur=" in server.classify(encoded(0)).headers["server-timing"]
    assert server.classify(encoded(0), x_request_id="a\tb").headers["x-request-id"] != "a\tb"


def test_metrics_count_what_happened_and_escape_names(server: Running, models: dict[str, Model]) -> None:
    before = server.count("vitral_requests_total", route="classify", code="422")
    server.classify(b"no")
    assert server.count("vitral_requests_total", route="classify", code="422") == before + 1
    strange = next(name for name in models if name != "first")
    assert server.count("vitral_model_info", model=strange) == 1
    until(lambda: server.count("vitral_requests_open") == 1)  # the question itself
    assert server.count("vitral_waiting_pictures", model="first") == 0


def test_the_description_has_every_route_and_no_other(server: Running) -> None:
    served = server.ask("GET", "/openapi.json").json
    assert served == document()
    routes = {route.path: route.methods - {"HEAD"} for route in server.life.front.routes.routes}
    hidden = {"/", "/favicon.ico", "/page/{name}"}
    assert {path: {m.upper() for m in node if m in ("get", "post")} for path, node in served["paths"].items()} == {
        path: methods for path, methods in routes.items() if path not in hidden
    }
    for path, node in served["paths"].items():
        if "get" in node and "{" not in path:
            assert str(server.ask("GET", path).status) in node["get"]["responses"]


# Pictures to try ----------------------------------------------------------------------------------------


def test_examples_are_read_once_and_are_only_pictures_that_are_taken(tmp_path: Path) -> None:
    for k in range(MOST + 3):
        (tmp_path / f"{k:02}.png").write_bytes(encoded(k))
    (tmp_path / "00.png").write_bytes(b"no picture")
    (tmp_path / "01.png").write_bytes(encoded(1, "BMP", (300, 300)))
    found = read_examples(str(tmp_path), LIMITS)
    assert [one.name for one in found] == [f"{k:02}.png" for k in range(2, MOST + 2)]
    with Running(start=StandIn(), examples=found) as server:
        assert server.ask("GET", "/v1/examples").json["examples"] == [one.name for one in found]
        assert server.ask("GET", "/v1/examples/3").body == encoded(5)
        for place in ("12", "-1", "x", "\u0663".encode().hex(), "1e0", "..%2f..%2fetc%2fpasswd"):
            assert server.ask("GET", f"/v1/examples/{place}").status == 404
    for folder in (tmp_path / "none", tmp_path / "empty"):
        with pytest.raises(MissingInputError):
            (tmp_path / "empty").mkdir(exist_ok=True)
            read_examples(str(folder), LIMITS)


# A model that changes -----------------------------------------------------------------------------------


def test_a_broken_new_model_leaves_the_old_one_and_a_whole_one_is_seen_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitral.serving.house.WATCH_EVERY", 0.05)
    path = tiny_model(0).save(tmp_path / "model")
    with Running({"m": str(path)}, start=InProcess, watch=True) as server:
        before = server.classify(encoded(7)).json["sha256"]
        whole = (path / "model.safetensors").read_bytes()
        (path / "model.safetensors").write_bytes(whole[:-8])
        until(lambda: any("not replaced" in note for note in server.notes))
        assert server.classify(encoded(7)).json["sha256"] == before
        assert server.ask("GET", "/v1/models").json["models"][0]["reload_error"]
        tiny_model(5).save(path)
        until(lambda: server.classify(encoded(7)).json["sha256"] != before)
        assert server.ask("GET", "/v1/models").json["models"][0]["reload_error"] is None
        assert server.count("vitral_reloads_total", model="m", outcome="refused") >= 1
