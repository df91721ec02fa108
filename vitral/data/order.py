"""The order of samples: a shuffle that is computed, not stored.

One epoch is a keyed bijection of range(size), evaluated for just the indices that are asked for. It is a
Feistel network on the smallest power of two that holds `size`; results that fall outside are sent through
again until they fall inside ("cycle walking": Black & Rogaway, "Ciphers with arbitrary finite domains",
CT-RSA 2002, section 3). The whole state of a data stream is one integer, the number of samples consumed.
"""

from __future__ import annotations

import numpy as np

from vitral.data.random_streams import mix64

MAX_SIZE = 2**40
"""Largest data set in samples: round inputs of 20 bits leave every 64-bit word room to spare."""

_ROUNDS = 10
"""Feistel rounds. Luby & Rackoff (1988) need 4 where halves are long; small sets have halves of few bits and
need more (Patarin, CRYPTO 2004: 5 or more). Even, so that halves of unequal length end where they began."""

_SMALLEST_BITS = 8
"""Bits of the smallest network. Halves of 1 to 3 bits do not reach all orders alike (a chi-square test of
the orders of 5 or 16 samples shows it); of 4 bits they do."""


def permuted(index: np.ndarray | int, size: int, seed: int, epoch: int) -> np.ndarray:
    """Which samples stand at places `index` in the order of this epoch.

    Args:
        index: places, each at least 0 and below `size`; any shape.
        size: samples in the set, 1 to 2^40.
        seed, epoch: at least 0 and below 2^64; every pair has an order of its own.

    Returns:
        Sample ids, int64, in the shape of `index`; a bijection of range(size). Work and memory depend on the
        count of `index` only.

    Raises:
        ValueError: `size` or a place is out of range.
    """
    places = np.asarray(index, dtype=np.int64)
    _check_size(size)
    if places.size and not (places.min() >= 0 and places.max() < size):
        raise ValueError(f"places must be 0 to {size - 1}, not {places.min()} to {places.max()}")
    epochs = np.array([epoch], dtype=np.uint64)
    ids = _walk(places.ravel().astype(np.uint64), size, _round_keys(seed, epochs))
    return ids.astype(np.int64).reshape(places.shape)


def sample_ids(start: int, count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples number `start` to `start + count - 1` of the endless stream of epochs.

    Args:
        start: samples consumed so far, at least 0; start + count below 2^63.
        count: samples to name.
        size: samples per epoch, 1 to 2^40.
        seed: of the order.

    Returns:
        Epochs and sample ids, int64 [count] each: sample number c is `permuted(c % size)` of epoch c // size.
        Cutting the stream into batches of any length never changes it.

    Raises:
        ValueError: a number is out of range.
    """
    _check_size(size)
    if not 0 <= start <= start + count < 2**63:
        raise ValueError(f"start and count must be at least 0 with a sum below 2^63, not {start} and {count}")
    numbers = np.arange(start, start + count, dtype=np.int64)
    epochs, places = np.divmod(numbers, size)
    keys = _round_keys(seed, epochs.astype(np.uint64))
    return epochs, _walk(places.astype(np.uint64), size, keys).astype(np.int64)


def repeated_ids(start: int, count: int, size: int, seed: int, repeats: int) -> tuple[np.ndarray, np.ndarray]:
    """`sample_ids` of a stream in which every sample comes `repeats` times in a row (repeated augmentation, arXiv
    1902.05509, as in DeiT's code: an epoch still has `size` places, so it holds a part of the samples).

    Returns:
        For each sample which view of it this is, counted from 0, and its id: int64 [count] each. No pair comes twice.
        With one repeat, exactly what `sample_ids` gives.
    """
    if repeats == 1:
        return sample_ids(start, count, size, seed)
    epochs, places = np.divmod(np.arange(start, start + count, dtype=np.int64), size)
    _check_size(size)
    keys = _round_keys(seed, epochs.astype(np.uint64))
    ids = _walk((places // repeats).astype(np.uint64), size, keys).astype(np.int64)
    return epochs * repeats + places % repeats, ids


def _check_size(size: int) -> None:
    if not 1 <= size <= MAX_SIZE:
        raise ValueError(f"a data set must have 1 to 2^40 samples, not {size}")


def _round_keys(seed: int, epochs: np.ndarray) -> np.ndarray:
    """Keys of the Feistel rounds: uint64 [rounds, epochs], from uint64 [epochs]."""
    # Only the seed is mixed before the two meet, or seed 0's epoch 1 would be seed 1's epoch 0.
    epoch_words = mix64(mix64(np.array([seed], dtype=np.uint64)) + epochs)
    rounds = np.arange(_ROUNDS, dtype=np.uint64)[:, None]
    return mix64(epoch_words + rounds)


def _walk(places: np.ndarray, size: int, keys: np.ndarray) -> np.ndarray:
    """Apply the bijection until each place has landed inside range(size): fewer than 2 goes above 128 samples."""
    if size == 1:
        return places
    bits = max((size - 1).bit_length(), _SMALLEST_BITS)
    ids = _feistel(places, bits, keys)
    outside = np.flatnonzero(ids >= size)
    while outside.size:
        keys_there = keys if keys.shape[1] == 1 else keys[:, outside]
        again = _feistel(ids[outside], bits, keys_there)
        ids[outside] = again
        outside = outside[again >= size]
    return ids


def _feistel(words: np.ndarray, bits: int, keys: np.ndarray) -> np.ndarray:
    """A keyed bijection of range(2^bits): words uint64 [n], keys uint64 [rounds, n or 1]."""
    left_bits = bits // 2
    right_bits = bits - left_bits
    left, right = words >> np.uint64(right_bits), words & _mask(right_bits)
    for key in keys:
        # The halves swap places, and with them their lengths; XOR keeps the length of `left`.
        left, right = right, left ^ (mix64(right ^ key) & _mask(left_bits))
        left_bits, right_bits = right_bits, left_bits
    return (left << np.uint64(right_bits)) | right


def _mask(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)
