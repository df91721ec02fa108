"""Numbers that were published, as points of the studies' figures. Accuracies in percent."""

from __future__ import annotations

from statistics import fmean

from vitral.benchmarks.study import Point

PAPER = "arXiv 2010.11929"

TABLE_6 = {
    # pre-trained on JFT-300M; ImageNet, CIFAR-10, CIFAR-100, Pets, Flowers after fine-tuning; exaFLOPs of pre-training
    "ViT": (
        ((80.73, 98.61, 90.49, 93.40, 99.27), 55),  # B/32, 7 epochs
        ((84.37, 99.19, 92.52, 95.83, 99.45), 196),  # L/32, 7
        ((84.15, 99.00, 91.87, 95.80, 99.56), 224),  # B/16, 7
        ((86.30, 99.38, 93.46, 96.81, 99.66), 783),  # L/16, 7
        ((87.12, 99.38, 94.04, 97.11, 99.56), 1567),  # L/16, 14
        ((88.08, 99.50, 94.71, 97.11, 99.71), 4262),  # H/14, 14
    ),
    "hybrid": (
        ((84.90, 99.01, 92.24, 95.75, 99.46), 106),  # R50+B/32, 7
        ((85.68, 99.24, 92.93, 96.97, 99.43), 246),  # R50+L/32, 7
        ((85.58, 99.14, 92.63, 96.65, 99.40), 274),  # R50+B/16, 7
        ((86.60, 99.18, 93.64, 97.03, 99.40), 859),  # R50+L/16, 7
        ((87.12, 99.31, 93.89, 97.36, 99.11), 1668),  # R50+L/16, 14
    ),
    "BiT": (
        ((77.54, 97.67, 86.07, 91.11, 94.26), 50),  # R50x1, 7
        ((80.67, 98.48, 89.17, 94.08, 95.95), 96),  # R101x1, 7
        ((81.88, 98.82, 90.22, 94.17, 96.94), 141),  # R152x1, 7
        ((82.12, 98.29, 89.20, 93.43, 97.02), 199),  # R50x2, 7
        ((84.97, 99.06, 92.05, 95.37, 98.62), 563),  # R152x2, 7
        ((85.56, 99.24, 91.92, 95.75, 98.75), 1126),  # R152x2, 14
        ((87.22, 99.34, 93.53, 96.32, 99.04), 3306),  # R200x3, 14
    ),
}

COMPUTE = {family: tuple(Point(exaflops, fmean(row)) for row, exaflops in rows) for family, rows in TABLE_6.items()}
"""Figure 5, left, out of Table 6: the mean of the five sets."""

IMAGENET, IMAGENET_21K, JFT = 1.3e6, 14e6, 303e6
"""Pictures of the sets that the paper pre-trains on (section 4.1)."""

PRETRAINING_SETS = {
    # Table 5, ImageNet after fine-tuning at 384 pixels
    "ViT-B/32": (Point(IMAGENET, 73.38), Point(IMAGENET_21K, 81.28), Point(JFT, 80.73)),
    "ViT-B/16": (Point(IMAGENET, 77.91), Point(IMAGENET_21K, 83.97), Point(JFT, 84.15)),
    "ViT-L/32": (Point(IMAGENET, 71.16), Point(IMAGENET_21K, 80.99), Point(JFT, 84.37)),
    "ViT-L/16": (Point(IMAGENET, 76.53), Point(IMAGENET_21K, 85.15), Point(JFT, 87.12)),
    # BiT-S, M and L (arXiv 1912.11370)
    "BiT-R152x4": (Point(IMAGENET, 81.30), Point(IMAGENET_21K, 85.39), Point(JFT, 87.54)),
}
"""Figure 3 out of Table 5; its BiT out of BiT's paper."""

POSITIONS = {
    # Table 8: ViT-B/16, ImageNet, 5 shots
    "none": 61.382,
    "learned-stem": 64.206,
    "learned-every": 63.964,
    "learned-shared": 64.292,
    "learned2d-stem": 64.001,
    "learned2d-every": 64.046,
    "learned2d-shared": 64.022,
    "relative": 64.032,
}

OPTIMIZERS = {"R50": (89.33, 88.79), "R152x2": (94.01, 93.72)}
"""Table 7: mean of five sets with Adam and with SGD."""

SELF_SUPERVISED = {"none": 77.91, "masked-patches": 79.9, "supervised": 83.97}
"""ViT-B/16 on ImageNet: section 4.6, and what it is compared with there, Table 5 without pre-training on other pictures
and with ImageNet-21k's labels."""
