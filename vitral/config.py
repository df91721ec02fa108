"""What a run is: one frozen record, validated when it is made, free of torch.

Every field says what it means in its annotation; the command's options and help are made from these, so a
new knob is one documented field here. `Durations` are words: "300 epochs", "20000 steps", "1e9 examples".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, TypeAlias, get_args

from vitral.errors import UsageError

Size: TypeAlias = tuple[int, int]
"""Height and width in pixels."""

MAX_PIXELS = 89_478_485
"""Pixels of the largest picture that is decoded unless more are allowed: the limit of Pillow (`Image.MAX_IMAGE_PIXELS`,
a quarter of a gigabyte of RGB), against small files that unpack to more than the memory holds."""

Interpolation: TypeAlias = Literal["nearest", "bilinear", "bicubic"]


def require(condition: bool, message: str) -> None:
    """Raise `UsageError(message)` unless `condition` holds."""
    if not condition:
        raise UsageError(message)


@dataclass(frozen=True)
class Duration:
    """A length of training.

    Args:
        amount: more than 0, or 0 for "not at all".
        unit: of `amount`. An epoch is one pass over the training split, an example is one picture.
    """

    amount: float
    unit: Literal["epochs", "steps", "examples"]

    def __post_init__(self) -> None:
        require(0 <= self.amount < 1e15, f"a duration must be between 0 and 1e15 {self.unit}, not {self.amount:g}")

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read "10 epochs", "500steps", "1e6 examples"; a unit may be singular."""
        match = re.fullmatch(r"\s*([0-9.eE+-]+)\s*(epoch|step|example)s?\s*", text)
        try:
            amount = float(match[1]) if match else None
        except ValueError:
            amount = None
        if match is None or amount is None:
            raise UsageError(
                f"cannot read duration {text!r}: write it like '10 epochs', '500 steps' or '1e6 examples'."
            )
        return cls(amount, f"{match[2]}s")  # type: ignore[arg-type]

    def steps(self, batch_size: int, examples_per_epoch: int) -> int:
        """Whole optimizer steps, rounded up: at least 1 unless the duration is 0."""
        examples = {"epochs": self.amount * examples_per_epoch, "examples": self.amount}
        if self.unit == "steps":
            return -int(-self.amount // 1)
        return -int(-examples[self.unit] // batch_size)

    def __str__(self) -> str:
        amount = float(self.amount)
        return f"{int(amount) if amount.is_integer() else repr(amount)} {self.unit}"  # read back, it is the same


@dataclass(frozen=True)
class Preprocessing:
    """From decoded pixels to the model's input; part of the artefact, the same for every verb.

    The picture (turned upright by its EXIF orientation) is resized, cut at its centre to `crop`, and each
    channel becomes `(value / 255 - mean) / std`.
    """

    crop: Annotated[Size, "height and width of the model's input in pixels"] = (224, 224)
    resize: Annotated[
        int | Size | None,
        "shorter side before the cut, in pixels; HEIGHTxWIDTH squashes to it; none leaves the picture's size",
    ] = 256
    interpolation: Annotated[Interpolation, "of the resize, with antialiasing"] = "bilinear"
    mean: Annotated[tuple[float, float, float], "per channel, of values in [0, 1]"] = (0.5, 0.5, 0.5)
    std: Annotated[tuple[float, float, float], "per channel, of values in [0, 1]"] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        resize = () if self.resize is None else self.resize if isinstance(self.resize, tuple) else (self.resize,)
        sizes = (*self.crop, *resize)
        require(all(1 <= size <= 16384 for size in sizes), f"picture sizes must be 1 to 16384 pixels, not {sizes}")
        require(all(1e-6 <= value < 1e9 for value in self.std), f"std must be 1e-6 or more per channel, not {self.std}")
        require(all(abs(value) < 1e9 for value in self.mean), f"mean must be three numbers, not {self.mean}")
        known = get_args(Interpolation)
        require(self.interpolation in known, f"interpolation is one of {', '.join(known)}, not {self.interpolation!r}")

    def at_size(self, size: Size) -> Preprocessing:
        """The same for another input size: a shorter side grows along, a squash squashes to it."""
        if size == self.crop:
            return self
        grown = round(self.resize * min(size) / min(self.crop)) if isinstance(self.resize, int) else self.resize
        return replace(self, crop=size, resize=size if isinstance(grown, tuple) else grown)


@dataclass(frozen=True)
class ModelConfig:
    """Which network, and what it starts from. `None` keeps what the variant or the weights say."""

    name: Annotated[str | None, "a key of `vitral models`, like ViT-B/16; with weights, the weights say"] = None
    weights: Annotated[str | None, "folder or file of weights to start from; none trains from scratch"] = None
    image_size: Annotated[Size | None, "height and width of the input in pixels"] = None
    pool: Annotated[Literal["token", "gap", "map"] | None, "class token, mean of tokens, or attention pool"] = None
    positions: Annotated[
        Literal["learned", "learned2d", "relative", "sincos2d", "none"] | None,
        "position embedding: one for each token, for rows and columns, for distances, or fixed",
    ] = None
    positions_at: Annotated[
        Literal["stem", "every", "shared"] | None,
        "where they are added: behind the stem, at every layer, or there the same ones (Table 8 of arXiv 2010.11929)",
    ] = None
    position_resize: Annotated[
        Literal["google", "timm", "timm-npz", "huggingface", "torchvision", "dinov2"] | None,
        "whose rule brings learned positions to another image size",
    ] = None
    representation_size: Annotated[int | None, "width of the tanh pre-logits layer"] = None
    gelu: Annotated[Literal["tanh", "exact"] | None, "form of the GELU"] = None
    width: Annotated[int | None, "D, the size of a token"] = None
    depth: Annotated[int | None, "number of encoder blocks"] = None
    num_heads: Annotated[int | None, "attention heads"] = None
    mlp_dim: Annotated[int | None, "hidden size of the MLP"] = None
    dropout: Annotated[float | None, "after every dense layer but qkv, and after the positions"] = None
    stochastic_depth: Annotated[float | None, "largest rate at which a residual branch is dropped"] = None
    head_bias: Annotated[float, "initial bias of the head (sigmoid loss: about -ln of the class count)"] = 0.0
    checkpoint_blocks: Annotated[bool, "recompute each block in the backward pass to save memory"] = False
    freeze: Annotated[
        tuple[str, ...], "patterns of parameter names that do not learn, like 'patch_embedding.*,blocks.*'"
    ] = ()
    learn: Annotated[Literal["all", "head"], "everything that freeze does not name, or the head alone"] = "all"

    def __post_init__(self) -> None:
        require(abs(self.head_bias) <= 1000, f"head_bias must be -1000 to 1000, not {self.head_bias:g}")


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adaptation (arXiv 2106.09685): attention matrices learn small updates; else only the head learns."""

    rank: Annotated[int, "LoRA: rank of the update that an attention matrix learns beside fixed weights; 0 is off"] = 0
    alpha: Annotated[float | None, "the update is scaled by alpha / rank; default: the rank"] = None
    matrices: Annotated[
        tuple[Literal["q", "k", "v", "out"], ...],
        "which learn: q, k, v, and out, which follows attention (section 7.1 of the paper: q and v)",
    ] = ("q", "v")

    def __post_init__(self) -> None:
        require(0 <= self.rank <= 4096, f"rank must be 0 to 4096, not {self.rank}")
        require(self.alpha is None or 0 < self.alpha <= 1e6, f"alpha must be above 0, not {self.alpha}")
        require(len(self.matrices) > 0, "matrices must name at least one of q, k, v, out")


@dataclass(frozen=True)
class DataConfig:
    """Where the pictures are and how they are read."""

    path: Annotated[str, "folder or table of pictures"] = ""
    path_column: Annotated[str | None, "column of a table that holds the picture's path"] = None
    label_column: Annotated[str | None, "column of a table that holds the label"] = None
    image_folder: Annotated[str | None, "folder that a table's paths start from; default: the table's own"] = None
    multi_label: Annotated[bool, "several labels per picture, separated by ';' in the label column"] = False
    validation_fraction: Annotated[float, "share of train to hold out where there is no validation split"] = 0.1
    balance: Annotated[
        float, "0 shows training pictures as often as they are there, 1 every class equally often, 0.5 is in between"
    ] = 0.0
    on_bad_image: Annotated[Literal["fail", "skip"], "an unreadable training picture stops the run, or is left out"] = (
        "fail"
    )
    max_pixels: Annotated[int, "largest picture that is decoded, in pixels"] = MAX_PIXELS
    scaled_decoding: Annotated[
        bool, "decode a large JPEG at 1/2, 1/4 or 1/8 where the cut keeps all pixels that the input has: other pixels"
    ] = False
    shrink: Annotated[
        int | None, "shorter side to which larger training pictures are brought before anything else: other pixels"
    ] = None

    def __post_init__(self) -> None:
        require(
            0 <= self.validation_fraction < 1,
            f"validation_fraction must be at least 0 and below 1, not {self.validation_fraction:g}",
        )
        require(0 <= self.balance <= 1, f"balance must be 0 to 1, not {self.balance:g}")
        require(
            not (self.multi_label and self.balance),
            "balance is for one label per picture: with several, weigh the loss (--loss.class-weights balanced).",
        )
        require(self.max_pixels >= 1, f"max_pixels must be at least 1, not {self.max_pixels}")
        require(
            self.shrink is None or 1 <= self.shrink <= 16384, f"shrink must be 1 to 16384 pixels, not {self.shrink}"
        )


@dataclass(frozen=True)
class AugmentationConfig:
    """How a training picture is varied. Off where 0.

    Sources: Inception crop of arXiv 1409.4842 (area uniform, where the authors' TensorFlow kernel draws the height
    uniformly; resized with antialiasing, theirs without); RandAugment and Mixup strengths as in arXiv
    2106.10270, section 3; CutMix arXiv 1905.04899; random erasing arXiv 1708.04896; 3-Augment arXiv 2204.07118.
    """

    crop: Annotated[
        Literal["inception", "resize-random", "none"],
        "inception: random area and shape; resize-random: resize, then cut at a random place; none: as in evaluation",
    ] = "inception"
    min_area: Annotated[float, "smallest area of an inception crop, as a share of the picture"] = 0.05
    resize: Annotated[
        int | Size | None, "of resize-random, as that of the preprocessing; default: the same as in evaluation"
    ] = None
    padding: Annotated[int, "pixels added to each side before a resize-random cut"] = 0
    padding_mode: Annotated[Literal["zero", "reflect"], "what the padding shows: black, or the picture mirrored"] = (
        "zero"
    )
    flip: Annotated[bool, "mirror half of the pictures left to right"] = True
    repeats: Annotated[
        int, "views of a picture that follow each other, so that an epoch holds fewer pictures (arXiv 2012.12877: 3)"
    ] = 1
    three_augment: Annotated[bool, "make each picture grey, solarized or blurred, one of the three (3-Augment)"] = False
    check_flip: Annotated[
        bool, "with first_look: mirror none where the held-out pictures are other classes once they are mirrored"
    ] = False
    randaugment_layers: Annotated[int, "RandAugment operations per picture"] = 0
    randaugment_magnitude: Annotated[float, "RandAugment strength, 0 to 10 (the papers go up to 20)"] = 0.0
    colour_jitter: Annotated[float, "largest relative change of brightness, contrast and saturation"] = 0.0
    erasing: Annotated[float, "probability of erasing a random rectangle"] = 0.0
    mixup: Annotated[float, "alpha of Mixup's Beta distribution"] = 0.0
    cutmix: Annotated[float, "alpha of CutMix's Beta distribution; with Mixup on, each batch uses one of the two"] = 0.0

    def __post_init__(self) -> None:
        require(0 < self.min_area <= 1, f"min_area must be above 0 and at most 1, not {self.min_area:g}")
        sides = self.resize if isinstance(self.resize, tuple) else (self.resize or 1,)
        require(all(1 <= side <= 16384 for side in sides), f"resize must be 1 to 16384 pixels, not {self.resize}")
        require(
            self.resize is None or self.crop == "resize-random",
            "augmentation.resize goes with --augmentation.crop resize-random: add that, or leave it out.",
        )
        require(0 <= self.padding <= 1024, f"padding must be 0 to 1024 pixels, not {self.padding}")
        require(1 <= self.repeats <= 64, f"repeats must be 1 to 64, not {self.repeats}")
        require(
            0 <= self.randaugment_layers <= 16,
            f"randaugment_layers must be 0 to 16, not {self.randaugment_layers}",
        )
        require(
            0 <= self.randaugment_magnitude <= 30,
            f"randaugment_magnitude must be 0 to 30, not {self.randaugment_magnitude:g}",
        )
        require(0 <= self.colour_jitter <= 1, f"colour_jitter must be 0 to 1, not {self.colour_jitter:g}")
        require(0 <= self.erasing <= 1, f"erasing must be a probability, not {self.erasing:g}")
        require(0 <= self.mixup <= 100, f"mixup must be 0 to 100, not {self.mixup:g}")
        require(0 <= self.cutmix <= 100, f"cutmix must be 0 to 100, not {self.cutmix:g}")

    @property
    def is_off(self) -> bool:
        """Whether a training picture looks the same every time, as in evaluation."""
        others = (
            self.randaugment_layers,
            self.colour_jitter,
            self.erasing,
            self.mixup,
            self.cutmix,
            self.three_augment,
        )
        return self.crop == "none" and not self.flip and not any(others)


@dataclass(frozen=True)
class OptimizerConfig:
    """Which update, with which strength."""

    name: Annotated[
        Literal["adam", "adamw", "lamb", "sgd", "lbfgs"],
        "adam takes no weight decay; lbfgs solves the head alone to the end, trying one decay after the other",
    ] = "adamw"
    learning_rate: Annotated[float, "peak, reached after the warm-up"] = 1e-3
    weight_decay: Annotated[
        float,
        "decoupled, multiplied by the learning rate; of sgd a part of the gradient (L2); matrices and kernels only",
    ] = 0.0
    momentum: Annotated[float, "of sgd"] = 0.9
    beta1: Annotated[float, "of adam, adamw and lamb"] = 0.9
    beta2: Annotated[float, "of adam, adamw and lamb"] = 0.999
    clip_norm: Annotated[float, "largest global gradient norm; 0 does not clip"] = 1.0
    find_rate: Annotated[bool, "find the learning rate before the run, by a range test of rising rates"] = False
    layer_decay: Annotated[float, "factor of the learning rate from each layer to the one below; 1 is off"] = 1.0
    block_rate: Annotated[float, "factor of the learning rate in encoder blocks; 1 is off"] = 1.0

    def __post_init__(self) -> None:
        require(0 < self.learning_rate <= 1000, f"learning_rate must be above 0, not {self.learning_rate:g}")
        require(0 <= self.weight_decay <= 100, f"weight_decay must be 0 or more, not {self.weight_decay:g}")
        require(
            self.weight_decay == 0 or self.name in ("adamw", "lamb", "sgd"),
            f"weight_decay {self.weight_decay:g} needs optimizer adamw, lamb or sgd: {self.name} has none.",
        )
        for name in ("momentum", "beta1", "beta2"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{name} must be at least 0 and below 1, not {value:g}")
        require(0 <= self.clip_norm <= 1e9, f"clip_norm must be 0 to 1e9, not {self.clip_norm:g}")
        for name in ("layer_decay", "block_rate"):
            value = getattr(self, name)
            require(0 < value <= 1, f"{name} must be above 0 and at most 1, not {value:g}")


def sizes_by_share(words: tuple[str, ...]) -> tuple[tuple[Size, float], ...]:
    """The sizes of training pictures and the share of the run until which each holds, of "96:0.5" or "96x128:0.5".

    Raises:
        UsageError: another form, or shares that do not rise between 0 and 1.
    """
    found = []
    for word in words:
        match = re.fullmatch(r"\s*(\d{1,5})(?:x(\d{1,5}))?\s*:\s*([0-9.]+)\s*", word)
        try:
            share = float(match[3]) if match else 0.0
        except ValueError:
            share = 0.0
        if match is None or not 0 < share < 1:
            raise UsageError(
                f"cannot read {word!r} of a progressive resolution: write SIZE:SHARE with a share of the run between 0 "
                "and 1, like 96:0.5,128:0.8."
            )
        found.append(((int(match[1]), int(match[2] or match[1])), share))
    shares = [share for _, share in found]
    require(
        shares == sorted(set(shares)),
        f"the shares of a progressive resolution must rise, as in 96:0.5,128:0.8, not {', '.join(words)}.",
    )
    return tuple(found)


@dataclass(frozen=True)
class ScheduleConfig:
    """How long, and how the learning rate moves."""

    duration: Annotated[Duration, "of the whole run, like '10 epochs' or '500 steps'"] = Duration(10, "epochs")
    warmup: Annotated[Duration, "the learning rate rises linearly from 0 over this long"] = Duration(0, "steps")
    decay: Annotated[
        Literal["cosine", "linear", "rsqrt", "constant", "step", "wsd"],
        "shape after the warm-up; wsd: stable at the peak, then down over the cooldown as 1 - sqrt (arXiv 2405.18392)",
    ] = "cosine"
    final: Annotated[float, "learning rate at the end, as a share of the peak (cosine, linear and wsd)"] = 0.0
    timescale: Annotated[Duration, "of rsqrt: the rate is proportional to 1/sqrt(1 + steps after warm-up / this)"] = (
        Duration(10_000, "steps")
    )
    cooldown: Annotated[Duration, "of rsqrt, constant (linearly to 0) and wsd: how long the last part falls"] = (
        Duration(0, "steps")
    )
    drops: Annotated[
        tuple[float, ...], "of step: shares of the run, like 0.3,0.6,0.9, after each of which the rate is a tenth"
    ] = ()
    head_first: Annotated[
        Duration, "at first only the head learns, at the peak rate, over this long (arXiv 2202.10054)"
    ] = Duration(0, "steps")
    resolution: Annotated[
        tuple[str, ...],
        "training pictures grow: sizes and the share of the run until which each holds, like 96:0.5,128:0.8; then, and "
        "in evaluation, the image size",
    ] = ()

    def __post_init__(self) -> None:
        sizes_by_share(self.resolution)
        require(
            bool(self.cooldown.amount) <= (self.decay in ("rsqrt", "constant", "wsd")),
            f"cooldown is the end of rsqrt, constant and wsd, not of {self.decay}: leave it out, or change "
            "--schedule.decay.",
        )
        require(
            self.decay != "wsd" or self.cooldown.amount > 0,
            "decay wsd needs its last part: add --schedule.cooldown, like '20 epochs'; a fifth of the run is usual.",
        )
        require(
            all(0 < drop < 1 for drop in self.drops) and list(self.drops) == sorted(set(self.drops)),
            f"drops must be rising shares of the run between 0 and 1, not {', '.join(map(str, self.drops))}",
        )
        require(
            bool(self.drops) == (self.decay == "step"),
            "decay step and drops go together: give both, like --schedule.decay step --schedule.drops 0.3,0.6,0.9.",
        )
        require(0 <= self.final <= 1, f"final must be 0 to 1, not {self.final:g}")
        require(self.duration.amount > 0, "duration must be more than 0")
        require(self.timescale.amount > 0, "timescale must be more than 0")


@dataclass(frozen=True)
class LossConfig:
    """What is minimised."""

    name: Annotated[
        Literal["softmax", "sigmoid", "bce"],
        "cross-entropy over classes; one yes/no question per class, their sum; or their mean (bce: as DeiT III)",
    ] = "softmax"
    label_smoothing: Annotated[float, "share of the target spread over all classes"] = 0.0
    class_weights: Annotated[
        tuple[str, ...],
        "what the pictures of a class count: 'balanced' (rarer ones more), or 'rose=2,tulip=0.5' (the others 1)",
    ] = ()

    def __post_init__(self) -> None:
        require(
            0 <= self.label_smoothing < 1,
            f"label_smoothing must be at least 0 and below 1, not {self.label_smoothing:g}",
        )


@dataclass(frozen=True)
class DistillationConfig:
    """Learning from a trained model's answers beside the labels (arXiv 2012.12877)."""

    teacher: Annotated[str | None, "model folder or name whose answers are learned; its classes must cover ours"] = None
    kind: Annotated[
        Literal["none", "hard", "soft"], "learn the teacher's likeliest class, or all its probabilities"
    ] = "none"
    alpha: Annotated[float, "share of the teacher in the loss (the paper: 0.5 hard, 0.1 soft)"] = 0.5
    temperature: Annotated[float, "of soft: scores are divided by it (the paper: 3)"] = 3.0
    classes: Annotated[
        Literal["by-name", "in-order"],
        "how the teacher's classes are matched: by their names, or trusted to be ours in our order (for one that names "
        "none)",
    ] = "by-name"
    digest: Annotated[
        str | None, "of the teacher's weights, preprocessing and classes: another one is refused (filled in)"
    ] = None

    def __post_init__(self) -> None:
        require(0 <= self.alpha <= 1, f"alpha must be 0 to 1, not {self.alpha:g}")
        require(0 < self.temperature <= 1000, f"temperature must be above 0, not {self.temperature:g}")


@dataclass(frozen=True)
class PretrainingConfig:
    """Learning without labels, from pictures of which a part is hidden (arXiv 2111.06377; 2010.11929, B.1.2)."""

    objective: Annotated[
        Literal["none", "mae", "masked-patch"],
        "none: learn the labels; mae: make the hidden patches' pixels; masked-patch: name each hidden patch's colour",
    ] = "none"
    mask_ratio: Annotated[float, "share of the patches that is hidden (mae) or corrupted (masked-patch)"] = 0.75
    normalise_pixels: Annotated[bool, "of mae: each patch's pixels less their mean, divided by their deviation"] = True
    decoder_width: Annotated[int, "of mae: size of the decoder's tokens"] = 512
    decoder_depth: Annotated[int, "of mae: number of the decoder's blocks"] = 8
    decoder_heads: Annotated[int, "of mae: attention heads of the decoder"] = 16

    def __post_init__(self) -> None:
        require(0 < self.mask_ratio < 1, f"mask_ratio must be above 0 and below 1, not {self.mask_ratio:g}")
        for name in ("decoder_width", "decoder_depth", "decoder_heads"):
            require(1 <= getattr(self, name) <= 2**16, f"{name} must be 1 to 65536, not {getattr(self, name)}")
        require(
            self.decoder_width % 4 == 0,
            f"decoder_width must be a multiple of 4, which its positions need, not {self.decoder_width}",
        )
        require(
            self.decoder_width % self.decoder_heads == 0,
            f"decoder_width {self.decoder_width} cannot be split into {self.decoder_heads} decoder_heads: "
            "choose a multiple",
        )

    @property
    def is_off(self) -> bool:
        """Whether a run learns labels, as most do."""
        return self.objective == "none"


@dataclass(frozen=True)
class TrainingConfig:
    """The loop."""

    batch_size: Annotated[int, "pictures per optimizer step, over all devices"] = 128
    micro_batch_size: Annotated[
        int | None,
        "pictures per forward pass; default: what fits, at best the whole batch. Parts add up to the batch's gradient, "
        "to rounding; dropout draws, and batch norm averages, part by part",
    ] = None
    precision: Annotated[
        Literal["float32", "bfloat16"] | None,
        "default: bfloat16 on a GPU; on a CPU float32, or what a short trial says when pretrained weights are adapted",
    ] = None
    average: Annotated[float, "decay of the running average of the weights that is evaluated and kept; 0 is off"] = 0.0
    seed: Annotated[int, "of the initial weights, the order, the crops and the dropout"] = 0
    evaluate_every: Annotated[Duration, "on the validation split"] = Duration(1, "epochs")
    metric: Annotated[
        Literal["top1", "loss", "balanced_accuracy", "mean_average_precision"] | None,
        "tells which evaluation is the best; default: top1, with several labels mean_average_precision",
    ] = None
    patience: Annotated[int | None, "evaluations in a row without a better one that end the run; none: never"] = None
    first_look: Annotated[
        bool,
        "solve the head alone first, on the pictures as they are: it is kept unless what is learned then is better on "
        "the validation split",
    ] = False
    keep_features: Annotated[
        bool, "where only the head learns, from unvaried pictures: keep what it sees of each, so that all is seen once"
    ] = True
    checkpoint_every: Annotated[Duration, "what a crash can cost at most"] = Duration(1, "epochs")
    compile: Annotated[bool, "compile the model first (slower start, faster steps on a GPU)"] = False
    log_every: Annotated[Duration, "one line in metrics.jsonl"] = Duration(10, "steps")
    keep_checkpoints: Annotated[int, "newest checkpoints that stay on disk"] = 2

    def __post_init__(self) -> None:
        require(1 <= self.batch_size <= 2**24, f"batch_size must be 1 to 2^24, not {self.batch_size}")
        if self.micro_batch_size is not None:
            require(
                1 <= self.micro_batch_size <= self.batch_size,
                f"micro_batch_size must be 1 to batch_size ({self.batch_size}), not {self.micro_batch_size}",
            )
        require(0 <= self.average < 1, f"average must be at least 0 and below 1, not {self.average:g}")
        require(self.patience is None or self.patience >= 1, f"patience must be at least 1, not {self.patience}")
        require(0 <= self.seed < 2**63, f"seed must be 0 to 2^63 - 1, not {self.seed}")
        require(self.keep_checkpoints >= 1, f"keep_checkpoints must be at least 1, not {self.keep_checkpoints}")


@dataclass(frozen=True)
class RuntimeConfig:
    """What may differ from one start of a run to the next. Workers, prefetch and TensorBoard change no result at all;
    another device changes how sums are rounded. Where a preset chose precision or length by the kind of device, a
    resume on the other kind is refused with the difference, and goes on once these are given as they were."""

    device: Annotated[str, "cpu, cuda, cuda:1, mps; auto takes the first GPU that is there"] = "auto"
    workers: Annotated[int | None, "threads that read pictures; default: one per core, at most 16"] = None
    prefetch: Annotated[int, "batches made ahead"] = 4
    features: Annotated[
        str | None,
        "folder that keeps what a frozen network says of pictures, for other runs too; default: the run's own",
    ] = None
    tensorboard: Annotated[bool, "also write TensorBoard event files (extra: tensorboard)"] = False
    augment_on: Annotated[
        Literal["host", "device"],
        "who mirrors, jitters, erases and runs RandAugment: the threads that read, or the device, in batches",
    ] = "host"
    cache: Annotated[
        Literal["none", "ram", "disk"], "keep what was read of training pictures for the next epochs: the same result"
    ] = "none"
    cache_of: Annotated[
        Literal["files", "pixels"], "what the cache keeps: decoded pixels, or files (smaller, for a slow disk)"
    ] = "pixels"
    cache_size: Annotated[
        float | None, "gigabytes of the cache; default: a quarter of the free memory, half of the free disk"
    ] = None
    cache_folder: Annotated[
        str | None, "folder of the disk cache, which stays for other runs; default: in the run's own, until it is done"
    ] = None

    def __post_init__(self) -> None:
        require(
            self.cache_size is None or 0 < self.cache_size < 1e9,
            f"cache_size must be above 0 GB, not {self.cache_size}",
        )
        require(
            self.cache_folder is None or self.cache == "disk",
            "runtime.cache_folder goes with --cache disk: add that, or leave it out.",
        )
        require(self.workers is None or 0 <= self.workers <= 256, f"workers must be 0 to 256, not {self.workers}")
        require(1 <= self.prefetch <= 1024, f"prefetch must be 1 to 1024, not {self.prefetch}")


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
