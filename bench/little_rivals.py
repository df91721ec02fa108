"""What others do by default with few pictures and no weights, in a loop that ends when its core-minutes are spent.

timm: the defaults of its train.py (SGD 0.1 for 256 pictures with Nesterov momentum, decay 2e-5, batch 128, cosine after
five epochs of warm-up, smoothing 0.1, its default training transform), and the same with AdamW at DeiT's rate and decay
(arXiv 2012.12877). Transformers: the defaults of its Trainer (AdamW 5e-5 without decay or warm-up, batch 8, linear,
norm clipped at 1) with the transform of its image classification example (a random crop of 8 % and more, mirrored).
Both at the input size and with the patches of vitral's plain ViT: at 224 pixels they would see a few epochs only.

The ResNets are trained as vitral trains: its augmentation, AdamW, schedule, smoothing and average, and in bfloat16.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests import peers
from vitral.config import DataConfig, RunConfig
from vitral.data.decode import decode
from vitral.data.preprocessing import normalise, prepare
from vitral.data.transforms import augment
from vitral.datasets import read
from vitral.planning import plan
from vitral.training.averaging import Average

Picture = Callable[[np.ndarray, int], Tensor]
"""Decoded bytes and a seed to one input [3, side, side]."""


@dataclass
class Rival:
    """A network and how it is trained. `warmup_epochs` counts passes, of which `warmup` is the largest share."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    training: Picture
    testing: Picture
    batch_size: int
    decay: str
    smoothing: float = 0.0
    clip_norm: float = 0.0
    warmup: float = 0.0
    warmup_epochs: float | None = None
    average: float = 0.0
    bfloat16: bool = False


def train(row: str, path: str, side: int, patch: int, seed: int, seconds: float) -> dict[str, Any]:
    """Train for so many core-seconds; top-1 on the test pictures."""
    torch.manual_seed(seed)
    data = read(DataConfig(path=path), seed)
    pixels = {name: [decode(source, 10**9) for source in data.splits[name].sources] for name in ("train", "test")}
    labels = {name: torch.tensor([own[0] for own in data.splits[name].labels]) for name in pixels}
    rival = make(row, path, side, patch, len(data.classes))
    steps, spent = _learn(rival, pixels["train"], labels["train"], seed, seconds)
    network = rival.network.eval()
    with torch.inference_mode():
        inputs = torch.stack([rival.testing(image, 0) for image in pixels["test"]])
        answers = torch.cat([_scores(network, part).argmax(1) for part in inputs.split(100)])
    return {"top1": float((answers == labels["test"]).float().mean()), "core_seconds": spent, "steps": steps}


