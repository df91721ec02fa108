"""Between words and configuration: every field of `RunConfig` by its dotted name.

The command's options, the run's config.json and the check on resume all use this one list, so a knob that
exists in `vitral.config` exists everywhere, and a name that does not exist is an error with the nearest names.
"""

from __future__ import annotations

import dataclasses
import numbers
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from vitral.config import Duration
from vitral.errors import UsageError
from vitral.registry import nearest

Config = TypeVar("Config")


class Knob(NamedTuple):
    """One field of a configuration: its dotted name, its type without the annotation, and what it means."""

    name: str
    type: Any
    meaning: str


def knobs(config: type, prefix: str = "") -> list[Knob]:
    """Every leaf field of a configuration class, in order, with dotted names."""
    found: list[Knob] = []
    for name, hint in get_type_hints(config, include_extras=True).items():
        if dataclasses.is_dataclass(hint) and hint is not Duration:
            found += knobs(hint, f"{prefix}{name}.")  # type: ignore[arg-type]
        elif get_origin(hint) is Annotated:
            found.append(Knob(prefix + name, get_args(hint)[0], get_args(hint)[1]))
        else:
            found.append(Knob(prefix + name, hint, ""))
    return found


def values(config: Any) -> dict[str, Any]:
    """The configuration as {dotted name: value}, in order."""
    return {knob.name: _get(config, knob.name) for knob in knobs(type(config))}


def override(config: Config, changes: Mapping[str, Any]) -> Config:
    """A copy with some dotted fields changed. A value may be of the field's type or the words for it.

    Raises:
        UsageError: no such field (the nearest are named), or a value that cannot be read or is out of range.
    """
    known = {knob.name: knob for knob in knobs(type(config))}
    tree: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in known:
            close = nearest(name, known) or nearest(name.split(".")[-1], known)
            raise UsageError(f"unknown setting {name!r}" + (f": did you mean {' or '.join(close)}?" if close else "."))
        *sections, leaf = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[leaf] = parse(value, known[name].type, name) if isinstance(value, str) else _checked(value, known[name])
    return _replace(config, tree)


def to_json(config: Any) -> dict[str, Any]:
    """The configuration as plain nested dicts, lists, numbers and strings."""
    plain: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if isinstance(value, Duration):
            plain[f.name] = str(value)
        elif dataclasses.is_dataclass(value):
            plain[f.name] = to_json(value)
        else:
            plain[f.name] = list(value) if isinstance(value, tuple) else value
    return plain


def from_json(kind: type[Config], plain: Mapping[str, Any]) -> Config:
    """Rebuild a configuration of class `kind` from `to_json`'s result; strict about names and types."""
    return override(kind(), flatten(plain, kind))


def flatten(plain: Mapping[str, Any], kind: type, prefix: str = "") -> dict[str, Any]:
    """{dotted name: value} of nested dicts, with JSON's lists and strings turned into the fields' own types."""
    types_by_name = {knob.name: knob.type for knob in knobs(kind)}
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        name = prefix + key
        if isinstance(value, Mapping):
            flat |= flatten(value, kind, f"{name}.")
        elif isinstance(value, str) and types_by_name.get(name) is Duration:
            flat[name] = Duration.parse(value)
        else:
            flat[name] = tuple(value) if isinstance(value, list) else value
    return flat


def differences(old: Any, new: Any, but: tuple[str, ...] = ()) -> list[str]:
    """One line "name: old -> new" for each field that differs, those named in `but` aside ("x." is all of x)."""
    before, after = values(old), values(new)
    return [
        "{}: {} -> {}".format(name, *_shown(before[name], after[name]))
        for name in after
        if before[name] != after[name] and not any(name == b or (b.endswith(".") and name.startswith(b)) for b in but)
    ]


def _shown(old: Any, new: Any) -> tuple[str, str]:
    """Two values for a sentence: durations without the digits that only arithmetic has put there."""
    rounded = [
        dataclasses.replace(value, amount=float(f"{value.amount:.12g}")) if isinstance(value, Duration) else value
        for value in (old, new)
    ]
    before, after = rounded if rounded[0] != rounded[1] else (old, new)
    return str(before), str(after)


