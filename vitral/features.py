"""What a frozen network says of pictures, computed once per picture and kept on disk.

FOLDER/KEY/DIGEST.safetensors   `contents` [n, 32] uint8, a hash of each picture's bytes; `rows` [n, R] float32

KEY stands for all that a row depends on but the picture: weights, architecture, preprocessing, device and torch. A
file is written aside and named by its own digest, so it is whole or not there, a damaged one is not believed, and runs
that share a folder do not disturb each other. A start that is cut short leaves the rows it has flushed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save

from vitral.data.decode import decode
from vitral.data.loader import Batch
from vitral.data.preprocessing import prepare, to_json
from vitral.datasets.dataset import Source, Split
from vitral.datasets.fingerprint import content_digest
from vitral.errors import StorageError, UnreadableImageError
from vitral.files import replace_durably
from vitral.models.digest import weights_digest
from vitral.serving.predictor import BATCH_SIZE, Model

FLUSH = 2048
"""Pictures after which rows are written: what a crash can cost."""


class Rows(NamedTuple):
    """Of the pictures of a split: `rows` [pictures, R] float32, and the errors of those that cannot be read, by
    position (their rows are 0)."""

    rows: np.ndarray
    unreadable: dict[int, UnreadableImageError]

    def batch(self, epochs: np.ndarray, samples: np.ndarray) -> Batch:
        """Rows in place of pixels, of samples [n]; the unreadable ones among them are named, and left out."""
        kept = np.array([int(sample) not in self.unreadable for sample in samples], dtype=bool)
        bad = tuple((int(sample), self.unreadable[int(sample)]) for sample in samples[~kept])
        return Batch(self.rows[samples[kept]], epochs[kept], samples[kept], bad)

    def in_order(self) -> Iterator[Batch]:
        """All of them once, as many at a time as in `Model.batches`."""
        for start in range(0, len(self.rows), BATCH_SIZE):
            samples = np.arange(start, min(start + BATCH_SIZE, len(self.rows)))
            yield self.batch(np.zeros_like(samples), samples)


def key_of(model: Model) -> str:
    """64 hexadecimal digits that change with anything a row depends on but the picture. The heads do not count."""
    config = dataclasses.asdict(model.network.config)
    shape = {name: value for name, value in config.items() if name not in ("num_classes", "head_bias")}
    facts = [type(model.network).__name__, shape, to_json(model.preprocessing), model.device.type, torch.__version__]
    facts.append(weights_digest(model.network, heads=False))
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class Store:
    """The rows under one key.

    Raises:
        StorageError: its folder cannot be made or read.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder / key
        self.known: dict[bytes, np.ndarray] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(self.folder.glob("*.safetensors")):
                self._read(path)
        except OSError as error:
            raise StorageError(
                f"cannot keep features in {self.folder} ({error.strerror}): name another folder."
            ) from error

    def _read(self, path: Path) -> None:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != path.stem:
            return  # damaged: its pictures are computed again
        try:
            tensors = load(data)
            contents, rows = tensors["contents"], tensors["rows"]
        except (SafetensorError, KeyError):
            return
        self.known.update(zip(map(bytes, contents), rows, strict=True))

    def add(self, contents: list[bytes], rows: list[np.ndarray]) -> None:
        """Keep rows [R] of pictures with these contents."""
        if not contents:
            return
        self.known.update(zip(contents, rows, strict=True))
        data = save({"contents": np.array([list(c) for c in contents], dtype=np.uint8), "rows": np.stack(rows)})
        try:
            replace_durably(self.folder / f"{hashlib.sha256(data).hexdigest()}.safetensors", data)
        except OSError as error:
            raise StorageError(
                f"cannot keep features in {self.folder} ({error.strerror}): free some space, or name another folder "
                "with --runtime.features."
            ) from error


def represent(
    model: Model,
    split: Split,
    store: Store,
    workers: int,
    max_pixels: int,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[int, int], object] = lambda _done, _count: None,
) -> Rows | None:
    """What the head sees of every picture of a split, with only those going through the network that `store` lacks;
    equal pictures go once. `None` if `stop` became true: what is done is kept.

    Args:
        tell: is told after each batch how many of how many missing pictures are done.
    """
    contents = _contents(split.sources, workers, stop)
    if contents is None:
        return None
    missing = _missing(contents, store)
    unreadable: dict[int, UnreadableImageError] = {}
    fresh: tuple[list[bytes], list[np.ndarray]] = ([], [])
    read = model.batches(
        [split.sources[i] for i in missing],
        lambda source: prepare(decode(source, max_pixels, briefly=True), model.preprocessing),
        workers,
    )
    stopped = False
    for batch, seen in model.over(read, model.representations):
        unreadable |= {missing[place]: error for place, error in batch.unreadable}
        if len(batch):
            for place, row in zip(batch.samples, seen.numpy(), strict=True):
                content = contents[missing[place]]
                if content is not None:
                    fresh[0].append(content)
                    fresh[1].append(row)
            tell(int(batch.samples[-1]) + 1, len(missing))
        stopped = stop()
        if stopped or len(fresh[0]) >= FLUSH:
            store.add(*fresh)
            fresh = ([], [])
        if stopped:
            break
    read.close()  # type: ignore[attr-defined]
    store.add(*fresh)
    return None if stopped else _assembled(contents, store, unreadable, split.sources)


def _contents(sources: Sequence[Source], workers: int, stop: Callable[[], bool]) -> list[bytes | None] | None:
    """32 bytes that stand for each picture's bytes, `None` where they cannot be read; `None` if `stop` became true."""
    found: list[bytes | None] = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        digests = pool.map(content_digest, sources)
        for digest in digests:
            found.append(None if digest is None else digest[:32])
            if len(found) % FLUSH == 0 and stop():
                digests.close()  # type: ignore[attr-defined]
                return None
    return found


def _missing(contents: list[bytes | None], store: Store) -> list[int]:
    """Positions of the pictures to compute: of equal ones the first, and those that cannot be read, to learn why."""
    seen: set[bytes] = set()
    found = []
    for position, content in enumerate(contents):
        if content is None or (content not in store.known and content not in seen):
            found.append(position)
        if content is not None:
            seen.add(content)
    return found


def _assembled(
    contents: list[bytes | None], store: Store, unreadable: dict[int, UnreadableImageError], sources: Sequence[Source]
) -> Rows:
    width = next((len(row) for row in store.known.values()), 1)
    rows = np.zeros((len(contents), width), dtype=np.float32)
    reasons = {contents[position]: error.reason for position, error in unreadable.items()}
    for position, content in enumerate(contents):
        row = None if content is None else store.known.get(content)
        if row is not None:
            rows[position] = row
        elif position not in unreadable:  # a copy of one that cannot be decoded
            unreadable[position] = UnreadableImageError(str(sources[position]), reasons[content])
    return Rows(rows, unreadable)
