"""What is known of every published model without building it: its size, what it computes, its score, its weights.

Nothing here needs torch, so that a list of models takes no time. The tests hold the counts against the networks.
"""

from __future__ import annotations

from dataclasses import dataclass

PUBLISHED = {
    "ViT-Ti/16": "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "ViT-S/16": "timm/vit_small_patch16_224.augreg_in21k_ft_in1k",
    "ViT-S/32": "timm/vit_small_patch32_224.augreg_in21k_ft_in1k",
    "ViT-B/8": "timm/vit_base_patch8_224.augreg_in21k_ft_in1k",
    "ViT-B/16": "timm/vit_base_patch16_224.augreg_in21k_ft_in1k",
    "ViT-B/32": "timm/vit_base_patch32_224.augreg_in21k_ft_in1k",
    "ViT-L/16": "timm/vit_large_patch16_224.augreg_in21k_ft_in1k",
    "ResNet-18": "timm/resnet18.a1_in1k",
    "ResNet-34": "timm/resnet34.a1_in1k",
    "ResNet-50": "timm/resnet50.a1_in1k",
    "ResNet-101": "timm/resnet101.a1h_in1k",
    "ResNet-152": "timm/resnet152.a1h_in1k",
    **{f"EfficientNet-B{i}": f"timm/tf_efficientnet_b{i}.ns_jft_in1k" for i in range(8)},
    "EfficientNet-L2": "timm/tf_efficientnet_l2.ns_jft_in1k",
}
"""Repositories by model name, all timm's and Apache-2.0: conversions of the AugReg weights (arXiv 2106.10270:
ImageNet-21k, then ImageNet-1k at 224 pixels) and of Noisy Student's (arXiv 1911.04252), and timm's own ResNets (arXiv
2110.00476)."""

SOURCES = {
    "ViT-L/32": "timm/vit_large_patch32_384.orig_in21k_ft_in1k",
    "DeiT-Ti-distilled/16": "timm/deit_tiny_distilled_patch16_224.fb_in1k",
    "DeiT-S-distilled/16": "timm/deit_small_distilled_patch16_224.fb_in1k",
    "DeiT-B-distilled/16": "timm/deit_base_distilled_patch16_224.fb_in1k",
    "DeiT-III-S/16": "timm/deit3_small_patch16_224.fb_in1k",
    "DeiT-III-M/16": "timm/deit3_medium_patch16_224.fb_in1k",
    "DeiT-III-B/16": "timm/deit3_base_patch16_224.fb_in1k",
    "DeiT-III-L/16": "timm/deit3_large_patch16_224.fb_in1k",
    "DeiT-III-H/14": "timm/deit3_huge_patch14_224.fb_in1k",
    "DINOv2-S/14": "timm/vit_small_patch14_dinov2.lvd142m",
    "DINOv2-B/14": "timm/vit_base_patch14_dinov2.lvd142m",
    "DINOv2-L/14": "timm/vit_large_patch14_dinov2.lvd142m",
    "DINOv2-g/14": "timm/vit_giant_patch14_dinov2.lvd142m",
    "BEiT-B/16": "timm/beit_base_patch16_224.in22k_ft_in22k_in1k",
    "BEiT-L/16": "timm/beit_large_patch16_224.in22k_ft_in22k_in1k",
    "Swin-T": "timm/swin_tiny_patch4_window7_224.ms_in1k",
    "Swin-S": "timm/swin_small_patch4_window7_224.ms_in1k",
    "Swin-B": "timm/swin_base_patch4_window7_224.ms_in1k",
    "Swin-L": "timm/swin_large_patch4_window7_224.ms_in22k_ft_in1k",
    "R+ViT-Ti/16": "augreg/R+Ti/16@224",
    "R26+ViT-S/32": "augreg/R26+S/32@224",
    "R50+ViT-B/16": "timm/vit_base_r50_s16_384.orig_in21k_ft_in1k",
    "R50+ViT-L/32": "augreg/R50+L/32@224",
    **{f"BiT-R{size}": f"bit/R{size}-ILSVRC2012" for size in ("50x1", "50x3", "101x1", "101x3", "152x2", "152x4")},
    "Mixer-B/16": "timm/mixer_b16_224.goog_in21k_ft_in1k",
    "Mixer-L/16": "timm/mixer_l16_224.goog_in21k_ft_in1k",
}
"""What to name to get weights of the other models, as `vitral.weights.published` takes it: their own names fetch
nothing, as several licences and inputs of other sizes are among them. DINOv2's have no classes."""


