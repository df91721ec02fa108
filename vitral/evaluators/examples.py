"""Which pictures are worth a look after an evaluation: the worst errors, the least sure answers, those of each
confusion.

Letters: n pictures, K classes. Positions are those of the split; equals keep its order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vitral.evaluators.temperature import chunks, known_rows, multi_hot


def worst(logits: np.ndarray, labels: Sequence[tuple[int, ...]], most: int, multi_label: bool = False) -> list[int]:
    """Wrong answers, those first that give the true class (or, of several labels, the whole truth) the least
    probability, by scores [n, K]. Pictures that cannot be read, or of unknown classes, are not among them."""
    rows = known_rows(logits, labels)
    loss = np.zeros(len(rows))
    for part in chunks(len(rows)):
        scores, wanted = logits[rows[part]].astype(np.float64), [labels[row] for row in rows[part]]
        loss[part] = _sigmoid_loss(scores, wanted) if multi_label else _softmax_loss(scores, wanted)
    order = np.argsort(-loss, kind="stable")
    return [int(rows[k]) for k in order[:most] if loss[k] > 0]


def least_sure(logits: np.ndarray, labels: Sequence[tuple[int, ...]], most: int) -> list[int]:
    """Answers, right or wrong, whose likeliest class has the smallest lead over the next, by scores [n, K]."""
    rows = known_rows(logits, labels)
    if logits.shape[1] < 2:
        return []
    top = np.sort(np.partition(logits[rows], -2, axis=1)[:, -2:], axis=1).astype(np.float64)
    order = np.argsort(top[:, 1] - top[:, 0], kind="stable")
    return [int(rows[k]) for k in order[:most]]


def confused(truth: np.ndarray, guess: np.ndarray, logits: np.ndarray, pair: tuple[int, int], most: int) -> list[int]:
    """Pictures of the first class of `pair` that are taken for the second, those first whose scores say so most."""
    rows = np.flatnonzero((truth == pair[0]) & (guess == pair[1]))
    lead = logits[rows, pair[1]].astype(np.float64) - logits[rows, pair[0]]
    return [int(rows[k]) for k in np.argsort(-lead, kind="stable")[:most]]


def _softmax_loss(z: np.ndarray, labels: Sequence[tuple[int, ...]]) -> np.ndarray:
    """-ln of the true class's probability where another class is likelier, else 0."""
    truth, rows = np.array([label[0] for label in labels], dtype=np.int64), np.arange(len(z))
    largest = z.max(axis=1)
    loss = np.log(np.exp(z - largest[:, None]).sum(axis=1)) + largest - z[rows, truth]
    return np.where(z.argmax(axis=1) != truth, loss, 0.0)


def _sigmoid_loss(z: np.ndarray, labels: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Sum over classes of -ln of the truth's probability where one of them is answered wrongly, else 0."""
    wanted = multi_hot(labels, z.shape[1])
    loss = np.logaddexp(0, np.where(wanted, -z, z)).sum(axis=1)
    return np.where(((z > 0) != wanted).any(axis=1), loss, 0.0)
