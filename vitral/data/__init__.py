"""From sources of pictures to batches of pixels."""
