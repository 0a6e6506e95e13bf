"""Settings that fit each data set, and the runs that the quickstart compares.

A few plain choices -> `Run`s. Chosen on validation recordings, never on test ones.
"""

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from eclip_lib.config import (
    TINY,
    DataConfig,
    Dataset,
    FrameConfig,
    LossConfig,
    Method,
    ModelConfig,
    Protocol,
    Recipe,
    Run,
    TrainConfig,
)
from eclip_lib.experiments import paper_presets

QUERIES = ("guitar", "umbrella", "cat", "three", "seven", "zero")  # the first three that a data set has
FOLDS = 5  # of n-mnist
PROMPT_LENGTH = 4  # of a backbone with 36 patches; 16, the paper's, would be half as many tokens again
FEW_SHOT_EPOCHS = {1: 300, 2: 150, 5: 100, 10: 50, 20: 30}  # of n-mnist, by the most shots they are for
METHODS: dict[Dataset, tuple[Method, ...]] = {  # in the order of a table; other data sets have those of the first
    "icons100": ("clip-zero-shot", "linear-probe", "e-clip"),
    "n-mnist": ("clip-zero-shot", "count-map-probe", "linear-probe", "e-clip"),
}
REAL_METHODS: dict[str, tuple[Method, Recipe]] = {  # by what a table calls them; rivals have no recipe of their own
    "count-map-probe": ("count-map-probe", "workbench"),
    "count-map-cnn": ("count-map-cnn", "workbench"),
    "linear-probe": ("linear-probe", "workbench"),
    "e-clip paper": ("e-clip", "paper"),
    "e-clip workbench": ("e-clip", "workbench"),
}
REAL_SHOTS = (1, 2, 5, 10, 20, None)


def image_size(backbone: str) -> int:
    """Return the pixels a backbone sees, without building it."""
    import open_clip

    from eclip_lib.clip import CONFIG, clip_folder

    folder = clip_folder(backbone)
    if folder is not None:
        config = json.loads((folder / CONFIG).read_text())["model_cfg"]
    else:
        config = open_clip.get_model_config(backbone)
    if config is None:
        raise ValueError(f"backbone {backbone!r} is neither {TINY!r}, nor a folder, nor a model of open_clip")
    return config["vision_cfg"]["image_size"]


def quickstart_run(
    dataset: Dataset = "icons100",
    data_root: str | None = None,
    subset: str | None = None,
    shots: int | None = 5,
    recipe: Recipe = "workbench",
    backbone: str = TINY,
    pretrained: str | None = None,
) -> Run:
    """Return E-CLIP's run on a data set; on N-MNIST it tests on fold 0 and trains on all of the others.

    Args:
        dataset: id of the data set.
        data_root: its folder, for recordings that are not embedded.
        subset: a tracked subset of its classes.
        shots: recordings a class; None trains on all.
        recipe: "workbench", "paper" or "eventbind".
        backbone: name for `load_clip`.
        pretrained: weights for `load_clip`.
    """
    tiny, real = backbone == TINY, dataset == "n-mnist"
    prompts = PROMPT_LENGTH if tiny else 16
    shots, subset = (None, None) if real else (shots, subset)
    protocol: Protocol = "fine-tune" if shots is None else "few-shot"
    return Run(
        data=DataConfig(
            dataset=dataset, root=data_root, subset=subset, protocol=protocol, shots=shots, fold=0 if real else None
        ),
        frames=FrameConfig(size=image_size(backbone), frames=3, color="count"),
        model=ModelConfig(
            recipe=recipe, backbone=backbone, pretrained=pretrained, event_prompts=prompts, context_length=prompts
        ),
        loss=LossConfig(recipe=recipe),
        train=_training(tiny, real, shots),
    )


def training_run(
    data: DataConfig,
    recipe: Recipe = "workbench",
    backbone: str = TINY,
    pretrained: str | None = None,
    preset: str | None = None,
    **training: Any,
) -> Run:
    """Return a run of any data set and protocol, by a named preset or by what fits the data set.

    Args:
        data: which recordings, and how they are split.
        recipe: "workbench", "paper" or "eventbind"; a preset brings its own.
        backbone: name for `load_clip`; a preset brings its own.
        pretrained: weights for `load_clip`, with a preset too (a local file in the place of the tag "openai").
        preset: one of `paper_presets.NAMES`: the settings behind a published table.
        training: fields of `TrainConfig` that differ; None keeps what fits.

    Raises:
        ValueError: there is no such preset, it is another data set's, or a field is unknown or out of range.
    """
    if preset:
        base = paper_presets.preset(preset, data)
        if base.data.dataset != data.dataset:
            raise ValueError(f"preset {preset!r} is for {base.data.dataset}, not for {data.dataset}")
        base = replace(base, model=replace(base.model, pretrained=pretrained or base.model.pretrained))
    else:
        base = quickstart_run(data.dataset, data.root, data.subset, data.shots, recipe, backbone, pretrained)
        base = replace(base, train=_training(backbone == TINY, data.dataset == "n-mnist", data.shots))
    known = {item.name for item in fields(TrainConfig)}
    if unknown := sorted(set(training) - known):
        raise ValueError(f"TrainConfig has no field {', '.join(unknown)}; its fields are {', '.join(sorted(known))}")
    given = {name: value for name, value in training.items() if value is not None}
    return replace(base, experiment="train", data=data, train=replace(base.train, **given))


