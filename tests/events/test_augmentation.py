import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eclip_lib.config import TrainConfig
from eclip_lib.events.array import EVENT_DTYPE
from eclip_lib.events.augmentation import augment, augments, sample_rng
from eclip_lib.events.recording import Recording


def rng(seed=0):
    return np.random.default_rng(seed)


@st.composite
def recordings(draw):
    """Draw a recording of 1 to 40 events, some of them at one time."""
    times = sorted(draw(st.lists(st.integers(0, 2000), min_size=1, max_size=40)))
    events = np.zeros(len(times), EVENT_DTYPE)
    events["t"], events["x"] = times, np.arange(len(times))  # x tells which event it was
    events["p"] = events["x"] % 3 == 0
    return Recording(events, (2, 64))


changes = st.builds(
    TrainConfig,
    drop_events=st.sampled_from([0.0, 0.5, 0.95]),
    jitter_us=st.sampled_from([0, 300]),
    crop_time=st.sampled_from([0.0, 0.5, 0.95]),
)


@given(recordings(), changes, st.integers(0, 9))
def test_what_is_left_are_events_of_the_recording_within_its_time(recording, cfg, seed):
    before = recording.events.copy()
    changed = augment(recording, cfg, rng(seed))  # built as a Recording, hence sorted and not empty
    assert np.array_equal(recording.events, before)
    left = changed.events["x"]
    assert len(set(left)) == len(left) and changed.sensor_size == recording.sensor_size
    assert np.array_equal(changed.events["p"], before["p"][left])
    assert before["t"][0] <= changed.events["t"][0] and changed.events["t"][-1] <= before["t"][-1]
    if not cfg.jitter_us:
        assert np.array_equal(changed.events, before[left]) and np.all(np.diff(left) > 0)
    if not cfg.drop_events and not cfg.crop_time:
        assert len(left) == len(before)


@pytest.fixture
def even():
    """Return 10,000 events, one a microsecond."""
    events = np.zeros(10_000, EVENT_DTYPE)
    events["t"] = np.arange(10_000)
    events["p"] = np.arange(10_000) % 2 == 0
    return Recording(events, (1, 1))


def test_shares_that_are_lost_are_drawn_evenly_up_to_the_largest(even):
    for cfg in (TrainConfig(drop_events=0.4), TrainConfig(crop_time=0.4)):
        lost = [1 - len(augment(even, cfg, rng(seed))) / 10_000 for seed in range(200)]
        assert 0 <= min(lost) < 0.02 and 0.38 < max(lost) < 0.42
        assert np.mean(lost) == pytest.approx(0.2, abs=0.03)


def test_time_is_cut_off_at_either_end(even):
    cut = [augment(even, TrainConfig(crop_time=0.5), rng(seed)).events["t"][[0, -1]] for seed in range(50)]
    front, rest = np.array(cut).T
    assert (front > 500).any() and (rest < 9500).any()
    assert np.all(np.diff(augment(even, TrainConfig(crop_time=0.5), rng()).events["t"]) == 1)  # no gap


def test_jitter_has_its_standard_deviation(even):
    cfg = TrainConfig(jitter_us=20)
    on_one_side = even.events.copy()
    on_one_side["t"][:5000], on_one_side["t"][5000:] = 0, 10_000
    shaken = augment(Recording(on_one_side, (1, 1)), cfg, rng()).events["t"]
    early = shaken[shaken < 5000]
    assert len(early) == 5000  # what would be before the start is at the start
    assert np.sqrt(2 * np.mean(early.astype(float) ** 2)) == pytest.approx(20, rel=0.05)


def test_nothing_is_drawn_for_a_config_without_changes(even):
    generator = rng()
    assert np.array_equal(augment(even, TrainConfig(), generator).events, even.events)
    assert generator.bit_generator.state == rng().bit_generator.state
    assert not augments(TrainConfig())
    assert all(augments(TrainConfig(**{name: 0.5})) for name in ("drop_events", "crop_time"))
    assert augments(TrainConfig(jitter_us=1))


def test_random_numbers_are_of_seed_epoch_and_recording():
    draws = {key: sample_rng(*key).random() for key in [(0, 1, 5), (0, 1, 6), (0, 2, 5), (1, 1, 5)]}
    assert len(set(draws.values())) == 4
    assert sample_rng(0, 1, 5).random() == draws[0, 1, 5]
