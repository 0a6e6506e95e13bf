import gzip
import struct
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eclip_lib.cache import cache_path, content_key
from eclip_lib.camera.simulation import SaccadeCamera
from eclip_lib.config import DataConfig
from eclip_lib.data.embedded_stills import icons100, icons_open, load_stills
from eclip_lib.data.loading import load_dataset
from eclip_lib.data.sets.icons import camera_key, recorded
from eclip_lib.data.splits import draw_shots, split_dataset
from eclip_lib.events.array import EVENT_DTYPE
from eclip_lib.events.files import write_events
from eclip_lib.events.recording import Recording
from eclip_lib.paths import ASSETS

ICONS = DataConfig()


@pytest.fixture(scope="module")
def icons():
    return load_dataset(ICONS)


def test_icons_are_what_they_say(icons):
    assert (len(icons), len(icons.class_names), icons.simulated) == (4150, 100, True)
    assert (icons.part == "test").sum() == 892
    assert icons.class_names == tuple(sorted(icons.class_names))
    families = icons100().table.groupby("split").family.unique()
    assert not set(families["train"]) & set(families["test"])


def test_icons_open_shares_no_class_with_icons100():
    further = icons_open()
    assert len(further.classes) == 50
    assert not set(further.classes) & set(icons100().classes)
    assert set(further.table.cls) == set(further.classes)


