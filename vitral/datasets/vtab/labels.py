"""From what is known of a picture to VTAB's class of it: the definitions of the 19 tasks (arXiv 1910.04867; the bins
as in the authors' code, task_adaptation/data)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vitral.errors import DataError

Label = Callable[[Mapping[str, Any]], int]

CLEVR_DISTANCES = (0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0)
"""Depth of the closest object, in the scene's own unit: class k is above the k-th and at most the next one."""

KITTI_DISTANCES = (-100.0, 8.0, 20.0, 999.0)
"""Metres to the closest vehicle; the last class is "none"."""

NO_VEHICLE = 1000.0
VEHICLES = 3
"""Types below it: car, van, truck."""


def field(name: str, divisor: float = 1.0) -> Label:
    """A number that is stored, divided and rounded down."""
    return lambda fields: int(_number(fields, name) // divisor)


def count_objects(fields: Mapping[str, Any]) -> int:
    """CLEVR's scenes have 3 to 10 objects: classes 0 to 7."""
    return len(_numbers(fields, "objects/pixel_coords")) // 3 - 3


def closest_object(fields: Mapping[str, Any]) -> int:
    """CLEVR: the bin of the smallest depth (third pixel coordinate)."""
    return _bin(CLEVR_DISTANCES, _numbers(fields, "objects/pixel_coords")[2::3])


def closest_vehicle(fields: Mapping[str, Any]) -> int:
    """KITTI: the bin of the smallest distance (third coordinate) of a car, van or truck."""
    types = _numbers(fields, "objects/type")
    depths = _numbers(fields, "objects/location")[2::3]
    if len(types) != len(depths):
        raise DataError(f"{len(types)} objects have {len(depths)} places.")
    return _bin(KITTI_DISTANCES, np.append(depths[types < VEHICLES], np.float32(NO_VEHICLE)))


def _bin(thresholds: tuple[float, ...], values: np.ndarray) -> int:
    """The index of the largest threshold below the smallest value."""
    return int((np.array(thresholds, dtype=np.float32) < values.min(initial=np.inf)).sum()) - 1


def _number(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int):
        raise DataError(f"there is no number {name!r}.")
    return value


def _numbers(fields: Mapping[str, Any], name: str) -> np.ndarray:
    value = fields.get(name, np.zeros(0))
    return np.atleast_1d(np.asarray(value))
