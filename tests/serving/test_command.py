"""`vitral serve` as a command: what it says, how it ends, and with which exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from tests.serving.running import encoded, saved, tiny_model
from vitral.cli import main
from vitral.serving.address import as_url, bind
from vitral.serving.client import Client
from vitral.serving.guard import allowed_hosts


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    return json.loads(capsys.readouterr().out)["error"]["message"]


@pytest.mark.slow
def test_it_serves_until_sigterm_and_puts_one_document_on_standard_output(tmp_path: Path) -> None:
    model = tiny_model()
    path = saved(model, tmp_path / "tiny")
    words = [sys.executable, "-m", "vitral", "serve", f"my={path}", "--port", "0", "--json", "--drain-delay", "0"]
    key = "0123456789abcdef-key"
    environment = os.environ | {"VITRAL_API_KEY": key}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("serving on "):
                break
        address = said[-1].split()[2]
        assert said[0].startswith("my  vit, 5 classes, 16 x 16, cpu, torch, version ")
        guess = Client(address, key=key).classify(encoded(1), top=1)[0].predictions[0]
        assert (guess.label, guess.probability) == model.predict(encoded(1))[0]
        process.send_signal(signal.SIGTERM)
        out, rest = process.communicate(timeout=120)
    assert process.returncode == 0
    document = json.loads(out)
    assert (document["address"], document["stopped_by"]) == (address, "SIGTERM")
    assert document["models"][0]["name"] == "my"
    assert "every accepted request was answered" in rest
    assert key not in out + rest + "".join(said) + " ".join(words)


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


@pytest.mark.slow
def test_a_model_that_is_not_there_ends_the_start(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["serve", str(tmp_path / "none"), "--port", "0", "--json"]) == 66
    assert "no weights at" in error_of(capsys)


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
