"""Looking names up: capitals, near misses, and long lists that are not printed."""

from __future__ import annotations

import pytest

from vitral.errors import UsageError
from vitral.models import VARIANTS, configuration, described, named
from vitral.registry import look_up, nearest, spelled


@pytest.mark.parametrize("name", [*VARIANTS, "ViT-S/4", "ViT-So400m/10"])
def test_capitals_of_a_models_name_do_not_matter(name: str) -> None:
    for words in (name, name.lower(), name.upper(), name.swapcase()):
        if words != name and name in ("ViT-g/14", "ViT-G/14", "DINOv2-g/14"):
            continue
        assert named(words) == name
        assert configuration(words) == configuration(name)


@pytest.mark.parametrize("words", ["vit-g/14", "VIT-G/14"])
def test_capitals_that_tell_two_models_apart_are_asked_for(words: str) -> None:
    assert named(words) == words
    with pytest.raises(UsageError, match=r"did you mean ViT-g/14 or ViT-G/14"):
        configuration(words)


def test_a_spelling_that_is_there_is_never_changed() -> None:
    assert spelled("g", ["G", "g"]) == "g"
    assert spelled("G", ["G", "g"]) == "G"
    assert spelled("x", ["G", "g"]) == "x"


def test_names_that_differ_in_capitals_alone_are_both_near() -> None:
    assert nearest("VIT-g", ["ViT-G", "ViT-g", "other"]) == ["ViT-G", "ViT-g"]


def test_a_long_list_is_not_printed_but_its_command_is_named() -> None:
    members = dict.fromkeys(f"member-{i:02d}" for i in range(50))
    with pytest.raises(UsageError) as raised:
        look_up("thing", "zzz", members, "vitral things")
    message = str(raised.value)
    assert message.endswith("`vitral things` lists all.")
    assert sum(name in message for name in members) == 3


def test_a_short_list_is_printed() -> None:
    with pytest.raises(UsageError, match=r"choose one of one, two\."):
        look_up("thing", "zzz", {"one": 1, "two": 2})


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("vit-ti/4", {"image_size": 32, "num_classes": 7, "dropout": 0.1, "pool": "gap"}, "ViT-Ti/4"),
        ("ViT-Ti/4", {"width": 96, "depth": 6, "num_heads": 3, "mlp_dim": 384}, "ViT, 6 blocks of width 96, patch 4"),
        ("ViT-B/16", {"mlp_dim": 1000}, "ViT, 12 blocks of width 768, patch 16, MLP of width 1000"),
        ("ViT-B/16", {"num_heads": 6}, "ViT, 12 blocks of width 768, patch 16, 6 heads"),
        ("DeiT-III-S/16", {"depth": 1}, "DeiT-III, 1 block of width 384, patch 16"),
        ("ResNet-50", {"num_classes": 7}, "ResNet-50"),
    ],
)
def test_a_network_has_a_models_name_only_where_it_has_its_sizes(
    name: str, changes: dict[str, object], words: str
) -> None:
    assert described(name, configuration(name, **changes)) == words
