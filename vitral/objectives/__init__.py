"""What pre-training without labels asks for: one file per objective, its network in `vitral.models`.

Nothing is drawn here: every objective's chance is in numbers that its caller draws for each picture.
"""

from __future__ import annotations

from vitral.config import PretrainingConfig
from vitral.objectives.mae import MaeObjective
from vitral.objectives.masked_patch import MaskedPatchObjective
from vitral.objectives.objective import Learned, Objective
from vitral.registry import look_up

__all__ = ["OBJECTIVES", "Learned", "Objective", "build_objective"]

OBJECTIVES: dict[str, type[Objective]] = {
    "mae": MaeObjective,
    "masked-patch": MaskedPatchObjective,
}
"""Every objective by its name in `PretrainingConfig`."""


def build_objective(config: PretrainingConfig) -> Objective:
    """The objective of a run."""
    return look_up("objective", config.objective, OBJECTIVES)(config)