def _learn(rival: Rival, pixels: list[np.ndarray], labels: Tensor, seed: int, seconds: float) -> tuple[int, float]:
    """Steps and core-seconds. The rate follows the share of the time that is spent."""
    rng = np.random.default_rng(seed)
    network, optimizer = rival.network.train(), rival.optimizer
    peaks = [group["lr"] for group in optimizer.param_groups]
    average = Average(network, rival.average) if rival.average else None
    per_epoch = max(1, len(labels) // rival.batch_size)
    order: list[int] = []
    began, step = time.process_time(), 0
    while (spent := time.process_time() - began) < seconds:
        factor = _factor(rival, spent / seconds, step, per_epoch)
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
        if len(order) < rival.batch_size:
            order = [int(i) for i in rng.permutation(len(labels))]
        batch, order = order[: rival.batch_size], order[rival.batch_size :]
        inputs = torch.stack([rival.training(pixels[i], int(rng.integers(2**31))) for i in batch])
        with torch.autocast("cpu", torch.bfloat16, enabled=rival.bfloat16):
            scores = _scores(network, inputs)
        F.cross_entropy(scores.float(), labels[batch], label_smoothing=rival.smoothing).backward()
        if rival.clip_norm:
            nn.utils.clip_grad_norm_(network.parameters(), rival.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if average:
            average.update(network, step)
    if average:
        rival.network = average.model
    return step, spent


def _factor(rival: Rival, progress: float, step: int, per_epoch: int) -> float:
    """Of the learning rate: a warm-up, of so many epochs where these are known to fit, then the decay."""
    if rival.warmup_epochs is not None and step < rival.warmup_epochs * per_epoch and progress < rival.warmup:
        return max(1e-3, step / (rival.warmup_epochs * per_epoch))
    if rival.warmup_epochs is None and progress < rival.warmup:
        return progress / rival.warmup
    return 1 - progress if rival.decay == "linear" else (1 + math.cos(math.pi * progress)) / 2


def _scores(network: nn.Module, inputs: Tensor) -> Tensor:
    found: Any = network(inputs)
    scores: Tensor = getattr(found, "logits", found)
    return scores


# Each of them ----------------------------------------------------------------------------------------


def make(row: str, path: str, side: int, patch: int, classes: int) -> Rival:
    """The rival of that name, before its first step."""
    if row.startswith("timm"):
        return _timm(side, patch, classes, "SGD" in row)
    if row.startswith("Transformers"):
        return _transformers(side, patch, classes)
    networks = {
        "ResNet-20": lambda: small_resnet((16, 32, 64), 3, 16, (1, 2, 2), 1 if side <= 64 else 2, classes),
        "ResNet-8, wide": lambda: small_resnet((64, 128, 256), 1, 32, (2, 2, 2), 1 if side <= 64 else 2, classes),
        "ResNet-18": lambda: peers.timm().create_model("resnet18", pretrained=False, num_classes=classes),
    }
    return _as_vitral(networks[row]().to(memory_format=torch.channels_last), path)


def _timm(side: int, patch: int, classes: int, sgd: bool) -> Rival:
    timm = peers.timm()
    network = timm.create_model(
        "vit_tiny_patch16_224", pretrained=False, num_classes=classes, img_size=side, patch_size=patch
    )
    batch = 128
    own = {"lr": 0.1 * batch / 256, "momentum": 0.9} if sgd else {"lr": 1e-3}
    optimizer = importlib.import_module("timm.optim").create_optimizer_v2(
        network, opt="sgd" if sgd else "adamw", weight_decay=2e-5 if sgd else 0.05, **own
    )
    shared = {"input_size": side, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    varied = timm.data.create_transform(**shared, is_training=True, interpolation="random")
    plain = timm.data.create_transform(**shared, interpolation="bicubic", crop_pct=0.9)
    return Rival(
        network, optimizer, _of_pillow(varied), _of_pillow(plain), batch, "cosine", 0.1, warmup=0.5, warmup_epochs=5
    )


def _transformers(side: int, patch: int, classes: int) -> Rival:
    library, transforms = peers.transformers_vit(), peers.torchvision_transforms()
    config = library.ViTConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768, image_size=side,
        patch_size=patch, num_labels=classes,
    )  # fmt: skip
    network = library.ViTForImageClassification(config)
    ending = [transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
    varied = [transforms.RandomResizedCrop(side), transforms.RandomHorizontalFlip()]
    plain = [transforms.Resize(side), transforms.CenterCrop(side)]
    optimizer = torch.optim.AdamW(network.parameters(), 5e-5, weight_decay=0.0, fused=True)
    return Rival(
        network,
        optimizer,
        _of_pillow(transforms.Compose([*varied, *ending])),
        _of_pillow(transforms.Compose([*plain, *ending])),
        8,
        "linear",
        clip_norm=1.0,
    )


def _of_pillow(transform: Callable[[Any], Tensor]) -> Picture:
    from PIL import Image

    def picture(pixels: np.ndarray, seed: int) -> Tensor:  # noqa: ARG001 - torch's and Python's own generators
        return transform(Image.fromarray(pixels))

    return picture


def _as_vitral(network: nn.Module, path: str) -> Rival:
    """By scratch-small's own settings for these pictures."""
    config: RunConfig = plan("scratch-small", {"data.path": path, "runtime.device": "cpu"}).config
    before = config.preprocessing

    def training(pixels: np.ndarray, seed: int) -> Tensor:
        return as_input(augment(pixels, np.random.default_rng(seed), config.augmentation, before))

    def as_input(pixels: np.ndarray) -> Tensor:
        return normalise(torch.from_numpy(pixels.copy())[None], before.mean, before.std)[0]

    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": kernels, "weight_decay": config.optimizer.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return Rival(
        network,
        torch.optim.AdamW(groups, config.optimizer.learning_rate, fused=True),
        training,
        lambda pixels, _: as_input(prepare(pixels, before)),
        config.training.batch_size,
        config.schedule.decay,
        config.loss.label_smoothing,
        config.optimizer.clip_norm,
        warmup=config.schedule.warmup.amount / config.schedule.duration.amount,
        average=config.training.average,
        bfloat16=True,
    )


def small_resnet(
    widths: tuple[int, ...], units: int, stem: int, strides: tuple[int, ...], first: int, classes: int
) -> nn.Module:
    """The residual networks of arXiv 1512.03385, section 4.2, of timm's basic blocks; theirs start as shortcuts."""
    resnet: Any = peers.timm().models.resnet
    layers: list[nn.Module] = [nn.Conv2d(3, stem, 3, first, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU(inplace=True)]
    before = stem
    for width, halving in zip(widths, strides, strict=True):
        for unit in range(units):
            stride = 1 if unit else halving
            same = before == width and stride == 1
            layers.append(
                resnet.BasicBlock(
                    before, width, stride, None if same else resnet.downsample_conv(before, width, 1, stride)
                )
            )
            layers[-1].zero_init_last()
            before = width
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(network[-1].weight)
    return network
