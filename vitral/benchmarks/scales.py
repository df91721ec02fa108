"""What the studies ask at each scale: two cores for minutes, one GPU for hours, or as in the paper.

Sizes, lengths and shares of the two small scales are ours; those of the paper's are from arXiv 2010.11929: Tables 3 and
6, sections 4.3 and D.2. R200x3 is in Table 6 alone; it takes the rate of the other large ResNets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from vitral.benchmarks.study import Transfer
from vitral.config import Duration
from vitral.recipes.vit import JFT_ROWS, LOWEST, hidden_size


class Network(NamedTuple):
    """A network that is trained from scratch, and what it is called."""

    label: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Shape:
    """The plain ViT that the ablations start from."""

    patch: int
    width: int
    depth: int
    mlp_dim: int
    num_heads: int

    @property
    def settings(self) -> dict[str, Any]:
        """As settings of a run."""
        sizes = {name: getattr(self, name) for name in ("width", "depth", "mlp_dim", "num_heads")}
        return {"model.name": f"ViT-mu/{self.patch}", **{f"model.{name}": size for name, size in sizes.items()}}


@dataclass(frozen=True)
class Scale:
    """One scale.

    Attributes:
        recipe: key of `vitral.recipes.RECIPES` that every pre-training starts from.
        side: of its pictures, in pixels.
        vits, hybrids, bits: from small to large.
        compared: of the study on the pre-training set's size.
        shares: of the pre-training pictures, from few to all.
        base: what the ablations change.
        factors: by which they change its sizes.
        rates: that are tried with each way to pool; and of Adam for ResNets.
        sgd_rates: of SGD for ResNets.
        resnets: that both optimizers train.
        unlabelled: what is pre-trained without labels, with a decoder of this width, depth and heads.
        transfer: after a pre-training with labels; `longer`: where pre-trainings without are among those compared.
    """

    name: str
    recipe: str
    side: int
    vits: tuple[Network, ...]
    hybrids: tuple[Network, ...]
    bits: tuple[Network, ...]
    compared: tuple[Network, ...]
    shares: tuple[float, ...]
    base: Shape
    factors: tuple[float, ...]
    rates: tuple[float, ...]
    sgd_rates: tuple[float, ...]
    resnets: tuple[Network, ...]
    unlabelled: Shape
    decoder: tuple[int, int, int]
    transfer: Transfer
    longer: Transfer


def vit(patch: int, width: int, depth: int, root: str = "") -> Network:
    """A ViT whose MLP is twice as wide as its tokens, with heads of 16; on a ResNet, where one is named."""
    settings = Shape(patch, width, depth, 2 * width, width // 16).settings
    label = f"{'hybrid' if root else 'ViT'}-w{width}-d{depth}"
    return Network(label, {**settings, "model.name": f"{root}{settings['model.name']}"})


def bit(size: str, **settings: Any) -> Network:
    """A BiT ResNet."""
    return Network(f"BiT-{size}", {"model.name": f"BiT-{size}", **settings})


def _paper(name: str, length: int, like: str = "") -> Network:
    """A row of Table 6, with rate, end of the rate and hidden layer as in the recipe of Table 3.

    Args:
        length: in epochs.
        like: the row of Table 3 whose rate is taken where the table has none for `name`.
    """
    rate, hidden = JFT_ROWS[like or name][1], hidden_size(name)
    settings: dict[str, Any] = {"optimizer.learning_rate": rate, "schedule.final": LOWEST / rate}
    settings |= {"schedule.duration": Duration(length, "epochs")}
    settings |= {"model.representation_size": hidden} if hidden else {}
    return Network(f"{name.replace('/', '-')}-{length}ep", {"model.name": name, **settings})


def _steps(length: int) -> dict[str, Any]:
    """So many, a tenth of them warm-up."""
    return {"schedule.duration": Duration(length, "steps"), "schedule.warmup": Duration(length / 10, "steps")}


_ADAM = {"optimizer.name": "adamw", "optimizer.learning_rate": 1e-3, "optimizer.weight_decay": 0.05}

MINUTES = Scale(
    name="minutes",
    recipe="study-minutes",
    side=16,
    vits=(vit(4, 32, 2), vit(4, 48, 3), vit(4, 64, 4), vit(4, 96, 6)),
    hybrids=(vit(4, 32, 2, "R5+"), vit(4, 64, 4, "R5+"), vit(4, 96, 6, "R5+")),
    bits=(bit("R5x1"), bit("R8x1"), bit("R11x1"), bit("R8x2")),
    compared=(vit(4, 32, 2), vit(4, 64, 4), bit("R8x1"), bit("R11x1")),
    shares=(1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0),
    base=Shape(4, 64, 4, 128, 4),
    factors=(0.5, 2),
    rates=(3e-4, 1e-3, 3e-3),
    sgd_rates=(0.01, 0.03, 0.1),
    resnets=(bit("R8x1"),),
    transfer=Transfer(
        "table4-pets-flowers",
        {
            **_steps(60), "training.batch_size": 32, "optimizer.learning_rate": 0.03, "augmentation.flip": False,
            "augmentation.min_area": 0.7,
        },
        pictures=10,
    ),
    unlabelled=Shape(4, 64, 4, 128, 4),
    decoder=(32, 1, 2),
    longer=Transfer("table4-pets-flowers", {**_ADAM, **_steps(200), "training.batch_size": 32,
                                            "augmentation.flip": False, "augmentation.min_area": 0.7}, pictures=10),
)  # fmt: skip

HOURS = Scale(
    name="hours",
    recipe="study-hours",
    side=32,
    vits=(vit(4, 64, 4), vit(4, 128, 6), vit(4, 192, 9), vit(4, 384, 12)),
    hybrids=(vit(4, 64, 4, "R5+"), vit(4, 128, 6, "R5+"), vit(4, 192, 9, "R5+"), vit(4, 384, 12, "R5+")),
    bits=(bit("R8x1"), bit("R14x1"), bit("R26x1"), bit("R50x1"), bit("R50x2")),
    compared=(vit(4, 128, 6), vit(4, 384, 12), bit("R14x1"), bit("R50x1")),
    shares=(1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0),
    base=Shape(4, 192, 6, 384, 12),
    factors=(0.5, 2, 4),
    rates=(3e-4, 1e-3, 3e-3),
    sgd_rates=(0.01, 0.03, 0.1),
    resnets=(bit("R26x1"), bit("R50x1")),
    transfer=Transfer(
        "table4-pets-flowers",
        {"training.batch_size": 64, "optimizer.learning_rate": 0.03, "augmentation.min_area": 0.3},
        pictures=50,
    ),
    unlabelled=Shape(4, 192, 6, 384, 12),
    decoder=(96, 2, 6),
    longer=Transfer(
        "table4-pets-flowers",
        {**_ADAM, **_steps(2_000), "training.batch_size": 64, "augmentation.min_area": 0.3},
        pictures=50,
    ),
)

PAPER = Scale(
    name="paper",
    recipe="study-paper",
    side=224,
    vits=(
        _paper("ViT-B/32", 7), _paper("ViT-L/32", 7), _paper("ViT-B/16", 7),
        _paper("ViT-L/16", 7), _paper("ViT-L/16", 14), _paper("ViT-H/14", 14),
    ),
    hybrids=(
        _paper("R50+ViT-B/32", 7), _paper("R50+ViT-L/32", 7), _paper("R50+ViT-B/16", 7),
        _paper("R50+ViT-L/16", 7), _paper("R50+ViT-L/16", 14),
    ),
    bits=(
        _paper("BiT-R50x1", 7), _paper("BiT-R101x1", 7), _paper("BiT-R152x1", 7),
        _paper("BiT-R50x2", 7), _paper("BiT-R152x2", 7), _paper("BiT-R152x2", 14),
        _paper("BiT-R200x3", 14, like="BiT-R152x2"),
    ),
    compared=(
        _paper("ViT-B/32", 7), _paper("ViT-B/16", 7), _paper("ViT-L/32", 7),
        _paper("ViT-L/16", 7), _paper("BiT-R50x1", 7), _paper("BiT-R152x2", 7),
    ),
    shares=(9 / 303, 30 / 303, 90 / 303, 1.0),
    base=Shape(32, 1024, 8, 2048, 16),
    factors=(0.5, 2, 4),
    rates=(3e-4, 8e-4, 3e-3),
    sgd_rates=(0.1, 0.3, 0.6),
    resnets=(_paper("BiT-R50x1", 7), _paper("BiT-R152x2", 7)),
    transfer=Transfer("table4-imagenet", {}),
    unlabelled=Shape(16, 768, 12, 3072, 12),
    decoder=(512, 8, 16),
    longer=Transfer("table4-imagenet", {}),
)  # fmt: skip

SCALES = {scale.name: scale for scale in (MINUTES, HOURS, PAPER)}
"""By the word after --scale."""
