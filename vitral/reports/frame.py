"""What every page has: one file that needs no network and no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from vitral.errors import StorageError
from vitral.files import replace_durably
from vitral.reports.style import STYLE
from vitral.reports.wording import for_html

_PANES = (
    '<svg viewBox="0 0 26 26" aria-hidden="true"><rect width="26" height="26" rx="4" fill="#2b3440"/>'
    '<path fill="#e0a030" d="M3 3h9v5l-9 4z"/><path fill="#3f8fd2" d="M14 3h9v11l-9-6z"/>'
    '<path fill="#c8503c" d="M3 14l9-4v13H3z"/><path fill="#4c9a63" d="M14 10.300l9 6V23h-9z"/></svg>'
)


def frame(
    kind: str,
    name: str,
    top: str,
    sections: Sequence[tuple[str, str]],
    source: str,
    style: str = "",
    images: bool = False,
    script: str = "",
) -> str:
    """A page as text.

    Args:
        kind: what the page is, for the line above its title.
        name: its title, not yet escaped.
        top: HTML between the title and the links to the sections.
        sections: (title, HTML) of each; titles are plain words, and become the names that links lead to.
        source: what the page was made from, for its last line; HTML.
        style: rules beyond the style sheet that all pages share.
        images: whether there are pictures in it (as data: addresses).
        script: what the page runs when it is there; no other script can.
    """
    ids = [title.lower().replace(" ", "-") for title, _ in sections]
    bodies = "".join(
        f'<section aria-labelledby="{key}"><h2 id="{key}">{title}</h2>\n{body}</section>\n'
        for key, (title, body) in zip(ids, sections, strict=True)
    )
    links = "".join(f'<li><a href="#{key}">{title}</a></li>' for key, (title, _) in zip(ids, sections, strict=True))
    policy = "default-src 'none'; style-src 'unsafe-inline'" + ("; img-src data:" if images else "")
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
    run = f"<script>{script}</script>\n" if script else ""
    shown = for_html(name)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{shown} – vitral report</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#{ids[0]}">Skip to the {sections[0][0].lower()}</a>\n'
        f'<header>\n<div class="brand">{_PANES}<span>vitral {kind}</span></div>\n'
        f"<h1><bdi>{shown}</bdi></h1>\n{top}</header>\n"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>\n{bodies}</main>\n'
        f"<footer>Written by vitral {source}; it loads nothing from elsewhere.</footer>\n{run}</body>\n</html>\n"
    )


def fold(what: str, body: str) -> str:
    """A long part that a narrow screen shows only when asked to; a wide one, and paper, show it as ever.

    Args:
        what: the plain words after "Show".
        body: HTML, which may be empty.
    """
    return body and f'<details class="fold"><summary>Show {what}</summary>\n{body}</details>\n'


def save(text: str, target: Path) -> None:
    """Write a page, whole or not at all.

    Raises:
        StorageError: it could not be written; an older one is untouched.
    """
    try:
        replace_durably(target, text.encode())
    except OSError as error:
        raise StorageError(f"cannot write {target} ({error.strerror}): free some space or check its rights.") from error
