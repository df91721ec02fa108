"""Random numbers that are a function of what they are for, not of what was drawn before.

Every generator here is the counter-based Philox 4x64 (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", SC 2011): the seed is its key, and the sample or step is its counter. So no generator is ever passed
on, saved or advanced past a sample, and workers, restarts and world size cannot change a pixel.
"""

from __future__ import annotations

import threading
from enum import IntEnum
from typing import Any

import numpy as np

_WORD = 2**64 - 1
"""All bits of a 64-bit word: negative or longer integers wrap into it."""

_GOLDEN_GAMMA = 0x9E3779B97F4A7C15
"""Odd 64-bit step, 2^64 divided by the golden ratio (Steele, Lea & Flood, OOPSLA 2014, section 3)."""

_SAMPLES, _BATCHES = 0, 1
"""Upper half of the Philox key: streams of samples and of batches can never meet."""


class Purpose(IntEnum):
    """What a stream is drawn for, so that one new draw in one place moves no other stream."""

    AUGMENTATION = 0
    MIXING = 1
    RESAMPLING = 2
    CORRUPTION = 3
    MASKING = 4


def sample_generator(seed: int, epoch: int, sample_id: int, purpose: int = Purpose.AUGMENTATION) -> np.random.Generator:
    """The stream of one sample in one epoch: 2^66 random words before it meets another one's.

    Args:
        seed, epoch, sample_id, purpose: at least 0 and below 2^64.
    """
    return _generator(seed, _SAMPLES, sample_id, epoch, purpose)


class _Borrowed(threading.local):
    def __init__(self) -> None:
        self.counter = np.zeros(4, dtype=np.uint64)
        self.key = np.zeros(2, dtype=np.uint64)
        self.bits = np.random.Philox(key=self.key)
        self.generator = np.random.Generator(self.bits)
        self.fresh: Any = {
            "bit_generator": "Philox", "state": {"counter": self.counter, "key": self.key},
            "buffer": np.zeros(4, dtype=np.uint64), "buffer_pos": 4, "has_uint32": 0, "uinteger": 0,
        }  # fmt: skip


_borrowed = _Borrowed()


def borrowed_generator(seed: int, epoch: int, sample_id: int) -> np.random.Generator:
    """The stream of `sample_generator`, until the thread borrows its next one: in a sixth of the time, since nothing is
    made anew."""
    own = _borrowed
    own.counter[:] = (0, sample_id & _WORD, epoch & _WORD, int(Purpose.AUGMENTATION))
    own.key[:] = (seed & _WORD, _SAMPLES)
    own.bits.state = own.fresh
    return own.generator


def batch_generator(seed: int, step: int, purpose: int = Purpose.MIXING) -> np.random.Generator:
    """The stream of one optimizer step, for what is decided once per batch. Ranges as `sample_generator`."""
    return _generator(seed, _BATCHES, step, 0, purpose)


def step_seed(seed: int, step: int) -> int:
    """A 63-bit hash of (seed, step) for `torch.manual_seed`, the same on every machine.

    Consecutive steps give unrelated seeds, because torch's own generators spread close seeds badly.
    """
    words = mix64(np.array([seed & _WORD], dtype=np.uint64)) + np.uint64(step & _WORD)
    return int(mix64(words)[0] >> np.uint64(1))


def mix64(words: np.ndarray) -> np.ndarray:
    """A bijection of 64-bit words in which each input bit flips each output bit with probability near 1/2.

    The SplitMix64 output function (Steele, Lea & Flood, OOPSLA 2014, doi 10.1145/2660193.2660195; constants
    are D. Stafford's variant 13), after one step of the golden gamma, so that 0 does not map to 0.

    Args:
        words: uint64, of any shape but 0-d (numpy warns when a scalar wraps around).
    """
    mixed = words + np.uint64(_GOLDEN_GAMMA)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: np.ndarray = mixed ^ (mixed >> np.uint64(31))
    return result


def _generator(seed: int, domain: int, *words: int) -> np.random.Generator:
    # Counter word 0 counts the draws themselves; numpy increments it first.
    counter = np.array([0, *(word & _WORD for word in words)], dtype=np.uint64)
    key = np.array([seed & _WORD, domain], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
