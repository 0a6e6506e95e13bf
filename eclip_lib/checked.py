"""Dataclasses that check their fields and name themselves by them (`id`)."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from math import isfinite
from types import UnionType
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints


def _matches(value: Any, kind: Any) -> bool:
    """Return whether a plain value fits the annotation of a config field."""
    origin = get_origin(kind)
    if origin is Literal:
        return value in get_args(kind)
    if origin in (Union, UnionType):
        return any(_matches(value, option) for option in get_args(kind))
    if origin is tuple:
        return isinstance(value, tuple) and all(_matches(item, get_args(kind)[0]) for item in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _shown(kind: Any) -> str:
    """Describe an annotation to a user."""
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(option) for option in get_args(kind))
    return getattr(kind, "__name__", str(kind)) if get_origin(kind) is None else str(kind)


@dataclass(frozen=True)
class Checked:
    """Check the type of every field of a frozen dataclass and the ranges named in `_at_least` and `_at_most`."""

    _at_least: ClassVar[dict[str, float]] = {}
    _at_most: ClassVar[dict[str, float]] = {}

    def __post_init__(self) -> None:
        """Raise ValueError for a field of another type, one that is not finite, or one out of its range."""
        hints = get_type_hints(type(self))
        for item in fields(self):
            value = getattr(self, item.name)
            if get_origin(hints[item.name]) is tuple and isinstance(value, list):
                value = tuple(value)
                object.__setattr__(self, item.name, value)
            if not _matches(value, hints[item.name]):
                raise ValueError(f"{type(self).__name__}.{item.name} = {value!r}: expected {_shown(hints[item.name])}")
            self._check_range(item.name, value)

    def _check_range(self, name: str, value: Any) -> None:
        """Raise ValueError for a number that is not finite or out of range."""
        if not isinstance(value, int | float):
            return
        if not isfinite(value):
            raise ValueError(f"{type(self).__name__}.{name} = {value!r}: must be a finite number")
        if value < self._at_least.get(name, value):
            raise ValueError(f"{type(self).__name__}.{name} = {value!r}: must be at least {self._at_least[name]}")
        if value > self._at_most.get(name, value):
            raise ValueError(f"{type(self).__name__}.{name} = {value!r}: must be at most {self._at_most[name]}")

    def to_dict(self) -> dict:
        """Return the fields as plain values that JSON can hold."""
        return json.loads(json.dumps(asdict(self)))

    @property
    def id(self) -> str:
        """Return 8 hex digits that name this config."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:8]

    @classmethod
    def from_dict(cls, values: dict) -> Self:
        """Rebuild a config from `to_dict`.

        Raises:
            ValueError: a name is not a field of the config.
        """
        hints = get_type_hints(cls)
        known = [item.name for item in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"{cls.__name__} has no field {', '.join(unknown)}; its fields are {', '.join(known)}")
        nested = {k: hints[k].from_dict(v) if hasattr(hints[k], "from_dict") else v for k, v in values.items()}
        return cls(**nested)