def _training(tiny: bool, real: bool, shots: int | None) -> TrainConfig:
    """Return how to train: icons start from a CLIP that knows them, digits are new to it."""
    if not tiny:
        return TrainConfig(epochs=12, tower_rate=1e-5, flip=not real)  # the paper's rate
    if not real:
        return TrainConfig(epochs=9, tower_rate=5e-5)
    digits = TrainConfig(epochs=25, tower_rate=5e-4, flip=False)  # a mirrored digit is another sign
    if shots is None:
        return digits
    return replace(digits, epochs=_few_shot_epochs(shots), batch_size=16, shift=5, rotate=25.0, zoom=0.25)


def _few_shot_epochs(shots: int) -> int:
    """Return the epochs for a few recordings of each digit: the fewer they are, the oftener each is seen."""
    return next((epochs for most, epochs in FEW_SHOT_EPOCHS.items() if shots <= most), 25)


def comparison(base: Run, seeds: int = 2, folds: int = 1) -> dict[str, list[Run]]:
    """Return the runs that a table compares, by method: one a seed, or on N-MNIST one a fold.

    The methods see the same recordings and frames. Zero-shot has no training, hence no seeds: one run, or one a fold.
    """
    if seeds < 1 or not 1 <= folds <= FOLDS:
        raise ValueError(f"seeds = {seeds}, folds = {folds}: at least one seed, and 1 to {FOLDS} folds")
    if base.data.dataset == "n-mnist":
        repeats = [replace(base, data=replace(base.data, fold=fold)) for fold in range(folds)]
    else:
        repeats = [replace(base, train=replace(base.train, seed=seed)) for seed in range(seeds)]
    methods = METHODS.get(base.data.dataset, METHODS["icons100"])
    runs: dict[str, list[Run]] = {method: [replace(run, method=method) for run in repeats] for method in methods}
    untrained = repeats if base.data.dataset == "n-mnist" else repeats[:1]
    zero = [replace(run.data, protocol="zero-shot", shots=None) for run in untrained]
    runs["clip-zero-shot"] = [
        replace(run, method="clip-zero-shot", data=data) for run, data in zip(untrained, zero, strict=True)
    ]
    return runs


def real_comparison(data_root: str, shots: int | None, repeats: int = FOLDS) -> dict[str, list[Run]]:
    """Return the runs that compare recipes and rivals on N-MNIST, by "method recipe" or method: one a repeat.

    A repeat has a seed and tests on a fold of its own, so that five repeats test each recording once. All methods of a
    repeat see the same recordings; what each may choose is chosen on validation recordings: the network's steps and the
    probes' penalties in each repeat, the recipes' epochs, batch size and movements of frames once, the same for both.

    Args:
        data_root: folder of N-MNIST.
        shots: recordings a digit; None trains on all but the fold's.
        repeats: 1 to `FOLDS`.
    """
    if not 1 <= repeats <= FOLDS:
        raise ValueError(f"repeats = {repeats}: 1 to {FOLDS}")
    protocol: Protocol = "fine-tune" if shots is None else "few-shot"
    runs = {}
    for label, (method, recipe) in REAL_METHODS.items():
        data = [DataConfig("n-mnist", data_root, protocol=protocol, shots=shots, fold=fold) for fold in range(repeats)]
        each = [training_run(one, recipe, seed=one.fold) for one in data]
        runs[label] = [replace(run, method=method, experiment="n-mnist") for run in each]
    return runs


def smoke(base: Run) -> Run:
    """Shrink a run to seconds: five classes, two shots, one epoch; its rows are marked `smoke`."""
    subset = "icons5" if base.data.dataset == "icons100" else base.data.subset
    few = base.data.protocol in ("few-shot", "fine-tune")
    data = replace(base.data, shots=2, protocol="few-shot", subset=subset) if few else replace(base.data, subset=subset)
    return replace(base, smoke=True, data=data, train=replace(base.train, epochs=1, batch_size=8))


def example(names: Sequence[str], labels: np.ndarray) -> int:
    """Return the index of the first recording of a class that is easy to recognize."""
    wanted = [label for label, name in enumerate(names) if name in QUERIES]
    return int(np.flatnonzero(np.isin(labels, wanted))[0])


def queries(names: Sequence[str], most: int = 3) -> list[str]:
    """Return some class names to ask for."""
    return [name for name in (*QUERIES, *names) if name in names][:most]
