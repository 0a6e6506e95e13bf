"""The explorer: every control changes what is shown, and what goes wrong is said and changes nothing."""

import dataclasses
import html
import json
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from eclip_lib.config import FrameConfig
from eclip_lib.events.array import EVENT_DTYPE
from eclip_lib.events.files import write_events
from eclip_lib.events.recording import Recording
from eclip_lib.frames.drawing import event_frames
from eclip_lib.frames.export import compose_strip
from eclip_lib.views import widgets
from eclip_lib.views.explorer.controls import EVENTS, PARTS, TIME, Controls
from eclip_lib.views.explorer.live_figure import boxes, gates
from eclip_lib.views.explorer.panel import Explorer
from eclip_lib.views.samples import file_sample, snippet
from tests.benchmarks.bench_explorer import measure

CONFIGS = {
    "parts": FrameConfig(frames=2, start=100),
    "events": FrameConfig(size=100, events_per_frame=77, overlap=0.25, start=5, polarity="off", color="gray"),
    "spread": FrameConfig(events_per_frame=77, windows="spread", keep_aspect=True),
    "time": FrameConfig(window_us=12_300, frames=8, overlap=0.5, start=40_000, color="eventclip"),
    "spread parts": FrameConfig(windows="spread"),
    "a short time": FrameConfig(window_us=50, start=33),
    "one microsecond": FrameConfig(window_us=1, start=299_999),
    "more events than there are": FrameConfig(events_per_frame=20_000, start=5000),
    "a longer time than there is": FrameConfig(window_us=900_000_000, start=700_000),
}
CHANGES = {
    "cut": TIME,
    "events": 40,
    "frames": 5,
    "start_events": 300,
    "windows": "spread",
    "overlap": 0.5,
    "color": "gray",
    "polarity": "on",
    "size": 128,
    "keep_aspect": True,
}


@pytest.fixture
def sample(tmp_path, recording):
    write_events(tmp_path / "first.npz", recording)
    return file_sample(tmp_path / "first.npz")


@pytest.fixture
def explorer(sample, tmp_path):
    return Explorer(sample, FrameConfig(events_per_frame=100), tmp_path / "kept")


def shown(explorer, which: int = 0) -> np.ndarray:
    """Return the strip that a user sees."""
    return np.asarray(Image.open(BytesIO(explorer.settings[which].image.value)))


def expected(sample, cfg: FrameConfig, labels) -> np.ndarray:
    frames, valid = event_frames(sample.recording, cfg)
    return np.asarray(compose_strip(frames.numpy(), valid.numpy(), labels))


@pytest.mark.parametrize("cfg", CONFIGS.values(), ids=CONFIGS)
def test_controls_are_set_to_a_config_and_give_it_back(recording, cfg):
    assert Controls(cfg, recording, pytest.fail).config() == cfg


@pytest.mark.parametrize("name", CHANGES)
def test_each_control_changes_the_frames_once(explorer, sample, name, monkeypatch):
    setting, before = explorer.settings[0], shown(explorer)
    drawn = []
    monkeypatch.setattr(explorer, "_draw", lambda setting, draw=explorer._draw: drawn.append(setting) or draw(setting))
    getattr(setting.controls, name).value = CHANGES[name]
    assert drawn == [setting]
    assert not np.array_equal(shown(explorer), before)
    assert np.array_equal(shown(explorer), expected(sample, setting.controls.config(), setting.labels))


def test_the_longest_window_holds_the_whole_recording(explorer, recording):
    controls = explorer.settings[0].controls
    controls.cut.value, controls.frames.value = TIME, 1
    controls.length_ms.value = controls.length_ms.max
    assert f"{len(recording):,} events" in explorer.settings[0].labels[0]


def test_a_slider_without_an_effect_is_hidden_or_disabled(explorer):
    controls = explorer.settings[0].controls
    seen = {}
    for cut in (PARTS, EVENTS, TIME):
        controls.cut.value = cut
        seen[cut] = [controls.events.layout.display, controls.length_ms.layout.display, controls.overlap.disabled]
    assert seen == {PARTS: ["none", "none", True], EVENTS: [None, "none", False], TIME: ["none", None, False]}
    controls.windows.value = "spread"
    assert controls.overlap.disabled


