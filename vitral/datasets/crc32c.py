"""CRC-32C (Castagnoli), the checksum of TFRecord files (RFC 3720, appendix B.4), at the speed of numpy.

A checksum without its initial value is linear: zeros before the data change nothing, and the checksum of two parts
is the first one's, moved on over as many zeros as the second part has bytes, plus (xor) the second one's. So a long
message is cut into lanes of 64 bytes, all lanes take their steps at once, and neighbours are joined until one is left.
"""

from __future__ import annotations

from functools import cache

import numpy as np

POLYNOMIAL = 0x82F63B78
"""0x1EDC6F41 with its bits reversed: the least significant bit comes first."""

LANE = 64
"""Bytes of a lane."""

SHORT = 512
"""Bytes up to which going byte by byte is faster."""


def _step(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (POLYNOMIAL if value & 1 else 0)
    return value


BY_BYTE = [_step(byte) for byte in range(256)]
_TABLE = np.array(BY_BYTE, dtype=np.uint32)


def crc32c(data: bytes | memoryview) -> int:
    """The checksum, 32 bits."""
    if len(data) <= SHORT:
        crc = 0xFFFFFFFF
        for byte in data:
            crc = BY_BYTE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
        return crc ^ 0xFFFFFFFF
    lanes = 1 << (-(-len(data) // LANE) - 1).bit_length()
    padded = np.zeros(lanes * LANE, dtype=np.uint8)
    padded[-len(data) :] = np.frombuffer(data, dtype=np.uint8)
    start = len(padded) - len(data)
    padded[start : start + 4] ^= 0xFF  # the initial value, all ones, is the same as inverting the first 32 bits
    columns = np.ascontiguousarray(padded.reshape(lanes, LANE).T)
    crcs = np.zeros(lanes, dtype=np.uint32)
    for column in columns:
        crcs = _TABLE[(crcs ^ column) & 0xFF] ^ (crcs >> np.uint32(8))
    zeros = LANE
    while len(crcs) > 1:
        crcs = _moved(crcs[0::2], zeros) ^ crcs[1::2]
        zeros *= 2
    return int(crcs[0]) ^ 0xFFFFFFFF


def _moved(crcs: np.ndarray, zeros: int) -> np.ndarray:
    """Checksums after so many zero bytes more."""
    tables = _tables(zeros)
    parts = [tables[k][(crcs >> np.uint32(8 * k)) & 0xFF] for k in range(4)]
    return np.asarray(parts[0] ^ parts[1] ^ parts[2] ^ parts[3])


@cache
def _tables(zeros: int) -> np.ndarray:
    """[4, 256] uint32: where the values of each byte of a checksum are moved by so many zero bytes, a power of 2."""
    values = np.arange(256, dtype=np.uint32)
    tables = np.stack([values << np.uint32(8 * k) for k in range(4)])
    if zeros == 1:
        return np.asarray(_TABLE[tables & 0xFF] ^ (tables >> np.uint32(8)))
    return _moved(_moved(tables, zeros // 2), zeros // 2)
