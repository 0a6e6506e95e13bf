"""What is drawn of a recording is what is in it."""

import numpy as np
import pytest

from eclip_lib.config import FrameConfig
from eclip_lib.events.array import EVENT_DTYPE
from eclip_lib.events.recording import Recording
from eclip_lib.frames.windows import recording_windows
from eclip_lib.views.timeline import cloud_title, evenly, event_rate, thinned, window_labels, window_times


def test_the_rate_times_the_bins_gives_back_the_events(recording):
    edges, rates = event_rate(recording, bins=37)
    counts = rates * np.diff(edges)
    assert counts.sum(1) == pytest.approx([recording.events["p"].sum(), (~recording.events["p"]).sum()])
    assert edges[0] == 0
    assert edges[-1] == pytest.approx(recording.duration / 1000)


def test_the_rate_equals_numpy_s_histogram(recording):
    edges, rates = event_rate(recording, bins=20)
    elapsed = (recording.events["t"] - recording.events["t"][0]) / 1000
    for channel, on in enumerate((True, False)):
        counts, _ = np.histogram(elapsed[recording.events["p"] == on], 20, (0, recording.duration / 1000))
        assert rates[channel] * np.diff(edges) == pytest.approx(counts)


def test_a_recording_of_one_instant_has_a_rate():
    edges, rates = event_rate(Recording(np.zeros(3, EVENT_DTYPE), (1, 1)), bins=4)
    assert (rates * np.diff(edges)).sum() == pytest.approx(3)


def test_times_count_from_the_first_event_wherever_the_clock_starts(recording):
    late = recording.events.copy()
    late["t"] += 1_700_000_000_000_000  # microseconds of an epoch
    windows = recording_windows(recording, FrameConfig())
    later = Recording(late, recording.sensor_size)
    assert window_labels(later, windows) == window_labels(recording, windows)
    assert np.array_equal(event_rate(later)[1], event_rate(recording)[1])


def test_a_cloud_has_both_polarities_thinned_evenly_and_says_so(recording):
    shown = thinned(recording, 100)
    assert [len(events) for events in shown.values()] == [100, 100]
    assert shown["ON"]["p"].all()
    assert not shown["OFF"]["p"].any()
    gaps = np.diff(np.flatnonzero(np.isin(recording.events["t"][recording.events["p"]], shown["ON"]["t"])))
    assert gaps.max() <= 2 * np.median(gaps) + 1
    assert cloud_title(recording, shown) == "1,000 events, 200 shown"
    assert cloud_title(recording, thinned(recording, 1000)) == "1,000 events"


def test_evenly_keeps_both_ends_and_all_where_there_are_few():
    assert evenly(np.arange(9), 3).tolist() == [0, 4, 8]
    assert evenly(np.arange(3), 9).tolist() == [0, 1, 2]
    assert evenly(np.arange(0), 9).tolist() == []


def test_windows_are_told_by_time_and_number_and_missing_ones_named():
    events = np.zeros(3, EVENT_DTYPE)
    events["t"] = [1000, 3000, 4500]
    recording = Recording(events, (1, 1))
    windows = recording_windows(recording, FrameConfig(events_per_frame=2, frames=3))
    assert window_labels(recording, windows) == ["0.0 to 2.0 ms, 2 events", "3.5 to 3.5 ms, 1 event", "missing"]
    times = window_times(recording, windows)
    assert times[:2].tolist() == [[0, 2], [3.5, 3.5]]
    assert np.isnan(times[2]).all()
