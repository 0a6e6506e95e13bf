"""Recordings to look at, and the code that makes them and their frames again."""

import numpy as np
import pytest
import torch
from PIL import Image

from eclip_lib.config import FrameConfig
from eclip_lib.data.embedded_stills import icons100
from eclip_lib.events.files import write_events
from eclip_lib.frames.drawing import event_frames
from eclip_lib.views.samples import (
    embedded_sample,
    file_sample,
    load_sample,
    sample_names,
    sensor_of,
    snippet,
    uploaded_sample,
)

CONFIGS = {
    "defaults": FrameConfig(),
    "by count": FrameConfig(
        size=64, frames=4, events_per_frame=90, overlap=0.5, start=7, polarity="on", color="signed"
    ),
    "by time": FrameConfig(window_us=20_000, windows="spread", color="gray", keep_aspect=True, start=30_500),
}


def frames_of(code: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Run pasted code, and return its frames."""
    names = {}
    exec(code, names)
    return names["frames"], names["valid"]


def same(one: tuple[torch.Tensor, torch.Tensor], other: tuple[torch.Tensor, torch.Tensor]) -> bool:
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


@pytest.fixture
def saved(tmp_path, recording):
    """Return a recording as a .bin file, which does not hold the sensor's size."""
    write_events(tmp_path / "mine.bin", recording)
    return tmp_path / "mine.bin"


@pytest.mark.parametrize("cfg", CONFIGS.values(), ids=CONFIGS)
def test_the_snippet_of_a_file_makes_the_same_frames(saved, cfg):
    sample = file_sample(saved, (24, 32))
    assert same(frames_of(snippet(sample, cfg)), event_frames(sample.recording, cfg))


@pytest.mark.parametrize("seed", [0, 3])
def test_the_snippet_of_a_sample_makes_the_same_frames(seed):
    sample = embedded_sample("umbrella", seed)
    cfg = FrameConfig(events_per_frame=500)
    assert same(frames_of(snippet(sample, cfg)), event_frames(sample.recording, cfg))


def test_the_snippet_of_an_upload_reads_the_file_of_that_name(saved, monkeypatch):
    sample = uploaded_sample("mine.bin", saved.read_bytes(), (24, 32))
    monkeypatch.chdir(saved.parent)
    assert same(frames_of(snippet(sample, FrameConfig())), event_frames(sample.recording, FrameConfig()))


@pytest.mark.parametrize("where", ["current", "project", "home"])
def test_the_snippet_of_a_file_runs_in_any_folder(saved, monkeypatch, tmp_path_factory, where):
    monkeypatch.setenv("HOME", str(saved.parent))
    monkeypatch.setattr("eclip_lib.paths.ROOT", saved.parent if where == "project" else tmp_path_factory.mktemp("no"))
    monkeypatch.chdir(saved.parent if where == "current" else tmp_path_factory.mktemp("notebooks"))
    sample = file_sample("~/mine.bin" if where == "home" else "mine.bin", (24, 32))
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert same(frames_of(snippet(sample, FrameConfig())), event_frames(sample.recording, FrameConfig()))


def test_only_fields_that_differ_are_spelled_out():
    code = snippet(embedded_sample("cat"), FrameConfig(frames=5, color="gray"))
    assert "FrameConfig(frames=5, color='gray')" in code


def test_a_sample_is_a_still_of_its_class_that_no_model_was_trained_on():
    sample, stills = embedded_sample("guitar"), icons100()
    guitars = stills.select(stills.table["cls"] == "guitar")
    same = [i for i in range(len(guitars)) if np.array_equal(guitars.image(i), sample.still)]
    assert guitars.table["split"][same[0]] == "test"
    assert sample.name == "guitar (simulated)"


def test_every_class_has_a_sample():
    table = icons100().table
    assert set(table.loc[table["split"] == "test", "cls"]) >= set(sample_names())


def test_parameters_choose_a_file_before_a_sample(saved):
    Image.new("RGB", (4, 3), "red").save(saved.parent / "still.png")
    sample = load_sample("guitar", str(saved), str(saved.parent / "still.png"), 24, 32)
    assert sample.recording.sensor_size == (24, 32)
    assert sample.still.shape == (3, 4, 3)
    assert load_sample("cat").name == "cat (simulated)"


@pytest.mark.parametrize(
    ("action", "kind", "message"),
    [
        (lambda folder: embedded_sample("guitarre"), ValueError, "no embedded sample 'guitarre'; there are"),
        (lambda folder: file_sample(folder / "none.bin", (9, 9)), FileNotFoundError, "none.bin"),
        (lambda folder: file_sample(folder / "mine.bin"), ValueError, "sensor_size"),
        (lambda folder: file_sample(folder / "mine.bin", (24, 32), folder / "mine.bin"), ValueError, "not an image"),
        (lambda folder: load_sample("cat", still_file="x.png"), ValueError, "without a recording_file"),
        (lambda folder: load_sample("cat", str(folder / "mine.bin"), None, 24), ValueError, "give both sides"),
        (lambda folder: sensor_of(None, 3), ValueError, "height = None, width = 3"),
    ],
)
def test_what_cannot_be_opened_is_named(saved, action, kind, message):
    with pytest.raises(kind, match=message):
        action(saved.parent)


def test_a_bad_upload_is_named_as_the_user_knows_it():
    with pytest.raises(ValueError, match=r"^mine\.bin: ") as caught:
        uploaded_sample("mine.bin", b"1234567", (24, 32))
    assert "tmp" not in str(caught.value)


def test_an_upload_cannot_leave_its_folder(tmp_path, saved):
    assert uploaded_sample("../../mine.bin", saved.read_bytes(), (24, 32)).name == "mine.bin"


@pytest.mark.parametrize("upload", [False, True], ids=["path", "upload"])
def test_bad_events_are_dropped_on_request_and_it_is_told(saved, monkeypatch, upload):
    monkeypatch.chdir(saved.parent)
    size = (24, 20)  # of a narrower sensor than the one that recorded
    read = (
        (lambda **how: uploaded_sample("mine.bin", saved.read_bytes(), size, **how))
        if upload
        else (lambda **how: file_sample("mine.bin", size, **how))
    )
    with pytest.raises(ValueError, match="outside 0 to 19"):
        read()
    sample = read(on_error="drop")
    assert 0 < len(sample.recording) < 1000
    assert "mine.bin" in sample.note
    assert str(1000 - len(sample.recording)) in sample.note
    assert "tmp" not in sample.note or not upload
    with pytest.warns(UserWarning, match="mine"):
        assert same(frames_of(snippet(sample, FrameConfig())), event_frames(sample.recording, FrameConfig()))
