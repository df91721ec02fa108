"""`PretextModel`: what pre-training without labels leaves, with its decoder or colours; and `load`.

`vitral.serving.loading.load` opens the same folder as a classifier whose head is still to be learned.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitral.config import Preprocessing, PretrainingConfig
from vitral.errors import DataError
from vitral.models import changed
from vitral.models.pretext import PretextNetwork
from vitral.objectives import build_objective
from vitral.overrides import from_json, to_json
from vitral.weights import read
from vitral.weights.checksum import require_checksum
from vitral.weights.folder import write_model
from vitral.weights.layout import Described


@dataclass
class PretextModel:
    """A network that learned without labels, with what belongs to it: what `Model` is for classes."""

    network: PretextNetwork
    preprocessing: Preprocessing
    pretraining: PretrainingConfig
    metrics: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path, card: str) -> None:
        """Write a model folder that a classifier can start from."""
        described = Described(
            changed(self.network.config, num_classes=1),
            self.preprocessing,
            headless=True,
            pretraining=to_json(self.pretraining),
        )
        write_model(path, described, self.network.tensors(), self.metrics, card)


def load(path: str | Path) -> PretextModel:
    """What pre-training left in a model folder, with all that only pre-training needs.

    Raises:
        DataError: it is of another kind, or damaged. MissingInputError: nothing is there.
    """
    found = read(path)
    if found.described.pretraining is None:
        raise DataError(f"{path} was not pre-trained without labels here: `vitral.load` opens it.")
    config = from_json(PretrainingConfig, found.described.pretraining)
    objective = build_objective(config)
    network = objective.network(changed(found.config, num_classes=objective.CLASSES))
    if found.described.checksum is not None:
        require_checksum(found.stored.path, found.described.checksum)
    network.restore({name: found.stored.tensor(name) for name in found.stored.shapes})
    return PretextModel(network.eval(), found.preprocessing, config, found.metrics)
