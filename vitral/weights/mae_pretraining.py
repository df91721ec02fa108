"""Whole files of MAE's pre-training, encoder and decoder, as `.pth` with {"model": ...}: to pre-train on, and to save.

For a classifier the same files are read by the layout `vitral.weights.mae`, which leaves the decoder out.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from vitral.errors import DataError
from vitral.models.mae import MaeConfig
from vitral.models.masked_autoencoder import DecoderConfig, MaskedAutoencoder
from vitral.weights.from_shapes import shape_of
from vitral.weights.json_files import read_object
from vitral.weights.mae import FILE
from vitral.weights.mapping import Entry, same, written
from vitral.weights.reading import read_tensors, require_equal
from vitral.weights.report import LoadReport
from vitral.weights.stored import Stored, open_stored
from vitral.weights.timm import vit as timm_vit


def read_autoencoder(path: Path) -> tuple[MaskedAutoencoder, LoadReport]:
    """The autoencoder of a file, with its decoder, and the account of the load.

    Where it is not of a published size, a config.json beside it says what shapes do not: "num_heads",
    "decoder_num_heads", "image_size".

    Raises:
        DataError: the file is of another kind or damaged, or its tensors are not just those of the network, with
            finite numbers; or the heads are not known.
    """
    stored = open_stored(path)
    if "decoder_embed.weight" not in stored.shapes or "pos_embed" not in stored.shapes:
        raise DataError(
            f"{path} has no decoder: MAE's whole files are those named mae_visualize_... and what its training saves."
        )
    beside = path.parent / "config.json"
    try:
        said = read_object(beside) if beside.is_file() else {}
        config = MaeConfig(**shape_of(stored, said, 1))
        decoder = _decoder(stored, int(said.get("decoder_num_heads", DecoderConfig.num_heads)))
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OSError) as error:
        raise DataError(f"{path} is not as MAE writes it ({error}): fetch it again.") from error
    with torch.device("meta"):
        model = MaskedAutoencoder(config, decoder)
    report = LoadReport(str(path), "mae", notes=list(stored.notes))
    tensors = read_tensors(stored, entries(model), (), report)
    require_equal(model, tensors, report)
    model.load_state_dict(tensors, assign=True)
    report.read = len(tensors)
    return model.requires_grad_(True), report


def write_autoencoder(folder: Path, model: MaskedAutoencoder) -> None:
    """Write what the authors' code resumes from, {"model": ...}, and `read_autoencoder` reads."""
    torch.save({"model": written(entries(model), model.state_dict())}, folder / FILE)


def entries(model: MaskedAutoencoder) -> list[Entry]:
    """Where each parameter and fixed table stands."""
    found = timm_vit.encoder(model.config.depth) + same("norm", "norm")
    found += [Entry("mask_token", ("mask_token",)), Entry("decoder_position_embedding", ("decoder_pos_embed",))]
    found += same("decoder_embedding", "decoder_embed")
    for i in range(model.decoder.depth):
        found += timm_vit.whole_block(f"decoder_blocks.{i}")
    return found + same("decoder_norm", "decoder_norm") + same("pixels", "decoder_pred")


def _decoder(stored: Stored, num_heads: int) -> DecoderConfig:
    blocks = [name for name in stored.shapes if re.fullmatch(r"decoder_blocks\.\d+\.norm1\.weight", name)]
    width = stored.shapes["decoder_embed.weight"][0]
    if not blocks or num_heads < 1 or width % num_heads or "decoder_blocks.0.mlp.fc1.weight" not in stored.shapes:
        raise DataError(
            f"{stored.path} has a decoder of {len(blocks)} blocks {width} wide, which is not one of {num_heads} heads: "
            f'put a config.json beside it, {{"decoder_num_heads": ...}}.'
        )
    return DecoderConfig(width, len(blocks), stored.shapes["decoder_blocks.0.mlp.fc1.weight"][0], num_heads)
