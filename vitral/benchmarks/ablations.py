"""One thing changed at a time: positions, pooling, shape, optimizer, augmentation, a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitral.benchmarks.paper_points import OPTIMIZERS, PAPER, POSITIONS
from vitral.benchmarks.scales import Network, Scale, Shape
from vitral.benchmarks.study import FIVE_SHOTS, TOP1, Axis, Member, Panel, Point, Published, Study
from vitral.recipes.augreg import AUGMENTATION

RATE = Axis("learning_rate", "peak learning rate")


def ablations(scale: Scale) -> Study:
    """All of them, in groups; each has a figure of its own."""
    parts = (_positions, _pooling, _shape, _optimizer, _augreg, _distillation)
    made = [part(scale) for part in parts]
    return Study(
        name="ablations",
        question="what in the model and its training matters?",
        members=tuple(member for members, _ in made for member in members),
        panels=tuple(panel for _, panel in made),
    )


def _positions(scale: Scale) -> tuple[list[Member], Panel]:
    """Table 8 (section D.4)."""
    base = scale.base.settings
    kinds: list[tuple[str, Mapping[str, Any]]] = [("none", {"model.positions": "none"})]
    for kind in ("learned", "learned2d"):
        for place in ("stem", "every", "shared"):
            kinds.append((f"{kind}-{place}", {"model.positions": kind, "model.positions_at": place}))
    kinds.append(("relative", {"model.positions": "relative"}))
    members = [Member("positions", label, label, {**base, **words}) for label, words in kinds]
    published = Published(
        {label: (Point(0, value),) for label, value in POSITIONS.items()}, "", "ImageNet 5-shot", f"{PAPER}, Table 8"
    )
    return members, Panel(
        "positions", "positions", "Position embedding", FIVE_SHOTS, base="learned-stem", published=published
    )


def _pooling(scale: Scale) -> tuple[list[Member], Panel]:
    """Section D.3: the class token and the mean want different rates. And attention pooling (arXiv 2106.04560)."""
    members = [
        Member("pooling", f"{pool}-{rate:g}", name,
               {**scale.base.settings, "model.pool": pool, "optimizer.learning_rate": rate})
        for pool, name in (("token", "class token"), ("gap", "mean of tokens"), ("map", "attention pool"))
        for rate in scale.rates
    ]  # fmt: skip
    return members, Panel("pooling", "pooling", "What the head sees", FIVE_SHOTS, RATE)


def _shape(scale: Scale) -> tuple[list[Member], Panel]:
    """Section D.2, Figure 8: each size by itself, and depth, width and MLP together."""
    base = scale.base
    members = []
    for factor in scale.factors:
        ways = {
            "depth": replace(base, depth=round(base.depth * factor)),
            "width": _wider(base, factor),
            "MLP": replace(base, mlp_dim=round(base.mlp_dim * factor)),
            "patch": replace(base, patch=round(base.patch / factor)),
            "depth, width, MLP": replace(
                _wider(base, factor), depth=round(base.depth * factor), mlp_dim=round(base.mlp_dim * factor)
            ),
        }
        if scale.side % ways["patch"].patch:
            del ways["patch"]
        for way, shape in ways.items():
            members.append(Member("shape", f"{way.replace(', ', '-')}-{factor:g}", way, shape.settings))
    members.append(Member("shape", "base", "", base.settings))
    macs = Axis("macs", "multiplications and additions for a picture")
    return members, Panel("shape", "shape", "Depth, width, MLP and patch", FIVE_SHOTS, macs)


def _wider(shape: Shape, factor: float) -> Shape:
    """With heads of the same size."""
    return replace(shape, width=round(shape.width * factor), num_heads=max(1, round(shape.num_heads * factor)))


def _optimizer(scale: Scale) -> tuple[list[Member], Panel]:
    """Section D.1, Table 7: ResNets pre-trained with Adam and with SGD."""
    members = []
    for network in scale.resnets:
        for rate in scale.rates:
            members.append(_resnet(network, "Adam", rate, {}))
        for rate in scale.sgd_rates:
            members.append(_resnet(network, "SGD", rate, {"optimizer.name": "sgd", "optimizer.weight_decay": 0.0}))
    exaflops = {"R50": 50, "R152x2": 563}  # of Table 6, for a place on the axis
    points = {
        name: tuple(Point(exaflops[net], both[k]) for net, both in OPTIMIZERS.items())
        for k, name in enumerate(("Adam", "SGD"))
    }
    published = Published(points, "pre-training compute, exaFLOPs", "mean of five sets, %", f"{PAPER}, Table 7")
    return members, Panel("optimizer", "optimizer", "Adam and SGD for ResNets", FIVE_SHOTS, RATE, published=published)


def _resnet(network: Network, optimizer: str, rate: float, words: Mapping[str, Any]) -> Member:
    label = f"{network.label}-{optimizer.lower()}-{rate:g}"
    return Member(
        "optimizer",
        label,
        f"{network.label} {optimizer}",
        {**network.settings, **words, "optimizer.learning_rate": rate},
    )


def _augreg(scale: Scale) -> tuple[list[Member], Panel]:
    """arXiv 2106.10270 in small: does augmentation, or regularisation, stand for more pictures?"""
    members = []
    for name in ("none", "light2", "strong1"):
        layers, magnitude, mixup = AUGMENTATION[name]
        varied: dict[str, Any] = {
            "augmentation.randaugment_layers": layers, "augmentation.randaugment_magnitude": magnitude,
            "augmentation.mixup": mixup,
        }  # fmt: skip
        for rate in (0.0, 0.1):
            words = {**scale.base.settings, **varied, "model.dropout": rate, "model.stochastic_depth": rate}
            series = f"{name}{', dropout and stochastic depth' if rate else ''}"
            for share in (scale.shares[1], scale.shares[-1]):
                label = f"{name}-{'regularised' if rate else 'plain'}-{share:.4g}"
                members.append(Member("augmentation", label, series, words, share=share))
    pictures = Axis("train_count", "training pictures")
    return members, Panel("augmentation", "augmentation", "Augmentation and regularisation", TOP1, pictures)


def _distillation(scale: Scale) -> tuple[list[Member], Panel]:
    """arXiv 2012.12877: a ViT that also learns from the answers of a ResNet trained on the same pictures."""
    teacher = scale.resnets[0]
    base = scale.base.settings
    taught = f"distillation/{teacher.label}"
    words: dict[str, Mapping[str, Any]] = {
        "hard": {"distillation.kind": "hard", "distillation.alpha": 0.5},
        "soft": {"distillation.kind": "soft", "distillation.alpha": 0.1, "distillation.temperature": 3.0},
    }
    members = [
        Member("distillation", teacher.label, "teacher", teacher.settings),
        Member("distillation", "alone", "student", base),
        *(Member("distillation", kind, "student", {**base, **own}, teacher=taught) for kind, own in words.items()),
    ]
    return members, Panel("distillation", "distillation", "A teacher", TOP1, base="alone")
