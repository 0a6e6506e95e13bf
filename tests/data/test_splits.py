"""Protocols as splits: laws of each, the tracked shot lists, and what leaks."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eclip_lib.config import DataConfig
from eclip_lib.data import shots as shot_lists
from eclip_lib.data.loading import load_dataset
from eclip_lib.data.shots import MOST, SEEDS, read_shots, shots_path, tracked_order, write_shots
from eclip_lib.data.splits import Split, base_classes, draw_shots, fine_tune, shared_groups, split_dataset
from eclip_lib.paths import ASSETS

ALL = DataConfig(protocol="fine-tune", shots=None)
SHOTS = (1, 2, 4, 5, 8, 10, 16, 20)
BASE = DataConfig(protocol="base-to-new", shots=None)


@pytest.fixture(scope="module")
def icons():
    return load_dataset(DataConfig())


@pytest.fixture(scope="module")
def pool(icons):
    return fine_tune(icons, ALL, 0).train


def sides(split):
    return [set(side.tolist()) for side in (split.train, split.val, split.test)]


def quiet_split(*arguments):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "25 classes have fewer than 20|.* classes have fewer than 16")
        return split_dataset(*arguments)


@pytest.mark.filterwarnings("ignore:.*classes have fewer than")
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("shots", SHOTS)
def test_a_tracked_list_is_the_draw(icons, pool, shots, seed):
    """Published rows stay reproducible: the list, the draw and the split name the same recordings."""
    order = tracked_order(icons, pool, DataConfig(shots=shots), seed)
    listed = np.concatenate([np.sort(members[:shots]) for members in order])
    assert np.array_equal(listed, draw_shots(icons, pool, shots, seed))
    assert np.array_equal(listed, quiet_split(icons, DataConfig(shots=shots), seed).train)


def test_the_draw_is_what_it_was_when_rows_were_published(icons):
    """Hashes in the tracked ledger, of 5 shots of seeds 0 to 4."""
    rows = [json.loads(line) for line in (ASSETS.parent.parent / "reports" / "results.jsonl").open()]
    mine = [r for r in rows if r["dataset"] == "icons100" and r["shots"] == 5 and r["protocol"] == "few-shot"]
    assert {row["seed"] for row in mine} == set(range(5))
    for row in mine:
        assert split_dataset(icons, DataConfig(shots=5), row["seed"]).hash(icons) == row["split_hash"]


def test_tracked_icons_leak_nothing(icons):
    """Every listed id trains; none is in the test or validation part, nor a near-duplicate of a recording there."""
    split = fine_tune(icons, ALL, 0)
    index = {name: i for i, name in enumerate(icons.ids)}
    others = set(icons.group[np.concatenate([split.val, split.test])].tolist())
    for draw in read_shots(shots_path("icons100")).values():
        for name, ids in draw.items():
            rows = [index[one] for one in ids]
            assert set(icons.part[rows]) == {"train"} and not others & set(icons.group[rows].tolist())
            assert {icons.class_names[label] for label in icons.labels[rows]} == {name}
            assert len(set(icons.group[rows].tolist())) == len(ids) <= MOST


def test_tracked_n_mnist_leaks_nothing():
    """Against the tracked folds alone, without the recordings: no listed file is in its fold's test part."""
    table = pd.read_csv(ASSETS / "n_mnist_folds.csv").set_index("file")
    draws = read_shots(shots_path("n-mnist"))
    assert set(draws) == {(fold, seed) for fold in range(5) for seed in range(5)}
    for (fold, _), draw in draws.items():
        for digit, ids in enumerate(draw.values()):
            assert len(set(ids)) == len(ids) == 20
            assert not (table.fold.loc[ids] == fold).any()
            assert {name.split("/")[1] for name in ids} == {str(digit)}


@pytest.mark.data
def test_tracked_n_mnist_is_the_draw(data_folder):
    for fold in range(5):
        cfg = DataConfig(dataset="n-mnist", root=str(data_folder / "n-mnist"), fold=fold)
        data = load_dataset(cfg)
        whole = split_dataset(data, replace(cfg, protocol="fine-tune", shots=None), 0)
        for seed in range(SEEDS):
            listed = [data.ids[i] for i in split_dataset(data, cfg, seed).train]
            assert listed == [data.ids[i] for i in draw_shots(data, whole.train, 5, seed)]
            assert not set(listed) & {data.ids[i] for i in (*whole.val, *whole.test)}


def test_a_list_of_other_recordings_is_refused(icons):
    renamed = replace(icons, ids=tuple(f"other/{name}" for name in icons.ids))
    with pytest.raises(ValueError, match=r"shots_icons100.json names '\S+', which is no training recording of this"):
        split_dataset(renamed, DataConfig(), 0)
    moved = replace(icons, part=np.where(icons.part == "train", "test", "train"))  # would train on what was tested
    with pytest.raises(ValueError, match="no training recording"):
        split_dataset(moved, DataConfig(), 0)


def test_lists_are_written_as_they_are_read(icons, pool, tmp_path):
    write_shots(tmp_path / "shots.json", {None: (icons, pool)})
    assert (tmp_path / "shots.json").read_bytes() == shots_path("icons100").read_bytes()
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(ValueError, match="is no file of shot lists"):
        read_shots(tmp_path / "bad.json")


