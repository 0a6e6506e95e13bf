"""Every choice of an experiment, as frozen dataclasses with checked fields.

`Run` composes the others; `to_dict`, `from_dict` round-trip, and `Run.id` names a run by the hash of its content.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

from eclip_lib.checked import Checked

TINY = "eclip-tiny"  # the embedded CLIP, among the names of backbones
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    # E-CLIP v1 as published (arXiv 2308.03135v1); the trained event tower is our reading, v1 leaves it open.
    "paper": {
        "model": {
            "template": "A sketch image of a {}.",
            "additions": "full",
            "text_condition": "own",
            "text_mix": "average",
            "clip_normalization": False,
        },
        "loss": {"targets": "diagonal", "scale": 100.0, "text_mse": 0.0},
    },
    # EventBind (v4 of the paper): another template and the MSE between the two kinds of text.
    # The weight is the official code's for N-ImageNet; it uses 2 for N-Caltech101 and 0.1 for N-MNIST.
    "eventbind": {
        "model": {
            "template": "A drafted image of a {}.",
            "additions": "full",
            "text_condition": "own",
            "text_mix": "average",
            "clip_normalization": False,
        },
        "loss": {"targets": "diagonal", "scale": 100.0, "text_mse": 1.0},
    },
    # What we would use: starts as CLIP exactly, trains as it is tested, takes no recording of a class for a negative.
    "workbench": {
        "model": {
            "template": "A sketch image of a {}.",
            "additions": "gated",
            "text_condition": "query",
            "text_mix": "interpolated",
            "clip_normalization": True,
        },
        "loss": {"targets": "label", "scale": None, "text_mse": 0.0},
    },
}
Recipe = Literal["paper", "eventbind", "workbench"]


def _fill(config: Checked, part: str) -> None:
    """Give every field left out the value of the config's recipe."""
    recipe = getattr(config, "recipe", None)
    if recipe not in RECIPES:
        raise ValueError(f"{type(config).__name__}.recipe = {recipe!r}: expected one of {', '.join(RECIPES)}")
    for name, value in RECIPES[recipe][part].items():
        if getattr(config, name) is None:
            object.__setattr__(config, name, value)


T = TypeVar("T")


def filled(value: T | None) -> T:
    """Return the value of a field that the recipe of its config has filled in, so that it is never None."""
    assert value is not None
    return value


MOST_FRAMES = 1_000_000  # of a recording; more is a slip of the pen, and would fill the memory before anyone notices
Color = Literal["rgb", "gray", "rgb-formula", "gray-formula", "count", "signed", "eventclip"]  # see `frames.colorize`


@dataclass(frozen=True)
class FrameConfig(Checked):
    """How events become frames (E-CLIP, event representation: windows, count maps, color, resize)."""

    size: int = 48  # pixels; the image size of the backbone
    frames: int = 3  # T; three saccades
    events_per_frame: int | None = None  # Q; None: the whole recording in T equal parts (our choice: no event is lost)
    window_us: int | None = None  # microseconds of a window, instead of a number of events
    windows: Literal["first", "spread"] = "first"  # first: T consecutive windows from the start (the paper)
    overlap: float = 0.0  # share of a window that the next one sees again; "spread" sets its own
    start: int = 0  # events, or microseconds with window_us, that come before the first window
    polarity: Literal["both", "on", "off"] = "both"  # which events are counted; windows are cut from all of them
    color: Color = "rgb"
    keep_aspect: bool = False  # the paper stretches to a square

    _at_least: ClassVar = {"size": 1, "frames": 1, "events_per_frame": 1, "window_us": 1, "overlap": 0, "start": 0}

    def __post_init__(self) -> None:
        """Check, and that the windows are described in one way."""
        super().__post_init__()
        if self.frames > MOST_FRAMES:
            raise ValueError(f"FrameConfig.frames = {self.frames}: must be at most {MOST_FRAMES}")
        if self.events_per_frame is not None and self.window_us is not None:
            raise ValueError(
                f"FrameConfig: events_per_frame = {self.events_per_frame} and window_us = {self.window_us}; "
                "a window has a number of events or a duration, leave one out"
            )
        if self.overlap >= 1:
            raise ValueError(f"FrameConfig.overlap = {self.overlap!r}: must be below 1, the whole window")
        if self.overlap and (self.windows == "spread" or not (self.events_per_frame or self.window_us)):
            raise ValueError(
                f"FrameConfig.overlap = {self.overlap!r} needs windows = 'first' and events_per_frame or window_us"
            )


