"""Tables of a model: its parameters by part, and the fields of the recipes."""

import pandas as pd

from eclip_lib.config import RECIPES
from eclip_lib.model import EClip

PARTS = {  # how the names of weights begin, or what they hold
    "clip.visual.": "image tower (CLIP)",
    "clip.logit_scale": "logit scale (CLIP)",
    "clip.": "text tower (CLIP)",
    "event_encoder.visual.": "event tower (copy of the image tower)",
    "event_encoder.time_embedding": "temporal embedding",
    ".modality": "event modality prompts",
    ".cross_frame.": "cross-frame prompts",
    ".gate": "gates",
    ".content.": "content MLPs",
    ".context": "learnable text context",
    "prompts.mix": "mix of the two kinds of text",
}


def parameter_table(model: EClip) -> pd.DataFrame:
    """Count the parameters of each part, trained and frozen; every parameter is in one part.

    Raises:
        ValueError: a parameter belongs to no part.
    """
    counts = {part: [0, 0] for part in PARTS.values()}
    for name, parameter in model.named_parameters():
        part = next(
            (part for key, part in PARTS.items() if name.startswith(key) or (key[0] == "." and key in name)), None
        )
        if part is None:
            raise ValueError(f"parameter {name!r} belongs to no part; add it to PARTS")
        counts[part][not parameter.requires_grad] += parameter.numel()
    table = pd.DataFrame(counts, index=["trained", "frozen"]).T
    return table[table.sum(axis=1) > 0].rename_axis("part").reset_index()


def recipe_table() -> pd.DataFrame:
    """Return every field that a recipe sets, one row a field, one column a recipe."""
    columns = {
        name: {f"{part}.{key}": value for part, fields in recipe.items() for key, value in fields.items()}
        for name, recipe in RECIPES.items()
    }
    fields = list(dict.fromkeys(key for column in columns.values() for key in column))
    shown = {name: [_shown(column.get(field)) for field in fields] for name, column in columns.items()}
    return pd.DataFrame({"field": fields, **shown})


def _shown(value: object) -> str:
    return "CLIP's own" if value is None else str(value)