def parse(words: str, kind: Any, name: str) -> Any:
    """The value of type `kind` that `words` stand for.

    "none" for optional fields (not where it is a choice of its own), "true"/"false", numbers, "224" or "224x160" for
    sizes, commas between parts.
    """
    try:
        is_text = str in (kind, *get_args(kind))  # a path or a column's name may begin with a space
        return _parse(words if is_text else words.strip(), kind)
    except (ValueError, KeyError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{name} cannot be {words!r}: it takes {describe(kind)}.") from error


def _checked(value: Any, knob: Knob) -> Any:
    """`value` if its type is the field's; a list is taken for a tuple and numpy's numbers for Python's."""
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(value, numbers.Number) and not isinstance(value, bool | int | float | complex):
        value = int(value) if isinstance(value, numbers.Integral) else float(value)  # type: ignore[arg-type]
    if not fits(value, knob.type):
        raise UsageError(f"{knob.name} cannot be {value!r}: it takes {describe(knob.type)}.")
    return value


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of an annotated type, as the fields of configurations have them; an int is a float, too."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return len(kinds) == len(value) and all(map(fits, value, kinds))
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def _parse(words: str, kind: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if type(None) in arguments and words.lower() == "none" and not _names_none(arguments):
            return None
        options = [option for option in arguments if option is not type(None)]
        if int in options and len(options) > 1:  # int | Size: "256" is a length, "256x256" a size
            return int(words) if words.isdigit() else _parse(words, next(o for o in options if o is not int))
        return _parse(words, options[0])
    if origin is Literal:
        if words not in arguments:
            raise KeyError(words)
        return words
    if origin is tuple:
        return _parse_tuple(words, arguments)
    if kind is bool:
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[words.lower()]
    if kind is Duration:
        return Duration.parse(words)
    if kind is int:
        return int(words) if words.lstrip("+-").isdigit() else _whole(float(words))
    return kind(words)


def _names_none(options: tuple[Any, ...]) -> bool:
    """Whether "none" is a choice of its own, like no positions: then it does not say that nothing is chosen."""
    return any("none" in get_args(option) for option in options if get_origin(option) is Literal)


def _whole(number: float) -> int:
    if not number.is_integer():
        raise ValueError(number)
    return int(number)


def _parse_tuple(words: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_parse(part.strip(), arguments[0]) for part in words.split(",") if part.strip())
    parts = words.lower().replace("x", ",").split(",")
    if len(parts) == 1:  # one number stands for all: 224 is 224x224, 0.5 is 0.5,0.5,0.5
        parts *= len(arguments)
    if len(parts) != len(arguments):
        raise ValueError(words)
    return tuple(_parse(part.strip(), kind) for part, kind in zip(parts, arguments, strict=True))


def said(value: Any) -> str:
    """A value in the words that the command line takes, as a person reads it: a size as 224x224, "none" for nothing."""
    if isinstance(value, tuple):
        return ("x" if all(type(part) is int for part in value) else ",").join(map(str, value)) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value.amount:.6g} {value.unit}" if isinstance(value, Duration) else str(value)


def describe(kind: Any) -> str:
    """What a field takes, in words, for help and errors."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        options = [option for option in arguments if option is not type(None) or not _names_none(arguments)]
        return " or ".join("none" if option is type(None) else describe(option) for option in options)
    if origin is Literal:
        return " | ".join(arguments)
    if kind == tuple[int, int]:
        return "SIZE or HEIGHTxWIDTH"
    if origin is tuple:
        if arguments[1] is not Ellipsis:
            return f"{len(arguments)} numbers with commas"
        known = get_args(arguments[0]) if get_origin(arguments[0]) is Literal else ()
        return f"words with commas between{', of ' + ', '.join(known) if known else ''}"
    if kind is Duration:
        return "a duration like '10 epochs', '500 steps' or '1e6 examples'"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[kind]


def _get(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part)
    return config


def _replace(config: Any, tree: Mapping[str, Any]) -> Any:
    # Depth first, one replacement per record: rules between fields see the final values only.
    changes = {k: _replace(getattr(config, k), v) if isinstance(v, dict) else v for k, v in tree.items()}
    return dataclasses.replace(config, **changes)
