"""Learning from a teacher's answers beside the labels (arXiv 2012.12877, section 4).

Z_s are the student's scores, Z_t the teacher's, psi the softmax.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vitral.config import DistillationConfig, Preprocessing


def soft(student: Float[Tensor, "n K"], teacher: Float[Tensor, "n K"], temperature: float) -> Float[Tensor, " n"]:
    """tau^2 KL(psi(Z_t / tau) || psi(Z_s / tau)) per picture: the last term of Eq. 2, without lambda.

    The authors' code divides it by K as well; with the paper's lambda of 0.1 and tau of 3, it is not.
    """
    ours = F.log_softmax(student.float() / temperature, dim=1)
    theirs = F.log_softmax(teacher.float() / temperature, dim=1)
    return F.kl_div(ours, theirs, reduction="none", log_target=True).sum(dim=1) * temperature**2


def hard(student: Float[Tensor, "n K"], teacher: Float[Tensor, "n K"]) -> Float[Tensor, " n"]:
    """Cross-entropy with the teacher's likeliest class as the label, per picture: the last term of Eq. 3."""
    return F.cross_entropy(student.float(), teacher.argmax(dim=1), reduction="none")


def build_distillation(config: DistillationConfig) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
    """(loss on the labels [n], student's scores [n, K], teacher's scores [n, K]) -> loss [n]; `None` if it is off.

    Both equations are (1 - alpha) label loss + alpha teacher loss: in Eq. 3 alpha is a half.
    """
    if config.kind == "none":
        return None

    def distilled(labels: Tensor, student: Tensor, teacher: Tensor) -> Tensor:
        taught = hard(student, teacher) if config.kind == "hard" else soft(student, teacher, config.temperature)
        return (1 - config.alpha) * labels + config.alpha * taught

    return distilled


class Teacher:
    """A trained network that looks at the student's pictures, prepared for its own eyes.

    Args:
        scores: pictures [n, 3, h, w], normalised and sized as `theirs` says, to scores [n, their classes].
        ours: how the student's pictures are prepared.
        theirs: how the teacher's are.
        columns: for each of the student's classes, the teacher's number of it.
    """

    def __init__(
        self, scores: Callable[[Tensor], Tensor], ours: Preprocessing, theirs: Preprocessing, columns: Tensor
    ) -> None:
        self.scores, self.size, self.columns = scores, theirs.crop, columns
        own_mean, own_std, mean, std = (
            torch.tensor(values, device=columns.device)[:, None, None]
            for values in (ours.mean, ours.std, theirs.mean, theirs.std)
        )
        self.scale, self.shift = own_std / std, (own_mean - mean) / std

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n K"]:
        """The student's pictures, as they are after mixing, to the teacher's scores for the student's classes."""
        seen = images * self.scale + self.shift
        if seen.shape[-2:] != self.size:
            seen = F.interpolate(seen, size=self.size, mode="bicubic", antialias=True)
        return self.scores(seen)[:, self.columns]
