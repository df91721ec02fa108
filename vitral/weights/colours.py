"""ImageNet's colours, which most published weights were trained with."""

from __future__ import annotations

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's training pictures, per channel, of values in [0, 1]: torchvision's numbers,
which everybody took over."""
