"""Frames as files: what is written can be read again, and nothing is left half written."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from eclip_lib.frames.export import GAP, compose_strip, png_bytes, tiles, write_gif, write_mp4, write_png

LABELS = ["0.0 to 1.0 ms, 5 events", "1.0 to 2.0 ms, 5 events", "missing"]


@pytest.fixture
def frames():
    """Return three frames of 200 pixels: red, a checkerboard, and a missing one."""
    drawn = np.ones((3, 3, 200, 200), np.float32)
    drawn[0, 1:] = 0
    drawn[1, :, ::2, ::2] = 0
    return drawn, np.array([True, True, False])


def test_tiles_are_the_frames_in_8_bits(frames):
    pictures = tiles(frames[0])
    assert pictures.shape == (3, 200, 200, 3)
    assert np.array_equal(pictures[1], np.rint(255 * frames[0][1].transpose(1, 2, 0)))


@pytest.mark.parametrize(("size", "enlarged"), [(48, 192), (96, 192), (159, 318), (160, 160), (224, 224)])
def test_small_frames_are_enlarged_by_a_whole_factor(size, enlarged):
    frame = np.random.default_rng(0).random((1, 3, size, size))
    picture, factor = tiles(frame)[0], enlarged // size
    assert picture.shape == (enlarged, enlarged, 3)
    blocks = picture.reshape(size, factor, size, factor, 3)
    assert (blocks == np.rint(255 * frame[0]).transpose(1, 2, 0)[:, None, :, None]).all()


def test_a_strip_has_the_frames_side_by_side_and_hatches_missing_ones(frames):
    strip = np.asarray(compose_strip(*frames))
    assert strip.shape == (200 + 2 * GAP, 3 * (200 + GAP) + GAP, 3)
    left = [GAP + k * (200 + GAP) for k in range(3)]
    for column in (0, 1):
        inside = strip[GAP : GAP + 200, left[column] : left[column] + 200]
        assert np.array_equal(inside, tiles(frames[0])[column])
    hatched = strip[GAP : GAP + 200, left[2] : left[2] + 200]
    assert 0.02 < np.mean(hatched < 255) < 0.3


def test_labels_take_lines_below_the_frames(frames):
    plain, labeled = compose_strip(*frames), compose_strip(*frames, LABELS)
    assert labeled.width == plain.width
    below = np.asarray(labeled)[plain.height :]
    assert below.min() < 100
    assert (np.asarray(compose_strip(*frames, ["", "", ""]))[plain.height :] == 255).all()


def test_a_png_is_what_the_strip_is(tmp_path, frames):
    path = write_png(tmp_path / "deep" / "strip.png", *frames, LABELS)
    strip = compose_strip(*frames, LABELS)
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(strip))
    assert png_bytes(strip).startswith(b"\x89PNG")
    assert list(path.parent.iterdir()) == [path]


def test_a_gif_shows_the_valid_frames_and_repeats(tmp_path, frames):
    with Image.open(write_gif(tmp_path / "a.gif", *frames, fps=5)) as gif:
        assert gif.n_frames == 2
        assert gif.info["duration"] == 200
        assert gif.info["loop"] == 0
        assert np.array_equal(np.asarray(gif.convert("RGB")), tiles(frames[0])[0])


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffmpeg")
@pytest.mark.parametrize("size", [160, 225])
def test_a_video_holds_the_valid_frames(tmp_path, size):
    drawn = np.ones((3, 3, size, size), np.float32)
    drawn[0, 1:] = 0  # red
    path = write_mp4(tmp_path / "a.mp4", drawn, np.array([True, True, False]), fps=2)
    asked = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(path)]
    stream = json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)["streams"][0]
    assert (stream["codec_name"], stream["nb_read_frames"], stream["r_frame_rate"]) == ("h264", "2", "2/1")
    assert stream["width"] == stream["height"] == size + size % 2
    first = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(path), "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        capture_output=True,
        check=True,
    ).stdout
    color = np.frombuffer(first, np.uint8).reshape(stream["height"], -1, 3)[size // 2, size // 2]
    assert np.allclose(color, [255, 0, 0], atol=12)


def test_without_ffmpeg_the_message_names_it_and_the_way_out(tmp_path, frames, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no program ffmpeg on the PATH.*export a GIF instead"):
        write_mp4(tmp_path / "a.mp4", *frames)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_ffmpeg_is_quoted_and_leaves_nothing(tmp_path, frames, monkeypatch):
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\ncat > /dev/null\necho no such codec >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    with pytest.raises(ValueError, match="ffmpeg failed: no such codec"):
        write_mp4(tmp_path / "out" / "a.mp4", *frames)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("write", [write_gif, write_mp4])
def test_nothing_to_animate_is_said(tmp_path, frames, write):
    if write is write_mp4 and shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    with pytest.raises(ValueError, match="no window holds an event"):
        write(tmp_path / "a", frames[0], np.zeros(3, bool))
