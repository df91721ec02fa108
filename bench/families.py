"""Inference of each family in vitral and in timm: eager float32, the same random pictures, one process.

In a round the two networks of a family take turns, so that both meet the same noise; which one begins alternates.
Weights are random; no arithmetic depends on them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from bench import report
from tests import peers

PAIRS = {
    # vitral's name: timm's
    "ViT-Ti/16": "vit_tiny_patch16_224",
    "R26+ViT-S/32": "vit_small_r26_s32_224",
    "BiT-R50x1": "resnetv2_50x1_bit",
    "Mixer-S/32": "mixer_s32_224",
    "DeiT-Ti-distilled/16": "deit_tiny_distilled_patch16_224",
    "DeiT-III-S/16": "deit3_small_patch16_224",
    "BEiT-B/16": "beit_base_patch16_224",
    "Swin-T": "swin_tiny_patch4_window7_224",
    "ResNet-50": "resnet50",
    "EfficientNet-B0": "tf_efficientnet_b0",
}
COLUMNS = ("model", "input", "vitral images/s", "timm images/s", "ratio", "min-max of the ratios")


def measure(name: str, options: argparse.Namespace) -> list[str]:
    """One row: medians of the rounds, and of their ratios."""
    import torch

    from vitral.models import create_model

    network = create_model(name)
    size = network.config.image_size
    other = peers.timm().create_model(PAIRS[name], pretrained=False, **_sized(PAIRS[name], size)).eval()
    images = torch.randn(options.batch, 3, *size)
    rates: dict[str, list[float]] = {"vitral": [], "timm": []}
    with torch.inference_mode():
        for turn in range(options.rounds + 1):  # the first warms up
            pair = [("vitral", network), ("timm", other)]
            for library, model in pair if turn % 2 else pair[::-1]:
                rate = options.batch / _seconds(model, images)
                if turn:
                    rates[library].append(rate)
    ratios = [ours / theirs for ours, theirs in zip(rates["vitral"], rates["timm"], strict=True)]
    return [
        name,
        "x".join(map(str, size)),
        f"{statistics.median(rates['vitral']):.1f}",
        f"{statistics.median(rates['timm']):.1f}",
        f"{statistics.median(ratios):.2f}",
        f"{min(ratios):.2f}-{max(ratios):.2f}",
    ]


def _seconds(model: Any, images: Any) -> float:
    began = time.perf_counter()
    model(images)
    return time.perf_counter() - began


def _sized(name: str, size: tuple[int, int]) -> dict[str, Any]:
    """timm is told the input's size where its network depends on it."""
    fixed = peers.timm().get_pretrained_cfg_value(name, "fixed_input_size")
    return {"img_size": size} if fixed else {}


def main() -> None:
    """Measure the families that were asked for and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--models", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows = [measure(name, options) for name in options.models]
    print(report.heading(report.environment()), end="\n\n")
    print(report.table(COLUMNS, rows))


if __name__ == "__main__":
    main()
