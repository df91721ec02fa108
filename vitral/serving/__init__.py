"""A trained model in use: it owns its preprocessing, so that every way in gives the same numbers."""
