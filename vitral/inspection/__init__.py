"""Looking into a network: attention, relevance, positions, filters, tokens and layers."""

from vitral.inspection.explain import METHODS, explain, methods_for, overlay

__all__ = ["METHODS", "explain", "methods_for", "overlay"]