@pytest.mark.parametrize(("protocol", "shots"), [("few-shot", 1), ("few-shot", 5), ("fine-tune", None)])
def test_sides_share_neither_recordings_nor_groups(icons, protocol, shots):
    split = split_dataset(icons, replace(ICONS, protocol=protocol, shots=shots), seed=3)
    sides = [set(side.tolist()) for side in (split.train, split.val, split.test)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    groups = [set(icons.group[list(side)].tolist()) for side in sides]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert set(icons.part[split.test]) == {"test"} and set(icons.part[split.train]) == {"train"}


def test_few_shot_draws_k_of_each_class_by_seed(icons):
    first, again, other = (split_dataset(icons, ICONS, seed) for seed in (0, 0, 1))
    assert np.array_equal(np.bincount(icons.labels[first.train]), np.full(100, 5))
    assert first.hash(icons) == again.hash(icons) != other.hash(icons)
    assert np.array_equal(first.val, other.val)
    assert len(np.unique(icons.group[first.train])) == len(first.train)


def test_zero_shot_trains_on_nothing(icons):
    assert len(split_dataset(icons, DataConfig(protocol="zero-shot", shots=None), 0).train) == 0


def test_a_class_with_too_few_recordings_gives_all_and_says_so(icons):
    with pytest.warns(UserWarning, match=r"classes have fewer than 90 recordings and give all: airplane \(\d+\)"):
        picks = draw_shots(icons, np.flatnonzero(icons.part == "train"), 90, 0)
    assert len(picks) > 2000


def test_subset_keeps_its_own_order():
    data = load_dataset(DataConfig(subset="icons25"))
    assert list(data.class_names) == (ASSETS / "icons25.txt").read_text().splitlines()
    with pytest.raises(ValueError, match=r"subset 'icons7' is unknown; there are .*icons25"):
        load_dataset(DataConfig(subset="icons7"))


def test_a_recording_is_simulated_once():
    stills, camera = icons100(), SaccadeCamera()
    first = recorded(stills, 5, camera)
    path = cache_path("recordings", [content_key(stills.encoded[5]), camera_key(camera)], ".npz")
    assert path.is_file()
    assert np.array_equal(recorded(stills, 5, camera).events, first.events)
    path.write_bytes(b"PK damaged")
    with pytest.warns(UserWarning, match="simulated again"):
        assert np.array_equal(recorded(stills, 5, camera).events, first.events)


def test_a_still_that_is_no_image_is_named():
    stills = icons100().select(np.arange(4187) < 2)
    broken = replace(stills, encoded=(stills.encoded[0], b"RIFF no image"))
    with pytest.raises(ValueError, match=r"still 1 \(\w+/.*\) is not an image"):
        broken.image(1)
    with pytest.raises(ValueError, match="is not an image"):
        recorded(broken, 1, SaccadeCamera())


def test_files_of_stills_are_checked(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of stills"):
        load_stills(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match="is not a file of stills"):
        load_stills(tmp_path / "text.npz")


# --- n-mnist ---


def write_n_mnist(root, digits=2, most=3):
    """Write a tiny N-MNIST of the first recordings of the tracked folds, and stills for them."""
    table = pd.read_csv(ASSETS / "n_mnist_folds.csv")
    rng = np.random.default_rng(0)
    for file in table.file:
        events = np.zeros(50, EVENT_DTYPE)
        events["x"], events["y"] = rng.integers(0, 34, 50), rng.integers(0, 34, 50)
        events["t"], events["p"] = np.arange(50) * 1000, rng.random(50) < 0.5
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        write_events(root / file, Recording(events, (34, 34)))
    count = 60_000
    images = struct.pack(">4i", 2051, count, 1, 1) + bytes(i % 251 for i in range(count))
    (root.parent / "mnist").mkdir()
    (root.parent / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(images, 1))
    return table


def test_n_mnist_folds_test_each_recording_once(tmp_path):
    root = tmp_path / "n-mnist"
    table = write_n_mnist(root)
    tested = []
    for fold in range(5):
        data = load_dataset(DataConfig(dataset="n-mnist", root=str(root), protocol="fine-tune", shots=None, fold=fold))
        split = split_dataset(
            data, DataConfig(dataset="n-mnist", root=str(root), protocol="fine-tune", shots=None, fold=fold), 0
        )
        assert len(split.train) + len(split.val) + len(split.test) == 1000
        tested += [data.ids[i] for i in split.test]
    assert sorted(tested) == sorted(table.file)
    number = int(data.ids[7].split("/")[-1][:5]) - 1  # recording n shows MNIST image n - 1
    assert data.still(7)[0, 0, 0] == number % 251
    assert data.labels[7] == int(data.ids[7].split("/")[1])
    assert (data.simulated, len(data.recording(7))) == (False, 50)


def test_n_mnist_says_what_is_missing(tmp_path):
    cfg = DataConfig(dataset="n-mnist", protocol="fine-tune", shots=None, fold=0)
    with pytest.raises(ValueError, match="needs a root"):
        load_dataset(cfg)
    with pytest.raises(FileNotFoundError, match="no file or folder 'nowhere'; looked for"):
        load_dataset(replace(cfg, root="nowhere"))
    (tmp_path / "n-mnist").mkdir()
    with pytest.raises(FileNotFoundError, match="1000 recordings of the folds are not in"):
        load_dataset(replace(cfg, root=str(tmp_path / "n-mnist")))
    with pytest.raises(ValueError, match=r"the tracked folds of n-mnist are \[0, 1, 2, 3, 4\]"):
        load_dataset(replace(cfg, root=str(tmp_path / "n-mnist"), fold=9))
    with pytest.raises(FileNotFoundError, match="Train and Test"):
        load_dataset(replace(cfg, root=str(tmp_path / "n-mnist"), fold=None))
    write_n_mnist(tmp_path / "n-mnist")
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(ValueError, match="is not a gzipped idx file"):
        load_dataset(replace(cfg, root=str(tmp_path / "n-mnist")))
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="MNIST stills of n-mnist are missing"):
        load_dataset(replace(cfg, root=str(tmp_path / "n-mnist")))


@pytest.mark.data
def test_real_n_mnist_pairs_with_its_stills(data_folder):
    """A digit's recording and its still cover the same place: their maps correlate."""
    data = load_dataset(
        DataConfig(dataset="n-mnist", root=str(data_folder / "n-mnist"), protocol="fine-tune", shots=None, fold=0)
    )
    assert len(data) == 1000
    events, still = data.recording(0).events, data.still(0)[..., 0]
    counts = np.zeros((34, 34))
    np.add.at(counts, (events["y"], events["x"]), 1)
    assert np.corrcoef(counts[3:31, 3:31].ravel(), still.ravel())[0, 1] > 0.3
