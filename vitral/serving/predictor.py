"""`Model`: a network with everything that belongs to it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vitral.backends import TORCH, Backend, answers
from vitral.config import Preprocessing
from vitral.data.decode import decode
from vitral.data.loader import Batch, batches
from vitral.data.preprocessing import normalise, prepare
from vitral.datasets.dataset import Source
from vitral.errors import DataError, UsageError
from vitral.models import Network
from vitral.serving.exported import GraphNetwork
from vitral.serving.streams import Compute, in_streams
from vitral.weights import folder
from vitral.weights.layout import Described

BATCH_SIZE = 32
"""Pictures per forward pass."""

TEMPERATURES = (0.01, 100)
"""Least and largest; those that are fitted lie from 0.02 to 50."""

LARGEST_SCORE = 1e30
"""A score beyond it, or that is not a number, comes of damaged weights; divided by a temperature it may be infinite."""


class Guess(NamedTuple):
    """One answer: a class name and its probability in [0, 1]."""

    label: str
    probability: float


class Model:
    """A network, its preprocessing and its class names.

    Attributes:
        network: the module, in evaluation mode.
        preprocessing: from decoded pixels to the network's input.
        classes: names in the order of the scores; their numbers, "0" onwards, where the model names none.
        named: whether the model names its classes.
        descriptions: words for class names that are mere identifiers; may be empty.
        multi_label: each class is a question of its own (sigmoid), instead of one answer (softmax).
        metrics: what was measured when the model was made.
        headless: its weights came without a head, so that its scores mean nothing yet.
        temperature: scores are divided by it before they become probabilities; `metrics` says how it was fitted.
        backend: the engine that answers in the network's place, if one does; it normalises as the graph was told to
            when it was exported.
    """

    def __init__(
        self,
        network: Network,
        preprocessing: Preprocessing,
        classes: Sequence[str] | None,
        descriptions: dict[str, str] | None = None,
        multi_label: bool = False,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        self.named = classes is not None
        classes = [str(k) for k in range(network.config.num_classes)] if classes is None else classes
        if len(classes) != network.config.num_classes:
            raise UsageError(f"{len(classes)} class names for a head of {network.config.num_classes} classes.")
        self.network = network.eval()
        self.preprocessing = preprocessing
        self.classes = tuple(classes)
        self.descriptions = descriptions or {}
        self.multi_label = multi_label
        self.metrics = metrics or {}
        self.headless = False
        self.temperature = _temperature(self.metrics)
        self._competing: list[int] | None = None
        self.backend: Backend | None = None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @property
    def backend_name(self) -> str:
        """Who computes: "torch", or an engine's name."""
        return TORCH if self.backend is None else self.backend.name

    @property
    def precision(self) -> str:
        """In which it is computed: float32, or as the engine's graph says, "int8-static"."""
        return "float32" if self.backend is None else self.backend.metadata.get("precision", "float32")

    def with_preprocessing(self, **changes: Any) -> Model:
        """The same model with some fields of its preprocessing changed.

        Raises:
            UsageError: a graph answers, which has them inside.
        """
        inside = [name for name in ("crop", "mean", "std") if name in changes]
        if self.backend is not None and inside:
            raise UsageError(f"{', '.join(inside)} cannot be changed in an export: export the model again.")
        changed = copy.copy(self)
        changed.preprocessing = replace(self.preprocessing, **changes)
        return changed

    def with_metrics(self, metrics: dict[str, Any]) -> Model:
        """The same model with other `metrics`, and so perhaps another temperature.

        Raises:
            DataError: the temperature is no number above 0.
        """
        changed = copy.copy(self)
        changed.metrics, changed.temperature = metrics, _temperature(metrics)
        return changed

    def among(self, competing: Sequence[int]) -> Model:
        """The same model when only some of its classes may be the answer; it cannot be saved.

        Args:
            competing: their positions in `classes`, each once.
        """
        changed = copy.copy(self)
        own = self._competing or range(self.network.config.num_classes)
        changed._competing = [own[k] for k in competing]
        changed.classes = tuple(self.classes[k] for k in competing)
        return changed

    def with_backend(self, backend: Backend | None) -> Model:
        """The same model, its scores and representations computed by `backend`; `None` is the torch network."""
        changed = copy.copy(self)
        changed.backend = backend
        return changed

    def pixels(self, source: Source) -> np.ndarray:
        """A picture as the network sees it before normalisation: [crop height, crop width, 3] uint8.

        Raises:
            UnreadableImageError: it cannot be decoded.
        """
        return prepare(decode(source), self.preprocessing)

    def logits(self, pixels: np.ndarray) -> Tensor:
        """Scores [n, classes] float32 on the CPU, of pixels [n, height, width, 3] uint8.

        The row of a Vision Transformer's picture has the same bits whatever else is in the batch. (Convolutions
        choose their kernels by the size of the batch, and a `backend` is another engine; theirs agree to rounding.)

        Raises:
            DataError: a score is infinite, or not a number.
        """
        if self.backend is not None:
            return self._sound(torch.from_numpy(answers(self.backend, pixels).logits))
        (scores,) = self._after_encoder(pixels, self.network.classify)
        return self._sound(scores)

    @torch.inference_mode()
    def logits_of(self, representations: np.ndarray) -> Tensor:
        """`logits` of pictures of which `representations` [n, R] float32 are known, to the bit.

        Not of networks with several heads, each of which sees something else.
        """
        rows = torch.from_numpy(representations).to(self.device)
        head = self.network.get_submodule(self.network.HEADS[0])
        parts = [head(_filled(part)) for part in rows.split(BATCH_SIZE)]
        return self._sound(torch.cat(parts)[: len(rows)].float().cpu())

    def _sound(self, scores: Tensor) -> Tensor:
        """Scores of all classes, checked, cut to those that compete."""
        if not bool((scores.abs() < LARGEST_SCORE).all()):
            raise DataError(
                "the model gives scores that are infinite or not numbers, so its weights or its preprocessing are "
                "damaged: train it again, or take an earlier one."
            )
        return scores if self._competing is None else scores[:, self._competing]

    def representations(self, pixels: np.ndarray) -> Tensor:
        """What the head sees of pixels [n, height, width, 3] uint8: [n, width] float32 on the CPU; bits as `logits`.

        Raises:
            UsageError: the graph that answers gives none.
        """
        if self.backend is not None and self._by_graph():
            return _features(answers(self.backend, pixels).features)
        (found,) = self._after_encoder(pixels, self.network.pooled)
        return found

    def logits_and_representations(self, pixels: np.ndarray) -> tuple[Tensor, Tensor]:
        """Both of the same pixels, for the price of one."""
        if self.backend is not None and self._by_graph():
            found = answers(self.backend, pixels)
            return self._sound(torch.from_numpy(found.logits)), _features(found.features)
        if self.backend is not None:
            return self.logits(pixels), self.representations(pixels)
        scores, representations = self._after_encoder(pixels, self.network.classify, self.network.pooled)
        return self._sound(scores), representations

    def _by_graph(self) -> bool:
        """Whether the engine's graph gives what the head sees; if not, the network does, where there is one."""
        return isinstance(self.network, GraphNetwork) or (self.backend is not None and "features" in self.backend.names)

    @torch.inference_mode()
    def _after_encoder(self, pixels: np.ndarray, *last: Callable[[Tensor], Tensor]) -> list[Tensor]:
        images = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device)
        encoded = self.network.encode(normalise(images, self.preprocessing.mean, self.preprocessing.std))
        # Products with few rows take paths through the matrix library that round differently, so the head always
        # sees BATCH_SIZE rows. (The encoder has a row for each token, and no such paths.)
        parts = [_filled(part) for part in encoded.split(BATCH_SIZE)]
        return [torch.cat([layer(part) for part in parts])[: len(encoded)].float().cpu() for layer in last]

    def probabilities_of(self, logits: Tensor) -> Tensor:
        """Scores [n, classes] as probabilities, at the model's temperature; the order of classes is the scores'."""
        scaled = logits if self.temperature == 1 else logits / self.temperature
        return scaled.sigmoid() if self.multi_label else scaled.softmax(dim=1)

    def batches(
        self, sources: Sequence[Source], read: Callable[[Source], np.ndarray] | None = None, workers: int = 0
    ) -> Iterator[Batch]:
        """The pictures, prepared, in order; unreadable ones are named in their batch."""
        make = read or self.pixels
        ids = _in_order(len(sources))
        return batches(ids, lambda _, sample: make(sources[sample]), self.preprocessing.crop, workers, prefetch=2)

    def over(self, batches: Iterable[Batch], compute: Compute) -> Iterator[tuple[Batch, Tensor]]:
        """Each batch, in order, with what `compute` (`logits`, say) makes of its pictures, on all cores."""
        return in_streams(batches, compute, self.device if self.backend is None else None)

    def predict_proba(self, images: Source | Sequence[Source], workers: int = 0) -> np.ndarray:
        """Probabilities [n, classes] float32 of one or several pictures.

        Args:
            images: paths, encoded bytes, `PIL.Image.Image`s or uint8 arrays [height, width, 3].

        Raises:
            UnreadableImageError: a picture cannot be decoded.
        """
        sources = images if _is_several(images) else [images]
        found = [torch.zeros(0, len(self.classes))]
        for batch in self.batches(sources, workers=workers):
            for _, error in batch.unreadable:
                raise error
            found.append(self.probabilities_of(self.logits(batch.images)))
        return torch.cat(found).numpy()

    def predict(self, images: Source | Sequence[Source], top: int = 5, workers: int = 0) -> Any:
        """The `top` likeliest classes, best first: a list of `Guess` for one picture, a list of lists for several."""
        guesses = [self.best(row, top) for row in self.predict_proba(images, workers)]
        return guesses if _is_several(images) else guesses[0]

    def best(self, probabilities: np.ndarray, top: int) -> list[Guess]:
        """The `top` likeliest classes of one row of probabilities [classes]; equals keep the classes' order."""
        if top < 1:
            raise UsageError(f"top must be at least 1, not {top}.")
        order = np.argsort(-probabilities, kind="stable")[:top]
        return [Guess(self.classes[k], float(probabilities[k])) for k in order]

    def features(self, images: Source | Sequence[Source], workers: int = 0) -> np.ndarray:
        """What the head sees: [n, width] float32, for probes and nearest neighbours."""
        sources = images if _is_several(images) else [images]
        found: list[np.ndarray] = []
        for batch, rows in self.over(self.batches(sources, workers=workers), self.representations):
            for _, error in batch.unreadable:
                raise error
            found.append(rows.numpy())
        if found:
            return np.concatenate(found)
        return self.representations(np.zeros((1, *self.preprocessing.crop, 3), dtype=np.uint8)).numpy()[:0]

    def save(self, path: str | Path, card: str = "") -> Path:
        """Write a model folder (see `vitral.weights.folder`) and return its path."""
        if self._competing is not None:
            raise UsageError("a model of which only some classes compete is for measuring: save the whole model.")
        target = Path(path)
        folder.write_model(target, self.described(), self.network.state_dict(), self.metrics, card)
        return target

    def described(self) -> Described:
        """All of it but the numbers.

        Raises:
            UsageError: the numbers are in an exported graph, from which no model comes back.
        """
        if isinstance(self.network, GraphNetwork):
            raise UsageError("an export cannot be saved as a model: take the model folder that it was made from.")
        return Described(self.network.config, self.preprocessing, self.classes, self.descriptions, self.multi_label)


