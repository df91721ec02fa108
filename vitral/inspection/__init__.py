"""Looking into a network: attention, relevance, positions, filters, tokens and layers.

Functions below take a model as `vitral.load` gives it and one or several pictures; what they return draws itself in a
notebook. `patch_filters` and `position_similarity` take `model.network`.
"""

from vitral.inspection.explain import METHODS, explain, methods_for, overlay
from vitral.inspection.filters import patch_filters
from vitral.inspection.positions import position_similarity
from vitral.inspection.views import (
    attention_distance,
    attention_heads,
    attention_rollout,
    maps_of,
    similarity_of_layers,
    token_lengths,
)

__all__ = ["METHODS", "attention_distance", "attention_heads", "attention_rollout", "explain", "maps_of"]
__all__ += ["methods_for", "overlay", "patch_filters", "position_similarity", "similarity_of_layers", "token_lengths"]
