"""Which update, with which strength."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from vitral.errors import require


@dataclass(frozen=True)
class OptimizerConfig:
    """Which update, with which strength."""

    name: Annotated[
        Literal["adam", "adamw", "lamb", "sgd", "lbfgs"],
        "adam takes no weight decay; lbfgs solves the head alone to the end, trying one decay after the other",
    ] = "adamw"
    learning_rate: Annotated[float, "peak, reached after the warm-up"] = 1e-3
    weight_decay: Annotated[
        float,
        "decoupled, multiplied by the learning rate; of sgd a part of the gradient (L2); matrices and kernels only",
    ] = 0.0
    momentum: Annotated[float, "of sgd"] = 0.9
    beta1: Annotated[float, "of adam, adamw and lamb"] = 0.9
    beta2: Annotated[float, "of adam, adamw and lamb"] = 0.999
    clip_norm: Annotated[float, "largest global gradient norm; 0 does not clip"] = 1.0
    find_rate: Annotated[bool, "find the learning rate before the run, by a range test of rising rates"] = False
    layer_decay: Annotated[float, "factor of the learning rate from each layer to the one below; 1 is off"] = 1.0
    block_rate: Annotated[float, "factor of the learning rate in encoder blocks; 1 is off"] = 1.0

    def __post_init__(self) -> None:
        require(0 < self.learning_rate <= 1000, f"learning_rate must be above 0, not {self.learning_rate:g}")
        require(0 <= self.weight_decay <= 100, f"weight_decay must be 0 or more, not {self.weight_decay:g}")
        require(
            self.weight_decay == 0 or self.name in ("adamw", "lamb", "sgd"),
            f"weight_decay {self.weight_decay:g} needs optimizer adamw, lamb or sgd: {self.name} has none.",
        )
        for name in ("momentum", "beta1", "beta2"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{name} must be at least 0 and below 1, not {value:g}")
        require(0 <= self.clip_norm <= 1e9, f"clip_norm must be 0 to 1e9, not {self.clip_norm:g}")
        for name in ("layer_decay", "block_rate"):
            value = getattr(self, name)
            require(0 < value <= 1, f"{name} must be above 0 and at most 1, not {value:g}")