@dataclass(frozen=True)
class Score:
    """A published result on ImageNet's validation pictures.

    Attributes:
        top1: share of right first guesses, in percent.
        size: height and width of the input in pixels at which it was measured.
        source: whose number it is, and what the weights had seen before.
    """

    top1: float
    size: int
    source: str


@dataclass(frozen=True)
class Known:
    """A model.

    Attributes:
        family: a key of `vitral.models.FAMILIES`.
        image_size: height and width of its input in pixels.
        parameters: with 1,000 classes.
        macs: multiplications with their additions for one picture of that size.
        score: the published one, where there is one that we know.
        weights: what gets published ones, where there are any: the repository that its name fetches (`PUBLISHED`), or
            other words that do (`SOURCES`).
    """

    family: str
    image_size: tuple[int, int]
    parameters: int
    macs: int
    score: Score | None = None
    weights: str | None = None


_COUNTED = {
    # name: (family, side of the input, parameters, MACs)
    "ViT-Ti/16": ("vit", 224, 5_717_416, 1_253_683_200),
    "ViT-S/16": ("vit", 224, 22_050_664, 4_598_882_304),
    "ViT-S/32": ("vit", 224, 22_878_952, 1_142_909_952),
    "ViT-B/8": ("vit", 224, 86_576_872, 78_148_337_664),
    "ViT-B/16": ("vit", 224, 86_567_656, 17_563_828_224),
    "ViT-B/32": ("vit", 224, 88_224_232, 4_409_186_304),
    "ViT-L/16": ("vit", 224, 304_326_632, 61_554_712_576),
    "ViT-L/32": ("vit", 224, 306_535_400, 15_377_539_072),
    "ViT-H/14": ("vit", 224, 632_045_800, 167_295_109_120),
    "ViT-So400m/14": ("vit", 224, 413_597_656, 109_928_445_696),
    "ViT-g/14": ("vit", 224, 1_012_611_432, 267_031_491_584),
    "ViT-G/14": ("vit", 224, 1_844_440_680, 483_747_550_208),
    "DeiT-Ti-distilled/16": ("deit", 224, 5_910_800, 1_261_003_776),
    "DeiT-S-distilled/16": ("deit", 224, 22_436_432, 4_624_140_288),
    "DeiT-B-distilled/16": ("deit", 224, 87_338_192, 17_656_811_520),
    "DeiT-III-S/16": ("layerscale", 224, 22_059_496, 4_598_882_304),
    "DeiT-III-M/16": ("layerscale", 224, 38_849_512, 7_990_968_320),
    "DeiT-III-B/16": ("layerscale", 224, 86_585_320, 17_563_828_224),
    "DeiT-III-L/16": ("layerscale", 224, 304_374_760, 61_554_712_576),
    "DeiT-III-H/14": ("layerscale", 224, 632_126_440, 167_295_109_120),
    "DINOv2-S/14": ("layerscale", 518, 22_441_192, 46_697_123_328),
    "DINOv2-B/14": ("layerscale", 518, 87_348_712, 151_574_486_016),
    "DINOv2-L/14": ("layerscale", 518, 305_392_616, 506_804_850_688),
    "DINOv2-g/14": ("layerscale", 518, 1_138_016_232, 1_783_344_494_592),
    "MAE-B/16": ("mae", 224, 86_567_656, 17_563_828_224),
    "MAE-L/16": ("mae", 224, 304_326_632, 61_554_712_576),
    "MAE-H/14": ("mae", 224, 632_045_800, 167_295_109_120),
    "ResNet-18": ("resnet", 224, 11_689_512, 1_814_073_344),
    "ResNet-34": ("resnet", 224, 21_797_672, 3_663_761_408),
    "ResNet-50": ("resnet", 224, 25_557_032, 4_089_184_256),
    "ResNet-101": ("resnet", 224, 44_549_160, 7_801_405_440),
    "ResNet-152": ("resnet", 224, 60_192_808, 11_513_626_624),
    "EfficientNet-B0": ("efficientnet", 224, 5_288_548, 385_814_752),
    "EfficientNet-B1": ("efficientnet", 240, 7_794_184, 686_802_832),
    "EfficientNet-B2": ("efficientnet", 260, 9_109_994, 993_561_872),
    "EfficientNet-B3": ("efficientnet", 300, 12_233_232, 1_827_141_392),
    "EfficientNet-B4": ("efficientnet", 380, 19_341_616, 4_393_771_024),
    "EfficientNet-B5": ("efficientnet", 456, 30_389_784, 10_266_384_752),
    "EfficientNet-B6": ("efficientnet", 528, 43_040_704, 19_067_593_536),
    "EfficientNet-B7": ("efficientnet", 600, 66_347_960, 37_745_884_192),
    "EfficientNet-L2": ("efficientnet", 800, 480_309_308, 475_703_653_280),
    "BoTNet-50": ("botnet", 224, 20_852_008, 4_021_346_304),
    "BoTNet-S1-50": ("botnet", 224, 20_859_176, 5_410_217_984),
    "BEiT-B/16": ("beit", 224, 86_530_984, 17_563_828_224),
    "BEiT-L/16": ("beit", 224, 304_430_568, 61_554_712_576),
    "Swin-T": ("swin", 224, 28_288_354, 4_490_566_656),
    "Swin-S": ("swin", 224, 49_606_258, 8_740_875_264),
    "Swin-B": ("swin", 224, 87_768_224, 15_430_946_816),
    "Swin-L": ("swin", 224, 196_532_476, 34_475_759_616),
    "R+ViT-Ti/16": ("hybrid", 224, 6_337_704, 433_681_920),
    "R26+ViT-S/32": ("hybrid", 224, 36_431_912, 3_463_851_008),
    "R26+ViT-B/32": ("hybrid", 224, 101_383_976, 6_710_859_776),
    "R50+ViT-B/16": ("hybrid", 224, 98_659_112, 21_535_358_976),
    "R50+ViT-B/32": ("hybrid", 224, 110_945_832, 8_457_787_392),
    "R50+ViT-L/16": ("hybrid", 224, 316_483_624, 65_539_088_384),
    "R50+ViT-L/32": ("hybrid", 224, 328_994_856, 19_413_295_104),
    "Compact-R6/8": ("compact", 32, 1_372_936, 43_739_136),
    "Compact-R6/16": ("compact", 128, 1_385_224, 175_761_408),
    "Compact-R10/8": ("compact", 32, 3_325_192, 107_046_912),
    "Compact-R10/16": ("compact", 128, 3_337_480, 433_711_104),
    "BiT-R50x1": ("bit", 224, 25_549_352, 4_089_184_256),
    "BiT-R50x2": ("bit", 224, 97_988_712, 16_116_613_120),
    "BiT-R50x3": ("bit", 224, 217_319_080, 36_082_286_592),
    "BiT-R101x1": ("bit", 224, 44_541_480, 7_801_405_440),
    "BiT-R101x3": ("bit", 224, 387_934_888, 69_492_277_248),
    "BiT-R152x1": ("bit", 224, 60_185_128, 11_513_626_624),
    "BiT-R152x2": ("bit", 224, 236_335_208, 45_814_382_592),
    "BiT-R152x4": ("bit", 224, 936_533_224, 182_777_282_560),
    "BiT-R200x3": ("bit", 224, 568_633_000, 134_346_964_992),
    "Mixer-S/32": ("mixer", 224, 19_104_624, 1_002_426_368),
    "Mixer-S/16": ("mixer", 224, 18_528_264, 3_776_958_464),
    "Mixer-B/32": ("mixer", 224, 60_293_428, 3_237_722_112),
    "Mixer-B/16": ("mixer", 224, 59_880_472, 12_601_767_936),
    "Mixer-L/32": ("mixer", 224, 206_939_264, 11_253_293_056),
    "Mixer-L/16": ("mixer", 224, 208_196_168, 44_547_678_208),
}

