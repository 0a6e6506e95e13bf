import multiprocessing

import numpy as np
import pytest
import torch

from eclip_lib.config import FrameConfig
from eclip_lib.datasets import EventData
from eclip_lib.ecm import event_frames, frames_from_maps
from eclip_lib.events import EVENT_DTYPE, Recording
from eclip_lib.loader import collate_maps, map_loader

CFG = FrameConfig(size=16, frames=3, events_per_frame=40)


def recording_of(index, sensor_size=(9, 12)):
    rng = np.random.default_rng(index)
    events = np.zeros(20 + 10 * index, EVENT_DTYPE)
    events["x"], events["y"] = (rng.integers(0, side, len(events)) for side in sensor_size[::-1])
    events["t"], events["p"] = np.arange(len(events)), rng.random(len(events)) < 0.5
    return Recording(events, sensor_size)


@pytest.fixture
def data():
    return EventData(
        name="ten",
        simulated=True,
        class_names=("a", "b"),
        labels=np.arange(10) % 2,
        part=np.full(10, "train"),
        group=np.arange(10),
        ids=tuple("0123456789"),
        recording=recording_of,
        still=lambda index: np.zeros((1, 1, 3), np.uint8),
        key="ten",
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_draw_to_the_frames_of_each_recording_in_order(data, workers):
    indices = np.array([7, 0, 3, 9, 1])
    batches = list(map_loader(data, indices, CFG, batch_size=2, workers=workers))
    assert [len(labels) for _, _, labels in batches] == [2, 2, 1]
    assert torch.cat([labels for _, _, labels in batches]).tolist() == [1, 0, 1, 1, 1]
    frames = torch.cat([frames_from_maps(maps, valid, CFG) for maps, valid, _ in batches])
    flags = torch.cat([valid for _, valid, _ in batches])
    for index, drawn, present in zip(indices, frames, flags, strict=True):
        expected, valid = event_frames(recording_of(index), CFG)
        assert torch.equal(drawn, expected) and torch.equal(present, valid)


def test_counts_travel_at_8_bits_and_only_large_ones_at_32(data):
    (maps, _, _) = next(iter(map_loader(data, np.arange(4), CFG)))
    assert maps.dtype == torch.uint8
    sample = (np.full((1, 2, 3, 3), 300, np.uint16), np.array([True]), 0)
    mixed, _, _ = collate_maps([sample, (np.ones_like(sample[0]), np.array([True]), 1)])
    assert mixed.dtype == torch.int32 and mixed[0].max() == 300


def test_shuffling_is_the_seeds_and_differs_between_epochs(data):
    def orders(seed):
        loader = map_loader(data, np.arange(10), CFG, batch_size=10, shuffle=True, seed=seed)
        return [next(iter(loader))[0].sum((1, 2, 3, 4)).tolist() for _ in range(2)]

    first, again, other = orders(0), orders(0), orders(1)
    assert first == again and first[0] != first[1] and first != other
    assert sorted(first[0]) == sorted(other[0])


def test_sensors_of_two_sizes_are_named(data):
    samples = [(np.zeros((1, 2, *size), np.uint16), np.array([True]), 0) for size in ((4, 4), (5, 4))]
    with pytest.raises(ValueError, match=r"shapes \(1, 2, 4, 4\), \(1, 2, 5, 4\); all recordings of a batch must be"):
        collate_maps(samples)


def test_workers_need_a_system_that_forks(data, monkeypatch):
    monkeypatch.setattr("eclip_lib.loader.get_all_start_methods", lambda: ["spawn"])
    assert "spawn" in multiprocessing.get_all_start_methods()
    with pytest.raises(ValueError, match="workers = 2: this system cannot fork processes; use workers = 0"):
        map_loader(data, np.arange(4), CFG, workers=2)
    assert len(map_loader(data, np.arange(4), CFG, workers=0)) == 1


@pytest.mark.data
def test_real_files_stream(data_folder):
    from eclip_lib.config import DataConfig
    from eclip_lib.datasets import load_dataset

    data = load_dataset(DataConfig(dataset="n-mnist", root=str(data_folder / "n-mnist"), fold=0))
    cfg = FrameConfig(size=32, frames=5, events_per_frame=1000)
    for maps, valid, labels in map_loader(data, np.arange(8), cfg, batch_size=4, workers=1):
        assert maps.shape == (4, 5, 2, 34, 34) and maps.dtype == torch.uint8
        assert torch.equal(maps.sum((2, 3, 4)) > 0, valid) and valid.any(1).all() and labels.max() < 10