@dataclass(frozen=True)
class ModelConfig(Checked):
    """The parts of E-CLIP; a field left out takes the value of its recipe.

    `replace(cfg, recipe=...)` keeps what is already set: build a new config to change the recipe.
    """

    recipe: Recipe = "workbench"
    backbone: str = TINY
    pretrained: str | None = None  # open_clip tag or local file; eclip-tiny needs none
    temporal_embedding: bool = True
    cross_frame_prompts: bool = True
    event_prompts: int = 16  # M event modality prompts a block; 0 switches them off
    text_prompts: Literal["handcrafted", "learnable", "hybrid"] = "hybrid"
    context_length: int = 16  # learnable context vectors
    content_prompts: Literal["none", "event", "image", "both"] = "both"
    train_event_tower: bool = True  # False: prompts only, the tower stays CLIP's
    gradient_checkpointing: bool = False  # recompute the blocks in the backward pass: less memory, same gradients
    template: str | None = None  # words of the handcrafted prompt, {} for the class name
    additions: Literal["gated", "full"] | None = None  # to the event tower: behind gates from 0 on, or as they are
    text_condition: Literal["own", "query"] | None = None  # in training: on a text's own event, or on the one that asks
    text_mix: Literal["average", "interpolated"] | None = None  # of the two kinds of text, see `HybridPrompts`
    clip_normalization: bool | None = None  # whether CLIP's mean and standard deviation are applied

    _at_least: ClassVar = {"event_prompts": 0, "context_length": 1}

    def __post_init__(self) -> None:
        """Fill in the recipe, then check."""
        _fill(self, "model")
        super().__post_init__()
        if filled(self.template).count("{}") != 1:
            raise ValueError(f"ModelConfig.template = {self.template!r}: must hold one {{}} for the class name")


@dataclass(frozen=True)
class LossConfig(Checked):
    """The weights of HTCA's three terms, of EventBind's fourth and of image-text; and what counts as a positive."""

    recipe: Recipe = "workbench"
    event_image: float = 1.0
    event_text: float = 1.0
    text_text: float = 1.0
    image_text: float = 0.0  # the term that the paper leaves out on purpose; for the ablation
    text_mse: float | None = None  # pulls learnable towards handcrafted text; needs hybrid prompts
    targets: Literal["diagonal", "label"] | None = None  # positives: the own pair alone, or all of the same class
    scale: float | None = None  # of the cosines; where the recipe leaves it None, CLIP's own logit scale

    _at_least: ClassVar = dict.fromkeys(
        ("event_image", "event_text", "text_text", "image_text", "text_mse", "scale"), 0
    )

    def __post_init__(self) -> None:
        """Fill in the recipe, then check."""
        _fill(self, "loss")
        super().__post_init__()
        if not (self.event_image or self.event_text or self.text_text):
            raise ValueError("LossConfig: all three weights are 0, so there is nothing to train")


@dataclass(frozen=True)
class TrainConfig(Checked):
    """How `fit` trains."""

    seed: int = 0
    epochs: int = 12
    batch_size: int = 32  # recordings, of all processes together
    tower_rate: float = 2e-4  # learning rate of the event tower, which starts from CLIP
    additions_rate: float = 1e-3  # of prompts, gates, temporal parts, content MLPs
    weight_decay: float = 0.05
    warmup: float = 0.1  # share of all steps
    clip_gradient: float = 1.0  # largest norm of the gradient
    flip: bool = True  # mirror frames and still together
    shift: int = 2  # pixels; frames are moved by up to as many, all of a batch alike or with the next two each its own
    rotate: float = 0.0  # degrees; the frames of each recording are turned by up to as many to either side
    zoom: float = 0.0  # share of the size; the frames of each recording are made larger or smaller by up to as much
    accumulate: int = 1  # batches whose gradients are averaged for one step
    precision: Literal["32", "bf16", "16"] = "32"  # of the forward pass; weights, logits and losses stay in float32
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    workers: int = 0  # processes that read recordings; the result does not depend on it
    drop_events: float = 0.0  # largest share of a recording's events that are left out at random
    jitter_us: int = 0  # microseconds; standard deviation of noise on the times of events
    crop_time: float = 0.0  # largest share of a recording's time that is cut off, at either end
    select: Literal["last", "val", "best-epoch-on-test"] = "last"  # the third is the official code's, for comparison

    _at_least: ClassVar = {
        "epochs": 1,
        "batch_size": 2,
        "tower_rate": 0,
        "additions_rate": 0,
        "warmup": 0,
        "accumulate": 1,
        "workers": 0,
        "shift": 0,
        "rotate": 0,
        "zoom": 0,
        "drop_events": 0,
        "jitter_us": 0,
        "crop_time": 0,
    }
    _at_most: ClassVar = {"warmup": 1, "rotate": 180, "zoom": 0.9, "drop_events": 0.95, "crop_time": 0.95}


