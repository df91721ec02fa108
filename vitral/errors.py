"""Every error that vitral raises for a user, with the exit code its command answers with.

VitralError                    1   something failed that no narrower name fits
├── UsageError                 2   unknown option, recipe, model; a value out of range; a refused resume
├── DataError                 65   the pictures, labels or weights are not what they should be
│   └── UnreadableImageError  65   one picture could not be decoded
├── MissingInputError         66   a path that should be read does not exist or holds nothing
├── UnavailableError          69   an extra, a device or a network that is not there
├── StorageError              74   reading or writing failed: disk full, no permission
└── NonFiniteError             1   the loss or a gradient became NaN or infinite

A run stopped by Ctrl-C answers 130, by SIGTERM 143; both can be resumed by the same command.
Each message is one sentence that names the thing, then the way out, on one line whatever the thing is called.
"""

from __future__ import annotations

SPELLED = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {9: "\\t", 10: "\\n"}
SPELLED |= {code: f"\\u{code:04x}" for code in (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))}
"""Characters that would break a line, command the terminal or turn the direction of the text around them, and how they
are shown: names of files, of classes and of what stands in files may hold them."""


def one_line(text: str) -> str:
    """`text` with line breaks and all other control characters spelled out."""
    return text.translate(SPELLED)


class VitralError(Exception):
    """Base of every error that a user can cause and mend."""

    exit_code = 1

    def __init__(self, *given: object) -> None:
        super().__init__(*(one_line(words) if isinstance(words, str) else words for words in given))


class UsageError(VitralError, ValueError):
    """The request itself is wrong: an unknown name, a value out of range, options that exclude each other."""

    exit_code = 2


class DataError(VitralError, ValueError):
    """Pictures, labels or weights do not have the form they need."""

    exit_code = 65


class UnreadableImageError(DataError):
    """A picture that cannot be decoded. `reason` says why, without the path."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"cannot read picture {source}: {reason}")
        self.source = source
        self.reason = reason


class MissingInputError(VitralError, FileNotFoundError):
    """A path to read from does not exist, or holds nothing to read."""

    exit_code = 66


class UnavailableError(VitralError):
    """An optional package, a device or a network that the request needs is not there."""

    exit_code = 69


class StorageError(VitralError, OSError):
    """Writing or reading a file failed, for example because the disk is full."""

    exit_code = 74


class NonFiniteError(VitralError):
    """The loss or the gradient norm is NaN or infinite; the update was not made."""


def require(condition: bool, message: str) -> None:
    """Raise `UsageError(message)` unless `condition` holds."""
    if not condition:
        raise UsageError(message)
