"""Changes of a run by the dotted names of fields: {"loss.event_text": 0.0}; what ablations are made of.

`Run` and changes -> another `Run`, every name and value checked.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from eclip_lib.config import RECIPES, Run


def field_names(cfg: Run) -> list[str]:
    """Return the dotted names of all fields of a run."""
    names = []
    for item in fields(cfg):
        part = getattr(cfg, item.name)
        names += [f"{item.name}.{inner.name}" for inner in fields(part)] if is_dataclass(part) else [item.name]
    return names


def override(cfg: Run, changes: Mapping[str, Any]) -> Run:
    """Return a run with some fields changed.

    Changes of `model.recipe` and `loss.recipe`, which go together, first give every field that recipes set the new
    recipe's value; other changes come after.

    Args:
        cfg: not modified.
        changes: values by dotted name, such as {"model.content_prompts": "none", "train.epochs": 3}.

    Raises:
        ValueError: there is no such field, and the message names what is near; or a value is out of range.
    """
    known = field_names(cfg)
    for name in changes:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3) or known
            raise ValueError(f"a run has no field {name!r}; perhaps {', '.join(near)}")
    recipes = {part: changes[f"{part}.recipe"] for part in ("model", "loss") if f"{part}.recipe" in changes}
    cfg = replace(cfg, **{part: _with_recipe(cfg, part, recipe) for part, recipe in recipes.items()})
    grouped: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        part, _, inner = name.partition(".")
        if inner and inner != "recipe":
            grouped.setdefault(part, {})[inner] = value
    whole = {name: value for name, value in changes.items() if "." not in name}
    return replace(cfg, **whole, **{part: replace(getattr(cfg, part), **inner) for part, inner in grouped.items()})


def _with_recipe(cfg: Run, part: str, recipe: str) -> Any:
    if not isinstance(recipe, str) or recipe not in RECIPES:
        raise ValueError(f"{part}.recipe = {recipe!r}: expected one of {', '.join(RECIPES)}")
    return replace(getattr(cfg, part), recipe=recipe, **dict.fromkeys(RECIPES[recipe][part]))


def read_overrides(text: str | None) -> dict[str, Any]:
    """Return the changes that a notebook's parameter or a command line gives as JSON; none for None.

    Raises:
        ValueError: the text is no JSON object.
    """
    if not text:
        return {}
    try:
        changes = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f'overrides = {text!r} is no JSON ({error}); such as {{"loss.event_text": 0}}') from None
    if not isinstance(changes, dict):
        raise ValueError(f"overrides = {text!r}: expected an object of fields and values")
    return changes
