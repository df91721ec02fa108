"""The page of an inspection: pick a picture, a map, a layer and a head, and see the map over the picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitral.reports.frame import frame
from vitral.reports.inspection_viewer import SCRIPT, STYLE, viewer
from vitral.reports.wording import counted, for_html, percent
from vitral.version import VERSION

LARGEST = 9_500_000
"""Characters of a page, at most: pictures of the viewer, then figures, are left to the folder beyond it."""

FAINT = 0.01
"""Area under the deletion curve of chance below which there is nothing to lose."""

METHODS = {
    "rollout": "what reaches the head through the attention of all layers",
    "attention": "where the token that the head reads looks",
    "relevance": "attention times its gradient, through all layers",
    "gradcam": "features times the gradient of the class’s score",
    "occlusion": "what the class’s probability loses when a place is hidden",
}

SAYS = {
    "maps": "Every method’s map over the first pictures; the class that the maps are about stands above each.",
    "rollout": "The picture as bright as its attention, rolled out over all layers (Figure 6 of arXiv 2010.11929).",
    "faithfulness": "If a map is right, the class’s probability falls fast when the hottest pixels are deleted, and "
    "rises fast when they are put into a blurred picture (arXiv 1806.07421). A map no better than chance explains "
    "nothing.",
    "attention-distance": "How far each head looks, as the mean over the pictures (Figure 7, right, of arXiv "
    "2010.11929).",
    "heads": "Every head of every layer. A head that is hot where nothing is to be seen often looks at an outlier "
    "token: see the token lengths.",
    "token-lengths": "A few tokens many times as long as the others hold what belongs to no place (arXiv 2309.16588).",
    "blocks": "How much each branch adds, and for how many pictures the head would already give the final answer.",
    "layer-similarity": "Linear CKA (arXiv 1905.00414) over the patches of the pictures, without outlier tokens.",
    "positions": "For each place, how alike the positions of all places are (Figure 7, centre, of arXiv 2010.11929).",
    "filters": "What the first layer looks for (Figure 7, left, of arXiv 2010.11929).",
    "neighbours": "With the cosine of the two representations, and the class where the folder tells it.",
    "map-of-pictures": "What lies close together is alike to the network.",
}


@dataclass(frozen=True)
class Sheet:
    """A figure: its key, the section that it stands in, and the picture as a data: address."""

    key: str
    section: str
    address: str


def render(document: Mapping[str, Any], viewed: Sequence[Mapping[str, Any]], sheets: Sequence[Sheet]) -> str:
    """The page as text, below 10 MB.

    Args:
        document: what inspect.json holds.
        viewed: for every picture its `image`, a JPEG in base64, and `maps` by method, each with `layers`, `heads`,
            `rows`, `columns`, `most` [layers][heads] and `data`, bytes in base64.
    """
    names = [_name(document, i) for i in range(len(viewed))]
    budget, shown = LARGEST, 0
    while shown < len(viewed):
        budget -= len(json.dumps(viewed[shown]))
        if budget < LARGEST // 3:  # the rest is for figures
            break
        shown += 1
    data = [{**one, **name} for one, name in zip(viewed[:shown], names, strict=False)]
    sections: list[tuple[str, str]] = []
    if data:
        left = len(viewed) - shown
        sections.append(("Viewer", viewer(data, list(document["methods"]), left)))
    for title in dict.fromkeys(sheet.section for sheet in sheets):
        body = _table(document) if title == "Can the maps be believed" else ""
        for sheet in (one for one in sheets if one.section == title):
            budget -= len(sheet.address)
            body += _figure(sheet, fits=budget > 0)
        sections.append((title, body))
    if document["absent"]:
        rows = "".join(f"<li>{for_html(k)}: {for_html(v, 300)}</li>" for k, v in document["absent"].items())
        sections.append(("Left out", f"<ul>{rows}</ul>"))
    size = " × ".join(map(str, document["image_size"]))
    about = f"{counted(len(document['pictures']), 'picture')} · input of {size} pixels"
    top = f'<p class="about">{about}</p>\n<p class="verdict">{_verdict(document)}</p>\n'
    source = f"{VERSION}; the numbers are in inspect.json and arrays/, the figures also as SVG in figures/"
    return frame("inspection", document["model"], top, sections, source, STYLE, images=True, script=SCRIPT)


def _name(document: Mapping[str, Any], number: int) -> dict[str, Any]:
    """What the viewer writes beside a picture, as text."""
    picture = document["pictures"][number]
    words = document["descriptions"]

    def said(label: str) -> str:
        return f"{words[label]} ({label})" if label in words else str(label)

    return {
        "name": picture["path"].replace("\\", "/").rsplit("/", 1)[-1],
        "guesses": [[said(guess["label"]), percent(guess["probability"], 1)] for guess in picture["predictions"]],
        "about": said(picture["explained"]),
    }


def _verdict(document: Mapping[str, Any]) -> str:
    """Which of the maps to believe, in a sentence or two."""
    tested, areas = document["faithfulness_pictures"], document["faithfulness"]
    said = []
    chance = areas["chance"]["deletion"] if tested else 0.0
    if tested and chance < FAINT:
        said.append(
            "The class has next to no probability in the tested pictures, so deletion says nothing of its maps."
        )
    elif tested:
        methods = {name: one["deletion"] for name, one in areas.items() if name != "chance"}
        best = min(methods, key=lambda name: methods[name])
        worse = [name for name, value in methods.items() if value >= chance]
        said.append(
            f"By deletion, on {counted(tested, 'picture')}, {best} finds best what the answer rests on "
            f"(area {methods[best]:.3f}, chance {chance:.3f})."
        )
        if worse:
            said.append(f"No better than chance: {', '.join(worse)}.")
    norms = document["token_norms"]
    if norms and norms["outlier_share"][-1] > 0:
        said.append(
            f"{percent(norms['outlier_share'][-1], 1)} of the patches end as outlier tokens, up to "
            f"{norms['largest'][-1] / norms['median'][-1]:.0f} times as long as the median: maps are hot there without "
            "a reason in the picture."
        )
    return " ".join(said) or "What the network looks for, and where."


def _table(document: Mapping[str, Any]) -> str:
    areas = document["faithfulness"]
    rows = "".join(
        f'<tr><th scope="row">{for_html(name)}</th><td class="number">{one["deletion"]:.3f}</td>'
        f'<td class="number">{one["insertion"]:.3f}</td><td>{METHODS.get(name, "random maps")}</td></tr>'
        for name, one in areas.items()
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Areas under the curves"><table class="wide">'
        "<caption>Areas under the curves</caption><thead>"
        '<tr><th scope="col">map</th><th scope="col" class="number">deletion (low)</th>'
        '<th scope="col" class="number">insertion (high)</th><th scope="col">shows</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _figure(sheet: Sheet, fits: bool) -> str:
    said = SAYS.get(sheet.key, SAYS["heads"])
    if not fits:
        return f'<p class="missing">figures/{for_html(sheet.key)}.png: {said}</p>'
    return (
        f'<figure class="sheet"><img alt="{for_html(sheet.key)}: {for_html(said, 400)}" '
        f'src="{sheet.address}"><figcaption class="soft">{said}</figcaption></figure>'
    )
