"""From a model to named numbers."""
