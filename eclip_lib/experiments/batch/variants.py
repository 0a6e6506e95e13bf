"""The named variants that ablations compare, each a few changes of one base run, and presets of them."""

from typing import Any

Variants = dict[str, dict[str, Any]]
FULL = "full"  # the base itself, which every preset has
EXPERIMENT = "ablation"
OWN = ("experiment", "method", "variant", "smoke", "train.seed", "data.fold")  # the batch sets them, no variant may
TEXT_OF_OWN_EVENT: Variants = {"text conditioned on its own event": {"model.text_condition": "own"}}
NO_TEXT_ADDITIONS = {"model.text_prompts": "handcrafted", "model.content_prompts": "none"}
NO_ADDITIONS = {"model.temporal_embedding": False, "model.cross_frame_prompts": False, "model.event_prompts": 0}
NO_EVENT_PROMPTS: Variants = {"no event prompts": {"model.event_prompts": 0}}
# The fields in which `paper` differs from `workbench`; each alone takes one of the paper's choices.
PAPER_STEPS: Variants = {
    "additions in full strength": {"model.additions": "full"},
    **TEXT_OF_OWN_EVENT,
    "average of both texts": {"model.text_mix": "average"},
    "no CLIP normalization": {"model.clip_normalization": False},
    "diagonal targets": {"loss.targets": "diagonal"},
    "fixed scale of 100": {"loss.scale": 100.0},
}
WORKBENCH_STEPS = {  # and what the same field is without it
    "additions in full strength": "gated additions",
    "text conditioned on its own event": "text conditioned on the query",
    "average of both texts": "interpolated texts",
    "no CLIP normalization": "CLIP normalization",
    "diagonal targets": "label-aware targets",
    "fixed scale of 100": "CLIP's own scale",
}


def _paper_without(step: str) -> dict[str, Any]:
    """Return all of the paper's choices but one, as changes of a base that follows `workbench`."""
    return {name: value for other, changes in PAPER_STEPS.items() if other != step for name, value in changes.items()}


PRESETS: dict[str, Variants] = {
    "htca": {
        "no event-image": {"loss.event_image": 0.0},
        "no event-text": {"loss.event_text": 0.0},
        "no text-text": {"loss.text_text": 0.0},
        "event-image alone": {"loss.event_text": 0.0, "loss.text_text": 0.0},
        "event-text alone": {"loss.event_image": 0.0, "loss.text_text": 0.0},
        "text-text alone": {"loss.event_image": 0.0, "loss.event_text": 0.0},
        "HTCA alone": NO_TEXT_ADDITIONS | NO_ADDITIONS,  # the first row of the paper's ablation of modules
        "with image-text": {"loss.image_text": 1.0},
        "half event-image": {"loss.event_image": 0.5},
        "double event-image": {"loss.event_image": 2.0},
        "half event-text": {"loss.event_text": 0.5},
        "double event-text": {"loss.event_text": 2.0},
        "half text-text": {"loss.text_text": 0.5},
        "double text-text": {"loss.text_text": 2.0},
    },
    "recipes": {
        "paper": {"model.recipe": "paper", "loss.recipe": "paper"},
        **PAPER_STEPS,
        **{f"paper, but {other}": _paper_without(step) for step, other in WORKBENCH_STEPS.items()},
    },
    "prompts": {
        "handcrafted text": {"model.text_prompts": "handcrafted"},
        "learnable text": {"model.text_prompts": "learnable"},
        "hybrid text": {"model.text_prompts": "hybrid"},
        "no content": {"model.content_prompts": "none"},
        "no text additions": NO_TEXT_ADDITIONS,
        "content of events": {"model.content_prompts": "event"},
        "content of images": {"model.content_prompts": "image"},
        "content of both": {"model.content_prompts": "both"},
        **NO_EVENT_PROMPTS,
        **{f"{length} event prompts": {"model.event_prompts": length} for length in (4, 8, 16)},
        **{f"{length} text prompts": {"model.context_length": length} for length in (4, 8, 16)},
        **TEXT_OF_OWN_EVENT,
    },
    "temporal": {
        "no temporal embedding": {"model.temporal_embedding": False},
        "no cross-frame prompts": {"model.cross_frame_prompts": False},
        "no temporal parts": {"model.temporal_embedding": False, "model.cross_frame_prompts": False},
        **NO_EVENT_PROMPTS,
        "no additions": NO_ADDITIONS,
        "frozen event tower": {"model.train_event_tower": False},
    },
    "input": {
        **{
            f"color {color}": {"frames.color": color}
            for color in ("rgb", "gray", "rgb-formula", "gray-formula", "count", "signed", "eventclip")
        },
        **{f"{number:,} events a window": {"frames.events_per_frame": number} for number in (300, 1000, 3000, 7500)},
        "all events": {"frames.events_per_frame": None},
        **{f"{number} windows": {"frames.frames": number} for number in (1, 3, 5)},
    },
}
FAMILIES = tuple(PRESETS)  # each has a table of its own; in the order in which a batch does them
ALL: Variants = {name: changes for preset in FAMILIES for name, changes in PRESETS[preset].items()}
PRESETS["all"] = ALL
PRESETS["claims"] = {
    name: ALL[name]
    for name in (
        *("no event-image", "no event-text", "HTCA alone", "with image-text"),
        *("no text additions", "no additions", "handcrafted text", "learnable text"),
    )
}
# What claims compare besides, under other protocols: `claims.CLAIMS` says why.
CLAIMED_ELSEWHERE = {"zero-shot": (), "base-to-new": ("handcrafted text", "learnable text")}
