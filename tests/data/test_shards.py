"""Shards hold what the files hold, for our reader and for WebDataset's."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import webdataset as wds

from eclip_lib.config import DataConfig, FrameConfig
from eclip_lib.data.loading import list_files, load_dataset
from eclip_lib.data.shards import pack
from eclip_lib.data.streaming import map_loader
from eclip_lib.events.files import read_events
from tests.support.dataset_files import write_recordings, write_stills

FILES = [
    f"{part}/{name}/{i}.npz" for part in ("train", "val", "test") for name in ("cup", "red_kite") for i in range(6)
]


@pytest.fixture
def folder(tmp_path):
    """Return the config of a folder in three parts; one of its recordings has no still."""
    write_recordings(tmp_path / "data", FILES, (480, 640))
    write_stills(tmp_path / "data", [file.replace(".npz", ".png") for file in FILES[1:]])
    return DataConfig("folder", root=str(tmp_path / "data"), protocol="fine-tune", shots=None)


@pytest.fixture
def packed(folder, tmp_path):
    """Return the config of its shards, of about five recordings each."""
    with pytest.warns(UserWarning, match="1 recordings have no still"):
        files = list_files(folder)
    pack(files, tmp_path / "shards", shard_bytes=8000)
    return replace(folder, root=str(tmp_path / "shards"))


@pytest.mark.filterwarnings("ignore:1 recordings have no still")
def test_shards_load_as_the_data_set_of_their_files(folder, packed):
    files, shards = load_dataset(folder), load_dataset(packed)
    for name in ("name", "simulated", "class_names", "ids"):
        assert getattr(files, name) == getattr(shards, name)
    for name in ("labels", "part", "group", "has_still"):
        assert np.array_equal(getattr(files, name), getattr(shards, name)), name
    for i in range(len(files)):
        assert np.array_equal(files.recording(i).events, shards.recording(i).events)
        assert files.recording(i).sensor_size == shards.recording(i).sensor_size
        assert not files.has_still[i] or np.array_equal(files.still(i), shards.still(i))
    (bare,) = np.flatnonzero(~shards.has_still)
    with pytest.raises(ValueError, match=r"recording train/cup/0\.npz has no still"):
        shards.still(bare)


def test_webdataset_reads_the_same_samples(packed, tmp_path):
    data, paths = load_dataset(packed), sorted(map(str, (tmp_path / "shards").glob("train-*.tar")))
    assert len(paths) > 1
    samples = list(wds.WebDataset(paths, shardshuffle=False).decode("rgb8"))
    assert sorted(sample["json"]["id"] for sample in samples) == sorted(np.array(data.ids)[data.part == "train"])
    for sample in samples:
        index = int(sample["__key__"])
        assert (data.ids[index], data.labels[index]) == (sample["json"]["id"], sample["cls"])
        assert data.class_names[sample["cls"]] == sample["json"]["class"]
        assert np.array_equal(sample["npz"]["event_data"]["t"], data.recording(index).events["t"])
        assert ("png" in sample) == data.has_still[index]
        assert "png" not in sample or np.array_equal(sample["png"], data.still(index))


def test_a_shard_mixes_classes(packed, tmp_path):
    first = list(wds.WebDataset(str(tmp_path / "shards/train-000000.tar"), shardshuffle=False).decode())
    assert {sample["cls"] for sample in first} == {0, 1}
    labels = [sample["cls"] for sample in first]
    assert labels not in (sorted(labels), sorted(labels, reverse=True))


@pytest.mark.filterwarnings("ignore:1 recordings have no still")
def test_the_same_files_give_the_same_shards_and_other_files_another_key(folder, packed, tmp_path):
    pack(list_files(folder), tmp_path / "again", shard_bytes=8000)
    for path in (tmp_path / "shards").glob("*.tar"):
        assert (
            hashlib.sha256(path.read_bytes()).digest()
            == hashlib.sha256((tmp_path / "again" / path.name).read_bytes()).digest()
        )
    key = load_dataset(packed).key
    assert load_dataset(replace(packed, root=str(tmp_path / "again"))).key == key
    write_stills(tmp_path / "data", ["train/cup/2.png", "train/cup/1.png"])
    pack(list_files(folder), tmp_path / "other")
    assert load_dataset(replace(packed, root=str(tmp_path / "other"))).key != key


def test_n_mnist_shards_hold_headerless_files_stills_of_idx_files_and_a_fold(tmp_path):
    from tests.data.test_loading import write_n_mnist

    write_n_mnist(tmp_path / "n-mnist")
    cfg = DataConfig("n-mnist", root=str(tmp_path / "n-mnist"), protocol="fine-tune", shots=None, fold=2)
    pack(list_files(cfg), tmp_path / "shards", fold=2)
    files, shards = load_dataset(cfg), load_dataset(replace(cfg, root=str(tmp_path / "shards")))
    assert files.ids == shards.ids and np.array_equal(files.part, shards.part)
    assert shards.recording(5).sensor_size == (34, 34)
    for i in (0, 5, 999):
        assert np.array_equal(files.recording(i).events, shards.recording(i).events)
        assert np.array_equal(files.still(i), shards.still(i))
    with pytest.raises(ValueError, match="shards of fold 2, but the config has 3"):
        load_dataset(replace(cfg, root=str(tmp_path / "shards"), fold=3))


def test_workers_that_share_open_shards_do_not_disturb_each_other(packed):
    data, indices, cfg = load_dataset(packed), np.tile(np.arange(len(FILES)), 5), FrameConfig(size=8, frames=1)
    data.recording(0)  # a shard is open before the fork
    batches = [list(map_loader(data, indices, cfg, batch_size=4, workers=workers)) for workers in (0, 2)]
    for alone, shared in zip(*batches, strict=True):
        assert alone[0].equal(shared[0]) and alone[0].sum() == 50 * len(alone[0])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"dataset": "n-imagenet"}, "shards of dataset 'folder', but the config has 'n-imagenet'"),
        ({"splits": "lists"}, "splits = 'lists': the shards in .* have their own"),
        ({"stills": "pngs"}, "stills = 'pngs': the shards in .* have their own"),
    ],
)
def test_a_config_that_the_shards_do_not_hold_is_refused(packed, fields, said):
    with pytest.raises(ValueError, match=said):
        load_dataset(replace(packed, **fields))


def test_damaged_shards_are_told(packed, tmp_path):
    shards, shard = tmp_path / "shards", tmp_path / "shards/train-000000.tar"

    def said(error, text):
        with pytest.raises(error, match=text):
            load_dataset(packed)

    data, content = load_dataset(packed), shard.read_bytes()
    number = next(i for i in range(len(data)) if data.part[i] == "train" and b"%09d.npz" % i in content)
    start = content.index(b"%09d.npz" % number) + 512
    shard.write_bytes(content[:start] + b"damaged!" * 8 + content[start + 64 :])
    with pytest.raises(ValueError, match=rf"^{data.ids[number]} in .*shards/train-000000\.tar: "):
        load_dataset(packed).recording(number)
    shard.write_bytes(content[: start + 10])
    with pytest.raises(ValueError, match=r"train-000000\.tar: the shard is cut"):
        data.recording(number)
    said(ValueError, r"1 shards in .* are not as long as when packed: train-000000\.tar")
    shard.unlink()
    said(FileNotFoundError, r"1 of \d+ shards are not in .*: train-000000\.tar")
    index = (shards / "index.npz").read_bytes()
    (shards / "index.npz").write_bytes(index[:100])
    said(ValueError, r"index\.npz is damaged")
    (shards / "index.npz").unlink()
    said(FileNotFoundError, r"index\.npz is missing")
    header = json.loads((shards / "shards.json").read_text())
    for text, what in [("{", "Expecting"), ("{}", "version"), (json.dumps(header | {"version": 9}), "version 9")]:
        (shards / "shards.json").write_text(text)
        said(ValueError, rf"shards\.json is not what `eclip data pack` writes: .*{what}")


@pytest.mark.filterwarnings("ignore:1 recordings have no still")
def test_packing_refuses_what_it_would_spoil(folder, packed, tmp_path):
    with pytest.raises(ValueError, match="has shards already"):
        pack(list_files(folder), tmp_path / "shards")
    with pytest.raises(ValueError, match="which are packed already"):
        list_files(packed)
    files = list_files(folder)
    (tmp_path / "new").mkdir()
    (tmp_path / "new/train-000000.tar").write_bytes(b"of an interrupted run")
    with pytest.raises(ValueError, match="new is not empty"):
        pack(files, tmp_path / "new")
    (tmp_path / "new/train-000000.tar").unlink()
    (tmp_path / "data" / FILES[3]).write_bytes(b"")
    with pytest.raises(ValueError, match=r"has 0 bytes, a shard takes 1 to"):
        pack(files, tmp_path / "new")
    assert not (tmp_path / "new/shards.json").exists()


@pytest.mark.data
def test_real_recordings_of_all_forms_survive(tmp_path, data_folder):
    cfg = DataConfig("n-caltech101", root=str(data_folder / "n-caltech101"), protocol="fine-tune", shots=None)
    with pytest.warns(UserWarning, match="recordings of 1 of the 101"):
        header = pack(list_files(cfg), tmp_path)
    assert (header["recordings"], header["stills"]) == (1, 1)
    data = load_dataset(replace(cfg, root=str(tmp_path)))
    original = read_events(data_folder / "n-caltech101/Faces_easy/image_0001.bin", (180, 240))
    assert np.array_equal(data.recording(0).events, original.events)
