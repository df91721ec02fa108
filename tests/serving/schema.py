"""A running server against its own description: Schemathesis makes requests of it, right ones and wrong ones.

    python -m tests.serving.schema [--schemathesis PROGRAM] [--examples N]

prints what Schemathesis says; its exit code is 0 where every answer was as /openapi.json promises. It is a program of
its own (`pip install schemathesis`, in an environment apart if need be), and no part of the project's.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.serving.running import InProcess, Running, saved, tiny_model

PROGRAM = "schemathesis"

SETTINGS = """
[parameters]
"path.name" = "m"
"path.version" = "1"
"header.x-request-timeout" = "20"

# Whether bytes are a picture, and whether a tensor's data fit its shape, no schema can say: 422 and 400 are right then.
[[operations]]
include-method = "POST"
checks.positive_data_acceptance.enabled = false
"""


def found() -> str | None:
    """Where the program is: beside this Python, or on the path."""
    beside = Path(sys.executable).with_name(PROGRAM)
    return str(beside) if beside.is_file() else shutil.which(PROGRAM)


def check(program: str, examples: int, *more: str) -> subprocess.CompletedProcess[str]:
    """Run it against a server with a small model."""
    with tempfile.TemporaryDirectory() as place:
        path = saved(tiny_model(), Path(place) / "m")
        settings = Path(place) / "schemathesis.toml"
        settings.write_text(SETTINGS, encoding="utf-8")
        with Running({"m": path}, start=InProcess) as server:
            words = [program, "--config-file", str(settings), "run", f"{server.address}/openapi.json", "--no-color"]
            words += ["--seed", "1", "--max-examples", str(examples), "--phases"]
            words += ["examples,coverage,fuzzing", "--continue-on-failure", *more]
            return subprocess.run(words, cwd=place, capture_output=True, text=True, check=False)


def main() -> int:
    """Print what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schemathesis", metavar="PROGRAM", default=found(), help="where it is")
    parser.add_argument("--examples", type=int, default=50, help="requests of each kind for each address")
    arguments = parser.parse_args()
    if arguments.schemathesis is None:
        print("schemathesis is not installed: pip install schemathesis, or name it with --schemathesis.")
        return 69
    done = check(arguments.schemathesis, arguments.examples)
    print(done.stdout + done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
