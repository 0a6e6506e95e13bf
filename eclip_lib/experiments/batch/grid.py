"""The grid of ablations: named variants, each a few changes of one base run, and presets of variants.

names of presets, a file or a dict -> variants by name; a base and variants -> the runs of a batch.
"""

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from eclip_lib.config import TINY, DataConfig, Dataset, Run
from eclip_lib.experiments import presets
from eclip_lib.experiments.batch.variants import ALL, CLAIMED_ELSEWHERE, EXPERIMENT, FULL, OWN, PRESETS, Variants
from eclip_lib.experiments.overrides import override

# --- the base ---


def ablation_base(
    dataset: Dataset = "icons100", root: str | None = None, backbone: str = TINY, pretrained: str | None = None
) -> Run:
    """Return the run that the variants change: neither saturated nor at chance, and quick; chosen on validation.

    Top-1 on training-side recordings that were not trained on, the first two seeds: icons25 go from 43.8 and 43.0 %
    untrained to 55.8 and 55.9 % (n = 826; chance 4 %). They show 300 events a window, since training gains next to
    nothing on whole recordings, 74.3 to 76.2 %, where a variant could lose little. N-MNIST goes from 13.5 and 13.2 to
    73.3 and 66.0 % (n = 750; chance 10 %).

    Args:
        dataset: id of the data set; N-MNIST takes the tracked folds.
        root: its folder, for recordings that are not embedded.
        backbone: name for `load_clip`.
        pretrained: weights for `load_clip`.
    """
    if dataset == "icons100":
        data = DataConfig(dataset, root, subset="icons25", shots=5)
        changes = {"train.epochs": 6, "frames.events_per_frame": 300, "train.tower_rate": 2e-4}
    elif dataset == "n-mnist":
        data = DataConfig(dataset, root, shots=5, fold=0)
        changes = {"train.epochs": 15, "train.shift": 2, "train.rotate": 0.0, "train.zoom": 0.0}
    else:
        data, changes = DataConfig(dataset, root, shots=5), {}
    base = presets.training_run(data, backbone=backbone, pretrained=pretrained, device="auto")
    return replace(override(base, changes if backbone == TINY else {}), experiment=EXPERIMENT)


def with_seed(run: Run, seed: int) -> Run:
    """Return a run with a seed; on N-MNIST it tests on a fold of its own, so that five seeds test each recording once.

    Seeds from 5 on test the same folds again, with other weights.
    """
    data = replace(run.data, fold=seed % presets.FOLDS) if run.data.fold is not None else run.data
    return replace(run, data=data, train=replace(run.train, seed=seed))


# --- variants ---


def preset_variants(names: Iterable[str]) -> Variants:
    """Return the variants of some presets in their order, the full model first.

    Raises:
        ValueError: there is no such preset; the message names what is near.
    """
    variants: Variants = {FULL: {}}
    for name in names:
        if name not in PRESETS:
            near = difflib.get_close_matches(name, PRESETS, 3) or PRESETS
            raise ValueError(f"there is no preset {name!r}; perhaps {', '.join(near)}")
        variants |= PRESETS[name]
    return variants


