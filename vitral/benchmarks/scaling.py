"""Performance against pre-training compute: Figure 5 of arXiv 2010.11929."""

from __future__ import annotations

from vitral.benchmarks.paper_points import COMPUTE, PAPER
from vitral.benchmarks.scales import Scale
from vitral.benchmarks.study import FIVE_SHOTS, TRANSFER, Axis, Member, Panel, Published, Study

GROUP = "scaling"


def scaling(scale: Scale) -> Study:
    """ViTs, hybrids and ResNets of several sizes, each as long."""
    families = (("ViT", scale.vits), ("hybrid", scale.hybrids), ("BiT", scale.bits))
    members = [
        Member(GROUP, network.label, family, network.settings) for family, networks in families for network in networks
    ]
    compute = Axis("exaflops", "pre-training compute, exaFLOPs")
    published = Published(COMPUTE, compute.label, "mean of five sets, %", f"{PAPER}, Figure 5 (numbers: Table 6)")
    fine_tuned, few = "Fine-tuned on classes not seen before", "Five pictures of each class not seen before"
    return Study(
        name=GROUP,
        question="who makes most of a given pre-training compute?",
        members=tuple(members),
        panels=(
            Panel("transfer", GROUP, fine_tuned, TRANSFER, compute, published=published),
            Panel("few-shot", GROUP, few, FIVE_SHOTS, compute),
        ),
        transfer=scale.transfer,
    )
