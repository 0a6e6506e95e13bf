"""Tracked shots: which recordings train at k shots, by data set, fold and seed, as tracked files of ids.

`EventData` and a seed -> the order in which each class gives its shots; k shots are the first k.
A list is the published form of the draw of `shot_order`: it stays when a later version of NumPy draws otherwise.
"""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np

from eclip_lib.cache import atomic_path
from eclip_lib.config import DataConfig
from eclip_lib.data.recordings import EventData
from eclip_lib.paths import ASSETS

SPLIT_SEED = 2308_03135  # of validation parts and shots, the same for every run
SEEDS = 5  # tracked: 0 to 4
MOST = 20  # shots of a tracked list; more are drawn


def shot_order(data: EventData, pool: np.ndarray, seed: int, classes: int | None = None) -> list[np.ndarray]:
    """Shuffle the recordings of each class and keep the first of every group.

    Args:
        data: the data set.
        pool: indices that may train.
        seed: of the shuffle.
        classes: the first so many classes only; None takes all.

    Returns:
        Indices of each class, in the order in which they become shots.
    """
    rng = np.random.default_rng([SPLIT_SEED, seed])
    order = []
    for label in range(len(data.class_names) if classes is None else classes):
        members = rng.permutation(pool[data.labels[pool] == label])
        _, first = np.unique(data.group[members], return_index=True)
        order.append(members[np.sort(first)])
    return order


def shots_path(dataset: str) -> Path:
    """Return where the tracked shot lists of a data set lie."""
    return ASSETS / f"shots_{dataset.replace('-', '_')}.json"


def tracked_order(
    data: EventData, pool: np.ndarray, cfg: DataConfig, seed: int, classes: int | None = None
) -> list[np.ndarray] | None:
    """Return what `shot_order` draws, as the tracked list has it; None where there is none, or no number of shots.

    Raises:
        ValueError: the list names a recording that the data set lacks or that may not train.
    """
    path = shots_path(cfg.dataset)
    if cfg.subset is not None or cfg.shots is None or cfg.shots > MOST or not path.is_file():
        return None
    draw = read_shots(path).get((cfg.fold, seed))
    if draw is None:
        return None
    index = {data.ids[i]: i for i in pool.tolist()}
    wanted = [draw.get(name, []) for name in data.class_names[:classes]]
    unknown = [name for members in wanted for name in members if name not in index]
    if unknown or tuple(draw) != data.class_names:
        what = f"names {unknown[0]!r}, which is no training recording" if unknown else "has other classes than those"
        raise ValueError(f"{path.name} {what} of this {cfg.dataset}: is the folder complete and unchanged?")
    return [np.array([index[name] for name in members], int) for members in wanted]


@lru_cache(maxsize=4)
def read_shots(path: Path) -> dict[tuple[int | None, int], dict[str, list[str]]]:
    """Read a file of shot lists: (fold, seed) -> class name -> ids in the order in which they become shots.

    Raises:
        ValueError: the file is not of this form.
    """
    try:
        draws = json.loads(path.read_text())["draws"]
        return {(draw["fold"], draw["seed"]): draw["shots"] for draw in draws}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no file of shot lists: {error!r}") from error


def write_shots(path: Path, pools: dict[int | None, tuple[EventData, np.ndarray]], seeds: int = SEEDS) -> None:
    """Write the shot lists of a data set.

    Args:
        path: the file; `shots_path` says where a tracked one lies.
        pools: by fold (None without folds), the data set and the indices that may train.
        seeds: lists are drawn for the seeds below it.
    """
    draws = []
    for fold, (data, pool) in pools.items():
        for seed in range(seeds):
            order = shot_order(data, pool, seed)
            names = {data.class_names[i]: [data.ids[j] for j in members[:MOST]] for i, members in enumerate(order)}
            draws.append({"fold": fold, "seed": seed, "shots": names})
    about = f"k shots of a class are the first k, up to {MOST}; see eclip_lib/data/shots.py"
    lines = ",\n".join(json.dumps(draw, ensure_ascii=False).replace("], ", "],\n  ") for draw in draws)
    with atomic_path(path) as temporary:
        temporary.write_text(f'{{"about": {json.dumps(about)}, "draws": [\n{lines}\n]}}\n', encoding="utf-8")
