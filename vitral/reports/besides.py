"""What was measured on request, in sentences for a screen or a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitral.reports.record import section
from vitral.reports.wording import counted, number


def besides(found: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing that `vitral.evaluation.on_request` found of abstaining and of sets of classes."""
    said = []
    abstain = found.get("abstain")
    if abstain and abstain["threshold"] is None:
        said.append(f"no probability is high enough for {abstain['wanted']:.1%} right answers on these pictures")
    elif abstain:
        said.append(
            f"answering only from probability {abstain['threshold']:.4f} on: {abstain['accuracy']:.2%} right, on "
            f"{abstain['coverage']:.1%} of these pictures"
        )
    for method, row in found.get("conformal", {}).get("methods", {}).items():
        said.append(
            f"sets of classes by {method.upper()}: {row['coverage']:.2%} hold the true class "
            f"({found['conformal']['wanted']:.1%} wanted), {row['mean_size']:.2f} classes on average"
        )
    corrupted = section(found, "corruptions")
    top1, ends, mce = number(corrupted, "top1"), section(corrupted, "interval"), number(corrupted, "mce")
    if top1 is not None:
        low, high = number(ends, "low"), number(ends, "high")
        spread = f" ({100 * low:.1f} to {100 * high:.1f})" if low is not None and high is not None else ""
        kinds = counted(len(section(corrupted, "mean")), "corruption")
        line = f"top-1 on corrupted pictures {top1:.2%}{spread}, the mean of {kinds} at 5 levels"
        said.append(line + (f"; mCE {100 * mce:.1f}" if mce is not None else ""))
    return said
