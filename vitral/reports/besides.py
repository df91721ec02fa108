"""What was measured on request, in sentences for a screen or a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitral.reports.wording import counted


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
    corrupted = found.get("corruptions")
    if corrupted:
        ends = f" ({100 * corrupted['interval']['low']:.1f} to {100 * corrupted['interval']['high']:.1f})"
        kinds = counted(len(corrupted["mean"]), "corruption")
        line = f"top-1 on corrupted pictures {corrupted['top1']:.2%}{ends}, the mean of {kinds} at 5 levels"
        said.append(line + (f"; mCE {100 * corrupted['mce']:.1f}" if "mce" in corrupted else ""))
    return said
