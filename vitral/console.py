"""What a person sees: sentences, a live line on a terminal, plain lines elsewhere. Everything on standard error
when standard output belongs to a JSON document."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

from rich.console import Console, OverflowMethod
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from vitral.errors import SPELLED

CONTROL = {code: shown for code, shown in SPELLED.items() if chr(code) not in "\n\t"}
"""What is spelled out in text that may have lines of its own."""

PLAIN_EVERY = 30.0
"""Seconds between progress lines where there is no terminal to redraw."""


class Screen:
    """Where messages go.

    Args:
        json: standard output is kept for one JSON document.
        quiet: only warnings and results.
        silent: nothing at all, since another process says it.
    """

    def __init__(self, json: bool = False, quiet: bool = False, silent: bool = False) -> None:
        self.console = Console(stderr=json, quiet=silent, highlight=False, soft_wrap=True, emoji=False)
        self.quiet = quiet
        self._live: Live | None = None
        self._last_plain = 0.0

    def say(self, sentence: str) -> None:
        """One line of information."""
        if not self.quiet:
            self.console.print(Text(visible(sentence)))

    def decide(self, sentence: str) -> None:
        """One line about something that vitral chose."""
        if not self.quiet:
            self.console.print(Text(f"  {visible(sentence)}", style="dim"))

    def warn(self, sentence: str) -> None:
        """One line that must not be overlooked."""
        self.console.print(Text(f"warning: {visible(sentence)}", style="yellow"))

    def result(self, sentence: str) -> None:
        """One line of what came out."""
        self.console.print(Text(visible(sentence), style="bold"))

    def table(self, columns: Iterable[str], rows: Iterable[Iterable[str]], right: Iterable[int] = ()) -> None:
        """A table; columns numbered in `right` are aligned to the right."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        rightmost, names = set(right), list(columns)
        for i, name in enumerate(names):
            # the last one may hold a path: what does not fit goes on below, and is not left out
            overflow: OverflowMethod = "fold" if 0 < i == len(names) - 1 else "ellipsis"
            table.add_column(name, justify="right" if i in rightmost else "left", no_wrap=i == 0, overflow=overflow)
        for row in rows:
            table.add_row(*(escape(visible(cell)) for cell in row))
        self.console.print(table)

    def progress(self, line: str, force: bool = False) -> None:
        """Show how far things are: redrawn in place on a terminal, else a plain line now and then."""
        if self.quiet:
            return
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            if self._live is None:
                self._live = Live(console=self.console, refresh_per_second=4, transient=True)
                self._live.start()
            self._live.update(Text(visible(line), no_wrap=True, overflow="ellipsis"))
        elif force or time.monotonic() - self._last_plain >= PLAIN_EVERY:
            self._last_plain = time.monotonic()
            self.console.print(Text(visible(line)))

    def end_progress(self) -> None:
        """Take the live line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None


class Brief(Screen):
    """A screen on which one of several runs shows how far it is and what is wrong, and no more."""

    def __init__(self, screen: Screen, prefix: str) -> None:
        super().__init__(quiet=screen.quiet)
        self.console, self.prefix = screen.console, prefix

    def say(self, sentence: str) -> None:
        """Nothing."""

    def decide(self, sentence: str) -> None:
        """Nothing: it is said once of all."""

    def progress(self, line: str, force: bool = False) -> None:
        """As of any run, with the prefix before it."""
        super().progress(self.prefix + line, force)


def visible(text: str) -> str:
    """`text` with its control characters spelled out."""
    return text.translate(CONTROL)


def error(sentence: str) -> None:
    """One line about what went wrong, on standard error."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(f"error: {visible(sentence)}", style="red"))
    sys.stderr.flush()


def duration_words(seconds: float) -> str:
    """ "45 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
