"""How long: epochs, steps or examples."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from vitral.errors import UsageError, require


@dataclass(frozen=True)
class Duration:
    """A length of training.

    Args:
        amount: more than 0, or 0 for "not at all".
        unit: of `amount`. An epoch is one pass over the training split, an example is one picture.
    """

    amount: float
    unit: Literal["epochs", "steps", "examples"]

    def __post_init__(self) -> None:
        require(0 <= self.amount < 1e15, f"a duration must be between 0 and 1e15 {self.unit}, not {self.amount:g}")

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read "10 epochs", "500steps", "1e6 examples"; a unit may be singular."""
        match = re.fullmatch(r"\s*([0-9.eE+-]+)\s*(epoch|step|example)s?\s*", text)
        try:
            amount = float(match[1]) if match else None
        except ValueError:
            amount = None
        if match is None or amount is None:
            raise UsageError(
                f"cannot read duration {text!r}: write it like '10 epochs', '500 steps' or '1e6 examples'."
            )
        return cls(amount, f"{match[2]}s")  # type: ignore[arg-type]

    def steps(self, batch_size: int, examples_per_epoch: int) -> int:
        """Whole optimizer steps, rounded up: at least 1 unless the duration is 0."""
        examples = {"epochs": self.amount * examples_per_epoch, "examples": self.amount}
        if self.unit == "steps":
            return -int(-self.amount // 1)
        return -int(-examples[self.unit] // batch_size)

    def __str__(self) -> str:
        amount = float(self.amount)
        return f"{int(amount) if amount.is_integer() else repr(amount)} {self.unit}"  # read back, it is the same
