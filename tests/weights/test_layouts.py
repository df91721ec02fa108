"""What every layout must hold: one line in `SERVES`, and all of these cover it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.models.test_families import TINY
from vitral.models import FAMILIES, build_network
from vitral.weights import LAYOUTS, huggingface, timm
from vitral.weights.mapping import Entry, written

SERVES: dict[str, tuple[str, ...]] = {
    # families whose tiny network the layout has names for, by the layout's name
    "vitral": (),  # the model's own names, whatever they are
    "timm": tuple(family for family in timm.FAMILIES if family != "adapter"),  # its test is with the adapter
    "microsoft": ("beit", "swin"),
    "huggingface": tuple(huggingface.FAMILIES),
    "google": ("vit", "hybrid", "bit", "mixer"),
    "deit": ("vit", "deit"),
    "mae": ("mae",),
    "dinov2": ("layerscale",),
    "torchvision": ("vit", "resnet", "efficientnet"),
}

pairs = pytest.mark.parametrize(
    ("layout", "family"), [(layout, family) for layout, families in SERVES.items() for family in families]
)


class Shapes:
    """An opened file of which nothing but names and shapes is asked."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self.shapes = shapes


def entries(layout: str, family: str) -> list[Entry]:
    return LAYOUTS[layout].entries(TINY[family], None)


def tensors(family: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: torch.randn(value.shape) for name, value in build_network(TINY[family]).state_dict().items()}


def test_every_layout_says_whom_it_serves() -> None:
    assert SERVES.keys() == LAYOUTS.keys()
    assert all(family in FAMILIES for families in SERVES.values() for family in families)


@pairs
def test_every_tensor_of_the_network_has_one_entry(layout: str, family: str) -> None:
    ours = [entry.ours for entry in entries(layout, family)]
    assert sorted(ours) == sorted(tensors(family))


@pairs
def test_no_name_of_the_file_stands_twice(layout: str, family: str) -> None:
    theirs = [name for entry in entries(layout, family) for name in entry.theirs]
    assert len(theirs) == len(set(theirs))


@pairs
def test_every_form_is_undone_bit_for_bit(layout: str, family: str) -> None:
    values = tensors(family)
    for entry in entries(layout, family):
        before = values[entry.ours]
        file = written([entry], values)
        assert tuple(file) == entry.theirs
        after = entry.form.read([file[name] for name in entry.theirs])
        assert after.dtype == before.dtype
        assert torch.equal(after, before), entry.ours
        again = written([entry], {entry.ours: after.contiguous()})
        assert all(torch.equal(again[name], value) for name, value in file.items()), entry.ours


@pairs
def test_a_file_without_a_configuration_is_of_one_layout_at_most(layout: str, family: str) -> None:
    file = written(entries(layout, family), tensors(family))
    stored = Shapes({name: tuple(value.shape) for name, value in file.items()})
    assert len([name for name, other in LAYOUTS.items() if other.recognises(stored, {})]) <= 1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "config",
    [{}, {"architecture": 3}, {"library": []}, {"model_type": None}, {"pretrained_cfg": 0, "architecture": ""}],
)
@pytest.mark.parametrize("shapes", [{}, {"": ()}, {"head.weight": (0,)}, {"a.b.c": (1, 2, 3)}])
def test_recognising_never_raises(layout: str, config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
    assert LAYOUTS[layout].recognises(Shapes(shapes), config) in (True, False)