Dataset = Literal["icons100", "n-mnist", "n-caltech101", "n-imagenet", "folder"]
Protocol = Literal["zero-shot", "few-shot", "fine-tune", "base-to-new", "transfer", "retrieval"]


@dataclass(frozen=True)
class DataConfig(Checked):
    """Which recordings, and how they are split; `load_dataset` opens them, `split_dataset` splits them."""

    dataset: Dataset = "icons100"
    root: str | None = None  # folder of the recordings, or of their shards; the embedded data set needs none
    stills: str | None = None  # folder of the paired stills; None looks inside and beside root
    splits: str | None = None  # folder of the official split lists; None takes the data set's own division
    subset: str | None = None  # name of a tracked class subset ("icons25")
    protocol: Protocol = "few-shot"
    shots: int | None = 5  # recordings a class; None where the protocol has none, or trains on all
    target: Dataset | None = None  # of the protocol transfer: the data set to be tested on
    target_root: str | None = None  # and its folder
    fold: int | None = None  # of the tracked folds, for data sets that have them

    _at_least: ClassVar = {"shots": 1, "fold": 0}

    def __post_init__(self) -> None:
        """Check, and that the protocol has its shots."""
        super().__post_init__()
        few, all_of_them = self.protocol == "few-shot", self.protocol in ("zero-shot", "fine-tune")
        if (few and self.shots is None) or (all_of_them and self.shots is not None):
            raise ValueError(
                f"DataConfig: protocol {self.protocol!r} with shots = {self.shots!r}; few-shot needs a number of "
                "shots, zero-shot and fine-tune need shots = None"
            )
        if (self.protocol == "transfer") != (self.target is not None):
            raise ValueError(
                f"DataConfig: protocol {self.protocol!r} with target = {self.target!r}; transfer, and it alone, needs "
                "a data set to be tested on (target, and target_root for its folder)"
            )


Method = Literal["e-clip", "clip-zero-shot", "linear-probe", "count-map-probe", "count-map-cnn"]
METHOD_NAMES: dict[str, str] = {  # in tables, E-CLIP first
    "e-clip": "E-CLIP",
    "clip-zero-shot": "CLIP on frames, zero-shot",
    "linear-probe": "linear probe, frozen CLIP",
    "count-map-cnn": "small CNN, count maps",
    "count-map-probe": "logistic regression, count maps",
}
FITTED = ("linear-probe", "count-map-probe", "count-map-cnn")  # methods without text: they know what they trained on


@dataclass(frozen=True)
class Run(Checked):
    """One experiment: everything its ledger row depends on."""

    experiment: str = "quickstart"  # what the run belongs to; tables are made of one experiment's rows
    method: Method = "e-clip"
    variant: str | None = None  # name of a change that an ablation makes
    smoke: bool = False  # only shows that everything works; its numbers mean nothing
    data: DataConfig = field(default_factory=DataConfig)
    frames: FrameConfig = field(default_factory=FrameConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        """Check, and that model and loss follow one recipe."""
        super().__post_init__()
        if self.method in FITTED and self.data.protocol == "zero-shot":
            raise ValueError(f"Run: a {self.method} needs recordings to train on, but the protocol is zero-shot")
        if self.loss.text_mse and self.model.text_prompts != "hybrid":
            raise ValueError(
                f"Run: loss.text_mse = {self.loss.text_mse} compares the two kinds of text, but model.text_prompts = "
                f"{self.model.text_prompts!r} has one; set text_mse to 0 or text_prompts to 'hybrid'"
            )
        if self.model.recipe != self.loss.recipe:
            raise ValueError(f"Run: model recipe {self.model.recipe!r} but loss recipe {self.loss.recipe!r}")
