"""Loss and gradient norm of each step, read from the device late, so that it never has to wait for the host.

Where the device runs ahead of the host (a GPU), reading a number waits for all that leads to it. So the numbers of up
to `LATE` steps are read at once. A loss or norm that is not finite still changes no weight: the fused optimizers of
torch, and our LAMB, skip an update whose `found_inf` is 1, which stays 1 from then on, until the host reads it and
stops.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vitral.errors import NonFiniteError

LATE = 16
"""Steps whose numbers may be unread: what a run can go on for, without learning, after one that is not finite."""


class Watch:
    """The numbers of steps, from before their update until they are added to the sums.

    Args:
        device: where the network runs.
        late: let the numbers of several steps gather on the device; else each is read before its update.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device, late: bool) -> None:
        self.optimizer = optimizer
        self.device = device
        self.late = late
        self._numbers: list[Tensor] = []
        self._steps: list[tuple[int, int, str]] = []
        self._trouble: Tensor | None = None

    def see(self, step: int, loss: Tensor, right: Tensor, norm: Tensor, size: int, samples: str) -> None:
        """Before the update of a step: its loss and right answers, summed over `size` pictures, and gradient norm.

        Raises:
            NonFiniteError: a number is not finite (here only where numbers are not read late).
        """
        # A batch of which nothing can be read gives zeros on the host.
        numbers = torch.stack([value.detach().float().to(self.device) for value in (loss, right, norm)])
        self._numbers.append(numbers)
        self._steps.append((step, size, samples))
        if not self.late:
            _require_finite(numbers.tolist(), step, samples)
            return
        bad = 1 - torch.isfinite(numbers[0] + numbers[2]).float()
        self._trouble = bad if self._trouble is None else torch.maximum(self._trouble, bad)
        self.optimizer.found_inf = self._trouble  # type: ignore[attr-defined]

    @property
    def unread(self) -> int:
        """Steps whose numbers wait."""
        return len(self._steps)

    def settle(self, sums: dict[str, float]) -> None:
        """Read what waits, in one go, and add it to the sums.

        Raises:
            NonFiniteError: a number is not finite; its update and all later ones were not made.
        """
        if not self._steps:
            return
        numbers, steps = torch.stack(self._numbers).tolist(), self._steps
        self._numbers, self._steps = [], []
        for values, (step, size, samples) in zip(numbers, steps, strict=True):
            _require_finite(values, step, samples)
            loss, right, norm = values
            for name, value in (("loss", loss), ("right", right), ("pictures", size), ("norm", norm), ("steps", 1)):
                sums[name] = sums.get(name, 0.0) + value


def _require_finite(numbers: list[float], step: int, samples: str) -> None:
    loss, _, norm = numbers
    if abs(loss) + abs(norm) < float("inf"):
        return
    what = "the gradient norm" if abs(loss) < float("inf") else "the loss"
    raise NonFiniteError(
        f"{what} of step {step} is not finite ({loss:g}, gradient norm {norm:g}); the update was "
        f"not made. Samples: {samples}. Try a lower --optimizer.learning-rate, a longer "
        f"--schedule.warmup or --training.precision float32."
    )
