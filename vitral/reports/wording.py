"""How names and numbers are written, in a page or a card, whatever they contain."""

from __future__ import annotations

import html
import json
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

NAME_LENGTH = 120
"""Characters of a name that are shown; a longer one ends in an ellipsis."""

_TURNS_TEXT_ROUND = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c")
_REPLACED = "\N{REPLACEMENT CHARACTER}"


def plain(value: object, limit: int = NAME_LENGTH) -> str:
    """`value` on one line, of printable characters only, at most `limit` of them.

    White space becomes single spaces; what XML, YAML or UTF-8 cannot hold, and what would turn the direction
    of the text around it, becomes U+FFFD.
    """
    text = " ".join(str(value).split())
    text = "".join(_REPLACED if _is_unprintable(character) else character for character in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _is_unprintable(character: str) -> bool:
    return (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or ord(character) & 0xFFFE == 0xFFFE
        or character in _TURNS_TEXT_ROUND
    )


def for_html(value: object, limit: int = NAME_LENGTH) -> str:
    """`value` as the text of an HTML or SVG element, or within a quoted attribute."""
    return html.escape(plain(value, limit))


def class_name(name: object, descriptions: Mapping[str, Any]) -> str:
    """A class for HTML: its name; where that is a mere identifier, the words for it, and the identifier below."""
    words = descriptions.get(str(name))
    if not words:
        return f"<bdi>{for_html(name)}</bdi>"
    return f"<bdi>{for_html(words, 60)}</bdi><small><bdi>{for_html(name)}</bdi></small>"


def short_name(name: object, descriptions: Mapping[str, Any], limit: int = 60) -> str:
    """A class for HTML, on one line: the first of the words for it, else its name."""
    words = descriptions.get(str(name))
    return f"<bdi>{for_html(str(words).split(', ')[0] if words else name, limit)}</bdi>"


def for_pre(text: str, limit: int = 4000) -> str:
    """`text` for an HTML `<pre>`: its spaces and lines are kept."""
    kept = "".join(_REPLACED if c != "\n" and _is_unprintable(c) else c for c in text)
    return html.escape(kept if len(kept) <= limit else kept[: limit - 1] + "…")


def for_yaml(value: object) -> str:
    """`value` as a double-quoted YAML scalar."""
    return json.dumps(plain(value), ensure_ascii=False)


def for_markdown(value: object) -> str:
    """`value` as literal Markdown text, also within a table cell or at the start of a line."""
    text = re.sub(r"""[\\`*_{}\[\]#|~!$:@"=^]|^[-+]|(?<=www)\.""", r"\\\g<0>", plain(value), flags=re.IGNORECASE)
    text = re.sub(r"^(\d+)([.)])", r"\1\\\2", text)  # "1." at the start would begin a list
    return re.sub(r"[&<>]", lambda found: html.escape(found[0]), text)


def percent(share: float, decimals: int = 2) -> str:
    """0.91234 -> "91.23%"."""
    return f"{share:.{decimals}%}"


def counted(count: int, thing: str, several: str = "") -> str:
    """1, "step" -> "1 step"; 2000, "step" -> "2,000 steps"."""
    return f"{count:,} {thing if count == 1 else several or thing + 's'}"


def number(record: Mapping[str, Any], name: str) -> float | None:
    """The finite number that `record` holds under `name`; `None` if there is none."""
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def interval(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95% interval for a share measured on `count` > 0 independent pictures."""
    z = 1.96
    scale = 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    spread = z / scale * math.sqrt(max(0.0, share * (1 - share)) / count + z * z / (4 * count * count))
    return max(0.0, middle - spread), min(1.0, middle + spread)