_TIMM = "timm's measurement (results-imagenet.csv)"
_AUGREG = f"{_TIMM} of AugReg weights, ImageNet-21k before"
_21K = f"{_TIMM}, ImageNet-21k before"
_1K = f"{_TIMM}, ImageNet-1k alone"
_BIT = f"{_TIMM} of BiT-M, ImageNet-21k before"
_NOISY = f"{_TIMM} of Noisy Student's, JFT-300M unlabelled"
_JFT = "arXiv 2010.11929, JFT-300M before"
_DISTILLED = f"{_TIMM} of DeiT's, ImageNet-1k and its teacher alone"
_DINOV2 = "DINOv2's README (arXiv 2304.07193): a linear classifier on frozen features of LVD-142M"
_MAE = "MAE's FINETUNE.md (arXiv 2111.06377): fine-tuned, ImageNet-1k alone"

_SCORES = {
    # timm's measurements are of the weights that the name fetches, where it fetches any
    "ViT-Ti/16": Score(75.45, 224, _AUGREG),
    "ViT-S/16": Score(81.40, 224, _AUGREG),
    "ViT-S/32": Score(76.01, 224, _AUGREG),
    "ViT-B/8": Score(85.84, 224, _AUGREG),
    "ViT-B/16": Score(84.53, 224, _AUGREG),
    "ViT-B/32": Score(80.73, 224, _AUGREG),
    "ViT-L/16": Score(85.86, 224, _AUGREG),
    "ViT-L/32": Score(81.51, 384, _21K),
    "ViT-H/14": Score(88.55, 518, f"{_JFT} (Table 2)"),
    "DeiT-Ti-distilled/16": Score(74.54, 224, _DISTILLED),
    "DeiT-S-distilled/16": Score(81.20, 224, _DISTILLED),
    "DeiT-B-distilled/16": Score(83.38, 224, _DISTILLED),
    "DeiT-III-S/16": Score(81.38, 224, _1K),
    "DeiT-III-M/16": Score(83.09, 224, _1K),
    "DeiT-III-B/16": Score(83.80, 224, _1K),
    "DeiT-III-L/16": Score(84.77, 224, _1K),
    "DeiT-III-H/14": Score(85.20, 224, _1K),
    "DINOv2-S/14": Score(81.1, 224, _DINOV2),
    "DINOv2-B/14": Score(84.5, 224, _DINOV2),
    "DINOv2-L/14": Score(86.3, 224, _DINOV2),
    "DINOv2-g/14": Score(86.5, 224, _DINOV2),
    "MAE-B/16": Score(83.66, 224, _MAE),
    "MAE-L/16": Score(85.95, 224, _MAE),
    "MAE-H/14": Score(86.93, 224, _MAE),
    "ResNet-18": Score(71.50, 224, f"{_TIMM} of recipe a1, ImageNet-1k alone"),
    "ResNet-34": Score(76.42, 224, f"{_TIMM} of recipe a1, ImageNet-1k alone"),
    "ResNet-50": Score(80.38, 224, f"{_TIMM} of recipe a1, ImageNet-1k alone"),
    "ResNet-101": Score(81.95, 224, f"{_TIMM} of recipe a1h, ImageNet-1k alone"),
    "ResNet-152": Score(82.82, 224, f"{_TIMM} of recipe a1h, ImageNet-1k alone"),
    "EfficientNet-B0": Score(78.68, 224, _NOISY),
    "EfficientNet-B1": Score(81.39, 240, _NOISY),
    "EfficientNet-B2": Score(82.41, 260, _NOISY),
    "EfficientNet-B3": Score(84.05, 300, _NOISY),
    "EfficientNet-B4": Score(85.16, 380, _NOISY),
    "EfficientNet-B5": Score(86.10, 456, _NOISY),
    "EfficientNet-B6": Score(86.48, 528, _NOISY),
    "EfficientNet-B7": Score(86.85, 600, _NOISY),
    "EfficientNet-L2": Score(88.36, 800, _NOISY),
    "BEiT-B/16": Score(85.24, 224, _21K),
    "BEiT-L/16": Score(87.49, 224, _21K),
    "Swin-T": Score(81.39, 224, _1K),
    "Swin-S": Score(83.23, 224, _1K),
    "Swin-B": Score(83.60, 224, _1K),
    "Swin-L": Score(86.32, 224, _21K),
    "R+ViT-Ti/16": Score(71.80, 224, _AUGREG),
    "R26+ViT-S/32": Score(81.86, 224, _AUGREG),
    "R50+ViT-B/16": Score(84.99, 384, _21K),
    "R50+ViT-L/32": Score(84.43, 224, _AUGREG),
    "BiT-R50x1": Score(80.39, 448, _BIT),
    "BiT-R50x2": Score(82.12, 384, f"{_JFT} (Table 6)"),
    "BiT-R50x3": Score(83.98, 448, _BIT),
    "BiT-R101x1": Score(82.33, 448, _BIT),
    "BiT-R101x3": Score(84.43, 448, _BIT),
    "BiT-R152x1": Score(81.88, 384, f"{_JFT} (Table 6)"),
    "BiT-R152x2": Score(84.47, 448, _BIT),
    "BiT-R152x4": Score(84.94, 480, _BIT),
    "BiT-R200x3": Score(87.22, 384, f"{_JFT} (Table 6)"),
    "Mixer-B/16": Score(76.62, 224, _21K),
    "Mixer-L/16": Score(72.08, 224, _21K),
}

CATALOGUE = {
    name: Known(family, (side, side), parameters, macs, _SCORES.get(name), PUBLISHED.get(name, SOURCES.get(name)))
    for name, (family, side, parameters, macs) in _COUNTED.items()
}
"""By the papers' names, in the order of `vitral.models.VARIANTS`."""