def test_two_settings_stand_side_by_side_and_change_alone(explorer, sample):
    second = explorer.settings[1]
    assert second.strip.layout.display == "none"
    explorer.compare.value = True
    assert second.strip.layout.display is None
    assert np.array_equal(shown(explorer, 1), shown(explorer, 0))
    before = shown(explorer, 0)
    second.controls.color.value = "gray"
    assert np.array_equal(shown(explorer, 0), before)
    assert np.array_equal(shown(explorer, 1), expected(sample, second.controls.config(), second.labels))
    explorer.compare.value = False
    assert second.strip.layout.display == "none"
    assert len(explorer.figure.data[6].x) == 0


def test_a_hidden_setting_costs_nothing(explorer, monkeypatch):
    monkeypatch.setattr(explorer.settings[1], "draw", pytest.fail)
    explorer.settings[1].controls.frames.value = 6


def test_the_figure_shows_the_recording_and_its_windows(explorer, recording):
    on, off, gate, rate, _, windows, _ = explorer.figure.data
    assert len(on.x) + len(off.x) == len(recording)
    assert list(on.x) == list(recording.events["x"][recording.events["p"]])
    assert np.nanmax(gate.x) == 32
    assert np.nanmax(windows.x) == pytest.approx((recording.events["t"][299] - recording.events["t"][0]) / 1000)
    assert len(windows.x) == 3 * 6
    explorer.settings[0].controls.frames.value = 2
    assert len(windows.x) == 2 * 6
    assert np.nansum(rate.y) > 0
    with_events(explorer, 400, frames=5)  # windows of 400, 400 and 200 events; two are missing
    assert len(windows.x) == 3 * 6
    assert len(gate.x) == 6 * 6


def with_events(explorer, events: int, frames: int) -> None:
    """Set windows by count."""
    explorer.settings[0].controls.events.value = events
    explorer.settings[0].controls.frames.value = frames


def test_boxes_and_gates_by_hand():
    times = np.array([[0.0, 2.0], [2.0, 5.0]])
    drawn = boxes(times, 7)
    assert drawn["x"].tolist()[:5] == [0, 0, 2, 2, 0]
    assert drawn["y"].tolist()[:5] == [0, 7, 7, 0, 0]
    assert np.isnan([drawn["x"][5], drawn["y"][5]]).all()
    gate = gates(times, (3, 4))
    assert gate["y"].tolist() == [0.0] * 6 + [2.0] * 6 + [5.0] * 6
    assert gate["x"].tolist()[:5] == [0, 4, 4, 0, 0]
    assert gate["z"].tolist()[:5] == [0, 0, 3, 3, 0]
    assert len(boxes(np.empty((0, 2)), 7)["x"]) == 0


def test_another_recording_is_picked_and_the_ranges_follow(explorer):
    explorer.sources.picker.value = "guitar"
    assert explorer.message.value.startswith("guitar (simulated): ")
    assert explorer.settings[0].controls.events.max == len(explorer.sample.recording)
    assert explorer.still.value
    assert explorer.still.layout.display is None
    assert "embedded_sample('guitar')" in explorer.snippet.value


@pytest.mark.parametrize(
    "cfg", [FrameConfig(events_per_frame=400, start=90), FrameConfig(window_us=110_000, start=20_000), FrameConfig()]
)
def test_a_short_recording_in_between_changes_no_setting(sample, cfg):
    explorer = Explorer(sample, cfg)
    strip, snippets = shown(explorer), explorer.snippet.value
    short = dataclasses.replace(sample.recording, events=sample.recording.events[:50])
    explorer.open(lambda: dataclasses.replace(sample, recording=short, name="short"))
    assert explorer.message.value.startswith("short: ")
    assert explorer.settings[0].controls.config() == cfg
    assert np.array_equal(shown(explorer), expected(explorer.sample, cfg, explorer.settings[0].labels))
    explorer.open(lambda: sample)
    assert explorer.settings[0].controls.config() == cfg
    assert np.array_equal(shown(explorer), strip)
    assert explorer.snippet.value == snippets


def test_what_no_one_has_set_follows_the_recording(explorer, sample):
    """The length in ms is a third of the recording until it is set; the number of events is the user's."""
    controls = explorer.settings[0].controls
    short = dataclasses.replace(sample.recording, events=sample.recording.events[:50])
    explorer.open(lambda: dataclasses.replace(sample, recording=short))
    assert controls.length_ms.value == pytest.approx(short.duration / 3000, abs=0.05)
    assert controls.length_ms.max < 30
    assert controls.events.value == controls.events.max == 100
    controls.length_ms.value = 2.5
    explorer.open(lambda: sample)
    assert controls.length_ms.value == 2.5
    assert controls.length_ms.max > 290
    assert controls.events.max == 1000