def test_the_list_counts_where_there_is_one_and_the_draw_elsewhere(icons, tmp_path, monkeypatch):
    """A list that differs from the draw is followed; another seed, a subset or more shots are drawn."""
    first = split_dataset(icons, DataConfig(shots=1), 0)
    listed = read_shots(shots_path("icons100"))[None, 0]
    other = {name: ids[1:] for name, ids in listed.items()}
    text = json.dumps({"draws": [{"fold": None, "seed": 0, "shots": other}]})
    (tmp_path / "other.json").write_text(text)
    monkeypatch.setattr(shot_lists, "shots_path", lambda dataset: tmp_path / "other.json")
    followed = split_dataset(icons, DataConfig(shots=1), 0)
    assert not set(followed.train.tolist()) & set(first.train.tolist())
    assert len(split_dataset(icons, DataConfig(shots=1), 77).train) == 100
    small = load_dataset(DataConfig(subset="icons5"))
    assert len(split_dataset(small, DataConfig(subset="icons5", shots=2), 0).train) == 10


@pytest.mark.parametrize("shots", [None, 5])
@pytest.mark.parametrize("protocol", ["base-to-new", "retrieval"])
def test_sides_of_each_protocol_share_nothing(icons, protocol, shots):
    split = split_dataset(icons, DataConfig(protocol=protocol, shots=shots), 1)
    train, val, test = sides(split)
    assert train and val and test and not train & val and not train & test and not val & test
    assert shared_groups(icons, split) == []
    assert test == set(np.flatnonzero(icons.part == "test").tolist())


def test_new_classes_neither_train_nor_validate(icons):
    split = split_dataset(icons, BASE, 0)
    assert set(icons.labels[split.train].tolist()) == set(icons.labels[split.val].tolist()) == set(range(50))
    assert set(icons.labels[split.test].tolist()) == set(range(100))
    whole = fine_tune(icons, ALL, 0)
    assert set(split.train.tolist()) == set(whole.train[icons.labels[whole.train] < 50].tolist())


@pytest.mark.parametrize("seed", [0, 9])  # with a tracked list, and drawn
def test_base_classes_get_the_shots_of_k_shot(icons, seed):
    base = split_dataset(icons, DataConfig(protocol="base-to-new", shots=4), seed).train
    few = split_dataset(icons, DataConfig(shots=4), seed).train
    assert np.array_equal(base, few[icons.labels[few] < 50])


def test_half_of_the_classes_is_base():
    assert [base_classes(k) for k in (2, 3, 10, 101)] == [1, 2, 5, 51]
    with pytest.raises(ValueError, match="needs at least 2 classes, the data set has 1"):
        base_classes(1)


def test_a_validation_part_of_its_own_is_taken(icons):
    part = icons.part.copy()
    own = np.flatnonzero(icons.part == "train")[::7]
    part[own] = "val"
    data = replace(icons, part=part, group=np.arange(len(icons)))
    split = split_dataset(data, ALL, 0)
    assert np.array_equal(split.val, own)
    assert set(split.train.tolist()) == set(np.flatnonzero(part == "train").tolist())


def test_a_class_with_one_recording_trains_with_it():
    data = load_dataset(DataConfig(subset="icons5"))
    cat = np.flatnonzero((data.labels == 0) & (data.part == "train"))
    part = data.part.copy()
    part[cat[1:]] = "left out"
    split = split_dataset(replace(data, part=part), replace(ALL, subset="icons5"), 0)
    assert cat[0] in split.train and not (data.labels[split.val] == 0).any()


def test_transfer_tests_on_the_target_and_trains_on_none_of_it(icons):
    target = load_dataset(DataConfig(subset="icons5"))
    cfg = DataConfig(protocol="transfer", target="folder", shots=5)
    split = split_dataset(icons, cfg, 0, target)
    assert np.array_equal(split.train, split_dataset(icons, DataConfig(shots=5), 0).train)
    assert np.array_equal(split.test, np.flatnonzero(target.part == "test"))
    assert split.hash(icons, target) != Split(split.train, split.val, split.test[1:]).hash(icons, target)
    with pytest.raises(ValueError, match="tested on a target, and none was given"):
        split_dataset(icons, cfg, 0)
    with pytest.raises(ValueError, match=r"'few-shot': transfer, and it alone, .* icons100 was given"):
        split_dataset(icons, DataConfig(), 0, target)


def test_a_group_on_both_sides_is_said(icons):
    group = icons.group.copy()
    group[np.flatnonzero(icons.part == "test")[0]] = group[np.flatnonzero(icons.part == "train")[0]]
    with pytest.warns(UserWarning, match="icons100: 1 groups of near-duplicates are on two sides"):
        split_dataset(replace(icons, group=group), ALL, 0)


def test_nothing_to_test_on_is_told():
    data = load_dataset(DataConfig(subset="icons5"))
    data = replace(data, part=np.full(len(data), "train"))
    with pytest.raises(ValueError, match=r"the test part of icons100 is empty: none of the .* complete the"):
        split_dataset(data, DataConfig(protocol="zero-shot", shots=None), 0)
