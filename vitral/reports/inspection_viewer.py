"""The part of an inspection's page that one works with: its form, its script and its style.

The script reads one JSON element, asks nobody for anything, and writes names as text, never as HTML.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

ANCHORS = ((10, 12, 46), (72, 24, 122), (163, 42, 106), (228, 92, 54), (250, 176, 60), (253, 246, 190))
"""Colours from 0 to 1: those of `vitral.inspection.colours` (a test compares them; pages import nothing of torch's)."""

STYLE = """
.viewer { display: grid; grid-template-columns: minmax(0, 1.25fr) minmax(260px, 1fr); gap: 24px; padding: 12px 0; }
.viewer canvas { display: block; width: 100%; height: auto; max-height: 78vh; object-fit: contain; object-position:
  left top; background: var(--panel); border-radius: 8px; }
.viewer form { display: grid; gap: 14px; align-content: start; min-width: 0; }
.viewer label, .viewer legend { font-size: .9rem; color: var(--soft); padding: 0; }
.viewer fieldset { border: 0; margin: 0; padding: 0; min-width: 0; }
.viewer select, .viewer input[type=range] { width: 100%; margin: 4px 0 0; font: inherit; accent-color: var(--link); }
.viewer select { padding: 6px; background: var(--panel); color: var(--text); border: 1px solid var(--edge);
  border-radius: 6px; }
.viewer :focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.viewer input[type=checkbox] { accent-color: var(--link); width: 1.1em; height: 1.1em; vertical-align: -.15em; }
.viewer output { font-variant-numeric: tabular-nums; color: var(--text); }
.viewer .said { color: var(--soft); font-size: .92rem; min-height: 3.1em; }
.viewer table { width: 100%; } .viewer td, .viewer th { padding: 3px 8px 3px 0; font-weight: 400; }
.thumbs { display: flex; gap: 8px; overflow-x: auto; padding: 6px 4px 8px; }
.thumbs label { flex: none; position: relative; cursor: pointer; }
.thumbs input { position: absolute; opacity: 0; inset: 0; margin: 0; cursor: pointer; }
.thumbs img { display: block; width: 72px; height: 72px; object-fit: cover; border-radius: 6px; border: 3px solid
  transparent; }
.thumbs input:checked + img { border-color: var(--link); }
.thumbs input:focus-visible + img { outline: 3px solid var(--link); outline-offset: 2px; }
.scale { height: 12px; border-radius: 3px; margin-top: 8px; }
.ends { display: flex; justify-content: space-between; font-size: .82rem; color: var(--soft); }
.sheet { padding: 10px 0 18px; break-inside: avoid; }
.sheet img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 8px; padding: 6px; }
@media (max-width: 760px) { .viewer { grid-template-columns: 1fr; } .viewer canvas { max-height: 60vh; } }
"""

SCRIPT = (
    """
"use strict";
const data = JSON.parse(document.getElementById("viewed").textContent);
const anchors = """
    + json.dumps(ANCHORS)
    + """;
const find = (id) => document.getElementById(id);
const canvas = find("shown"), context = canvas.getContext("2d");
const bytes = new Map();

function values(map, layer, head) {
  if (!bytes.has(map)) bytes.set(map, Uint8Array.from(atob(map.data), (c) => c.charCodeAt(0)));
  const size = map.rows * map.columns, start = (layer * map.heads + head) * size;
  return bytes.get(map).subarray(start, start + size);
}

// With the box ticked the hottest places all count as the hottest of the others.
function within(from) {
  if (!find("clip").checked) return from;
  const most = Uint8Array.from(from).sort()[Math.max(0, Math.ceil(0.97 * from.length) - 1)];
  return most > 0 ? from.map((x) => Math.min(x, most)) : from;
}

// Bilinear, sampled at the centres of pixels, like the maps in the folder.
function stretch(from, rows, columns, height, width) {
  const large = new Float32Array(height * width);
  const at = (i, n, m) => {
    const x = Math.min(Math.max((i + 0.5) * n / m - 0.5, 0), n - 1), low = Math.floor(x);
    return [low, Math.min(low + 1, n - 1), x - low];
  };
  const across = Array.from({length: width}, (_, j) => at(j, columns, width));
  for (let i = 0; i < height; i++) {
    const [top, bottom, down] = at(i, rows, height);
    for (let j = 0; j < width; j++) {
      const [left, right, part] = across[j];
      const upper = from[top * columns + left] * (1 - part) + from[top * columns + right] * part;
      const lower = from[bottom * columns + left] * (1 - part) + from[bottom * columns + right] * part;
      large[i * width + j] = upper * (1 - down) + lower * down;
    }
  }
  const most = large.reduce((a, b) => Math.max(a, b), 0);
  return most > 0 ? large.map((x) => x / most) : large;
}

function colour(value) {
  const place = Math.min(Math.max(value, 0), 1) * (anchors.length - 1), low = Math.min(Math.floor(place), 4);
  return anchors[low].map((c, i) => c + (anchors[low + 1][i] - c) * (place - low));
}

const images = data.map((one) => {
  const image = new Image();
  image.src = "data:image/jpeg;base64," + one.image;
  return image;
});

function chosen() {
  const number = Number(new FormData(find("choice")).get("picture"));
  const map = data[number].maps[find("method").value];
  return {number, map, layer: Math.min(find("layer").value - 1, map.layers - 1),
          head: Math.min(Number(find("head").value), map.heads - 1)};
}

function draw() {
  const {number, map, layer, head} = chosen();
  const image = images[number];
  if (!image.complete || !image.naturalWidth) { image.onload = draw; return; }
  const width = canvas.width = image.naturalWidth, height = canvas.height = image.naturalHeight;
  context.drawImage(image, 0, 0);
  const opacity = Number(find("opacity").value) / 100;
  const pixels = context.getImageData(0, 0, width, height);
  const heat = stretch(within(values(map, layer, head)), map.rows, map.columns, height, width);
  for (let i = 0; i < heat.length; i++) {
    const c = colour(heat[i]);
    for (let k = 0; k < 3; k++) pixels.data[4 * i + k] = (1 - opacity) * pixels.data[4 * i + k] + opacity * c[k];
  }
  context.putImageData(pixels, 0, 0);
  say(number, map, layer, head, opacity);
}

function say(number, map, layer, head, opacity) {
  const one = data[number], method = find("method").value, layered = map.heads > 1;
  find("layers").hidden = find("heads").hidden = !layered;
  if (layered) find("layer").max = map.layers;
  find("layer-said").textContent = `${layer + 1} of ${map.layers}`;
  find("opacity-said").textContent = `${Math.round(100 * opacity)}%`;
  const most = map.most[layer][head];
  const unit = layered ? `Brightest place: ${(100 * most).toPrecision(2)}% of the attention` :
    `Largest value: ${most.toPrecision(3)}`;
  const about = find("method").selectedOptions[0].dataset.about === "class" ? ` About the class: ${one.about}.` : "";
  find("said").textContent = find("method").selectedOptions[0].dataset.says + "." + about + " " + unit + ".";
  canvas.setAttribute("aria-label", `${one.name} under the map of ${method}` +
    (layered ? `, layer ${layer + 1}, ${head ? "head " + head : "mean of all heads"}` : ""));
  find("file").textContent = one.name;
  const rows = one.guesses.map(([name, share]) => {
    const row = document.createElement("tr");
    for (const [text, kind] of [[name, "th"], [share, "td"]]) {
      const cell = row.appendChild(document.createElement(kind));
      cell.textContent = text;
      if (kind === "td") cell.className = "number"; else cell.scope = "row";
    }
    return row;
  });
  find("guesses").replaceChildren(...rows);
}

function headsOf(map) {
  const names = Array.from({length: map.heads}, (_, i) => i ? `head ${i}` : "mean of all heads");
  find("head").replaceChildren(...names.map((name, i) => new Option(name, i)));
}

for (const [i, one] of data.entries()) {
  const label = find("thumbs").appendChild(document.createElement("label"));
  const input = label.appendChild(document.createElement("input"));
  Object.assign(input, {type: "radio", name: "picture", value: i, checked: i === 0});
  const image = label.appendChild(document.createElement("img"));
  Object.assign(image, {src: images[i].src, alt: one.name});
}
const layered = Object.values(data[0].maps).find((map) => map.heads > 1);
if (layered) { headsOf(layered); find("layer").max = layered.layers; find("layer").value = layered.layers; }
const gradient = [0, 0.2, 0.4, 0.6, 0.8, 1].map((x) => `rgb(${colour(x).map(Math.round)})`).join(", ");
find("scale").style.background = `linear-gradient(to right, ${gradient})`;
find("choice").addEventListener("input", draw);
find("choice").addEventListener("submit", (event) => event.preventDefault());
draw();
"""
)

_SHOWS = {
    # method: (what it shows, whether it is about one class)
    "rollout": ("What reaches the head through the attention of all layers", False),
    "attention": ("Where the token that the head reads looks", False),
    "relevance": ("Attention times its gradient, through all layers", True),
    "gradcam": ("Features times the gradient of the class’s score", True),
    "occlusion": ("What the class’s probability loses when a place is hidden", True),
}


def viewer(data: Sequence[Mapping[str, Any]], methods: Sequence[str], left: int) -> str:
    """The form, the canvas and what the script reads.

    Args:
        data: as `vitral.reports.inspection_page.render` gives it, with `name`, `guesses` and `about` as text.
        methods: in the order of the list; attention by layer and head comes with them where there is one.
        left: pictures that there was no room for.
    """
    known = list(dict.fromkeys([*methods, *data[0]["maps"]]))
    options = "".join(
        f'<option value="{name}" data-says="{_SHOWS[name][0]}" data-about="{"class" if _SHOWS[name][1] else ""}">'
        f"{'attention, by layer and head' if name == 'attention' else name}</option>"
        for name in known
    )
    plain = json.dumps(list(data), ensure_ascii=True).replace("<", "\\u003c")
    more = f'<p class="soft">{left} more are in the folder, in maps/.</p>' if left else ""
    return (
        '<noscript><p class="warning">Picking a map needs JavaScript, which is off; the figures below and the pictures '
        "in maps/ need none.</p></noscript>\n"
        f'<div class="viewer"><div><canvas id="shown" role="img" aria-label="picture"></canvas>'
        '<div class="scale" id="scale"></div><div class="ends"><span>nothing</span>'
        "<span>each map’s maximum</span></div></div>\n"
        '<form id="choice"><fieldset><legend>Picture: <output id="file"></output></legend>'
        f'<div class="thumbs" id="thumbs"></div>{more}</fieldset>\n'
        f'<div><label for="method">Map</label><select id="method">{options}</select></div>\n'
        '<div id="layers"><label for="layer">Layer <output id="layer-said"></output></label>'
        '<input type="range" id="layer" min="1" max="1" value="1"></div>\n'
        '<div id="heads"><label for="head">Head</label><select id="head"></select></div>\n'
        '<div><label for="opacity">Opacity <output id="opacity-said"></output></label>'
        '<input type="range" id="opacity" min="0" max="100" value="60"></div>\n'
        '<div><label><input type="checkbox" id="clip"> let the hottest 3% of the places count as equally hot, so that '
        "outliers do not darken the rest</label></div>\n"
        '<p class="said" id="said" aria-live="polite"></p>\n'
        '<table><caption>The model’s answers</caption><tbody id="guesses"></tbody></table></form></div>\n'
        f'<script type="application/json" id="viewed">{plain}</script>'
    )
