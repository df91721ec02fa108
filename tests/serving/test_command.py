"""`vitral serve` as a command: what it says, how it ends, and with which exit code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from tests.serving.running import encoded, tiny_model, until
from vitral.cli import main
from vitral.evaluation import cores
from vitral.serving.address import as_url, bind
from vitral.serving.client import Client
from vitral.serving.guard import allowed_hosts


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    return json.loads(capsys.readouterr().out)["error"]["message"]


KEY = "0123456789abcdef-key"


@contextlib.contextmanager
def served(*words: str) -> Iterator[tuple[subprocess.Popen[str], Client, list[str]]]:
    """The command as a process of its own, a client for it, and what it said until it was ready."""
    whole = [sys.executable, "-m", "vitral", "serve", *words, "--port", "0", "--json", "--drain-delay", "0.1"]
    environment = os.environ | {"VITRAL_API_KEY": KEY}
    with subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            said: list[str] = []
            assert process.stderr is not None
            while not said or not said[-1].startswith("serving on "):
                said.append(process.stderr.readline())
                assert said[-1], said
            yield process, Client(said[-1].split()[2], key=KEY), said
        finally:
            process.kill()


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():  # each thread has its own
        with contextlib.suppress(OSError):  # it has just ended
            found += [int(word) for word in (thread / "children").read_text().split()]
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the model's process is found by /proc, on Linux")
def test_it_serves_until_sigterm_whatever_happens_to_its_models_process(tmp_path: Path) -> None:
    old, new = tiny_model(0), tiny_model(9)
    path = old.save(tmp_path / "tiny")
    with served(f"my={path}", "--timeout", "120") as (process, client, said):
        assert said[0].startswith("my  vit, 5 classes, 16 x 16, cpu, torch, version ")

        def answer() -> list[tuple[str, float]]:
            return [(guess.label, guess.probability) for guess in client.classify(encoded(1))[0].predictions]

        versions = [client.models()[0]["sha256"]]
        assert answer() == old.predict(encoded(1))

        # Killed between two batches, a process costs no request, and another takes its place.
        workers = children(process.pid)
        assert len(workers) == min(2, cores())
        os.kill(workers[0], signal.SIGKILL)
        assert answer() == old.predict(encoded(1))
        until(lambda: workers[0] not in (now := children(process.pid)) and len(now) == len(workers))

        # SIGHUP brings the new model in, and no request fails meanwhile.
        new.save(path)
        process.send_signal(signal.SIGHUP)
        while versions[-1] == versions[0]:
            assert answer() in (old.predict(encoded(1)), new.predict(encoded(1)))
            versions.append(client.models()[0]["sha256"])
        assert answer() == new.predict(encoded(1))

        process.send_signal(signal.SIGTERM)
        out, rest = process.communicate(timeout=120)
    assert process.returncode == 0
    document = json.loads(out)
    assert (document["address"], document["stopped_by"]) == (f"{client.address}/", "SIGTERM")
    assert [model["name"] for model in document["models"]] == ["my"]
    assert "every accepted request was answered" in rest
    assert KEY not in out + rest + "".join(said)


def test_an_answer_in_parts_waits_for_no_acknowledgement() -> None:
    async def connection_has_no_delay() -> bool:
        accepted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            accepted.set_result(bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
            writer.close()

        bound = bind("127.0.0.1", 0)
        async with await asyncio.start_server(connected, sock=bound):
            _, writer = await asyncio.open_connection(*bound.getsockname())
            found = await accepted
            writer.close()
            return found

    assert asyncio.run(connection_has_no_delay())


def test_a_port_that_is_taken_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with bind("127.0.0.1", 0) as bound:
        bound.listen()
        port = bound.getsockname()[1]
        assert main(["serve", "m", "--port", str(port), "--json"]) == 69
    assert error_of(capsys) == f"port {port} is taken: choose another with --port, or --port 0 for a free one."


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["m", "--host", "0.0.0.0"], 2, "can be reached from elsewhere"),
        (["m", "--host", "no.such.host.invalid"], 2, "can be reached from elsewhere"),
        (["m", "--host", "no.such.host.invalid", "--insecure"], 2, "there is no such address"),
        (["m", "--host", "192.0.2.1", "--insecure"], 2, "this machine has no such address"),
        (["m", "--port", "70000"], 2, "--port must be 0 to 65535"),
        (["m", "--replicas", "0"], 2, "--replicas must be 1 to 256"),
        (["m", "--api-key-file", "none"], 66, "the key file none cannot be read"),
        (["m", "--api-key", "secret"], 2, "unknown option --api-key"),
        (["a/m", "b/m", "--port", "0"], 2, "two models are called m"),
        (["m", "--port", "0", "--queue", "0"], 2, "queue must be at least 1"),
        (["m", "--port", "0", "--max-body", "0"], 2, "max_body must be at least 1"),
    ],
)  # fmt: skip
def test_a_wrong_start_is_one_sentence(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VITRAL_API_KEY", raising=False)
    assert main(["serve", *words, "--json"]) == code
    assert said in error_of(capsys)


@pytest.mark.parametrize(
    ("kind", "code"), [("MissingInputError", 66), ("DataError", 65), ("UnavailableError", 69), ("KeyError", 1)]
)
def test_what_its_process_met_is_the_commands_own_error(
    kind: str, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that answers as the model's does when loading fails."""
    header = json.dumps({"error": "no weights at m.", "kind": kind, "exit_code": code, "arrays": []})
    program = (
        "import sys, struct; data = sys.argv[-1].encode();"
        "sys.stdout.buffer.write(struct.pack('<I', len(data)) + data); sys.stdout.flush(); sys.stdin.read()"
    )
    monkeypatch.setattr("vitral.serving.process.PROGRAM", ["-c", program, header])
    assert main(["serve", "m", "--port", "0", "--json"]) == code
    assert "no weights at m." in error_of(capsys)


def test_ctrl_c_while_a_model_loads_ends_its_process_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[int] = []
    whole = subprocess.Popen

    def remembered(*arguments: Any, **named: Any) -> Any:
        process = whole(*arguments, **named)
        launched.append(process.pid)
        signal.raise_signal(signal.SIGINT)  # the server is up by now: it listens before it loads
        return process

    monkeypatch.setattr("vitral.serving.process.subprocess.Popen", remembered)
    monkeypatch.setattr("vitral.serving.process.PROGRAM", ["-c", "import time; time.sleep(600)"])
    assert main(["serve", "m", "--port", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stopped_by"] == "SIGINT"
    assert not Path(f"/proc/{launched[0]}").exists()


def test_a_missing_package_is_named_with_its_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.util import find_spec

    def found(name: str) -> ModuleSpec | None:
        return None if name == "uvicorn" else find_spec(name)

    monkeypatch.setattr("vitral.commands.serve.find_spec", found)
    assert main(["serve", "m", "--json"]) == 69
    assert error_of(capsys) == "serving needs uvicorn: pip install 'vitral[serve]'."


def test_names_that_a_server_goes_by() -> None:
    assert allowed_hosts("0.0.0.0", False, []) is None
    assert allowed_hosts("127.0.0.1", True, ["*"]) is None
    assert allowed_hosts("::1", True, []) == {"localhost", "127.0.0.1", "[::1]"}
    assert allowed_hosts("0.0.0.0", False, ["a.example"]) == {"localhost", "127.0.0.1", "[::1]", "a.example", "0.0.0.0"}
    with bind("127.0.0.1", 0) as bound:
        assert as_url("127.0.0.1", bound) == f"http://127.0.0.1:{bound.getsockname()[1]}/"
