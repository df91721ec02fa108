"""A network's weights by one number: equal for equal weights, whatever file, device or process they are in."""

from __future__ import annotations

import hashlib

import torch

from vitral.models.network import Network


def weights_digest(network: Network, heads: bool = True) -> str:
    """64 hexadecimal digits: SHA-256 of names, types, shapes and bytes of all tensors, in the order of their names.

    Args:
        heads: without them, what the network says before its heads is named.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if heads or not network.in_heads(name):
            digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
