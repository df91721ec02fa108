"""Files that a verb is asked to write: refused at once where they could not be written, not after minutes of work."""

from __future__ import annotations

from pathlib import Path

from vitral.errors import UsageError


def refuse_bad_target(option: str, given: str | None, ending: str) -> None:
    """Refuse a file that cannot be what `option` asks for; nothing is asked where nothing is given.

    Args:
        ending: of its name, like ".csv".

    Raises:
        UsageError: another ending, no such folder, or there already.
    """
    if given is None:
        return
    path = Path(given)
    if path.suffix.lower() != ending:
        raise UsageError(f"{option} writes a file that ends in {ending}, not {given!r}.")
    if not path.parent.is_dir():
        raise UsageError(f"{option}: there is no folder {str(path.parent)!r}: make it, or name another.")
    if path.exists():
        raise UsageError(f"{option}: {given!r} is there already: name a new file.")
