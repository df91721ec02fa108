"""A page in a real browser, headless, for what only a browser knows: does it fit, does it load, can it be read?

The page is copied with a script at its end, which the copy's policy allows, and shown in a frame of the wanted width;
what the script finds comes back as the dumped document of the page around the frame.
"""

from __future__ import annotations

import html
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NARROW, WIDE = 360, 1280
"""Widths in pixels: a small telephone and a laptop."""

LONGEST = 120
"""Seconds after which a browser counts as broken."""

_LOOK = r"""
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
function rgb(colour, under) {
  canvas.fillStyle = under; canvas.fillRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
}
function light(channels) {
  const [r, g, b] = channels.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
}
function ground(e) {
  const own = [];
  for (; e; e = e.parentElement) own.push(getComputedStyle(e).backgroundColor);
  return own.reverse().reduce((under, over) => 'rgb(' + rgb(over, under).join() + ')', 'white');
}
function pale() {  // text whose contrast is below 4.5 (WCAG 2.1, success criterion 1.4.3)
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.closest('svg') || e.tagName === 'SCRIPT') continue;
    const under = ground(e), a = light(rgb(getComputedStyle(e).color, under)), b = light(rgb(under, 'white'));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) found.push(`${e.tagName}.${e.className} ${ratio.toFixed(2)} ${e.textContent.slice(0, 30)}`);
  }
  return found;
}
function sticking() {  // what leaves the page at its right, but for tables that scroll by themselves
  const wide = document.documentElement.clientWidth;
  return [...document.querySelectorAll('body *')]
    .filter(e => !e.closest('.scroll > *') && !e.closest('svg') && e.getBoundingClientRect().right > wide + 1)
    .map(e => `${e.tagName}.${e.className} ${e.textContent.slice(0, 30)}`);
}
function tabs() {
  return [...document.querySelectorAll('a[href], [tabindex]')].map(e => {
    e.focus();
    const box = e.getBoundingClientRect();
    return {name: e.className || e.tagName, focused: document.activeElement === e, outside: box.left < 0,
            outline: getComputedStyle(e).outlineStyle};
  });
}
document.querySelectorAll('img').forEach(i => i.loading = 'eager');
Promise.allSettled([...document.images].map(i => i.decode())).then(done => parent.postMessage({
  images: done.length, broken: done.filter(d => d.status !== 'fulfilled').length, sticking: sticking(), pale: pale(),
  width: document.documentElement.clientWidth, ground: getComputedStyle(document.body).backgroundColor, tabs: tabs(),
  scrolling: document.querySelectorAll('.scroll').length,
  loaded: performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:')),
}, '*'));
"""


def chromium() -> str:
    """The browser; the test is skipped where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium is installed")
    return found


def look(page: Path, folder: Path, width: int, scheme: str = "light") -> dict[str, Any]:
    """What a browser finds on the page, shown `width` pixels wide in a light or dark scheme.

    Args:
        folder: where the copies and the browser's profile go.
    """
    program = chromium()
    text = page.read_text(encoding="utf-8")
    policy = "default-src 'none'; "
    assert policy in text
    looked = text.replace(policy, policy + "script-src 'unsafe-inline'; ", 1)
    looked = looked.replace("</body>", f"<script>{_LOOK}</script></body>")
    (folder / "looked.html").write_text(looked, encoding="utf-8")
    (folder / "frame.html").write_text(
        f'<meta charset="utf-8"><iframe src="looked.html" style="width:{width}px;height:900px;border:0"></iframe>'
        "<pre></pre><script>onmessage = e => document.querySelector('pre').textContent = JSON.stringify(e.data)</script>"
    )
    words = ["--headless", "--hide-scrollbars", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1400,1000",
             f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000",
             f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}", "--dump-dom"]  # fmt: skip
    done = subprocess.run(
        [program, *words, (folder / "frame.html").as_uri()], capture_output=True, text=True, timeout=LONGEST
    )
    found = done.stdout.partition("<pre>")[2].partition("</pre>")[0]
    assert found, f"the browser answered nothing: {done.stderr[-500:]}"
    return dict(json.loads(html.unescape(found)))
