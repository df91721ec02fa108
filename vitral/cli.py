"""The `vitral` command: words in, one verb called, an exit code out.

Answers --help without importing torch. With --json, standard output is exactly one JSON document, also when
something goes wrong; everything else goes to standard error.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from vitral.errors import StorageError, UsageError, VitralError
from vitral.registry import look_up, nearest
from vitral.version import VERSION

VERBS = {
    "finetune": "adapt a pretrained model to a folder of pictures",
    "train": "train a model from scratch",
    "evaluate": "measure a model on labelled pictures",
    "compare": "is one model better than another, or was it luck?",
    "probe": "how good are a model's features on other pictures, without training it?",
    "speed": "how fast is a model here, and how much memory does it take?",
    "benchmark": "the papers' tasks and questions again, beside the published numbers",
    "predict": "classify pictures",
    "inspect": "look into a model: where its answers come from, what its layers do",
    "serve": "answer over HTTP: a page for people, an interface for programs",
    "export": "write a model as a graph for other programs: ONNX, OpenVINO, torch.export; int8",
    "convert": "write a model in another library's layout",
    "models": "list the models, or show one",
    "recipes": "list the training recipes, or show one",
    "data": "`data check`: is a folder of pictures sound?",
    "doctor": "versions, devices, and what is missing",
}
"""Each verb is a module of `vitral.commands` with `options(parser)` and `call(arguments, screen)`."""

SHARED = ("compare", "evaluate", "probe")
"""Verbs whose work several processes can share."""

EXIT_CODES = """exit codes:
  0 done             1 failed           2 wrong request     65 bad data
  66 nothing there   69 not available   74 disk             130 Ctrl-C         143 SIGTERM"""


OUT_OF_MEMORY = (
    "out of memory: try --training.micro-batch-size (the same result in smaller parts), --model.checkpoint-blocks "
    "or a smaller --image-size."
)


class Parser(argparse.ArgumentParser):
    """argparse that raises instead of exiting, and knows the nearest option."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}: see {self.prog} --help.")

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse all of `words`; an unknown option is an error that names the nearest ones."""
        arguments, unknown = self.parse_known_intermixed_args(words)
        if unknown:
            options = [
                option for action in self._actions for option in action.option_strings if option.startswith("--")
            ]
            first = unknown[0].split("=")[0]
            if not first.startswith("-"):
                raise UsageError(f"there is one argument too many, {first!r}: see {self.prog} --help.")
            tails = {option.rsplit(".", 1)[-1].removeprefix("--"): option for option in options}
            close = nearest(first, options) or [tails[tail] for tail in nearest(first.removeprefix("--"), tails)]
            raise UsageError(
                f"unknown option {first}: "
                + (f"did you mean {' or '.join(close)}?" if close else f"see {self.prog} --help.")
            )
        self._refuse_empty_words(arguments)
        return arguments

    def _refuse_empty_words(self, arguments: argparse.Namespace) -> None:
        """Refuse "", most often a shell's variable that is not set: as a path it is this folder, elsewhere it would
        count as not given. Settings, which have no default here, judge their words themselves."""
        for action in self._actions:
            value = getattr(arguments, action.dest, None)
            if action.default is not argparse.SUPPRESS and (value == "" or (isinstance(value, list) and "" in value)):
                name = max(action.option_strings, key=len, default=str(action.metavar or action.dest).upper())
                raise UsageError(f"{name} is given as empty words: say which, or leave it out.")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command with `words` (default: the process's own) and return its exit code."""
    given = list(sys.argv[1:] if words is None else words)
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot show is no reason to stop
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    as_json = "--json" in given
    _let_sigterm_speak()
    try:
        code = _run(given, as_json)
        sys.stdout.flush()  # a full disk shows here, not behind our back at exit
        return code
    except VitralError as error:
        return _fail(error, error.exit_code, as_json, given)
    except SystemExit as stopped:  # a second signal, or SIGTERM outside training
        if stopped.code in (130, 143):
            return _fail(VitralError("stopped."), int(stopped.code), as_json, given)
        raise
    except KeyboardInterrupt:
        return _fail(VitralError("stopped by Ctrl-C."), 130, as_json, given)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        return _fail(error, 1, as_json, given, OUT_OF_MEMORY)
    except OSError as error:
        wrapped = StorageError(f"{error.strerror or error}: {error.filename or 'the system refused'}.")
        return _fail(wrapped, wrapped.exit_code, as_json, given)
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):  # torch's own words
            return _fail(error, 1, as_json, given, OUT_OF_MEMORY)
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        return _fail(
            error, 1, as_json, given, f"this is a mistake of vitral's own ({said}): please report it, with --debug."
        )


def _let_sigterm_speak() -> None:
    """Let SIGTERM end the command as Ctrl-C does, with a sentence and its exit code, unless somebody handles it."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def _run(words: list[str], as_json: bool) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"vitral {VERSION}")
        return 0
    verb = words[0]
    look_up("command", verb, VERBS)
    command = import_module(f"vitral.commands.{verb}")  # a name from VERBS, never from a file
    parser = Parser(prog=f"vitral {verb}", description=command.__doc__, epilog=EXIT_CODES)
    command.options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--quiet", "-q", action="store_true", help="only warnings and results")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse(words[1:])

    from vitral.console import Screen
    from vitral.training.distributed import group_of

    group = group_of()
    if group.size > 1 and verb not in SHARED:
        raise UsageError(
            f"{group.size} processes were started, and `vitral {verb}` is the work of one: start it without torchrun. "
            f"Only {', '.join(SHARED)} share theirs."
        )
    screen = Screen(json=as_json, quiet=arguments.quiet, silent=not group.leads)
    arguments.command, arguments.group = ("vitral", *words), group
    code, document = command.call(arguments, screen)
    if as_json and group.leads:
        print(json.dumps(document, allow_nan=False))
    return int(code)


def _overview() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {meaning}" for name, meaning in VERBS.items())
    return (
        "vitral: image classification with the Vision Transformer\n\nusage: vitral COMMAND ...\n\n"
        f"{verbs}\n\n`vitral COMMAND --help` says more.\n\n{EXIT_CODES}"
    )


def _speaks() -> bool:
    """Whether standard output is this process's: of several that torchrun started, it is the first one's."""
    from vitral.training.distributed import group_of

    try:
        return group_of().leads
    except UsageError:  # which process this is, nobody can tell
        return True


def _fail(error: BaseException, code: int, as_json: bool, words: list[str], sentence: str | None = None) -> int:
    if "--debug" in words:
        traceback.print_exception(error)
    message = sentence or str(error)
    try:
        if as_json and _speaks():
            print(json.dumps({"error": {"code": code, "kind": type(error).__name__, "message": message}}))
        sys.stdout.flush()
    except OSError:  # standard output itself is what failed; the exit must not fail on it once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    from vitral.console import error as show

    show(message)
    return code
