import multiprocessing

import numpy as np
import pytest
import torch

from eclip_lib.config import FrameConfig, TrainConfig
from eclip_lib.data.inputs import load_frames
from eclip_lib.data.recordings import EventData
from eclip_lib.data.streaming import EventStream, collate_maps, map_loader
from eclip_lib.events.array import EVENT_DTYPE
from eclip_lib.events.recording import Recording
from eclip_lib.frames.drawing import event_frames, frames_from_maps

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
        has_still=np.full(10, True),
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
    monkeypatch.setattr("eclip_lib.data.streaming.get_all_start_methods", lambda: ["spawn"])
    assert "spawn" in multiprocessing.get_all_start_methods()
    with pytest.raises(ValueError, match="workers = 2: this system cannot fork processes; use workers = 0"):
        map_loader(data, np.arange(4), CFG, workers=2)
    assert len(map_loader(data, np.arange(4), CFG, workers=0)) == 1


def streamed(data, epoch=1, seed=0, cfg=CFG, **train):
    """Return the frames of rows 3, 0, 4 and 1 of five recordings, in two batches."""
    indices = np.array([7, 2, 3, 9, 1])
    stream = EventStream(data, indices, cfg, TrainConfig(**train), torch.from_numpy(data.labels[indices]))
    batches = [torch.tensor([3, 0]), torch.tensor([4, 1])]
    return [torch.cat(parts) for parts in zip(*stream.batches(batches, seed, epoch, torch.device("cpu")), strict=True)]


def test_a_stream_without_changes_has_the_frames_that_are_kept(data):
    frames, valid = streamed(data)
    kept = load_frames(data, np.array([7, 2, 3, 9, 1]), CFG)
    rows = torch.tensor([3, 0, 4, 1])
    assert torch.equal(frames, kept.frames(rows)) and torch.equal(valid, kept.valid[rows])


def test_frames_that_fill_the_memory_are_drawn_on_disk(data, monkeypatch, tmp_path):
    expected = load_frames(data, np.arange(5), CFG)
    monkeypatch.setattr("eclip_lib.cache.IN_MEMORY", 0)
    monkeypatch.setattr("eclip_lib.cache.CACHE", tmp_path / "other")
    for _ in range(2):  # drawn, then read again
        found = load_frames(data, np.arange(5), CFG)
        assert isinstance(found.pixels, np.memmap)
        assert np.array_equal(found.pixels, expected.pixels) and torch.equal(found.valid, expected.valid)
    assert [path.suffix for path in (tmp_path / "other").rglob("*") if path.is_file()] == [".npy"]


def test_changes_are_the_same_for_any_number_of_workers_and_differ_between_epochs(data):
    changes = {"drop_events": 0.6, "crop_time": 0.4, "jitter_us": 3}
    first, two, none = (streamed(data, workers=workers, **changes) for workers in (1, 2, 0))
    for one, other, third in zip(first, two, none, strict=True):
        assert torch.equal(one, other) and torch.equal(one, third)
    assert not torch.equal(first[0], streamed(data, epoch=2, **changes)[0])
    assert not torch.equal(first[0], streamed(data, seed=1, **changes)[0])
    assert not torch.equal(first[0], streamed(data)[0])


def test_a_recording_without_a_frame_after_its_changes_is_taken_as_it_is(data):
    late = FrameConfig(size=16, frames=1, events_per_frame=40, start=28)  # of 30 events, hardly one is in the window
    frames, valid = streamed(data, cfg=late, drop_events=0.9)
    assert valid.all()
    assert torch.equal(frames[2], streamed(data, cfg=late)[0][2])


def test_a_stream_draws_no_random_numbers_of_the_training(data):
    before = torch.get_rng_state()
    streamed(data, workers=1, drop_events=0.5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.data
def test_real_files_stream(data_folder):
    from eclip_lib.config import DataConfig
    from eclip_lib.data.loading import load_dataset

    data = load_dataset(DataConfig(dataset="n-mnist", root=str(data_folder / "n-mnist"), fold=0))
    cfg = FrameConfig(size=32, frames=5, events_per_frame=1000)
    for maps, valid, labels in map_loader(data, np.arange(8), cfg, batch_size=4, workers=1):
        assert maps.shape == (4, 5, 2, 34, 34) and maps.dtype == torch.uint8
        assert torch.equal(maps.sum((2, 3, 4)) > 0, valid) and valid.any(1).all() and labels.max() < 10