def test_a_length_that_is_used_is_set_even_if_no_one_has_moved_it(explorer, sample):
    controls = explorer.settings[0].controls
    controls.cut.value = TIME
    used = controls.config()
    short = dataclasses.replace(sample.recording, events=sample.recording.events[:50])
    explorer.open(lambda: dataclasses.replace(sample, recording=short))
    assert controls.config() == used


@pytest.mark.parametrize(("cfg", "step"), [(FrameConfig(window_us=200), 0.1), (FrameConfig(window_us=250), 0.001)])
def test_the_ms_sliders_have_steps_that_hit_the_config(recording, cfg, step):
    controls = Controls(cfg, recording, pytest.fail)
    for slider in (controls.length_ms, controls.start_ms):
        assert slider.step == step
        assert (slider.value - slider.min) / step == pytest.approx(round((slider.value - slider.min) / step), abs=1e-6)
        assert float(format(slider.value, slider.readout_format)) == slider.value


def test_the_cloud_shows_the_polarity_that_is_counted(explorer, recording):
    on, off = explorer.figure.data[:2]
    controls = explorer.settings[0].controls
    number = int(recording.events["p"].sum())
    seen = {}
    for polarity in ("on", "off", "both"):
        controls.polarity.value = polarity
        seen[polarity] = [on.visible, off.visible, explorer.figure.layout.title.text]
    assert seen == {
        "on": [True, "legendonly", f"1,000 events, {number} shown"],
        "off": ["legendonly", True, f"1,000 events, {1000 - number} shown"],
        "both": [True, True, "1,000 events"],
    }
    explorer.compare.value = True
    explorer.settings[1].controls.polarity.value = "off"
    assert on.visible is True, "the cloud is A's, like the windows in it"
    controls.polarity.value = "on"
    explorer.open(lambda: explorer.sample)
    assert off.visible == "legendonly"


def test_a_path_and_an_upload_are_opened(explorer, tmp_path, recording):
    short = dataclasses.replace(recording, events=recording.events[:50])
    write_events(tmp_path / "short.bin", short)
    explorer.sources.height.value, explorer.sources.width.value = 24, 32
    explorer.sources.path.value = str(tmp_path / "short.bin")
    explorer.sources.open_path.click()
    assert len(explorer.sample.recording) == 50
    write_events(tmp_path / "other.npz", recording)
    explorer.sources.height.value = explorer.sources.width.value = 0
    upload(explorer, "other.npz", (tmp_path / "other.npz").read_bytes())
    assert len(explorer.sample.recording) == 1000
    assert explorer.sample.name == "other.npz"
    assert explorer.sources.upload.value == ()


def test_a_path_is_opened_when_it_is_entered_and_again_with_its_still(explorer, tmp_path, recording):
    write_events(tmp_path / "a.npz", recording)
    Image.new("L", (8, 6), 200).save(tmp_path / "still.png")
    explorer.sources.path.value = str(tmp_path / "a.npz")
    assert len(explorer.sample.recording) == 1000
    assert explorer.sample.still is None
    explorer.sources.still.value = str(tmp_path / "still.png")
    assert explorer.sample.still.shape == (6, 8, 3)
    explorer.sources.path.value = ""
    assert len(explorer.sample.recording) == 1000


def test_advice_is_given_in_words_of_the_widget(explorer, tmp_path, recording):
    write_events(tmp_path / "a.bin", recording)
    explorer.sources.path.value = str(tmp_path / "a.bin")
    assert "fill in the sensor&#x27;s height and width" in explorer.message.value
    explorer.sources.height.value = explorer.sources.width.value = 99
    write_events(tmp_path / "a.npz", recording)
    explorer.sources.path.value = str(tmp_path / "a.npz")
    assert "set the sensor&#x27;s height and width to 0" in explorer.message.value
    assert "sensor_size=" not in explorer.message.value


def test_bad_events_are_dropped_on_request(explorer, tmp_path, recording):
    write_events(tmp_path / "wide.bin", recording)
    explorer.sources.path.value = str(tmp_path / "wide.bin")
    explorer.sources.height.value, explorer.sources.width.value = 24, 20
    explorer.sources.open_path.click()
    assert "outside 0 to 19" in explorer.message.value
    explorer.sources.repair.value = True
    explorer.sources.open_path.click()
    assert f"{len(explorer.sample.recording)} events in" in explorer.message.value
    assert explorer.sample.note in html.unescape(explorer.message.value)
    assert "on_error='drop'" in explorer.snippet.value


