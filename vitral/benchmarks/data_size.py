"""Transfer against the size of the pre-training set: Figures 3 and 4 of arXiv 2010.11929."""

from __future__ import annotations

from vitral.benchmarks.paper_points import PAPER, PRETRAINING_SETS
from vitral.benchmarks.scales import Scale
from vitral.benchmarks.study import FIVE_SHOTS, TRANSFER, Axis, Member, Panel, Published, Study

GROUP = "data-size"


def data_size(scale: Scale) -> Study:
    """ViTs and ResNets on nested parts of the pictures. All see as many pictures in all, of few each more often; the
    settings are the same for all, as in section 4.3."""
    members = [
        Member(GROUP, f"{network.label}-{share:.4g}", network.label, network.settings, share=share)
        for network in scale.compared
        for share in scale.shares
    ]
    pictures = Axis("train_count", "pre-training pictures")
    source = f"{PAPER}, Figure 3 (numbers: Table 5); BiT: arXiv 1912.11370"
    published = Published(PRETRAINING_SETS, pictures.label, "ImageNet top-1, %", source)
    fine_tuned, few = "Fine-tuned on classes not seen before", "Five pictures of each class not seen before"
    return Study(
        name=GROUP,
        question="how many pictures does a ViT need to pass a ResNet?",
        members=tuple(members),
        panels=(
            Panel("fine-tuned", GROUP, fine_tuned, TRANSFER, pictures, published=published),
            Panel("few-shot", GROUP, few, FIVE_SHOTS, pictures),
        ),
        transfer=scale.transfer,
    )
