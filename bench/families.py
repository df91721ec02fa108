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


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One row: pictures per second of each round, and their ratios."""
    import torch

    from vitral.models import create_model

    network = create_model(name)
    size = network.config.image_size
    other = peers.timm().create_model(PAIRS[name], pretrained=False, **_sized(PAIRS[name], size)).eval()
    models = {"vitral": network, "timm": other}
    images = torch.randn(options.batch, 3, *size)
    rates: dict[str, list[float]] = {library: [] for library in models}
    with torch.inference_mode():
        for library in report.turns(list(models), options.rounds + 1):
            rates[library].append(options.batch / _seconds(models[library], images))
    ours, theirs = rates["vitral"][1:], rates["timm"][1:]  # the first round warms up
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {"model": name, "input": size, "vitral": ours, "timm": theirs, "ratio": report.spread(ratios)}


def cells(row: dict[str, Any]) -> list[str]:
    """One row of `measure`, as printed."""
    ratio = row["ratio"]
    return [
        row["model"],
        "x".join(map(str, row["input"])),
        *(f"{statistics.median(row[library]):.1f}" for library in ("vitral", "timm")),
        f"{ratio['median']:.2f}",
        f"{ratio['min']:.2f}-{ratio['max']:.2f}",
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
    report.add_common_options(parser)
    options = parser.parse_args()
    env = report.environment()
    rows = [measure(name, options) for name in options.models]
    print(report.heading(env), end="\n\n")
    print(report.table(COLUMNS, [cells(row) for row in rows]))
    report.write_json(options.json, {"environment": env, "batch": options.batch, "rows": rows})


if __name__ == "__main__":
    main()
