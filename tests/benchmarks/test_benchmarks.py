"""The contenders of a benchmark do the same work, and the tools that time them say what they measured."""

import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from eclip_lib.frames.counting import count_maps
from eclip_lib.paths import ROOT
from tests.benchmarks import bench_count_maps, bench_encoder, bench_frames, bench_loader, bench_scaling
from tests.benchmarks.recordings import camera_recording, random_recording
from tests.benchmarks.timing import side_by_side, table, verdict

N, Q, SENSOR = 5000, 1000, (180, 240)


@pytest.mark.parametrize("make", [camera_recording, random_recording])
def test_every_way_to_count_gives_the_same_maps(make):
    recording = make(N)
    results = {name: way() for name, way in bench_count_maps.contenders(recording, Q).items()}
    maps = count_maps(recording, Q, N // Q)
    assert maps.sum() == N and maps.shape == (N // Q, 2, *SENSOR)
    for name in (bench_count_maps.OURS, bench_count_maps.ADD_AT, bench_count_maps.ADD_AT_FIELDS):
        assert np.array_equal(results[name], maps), name
    for name in (bench_count_maps.BINCOUNT, bench_count_maps.BINCOUNT_ALL):
        assert np.array_equal(results[name].reshape(maps.shape), maps), name
    assert np.array_equal(results[bench_count_maps.TONIC][:, ::-1], maps), "tonic has OFF first"
    assert np.array_equal(results[bench_count_maps.EVLIB][:, ::-1], maps), "evlib has OFF first"
    sparse = np.zeros_like(maps)
    for window, p, y, x, count in results[bench_count_maps.EVLIB_TABLE].iter_rows():
        sparse[window, 1 - p, y, x] = count
    assert np.array_equal(sparse, maps)
    assert np.array_equal(results[bench_count_maps.COPY], recording.events.view(np.uint8))


def test_both_image_towers_see_the_same_frames(clip):
    frames = torch.rand(2, 3, 3, 48, 48)
    ways = bench_encoder.contenders(clip, "workbench", frames)
    plain = ways["open_clip"]().unflatten(0, (2, 3)).mean(1)
    assert torch.allclose(ways["ours"](), plain, atol=1e-5)
    model = bench_encoder.event_model(clip, "paper")
    assert bench_encoder.tokens(clip, model) == (37, 54)
    less = bench_encoder.event_model(clip, "paper", gradient_checkpointing=True)
    assert bench_encoder.kept_bytes(less, frames) < bench_encoder.kept_bytes(model, frames) / 3


def test_the_naive_way_gives_the_same_frames(tmp_path):
    path = bench_frames.write_sample(tmp_path)
    naive, ours = bench_frames.naive_frames(path), bench_frames.our_frames(path)
    assert ours.shape == (5, 3, 224, 224) and ours.std() > 0.1
    assert torch.allclose(naive, ours, atol=1e-6)
    colored = torch.rand(5, 3, *SENSOR)
    assert torch.allclose(bench_frames.torch_resize(colored), bench_frames.resize(colored, 224), atol=1e-6)


def test_the_memory_of_count_maps_does_not_grow_with_the_events():
    ways = [bench_scaling.contenders(random_recording(n))["maps"] for n in (10_000, 300_000)]
    for way in ways:
        way()  # compiles
    few, many = map(bench_scaling.peak_bytes, ways)
    assert few < 1.1 * 5 * 2 * 180 * 240 * 2 and many < few + 100_000


def test_loaders_ship_the_same_recordings(tmp_path):
    data = bench_loader.files_data([bench_frames.write_sample(tmp_path)] * 2, SENSOR)
    loaders = bench_loader.loaders(data, bench_frames.CFG)
    frames, valid, _ = next(iter(loaders[bench_loader.FRAMES, 0]))
    maps, map_valid, _ = next(iter(loaders[bench_loader.MAPS, 0]))
    drawn = bench_loader.frames_from_maps(maps, map_valid, bench_frames.CFG)
    assert torch.equal(drawn[:2], frames) and torch.equal(map_valid[:2], valid)
    assert (
        bench_loader.epoch(loaders[bench_loader.MAPS, 0])()
        == 2 * bench_loader.PASSES[bench_loader.MAPS] * maps[0].nbytes
    )


def test_times_are_of_one_call_and_in_proportion():
    times = side_by_side({"short": lambda: time.sleep(0.002), "long": lambda: time.sleep(0.006)}, seconds=0.1)
    assert 0.002 <= times["short"] < times["long"] and times["long"] >= 0.006


def test_a_table_and_a_verdict_by_hand():
    text = table(["", "ms"], [["a", "1.0"], ["bc", "20"]])
    assert text.splitlines()[0].split("|")[2].strip() == "ms" and text.splitlines()[1].endswith(":|")
    assert (
        verdict("a", 4.9, 5) == "- a: 4.9x, goal 5x: MISSED." and verdict("a", 5, 5) == "- a: 5.0x, goal 5x: reached."
    )


def test_an_unknown_benchmark_is_named():
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "speed"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "no benchmark speed; there are" in done.stderr and "count_maps" in done.stderr
