"""All of a run in one record, and the rules between its sections."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from vitral.config.augmentation import AugmentationConfig
from vitral.config.data import DataConfig
from vitral.config.loss import DistillationConfig, LossConfig, PretrainingConfig
from vitral.config.model import LoraConfig, ModelConfig
from vitral.config.optimizer import OptimizerConfig
from vitral.config.preprocessing import Preprocessing
from vitral.config.schedule import ScheduleConfig
from vitral.config.training import RuntimeConfig, TrainingConfig
from vitral.errors import require


@dataclass(frozen=True)
class RunConfig:
    """One training run. The same `RunConfig` and the same pictures give the same bytes, `runtime` aside."""

    recipe: Annotated[str, "the recipe that the other values started from"] = ""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    pretraining: PretrainingConfig = field(default_factory=PretrainingConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def __post_init__(self) -> None:
        self._require_readable()
        if self.pretraining.is_off:
            self._require_learnable()
        else:
            self._require_no_labels()

    def _require_readable(self) -> None:
        """Refuse ways to read and vary pictures that do not go together, whatever is learned from them."""
        require(
            not (self.augmentation.three_augment and self.runtime.augment_on == "device"),
            "3-Augment blurs on the host, as its authors do: leave --runtime.augment-on device out.",
        )
        require(
            not (self.data.scaled_decoding and self.runtime.cache != "none" and self.runtime.cache_of == "pixels"),
            "scaled decoding makes other pixels for each cut, so they cannot be kept: add --runtime.cache-of files, or "
            "bring all pictures to one size with --data.shrink instead.",
        )
        require(
            not (self.data.scaled_decoding and self.data.shrink),
            "data.shrink says at which size pictures are decoded, as --data.scaled-decoding does: give one of the two.",
        )

    def _require_learnable(self) -> None:
        """Refuse what a run that learns labels cannot do."""
        require(
            not self.data.multi_label or self.loss.name in ("sigmoid", "bce"),
            "several labels per picture need the sigmoid loss: add --loss.name sigmoid.",
        )
        require(
            not self.lora.rank or self.model.weights not in (None, "none"),
            "LoRA learns beside pretrained weights: name them with --model, or leave --lora out.",
        )
        require(
            not self.lora.rank or self.model.learn == "all",
            "LoRA learns in the attention too, but this recipe, or --model.learn head, has the head alone learn: leave "
            "one of them out.",
        )
        fitting = ("top1", "mean_average_precision") if self.data.multi_label else ("top1", "loss", "balanced_accuracy")
        require(
            self.training.metric in (None, *fitting),
            f"with {'several labels' if self.data.multi_label else 'one label'} per picture, training.metric is one of "
            f"{', '.join(fitting)}, not {self.training.metric}",
        )
        require(
            self.augmentation.repeats == 1 or not self.data.balance,
            "balance has an order of its own: leave --augmentation.repeats or --data.balance out.",
        )
        self._require_teacher()
        self._require_solvable()

    def _require_teacher(self) -> None:
        distils, teacher = self.distillation.kind != "none", self.distillation.teacher is not None
        require(teacher or not distils, "distillation needs a teacher: add --distillation.teacher MODEL.")
        require(distils or not teacher, "a teacher was named: add --distillation.kind hard, or soft.")
        require(
            not (distils and self.data.multi_label),
            "distillation is for one label per picture: leave --distillation.teacher out.",
        )

    def _require_solvable(self) -> None:
        """Refuse what a head that is solved to the end cannot do."""
        if self.optimizer.name != "lbfgs":
            return
        require(
            not self.schedule.resolution,
            "optimizer lbfgs sees each picture once, at one size: leave --progressive-resolution out.",
        )
        require(
            self.training.patience is None,
            "optimizer lbfgs tries every weight decay, so it does not stop early: leave --training.patience out.",
        )
        plain = self.loss.name == "softmax" and not self.loss.label_smoothing and self.distillation.kind == "none"
        require(
            plain and self.model.learn == "head" and self.augmentation.is_off and not self.training.average,
            "optimizer lbfgs solves a head alone (--model.learn head) for unvaried pictures with one label each: "
            "softmax loss without smoothing, no augmentation, no average, no teacher.",
        )

    def _require_no_labels(self) -> None:
        """Refuse what a run that learns no labels cannot do."""
        asked = {
            "--multi-label": self.data.multi_label,
            "--data.balance": self.data.balance,
            "--loss settings": self.loss != LossConfig(),
            "--distillation settings": self.distillation != DistillationConfig(),
            "--lora": self.lora.rank,
            "--augmentation.mixup": self.augmentation.mixup,
            "--augmentation.cutmix": self.augmentation.cutmix,
            "--model.learn head": self.model.learn == "head",
            "--model.head-bias": self.model.head_bias,
            "--schedule.head-first": self.schedule.head_first.amount,
            "--optimizer.name lbfgs": self.optimizer.name == "lbfgs",
        }
        for words, given in asked.items():
            require(not given, f"{words}: that is for labels, and pre-training learns none: leave it out.")
        require(
            self.training.metric in (None, "loss"),
            f"pre-training has no {self.training.metric} to measure, only its loss: leave --training.metric out.",
        )
        require(
            not self.schedule.resolution,
            "learning without labels takes one size: leave --progressive-resolution out.",
        )

    @property
    def metric(self) -> str:
        """The number of an evaluation that tells which is the best."""
        if not self.pretraining.is_off:
            return "loss"
        return self.training.metric or ("mean_average_precision" if self.data.multi_label else "top1")
