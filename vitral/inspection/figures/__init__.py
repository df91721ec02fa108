"""The only folder that draws: measures in, matplotlib figures out, figures as files."""

from vitral.inspection.figures.canvas import available, png, svg
from vitral.inspection.figures.depth import draw_blocks, draw_norms, draw_similarity
from vitral.inspection.figures.first_layer import draw_filters, draw_positions
from vitral.inspection.figures.gallery import draw_map, draw_neighbours
from vitral.inspection.figures.maps import (
    draw_attention_examples,
    draw_curves,
    draw_distance,
    draw_heads,
    draw_methods,
)
from vitral.inspection.figures.studies import Words, draw_differences, draw_lines

__all__ = [
    "Words",
    "available",
    "draw_attention_examples",
    "draw_blocks",
    "draw_curves",
    "draw_distance",
    "draw_filters",
]
__all__ += ["draw_heads", "draw_map", "draw_methods", "draw_neighbours", "draw_norms", "draw_positions"]
__all__ += ["draw_differences", "draw_lines", "draw_similarity", "png", "svg"]
