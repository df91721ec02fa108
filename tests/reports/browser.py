"""For what only a browser knows of a page: does it fit, does it load, can it be read?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser import Browser, program

NARROW, WIDE = 360, 1280
"""Widths in pixels: a small telephone and a laptop."""

_LOOK = r"""(async () => {
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
const seen = e => e.checkVisibility({contentVisibilityAuto: true}) && e.getClientRects().length > 0;
const folds = [...document.querySelectorAll('details.fold')];
const folded = folds.filter(f => !seen(f.querySelector('summary + *'))).length;
const offers = folds.filter(f => seen(f.querySelector('summary'))).length;
const height = document.documentElement.scrollHeight;
folds.forEach(f => { if (seen(f.querySelector('summary'))) f.querySelector('summary').click(); });
const still = folds.filter(f => !seen(f.querySelector('summary + *'))).length;
document.querySelectorAll('img').forEach(i => i.loading = 'eager');
const done = await Promise.allSettled([...document.images].map(i => i.decode()));
return {
  images: done.length, broken: done.filter(d => d.status !== 'fulfilled').length, sticking: sticking(), pale: pale(),
  width: document.documentElement.clientWidth, ground: getComputedStyle(document.body).backgroundColor, tabs: tabs(),
  scrolling: document.querySelectorAll('.scroll').length, folds: folds.length, folded, offers, still, height,
  unfolded: document.documentElement.scrollHeight,
};
})()"""


def look(page: Path, width: int, scheme: str = "light") -> dict[str, Any]:
    """What a browser finds on the page, shown `width` pixels wide in a light or dark scheme; the test is skipped where
    there is no browser. `loaded` are the addresses it asked for beside the page."""
    if program() is None:
        pytest.skip("no Chromium is installed")
    with Browser(width, dark=scheme == "dark") as browser:
        browser.call("Emulation.setFocusEmulationEnabled", enabled=True)
        browser.open(page.as_uri())
        found = browser.run(_LOOK)
        assert browser.errors == []
        others = [address for address in browser.addresses if not address.startswith("data:")]
    return {**found, "loaded": [address for address in others if address not in ("about:blank", page.as_uri())]}