def upload(explorer, name: str, content: bytes) -> None:
    """Send a file as a browser does."""
    file = {"name": name, "type": "", "size": len(content), "content": memoryview(content), "last_modified": 0}
    explorer.sources._on_upload({"new": ({**file},)})


def broken(explorer, folder):
    (folder / "bad.npz").write_bytes(b"PK nonsense")
    explorer.sources.path.value = str(folder / "bad.npz")
    explorer.sources.open_path.click()


def missing(explorer, folder):
    explorer.sources.path.value = str(folder / "none.npz")
    explorer.sources.open_path.click()


def nothing(explorer, folder):
    explorer.sources.path.value = " "
    explorer.sources.open_path.click()


def half_a_sensor(explorer, folder):
    explorer.sources.height.value = 24
    explorer.sources.path.value = str(folder / "first.npz")
    explorer.sources.open_path.click()


def bad_upload(explorer, folder):
    upload(explorer, "<b>bad.bin", b"1234567")


MISTAKES = {
    broken: "bad.npz",
    missing: "none.npz",
    nothing: "no path given",
    half_a_sensor: "give both sides",
    bad_upload: "&lt;b&gt;bad.bin",
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_said_and_the_recording_stays(explorer, tmp_path, mistake, capsys):
    before, strip = explorer.sample, shown(explorer)
    mistake(explorer, tmp_path)
    assert MISTAKES[mistake] in explorer.message.value
    assert "\N{WARNING SIGN}" in explorer.message.value
    assert explorer.sample is before
    assert np.array_equal(shown(explorer), strip)
    assert capsys.readouterr() == ("", "")
    explorer.settings[0].controls.frames.value = 4
    assert "\N{WARNING SIGN}" not in explorer.message.value


def test_a_recording_that_cannot_be_drawn_gives_way_to_the_one_before(explorer, sample):
    hot = np.zeros(70_000, EVENT_DTYPE)  # more events of one pixel than a count map can hold
    strip = shown(explorer)
    explorer.settings[0].controls.cut.value = PARTS
    explorer.settings[0].controls.frames.value = 1
    strip = shown(explorer)
    explorer.open(lambda: dataclasses.replace(sample, recording=Recording(hot, (4, 4)), name="hot"))
    assert "a pixel has more than 65535 events" in explorer.message.value
    assert explorer.sample is sample
    assert np.array_equal(shown(explorer), strip)
    assert len(explorer.figure.data[0].x) + len(explorer.figure.data[1].x) == len(sample.recording)


@pytest.mark.parametrize(("kind", "suffix"), [("PNG strip", ".png"), ("GIF", ".gif")])
def test_what_is_shown_can_be_kept(explorer, tmp_path, kind, suffix):
    explorer.compare.value = True
    explorer.buttons[kind].click()
    files = sorted((tmp_path / "kept").iterdir())
    assert [file.suffix for file in files] == [suffix] * 2
    assert all(str(file) in explorer.message.value for file in files)
    if suffix == ".png":
        assert np.array_equal(np.asarray(Image.open(files[0])), shown(explorer))


def test_without_ffmpeg_a_video_is_refused_in_the_widget(explorer, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    explorer.buttons["MP4"].click()
    assert "no program ffmpeg" in explorer.message.value


def test_the_snippet_follows_the_controls_and_makes_what_is_shown(explorer, sample):
    controls = explorer.settings[0].controls
    controls.frames.value = 4
    controls.color.value = "signed"
    names = {}
    exec(explorer.snippet.value, names)
    assert np.array_equal(names["frames"].numpy(), explorer.settings[0].frames)
    assert explorer.snippet.value == snippet(sample, controls.config())
    explorer.compare.value = True
    assert explorer.snippet.value.count("FrameConfig(") == 2


def test_the_number_of_torch_s_threads_is_left_as_it_was(explorer):
    before = torch.get_num_threads()
    explorer.settings[0].controls.frames.value = 5
    assert torch.get_num_threads() == before


def test_the_notebook_s_call_returns_the_widget(sample, tmp_path):
    box = widgets.explore(sample, FrameConfig(), str(tmp_path))
    assert len(box.children) >= 4


def test_the_benchmark_times_every_control():
    times = json.loads(measure(changes=2, events=3000))
    assert {"events each", "how many", "start", "color", "polarity", "frame size", "another recording"} <= set(times)
    assert all(len(values) == 2 and min(values) > 0.5 for values in times.values()), "ms; less would be no drawing"
