"""The kernels give torch's numbers, gradients included, and a picture the same bits in every batch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vitral.models import kernels
from vitral.models.kernels import APPROXIMATE, Dense, Gelu, attend, dense

KINDS = (None, "tanh", "exact")


def layer(inputs: int, outputs: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    return weight.requires_grad_(), torch.randn(outputs, generator=generator).requires_grad_()


def expected(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, gelu: Gelu | None) -> torch.Tensor:
    y = F.linear(x.double(), weight.double(), bias.double())
    return y if gelu is None else F.gelu(y, approximate=APPROXIMATE[gelu])


@pytest.mark.parametrize("gelu", KINDS)
@pytest.mark.parametrize("shape", [(1, 12), (7, 12), (2, 5, 96), (3, 2, 5, 64)])
def test_dense_is_gelu_of_the_affine_map(shape: tuple[int, ...], gelu: Gelu | None) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    weight, bias = layer(shape[-1], 40)
    learning = dense(x, weight, bias, gelu)
    with torch.inference_mode():
        answering = dense(x, weight, bias, gelu)
    for found in (learning, answering):
        torch.testing.assert_close(found.double(), expected(x, weight, bias, gelu), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("gelu", KINDS)
def test_gradients_and_their_gradients_are_torchs(gelu: Gelu | None) -> None:
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
    inputs = (x, *layer(16, 8))
    ours, theirs = (
        torch.autograd.grad(function(*inputs, gelu).sin().sum(), inputs, create_graph=True)
        for function in (dense, expected)
    )
    for found, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    ours, theirs = (
        torch.autograd.grad(sum(g.square().sum() for g in first), inputs)  # type: ignore[arg-type]
        for first in (ours, theirs)
    )
    for found, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("learning", range(1, 8))
def test_only_what_learns_gets_a_gradient(learning: int) -> None:
    inputs = (torch.randn(3, 16), *(part.detach() for part in layer(16, 8)))
    for i, part in enumerate(inputs):
        part.requires_grad_(bool(learning >> i & 1))
    dense(*inputs).sum().backward()
    assert [part.grad is not None for part in inputs] == [bool(learning >> i & 1) for i in range(3)]


def test_the_module_has_torchs_parameters_and_hooks() -> None:
    module, seen = Dense(16, 8), []
    assert list(module.state_dict()) == ["weight", "bias"]
    module.register_forward_hook(lambda _, __, y: seen.append(y))
    x = torch.randn(3, 16)
    torch.testing.assert_close(module(x, "tanh"), F.gelu(F.linear(x, module.weight, module.bias), approximate="tanh"))
    assert len(seen) == 1


@pytest.mark.parametrize("gelu", KINDS)
def test_without_onednn_the_numbers_are_the_same(gelu: Gelu | None, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias = layer(64, 32)
    x = torch.randn(4, 5, 64)
    with torch.inference_mode():
        fast = dense(x, weight, bias, gelu)
        monkeypatch.setattr(kernels, "ONEDNN", False)
        torch.testing.assert_close(dense(x, weight, bias, gelu), fast, atol=1e-5, rtol=1e-5)


def test_other_precisions_take_torchs_path() -> None:
    weight, bias = layer(16, 8)
    x = torch.randn(3, 16)
    with torch.no_grad():
        assert dense(x.double(), weight.double(), bias.double(), "tanh").dtype == torch.float64
        with torch.autocast("cpu", torch.bfloat16):
            assert dense(x, weight, bias).dtype == torch.bfloat16


@torch.inference_mode()
@pytest.mark.parametrize("tokens", [1, 2, 3, 5, 16, 17, 31, 33, 50, 65, 197])
def test_rows_have_the_same_bits_in_every_batch(tokens: int) -> None:
    generator = torch.Generator().manual_seed(tokens)
    x = torch.randn(33, tokens, 64, generator=generator)
    weight, bias = (part.detach() for part in layer(64, 192))

    def run(x: torch.Tensor) -> torch.Tensor:
        q, k, v = dense(x, weight, bias, "tanh").unflatten(-1, (3, 2, 32)).permute(2, 0, 3, 1, 4).unbind(0)
        return attend(q, k, v)

    together = run(x)
    for size in (1, 2, 7, 16):
        assert torch.equal(torch.cat([run(part) for part in x.split(size)]), together), size


@pytest.mark.parametrize("learning", [True, False])
def test_no_rows_give_no_rows(learning: bool) -> None:
    weight, bias = layer(16, 8)
    with torch.set_grad_enabled(learning):
        assert dense(torch.zeros(0, 5, 16), weight, bias, "tanh").shape == (0, 5, 8)


@torch.no_grad()
@pytest.mark.parametrize("queries", [1, 5, 32, 40])
def test_attention_is_softmax_of_scaled_products(queries: int) -> None:
    q, k, v = (torch.randn(2, 3, rows, 8) for rows in (queries, 17, 17))
    wanted = (q.double() @ k.double().transpose(2, 3) / 8**0.5).softmax(dim=-1) @ v.double()
    torch.testing.assert_close(attend(q, k, v).double(), wanted, atol=1e-5, rtol=1e-5)
