"""Figures of recordings: labeled, self-contained, small; and the committed picture can be made again."""

import numpy as np
import pytest
from PIL import Image

from eclip_lib.config import FrameConfig
from eclip_lib.events.array import EVENT_DTYPE
from eclip_lib.events.recording import Recording
from eclip_lib.frames.official_traps import telling_window
from eclip_lib.paths import ROOT
from eclip_lib.views import event_plots
from eclip_lib.views.samples import file_sample
from tests.support.figures import LARGEST, assert_fits_in_a_notebook, assert_the_same_each_time, texts


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def saccades(rng, number: int, height: int = 180, width: int = 240) -> np.ndarray:
    """Return events along a moving ring, as a still seen in three saccades gives them."""
    events = np.zeros(number, EVENT_DTYPE)
    time, angle = np.sort(rng.uniform(0, 300_000, number)), rng.uniform(0, 2 * np.pi, number)
    drift = 20 * np.sin(time / 50_000)
    events["t"] = time
    events["x"] = np.clip(width / 2 + drift + 60 * np.cos(angle) + rng.normal(0, 2, number), 0, width - 1)
    events["y"] = np.clip(height / 2 + 60 * np.sin(angle) + rng.normal(0, 2, number), 0, height - 1)
    events["p"] = np.cos(angle) + rng.normal(0, 0.3, number) > 0
    return events


def still(height: int = 180, width: int = 240) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    ring = np.abs(np.hypot(x - width / 2, y - height / 2) - 60) < 8
    shade = np.stack([255 - x // 2, 200 + y // 8, 255 - y // 3], axis=-1)
    return np.where(ring[..., None], [40, 60, 160], shade).astype(np.uint8)


def a_recording(rng, number: int = 20_000) -> Recording:
    return Recording(saccades(rng, number), (180, 240))


def a_still_and_events(rng):
    return event_plots.still_and_events(still(), saccades(rng, 20_000), (180, 240), title="wheelchair (simulated)")


def a_count_maps(rng):
    maps = rng.poisson(np.linspace(0, 3, 48 * 48).reshape(48, 48), (4, 2, 48, 48)).astype(np.uint16)
    maps[3] = 0
    frames = {name: rng.random((4, 3, 48, 48)) > 0.1 for name in ("rgb", "gray", "count")}
    return event_plots.count_maps(maps, frames, np.array([True, True, True, False]))


def a_overview(rng):
    cfg = FrameConfig(frames=4, events_per_frame=6000)
    return event_plots.overview(a_recording(rng), cfg, still(), "a ring")


def a_overview_without_a_still(rng):
    cfg = FrameConfig(frames=3, window_us=60_000, overlap=0.5)
    return event_plots.overview(a_recording(rng), cfg, title="a ring")


def a_official_and_ours(rng):
    return event_plots.official_and_ours(a_recording(rng), 7700, 5, "a ring")


FIGURES = [a_still_and_events, a_count_maps, a_overview, a_overview_without_a_still, a_official_and_ours]


@pytest.fixture(params=FIGURES, ids=lambda make: make.__name__[2:])
def figure(request, rng):
    return request.param(rng)


def test_a_figure_has_a_title_and_fits_in_a_notebook(figure):
    assert_fits_in_a_notebook(figure)


def test_a_figure_is_the_same_each_time(figure, request):
    assert_the_same_each_time(figure, request.node.callspec.params["figure"])


def test_a_figure_full_of_colors_is_made_to_fit(rng):
    photo = rng.integers(0, 256, (180, 240, 3), dtype=np.uint8)
    png = event_plots.still_and_events(photo, saccades(rng, 100), (180, 240))._repr_png_()
    assert len(png) <= LARGEST


def test_events_are_thinned_evenly_and_said_to_be(rng):
    events = saccades(rng, 20_000)
    written = texts(event_plots.still_and_events(still(), events, (180, 240), max_events=500))
    assert "20,000 events, 500 shown" in written
    assert f"ON ({np.count_nonzero(events['p']):,})" in written
    assert "time (ms)" in written
    assert "shown" not in texts(event_plots.still_and_events(still(), events[:400], (180, 240), max_events=500))


def test_events_lie_where_they_are_since_the_first_with_y_downward():
    events = np.array([(0, 0, 1000, True), (3, 4, 6000, True)], EVENT_DTYPE)
    space = event_plots.still_and_events(still(), events, (10, 20)).axes[1]
    assert [float(values[1]) for values in space.collections[0]._offsets3d] == [3, 5, 4]
    assert space.get_zlim() == (10, 0)


def test_no_events_are_no_error():
    assert texts(event_plots.still_and_events(still(), saccades(np.random.default_rng(0), 0), (180, 240)))


def test_missing_windows_are_marked(rng):
    assert texts(a_count_maps(rng)).count("missing") == 5


def test_the_overview_names_axes_windows_and_what_is_shown(rng):
    written = texts(event_plots.overview(a_recording(rng), FrameConfig(frames=5, events_per_frame=5000), still(), "x"))
    assert "20,000 events, 5,000 shown" in written
    assert written.count("5,000 events") == 4  # one under each frame
    assert "missing" in written  # the fifth window
    assert {"time (ms)", "events per ms", "x (pixels)", "y (pixels)", "Still, 240 x 180 pixels"} <= set(
        written.split("\n")
    )


def test_the_overview_draws_each_window_where_its_events_are():
    events = np.zeros(4, EVENT_DTYPE)
    events["t"] = [5000, 6000, 8000, 9000]
    figure = event_plots.overview(Recording(events, (8, 8)), FrameConfig(frames=2, events_per_frame=2, size=8))
    rate = next(axis for axis in figure.axes if axis.get_ylabel() == "events per ms")
    spans = [tuple(patch.get_extents().transformed(rate.transData.inverted()).intervalx) for patch in rate.patches[2:]]
    assert np.allclose(spans, [(0, 1), (3, 4)])


def test_the_comparison_tells_each_trap(rng):
    recording = a_recording(rng)  # 20,000 events in windows of 7,700: two full ones, 4,600 more, two empty ones
    written = texts(event_plots.official_and_ours(recording, 7700, 5))
    assert "3,100 x ON at (1, 1)" in written
    assert written.count("blank: value 255\n(255 x white)") == 4  # two in either half
    assert "canvas 2 x 2\n7,700 x ON at (1, 1)" in written
    assert written.count("canvas 180 x 240") == 5  # ours: three and two
    assert written.count("not counted") == 5


@pytest.mark.data
def test_the_committed_picture_is_made_by_the_same_functions(data_folder, tmp_path):
    sample = file_sample(data_folder / "n-caltech101/Faces_easy/image_0001.bin", (180, 240))
    window = telling_window(len(sample.recording))
    figure = event_plots.official_and_ours(sample.recording, window, title=event_plots.traps_title(sample.name))
    committed = ROOT / "reports" / "explore_traps_n_caltech101.png"
    assert committed.stat().st_size <= 300_000
    figure.save(tmp_path / "made.png")
    made, kept = (np.asarray(Image.open(file).convert("RGB"), int) for file in (tmp_path / "made.png", committed))
    assert made.shape == kept.shape
    assert np.mean(np.abs(made - kept) > 40) < 0.01  # another font renderer moves a few pixels
