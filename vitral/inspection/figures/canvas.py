"""Empty figures in one style, and figures as files. Nothing is shown on a screen, and no state is kept."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from vitral.errors import UnavailableError
from vitral.inspection.colours import ANCHORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = {
    "font.size": 8, "axes.titlesize": 9, "axes.labelsize": 8, "figure.titlesize": 10, "legend.fontsize": 7.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7, "lines.linewidth": 1.4,
    "text.parse_math": False, "svg.fonttype": "path", "svg.hashsalt": "vitral", "savefig.facecolor": "white",
}  # fmt: skip
"""Names of classes may hold a $: it means nothing."""

DOTS = 150
"""Dots per inch of a PNG."""

LINES = ("#0b5cad", "#b04a00", "#3a7d44", "#8b3a8f", "#8a6d00")
MARKS = ("o", "s", "^", "D", "v")
GREY = "#6b7480"


def available() -> Any:
    """matplotlib.

    Raises:
        UnavailableError: it is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise UnavailableError("figures need matplotlib: pip install 'vitral[inspect]'.") from error
    return matplotlib


def png(figure: Figure) -> bytes:
    """A figure as a PNG file; the same bytes every time."""
    return _saved(figure, "png", dpi=DOTS, metadata={"Software": None})


def svg(figure: Figure) -> bytes:
    """A figure as an SVG file; the same bytes every time."""
    return _saved(figure, "svg", dpi=DOTS, metadata={"Date": None, "Creator": None})


def _saved(figure: Figure, kind: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    with available().rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Glyph", category=UserWarning)  # a name in letters the font lacks
        figure.savefig(file, format=kind, **settings)
        figure.set_layout_engine("none")  # it is laid out now: as a file of another kind it need not be again
    return file.getvalue()


def panels(rows: int, columns: int, size: tuple[float, float], **settings: Any) -> tuple[Figure, np.ndarray]:
    """An empty figure of `size` inches with its axes [rows, columns]."""
    available()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **settings)


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """A function that draws, in `STYLE` whatever the user's matplotlib is set to."""

    @functools.wraps(draw)
    def inner(*given: Any, **named: Any) -> Figure:
        with available().rc_context(STYLE):
            return draw(*given, **named)

    return inner


def colour_map() -> Any:
    """The colours of heat maps, as matplotlib takes them."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("heat", np.array(ANCHORS) / 255)


def bar_of(figure: Figure, shown: Any, axes: Any, label: str, shrink: float = 0.8) -> None:
    """Put a colour bar beside `axes`; `shrink` is its height as a share of theirs."""
    bar = figure.colorbar(shown, ax=axes, shrink=shrink, aspect=28 * shrink, label=label)
    bar.outline.set_linewidth(0.5)


def bare(axes: Axes) -> None:
    """Take away ticks and frame, as pictures have none."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def heat_bar(figure: Figure, axes: Any, label: str) -> None:
    """Put the colour bar of heat maps in [0, 1] beside `axes`."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar_of(figure, ScalarMappable(Normalize(0, 1), colour_map()), axes, label, shrink=0.4)


def pictures_in_words(count: int) -> str:
    """1 -> "1 picture"; 2000 -> "2,000 pictures"."""
    return "1 picture" if count == 1 else f"{count:,} pictures"


def percent(value: float) -> str:
    """0.1234 -> "12.3%"."""
    return f"{value:.1%}"


def short(name: str, most: int) -> str:
    """A name on one line, without characters that print nothing."""
    shown = "".join(c if c.isprintable() else "�" for c in name)
    return shown if len(shown) <= most else shown[: most - 1] + "…"
