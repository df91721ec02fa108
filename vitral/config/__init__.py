"""What a run is: one frozen record, validated when it is made, free of torch; one file per section.

Every field says what it means in its annotation; the command's options and help are made from these, so a
new knob is one documented field here. `Durations` are words: "300 epochs", "20000 steps", "1e9 examples".
"""

from __future__ import annotations

from vitral.config.augmentation import AugmentationConfig
from vitral.config.data import MAX_PIXELS, DataConfig
from vitral.config.duration import Duration
from vitral.config.loss import DistillationConfig, LossConfig, PretrainingConfig
from vitral.config.model import LoraConfig, ModelConfig
from vitral.config.optimizer import OptimizerConfig
from vitral.config.preprocessing import Interpolation, Preprocessing, Size
from vitral.config.run import RunConfig
from vitral.config.schedule import ScheduleConfig, sizes_by_share
from vitral.config.training import RuntimeConfig, TrainingConfig

__all__ = [
    "MAX_PIXELS",
    "AugmentationConfig",
    "DataConfig",
    "DistillationConfig",
    "Duration",
    "Interpolation",
    "LoraConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Preprocessing",
    "PretrainingConfig",
    "RunConfig",
    "RuntimeConfig",
    "ScheduleConfig",
    "Size",
    "TrainingConfig",
    "sizes_by_share",
]