def read_grid(path: Path | str) -> tuple[dict[str, Any], Variants]:
    """Read a grid of one's own: a TOML or JSON file with changes of the base, if any, and variants by name.

    Returns:
        The changes of the base, and the variants.

    Example of a file:
        [base]
        "data.shots" = 10

        [variants."no event-text"]
        "loss.event_text" = 0.0

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is neither TOML nor JSON, or is laid out in another way.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such grid file")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:  # of either format, and of the encoding
        raise ValueError(f"{path}: neither TOML nor, by its suffix, JSON: {error}") from error
    if not isinstance(content, dict) or set(content) - {"base", "variants"} or not content.get("variants"):
        raise ValueError(f"{path}: expected a table 'variants' and, if need be, 'base', and no other")
    base, variants = content.get("base", {}), content["variants"]
    tables = [base, variants, *(variants.values() if isinstance(variants, dict) else ())]
    if not all(isinstance(table, dict) for table in tables):
        raise ValueError(f'{path}: a variant is a table of fields and values, such as "loss.event_text" = 0.0')
    return base, variants


# --- the runs of a batch ---


@dataclass(frozen=True)
class Grid:
    """What a batch has to do.

    Attributes:
        runs: one for each variant and seed: presets in the order given, in each variant by variant.
        left_out: variants without runs of their own, and the variant that they equal.
    """

    runs: tuple[Run, ...]
    left_out: dict[str, str] = field(default_factory=dict)


def change_base(base: Run, changes: Mapping[str, Any]) -> Run:
    """Return a base with some fields changed; see `override`.

    Raises:
        ValueError: a name or value is wrong, or the batch sets the field itself.
    """
    return override(base, _allowed("base", changes))


def plan_grid(base: Run, presets: Sequence[str], own: Mapping[str, Mapping[str, Any]], seeds: Sequence[int]) -> Grid:
    """Return the runs of presets and of variants of one's own.

    The preset "claims" has runs of the protocols zero-shot and base-to-new besides, which its claims are about.

    Raises:
        ValueError: see `preset_variants` and `make_grid`; or the base of the claims does not train on all classes.
    """
    if "claims" in presets and base.data.protocol not in ("few-shot", "fine-tune"):
        raise ValueError(
            f"preset 'claims' with a base of the protocol {base.data.protocol!r}: it needs few-shot or fine-tune, and "
            "has runs of other protocols of its own"
        )
    grids = [make_grid(base, preset_variants(presets) | dict(own), seeds)]
    for protocol, names in CLAIMED_ELSEWHERE.items() if "claims" in presets else ():
        shots = None if protocol == "zero-shot" else base.data.shots
        other = change_base(base, {"data.protocol": protocol, "data.shots": shots})
        grids.append(make_grid(other, {name: ALL.get(name, {}) for name in (FULL, *names)}, seeds))
    return Grid(tuple(run for grid in grids for run in grid.runs), grids[0].left_out)


def make_grid(base: Run, variants: Mapping[str, Mapping[str, Any]], seeds: Sequence[int]) -> Grid:
    """Return the runs of variants and seeds; of variants that come to the same config, the first one's alone.

    Raises:
        ValueError: a variant changes a field that does not exist or to a value out of range, or has the name of
            another; or there are no seeds.
    """
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds = {list(seeds)}: at least one, none twice, none negative")
    names: dict[Run, str] = {}
    left_out = {}
    for name, changes in variants.items():
        run = _variant(base, name, changes)
        if run in names:
            left_out[name] = names[run]
        else:
            names[run] = name
    runs = [with_seed(replace(run, variant=name), seed) for run, name in names.items() for seed in seeds]
    return Grid(tuple(runs), left_out)


def _variant(base: Run, name: str, changes: Mapping[str, Any]) -> Run:
    known = {FULL: {}, **ALL}
    if dict(changes) != known.get(name, changes):
        raise ValueError(f"variant {name!r}: the name is taken by one that changes {known[name] or 'nothing'}")
    try:
        return override(replace(base, variant=None), _allowed(name, changes))
    except ValueError as error:
        raise ValueError(f"variant {name!r}: {error}") from error


def _allowed(name: str, changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the changes if the batch does not set one of their fields itself."""
    if own := sorted(set(changes) & set(OWN)):
        raise ValueError(f"{name!r} changes {', '.join(own)}, which the batch sets itself")
    return changes


def differences(run: Run, other: Run) -> dict[str, Any]:
    """Return the dotted names of the fields in which a run differs from another, with the values of `run`."""
    changes: dict[str, Any] = {}
    for item in fields(run):
        ours, theirs = getattr(run, item.name), getattr(other, item.name)
        if is_dataclass(ours):
            inner = {one.name: getattr(ours, one.name) for one in fields(ours)}
            changes |= {f"{item.name}.{k}": v for k, v in inner.items() if v != getattr(theirs, k)}
        elif ours != theirs:
            changes[item.name] = ours
    return changes
