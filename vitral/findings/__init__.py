"""What `vitral inspect` finds out about a model, and the folder that it writes."""
