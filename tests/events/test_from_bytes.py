"""Recordings from memory are those that files give, and so are the messages."""

import io

import numpy as np
import pytest

from eclip_lib.events.files import read_events, write_events
from eclip_lib.events.from_bytes import read_event_bytes
from tests.support import event_files
from tests.support.dataset_files import events

SIZE = (180, 240)


def contents(tmp_path):
    """Return the content of a recording in each of some formats, by suffix and what it is."""
    recording, n_imagenet = events(3, SIZE), io.BytesIO()
    rows = recording.events.astype([("x", "<u2"), ("y", "<u2"), ("t", "<i8"), ("p", "u1")])
    np.savez_compressed(n_imagenet, event_data=rows)
    write_events(tmp_path / "own.npz", recording)
    return {
        "atis.bin": event_files.atis(recording.events),
        "est.npy": event_files.est(recording.events),
        "n_imagenet.npz": n_imagenet.getvalue(),
        "own.npz": (tmp_path / "own.npz").read_bytes(),
        "evt3.raw": event_files.evt3(recording.events, ("evt 3.0", "geometry 240x180", "end")),
        "misnamed.bin": (tmp_path / "own.npz").read_bytes(),
        "misnamed.npz": event_files.est(recording.events),
    }


def outcome(read):
    try:
        recording = read()
        return recording.events.tolist(), recording.sensor_size
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("change", ["as it is", "cut", "damaged", "empty", "text", "large"])
def test_memory_gives_what_the_file_gives(tmp_path, change):
    for name, content in contents(tmp_path).items():
        half = len(content) // 2
        changed = {
            "as it is": content,
            "cut": content[: half * 2 - 3],
            "damaged": content[: half - 9] + b"\xff" * 19 + content[half + 10 :],
            "empty": b"",
            "text": b"no recording",
            "large": content,
        }[change]
        size = (48, 48) if change == "large" else SIZE
        (tmp_path / name).write_bytes(changed)
        from_file = outcome(lambda name=name, size=size: read_events(tmp_path / name, size))
        suffix = "." + name.split(".")[1]
        from_memory = outcome(
            lambda c=changed, s=suffix, name=name, size=size: read_event_bytes(c, s, size, str(tmp_path / name))
        )
        assert from_file == from_memory, name
        assert change == "damaged" or name == "evt3.raw" or isinstance(from_file, str) == (change != "as it is")


def test_a_size_is_needed_where_the_format_has_none(tmp_path):
    for name, content in contents(tmp_path).items():
        if name in ("atis.bin", "est.npy"):
            with pytest.raises(ValueError, match=r"^a recording: this file does not hold the sensor's size"):
                read_event_bytes(content, "." + name.split(".")[1], None, "a recording")