def _temperature(metrics: dict[str, Any]) -> float:
    """The temperature that a model folder's metrics.json says, 1 if it says none."""
    calibration: Any = metrics.get("calibration", {})
    value: Any = calibration.get("temperature", 1.0) if isinstance(calibration, dict) else None
    least, most = TEMPERATURES
    if type(value) not in (int, float) or not least <= value <= most:
        raise DataError(
            f"metrics.json: calibration must hold a temperature from {least} to {most}, not {value!r}: remove it there."
        )
    return float(value)


def _features(found: np.ndarray | None) -> Tensor:
    if found is None:
        raise UsageError("this export gives no features: export the model with --features, or take the model itself.")
    return torch.from_numpy(found)


def _filled(encoded: Tensor) -> Tensor:
    """Features of up to BATCH_SIZE pictures, followed by zeros up to that many."""
    return torch.cat([encoded, encoded.new_zeros(BATCH_SIZE - len(encoded), *encoded.shape[1:])])


def _is_several(images: Any) -> bool:
    return isinstance(images, (list, tuple)) or (
        isinstance(images, np.ndarray) and (images.ndim == 4 or images.dtype == object)
    )


def _in_order(count: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, count, BATCH_SIZE):
        samples = np.arange(start, min(start + BATCH_SIZE, count))
        yield np.zeros_like(samples), samples
