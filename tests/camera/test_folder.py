"""A folder of images becomes a folder of recordings: the same each time, resumable, nothing lost to a bad file."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from eclip_lib.camera.folder import read_camera, record_folder
from eclip_lib.camera.simulation import SaccadeCamera
from eclip_lib.camera.stills import read_still
from eclip_lib.cli.program import main
from eclip_lib.events.files import read_events

CAMERA = SaccadeCamera(sensor_size=(24, 32))


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat/a.png", "cat/b.jpg", "dog/a.png", "dog/old/c.webp"):
        path = tmp_path / "stills" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    return tmp_path / "stills"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.mark.parametrize("suffix", [".npz", ".bin"])
def test_every_still_is_recorded_in_its_place(folder, out, suffix):
    done = record_folder(folder, out, CAMERA, suffix)
    assert [item.file for item in done] == [f"{n}{suffix}" for n in ("cat/a", "cat/b", "dog/a", "dog/old/c")]
    assert [item.label for item in done] == ["cat", "cat", "dog", "dog/old"]
    for item in done:
        recording = read_events(out / item.file, CAMERA.sensor_size)
        assert len(recording) == item.events > 0
        again = CAMERA.record(read_still(folder / item.still), item.seed)
        assert np.array_equal(recording.events, again.events)
    table = pd.read_csv(out / "recordings.csv")
    assert table.file.tolist() == [item.file for item in done] and table.events.tolist() == [i.events for i in done]
    made = json.loads((out / "camera.json").read_text())
    assert made["simulated"] is True and SaccadeCamera.from_dict(made["camera"]) == CAMERA


def test_a_still_alone_gives_what_it_gives_among_others(folder, out, tmp_path):
    record_folder(folder, out, CAMERA)
    alone = tmp_path / "alone" / "dog"
    alone.mkdir(parents=True)
    (alone / "a.png").write_bytes((folder / "dog/a.png").read_bytes())
    record_folder(tmp_path / "alone", tmp_path / "out2", CAMERA)
    assert (tmp_path / "out2/dog/a.npz").read_bytes() == (out / "dog/a.npz").read_bytes()


def test_the_same_call_resumes_and_mends_what_is_damaged(folder, out):
    first = record_folder(folder, out, CAMERA)
    kept, damaged = out / "cat/a.npz", out / "dog/a.npz"
    stamp, whole = kept.stat().st_mtime_ns, damaged.read_bytes()
    damaged.write_bytes(whole[:50])
    (out / "cat/b.npz").unlink()
    assert record_folder(folder, out, CAMERA) == first
    assert kept.stat().st_mtime_ns == stamp  # not recorded again
    assert damaged.read_bytes() == whole and (out / "cat/b.npz").is_file()


def test_an_image_that_was_replaced_is_recorded_again(folder, out):
    first = {item.still: item for item in record_folder(folder, out, CAMERA)}
    Image.fromarray(np.tri(20, 30, dtype=np.uint8)[..., None].repeat(3, 2) * 255).save(folder / "cat/a.png")
    again = {item.still: item for item in record_folder(folder, out, CAMERA)}
    new = again["cat/a.png"]
    assert new.seed != first["cat/a.png"].seed
    recording = CAMERA.record(folder / "cat/a.png", new.seed)
    assert np.array_equal(read_events(out / "cat/a.npz").events, recording.events)
    assert {name: again[name] for name in again if name != "cat/a.png"} == {
        n: first[n] for n in first if n != "cat/a.png"
    }


def test_an_interrupted_call_resumes_where_it_stopped(folder, out, monkeypatch):
    record, made = SaccadeCamera.record, []

    def stopping(self, image, seed):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(seed)
        return record(self, image, seed)

    monkeypatch.setattr("eclip_lib.cache.os.sched_getaffinity", lambda _: {0})  # one thread
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SaccadeCamera, "record", stopping)
        record_folder(folder, out, CAMERA)
    assert not (out / "recordings.csv").exists() and len(list(out.rglob("*.npz"))) == 2
    with (out / ".recordings.part.csv").open("a") as file:
        file.write("dog/a.np")  # a line that was cut short
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    assert all(item.events for item in record_folder(folder, out, CAMERA))
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert sorted(path.name for path in out.iterdir()) == ["camera.json", "cat", "dog", "recordings.csv"]


def test_a_still_that_is_gone_leaves_a_recording_that_is_told(folder, out):
    record_folder(folder, out, CAMERA)
    (folder / "cat/b.jpg").unlink()
    with pytest.warns(UserWarning, match=r"still holds 1 recordings of images that are gone, such as cat/b\.npz"):
        record_folder(folder, out, CAMERA)
    assert "cat/b.npz" not in pd.read_csv(out / "recordings.csv").file.tolist()


def test_a_folder_made_otherwise_is_refused_and_the_difference_named(folder, out):
    record_folder(folder, out, CAMERA)
    with pytest.raises(ValueError, match=r"made otherwise: camera\.threshold_on .*, not 0\.9.*name another folder"):
        record_folder(folder, out, SaccadeCamera(sensor_size=(24, 32), threshold_on=0.9))
    with pytest.raises(ValueError, match=r"seed 0, not 3"):
        record_folder(folder, out, CAMERA, seed=3)


def test_another_seed_is_another_sensor(folder, tmp_path):
    a = record_folder(folder, tmp_path / "a", CAMERA)
    b = record_folder(folder, tmp_path / "b", CAMERA, seed=1)
    assert all(x.seed != y.seed for x, y in zip(a, b, strict=True))


def test_a_bad_image_is_told_and_the_rest_recorded(folder, out):
    (folder / "cat/broken.png").write_bytes(b"no image")
    blank = replace_noise(CAMERA)
    Image.new("L", (8, 8), 255).save(folder / "dog/blank.png")
    done = record_folder(folder, out, blank)
    problems = {item.still: item.problem for item in done if item.problem}
    assert set(problems) == {"cat/broken.png", "dog/blank.png"}
    assert "not an image that can be read" in problems["cat/broken.png"] and "blank" in problems["dog/blank.png"]
    assert len(pd.read_csv(out / "recordings.csv")) == 4
    assert not (out / "cat/broken.npz").exists()


def replace_noise(camera):
    return SaccadeCamera(sensor_size=camera.sensor_size, noise_on_hz=0.0, noise_off_hz=0.0)


# What is read


def test_images_of_every_kind_are_read_upright_on_white(tmp_path):
    square = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    square.putpixel((0, 0), (255, 0, 0, 255))
    square.save(tmp_path / "alpha.png")
    assert read_still(tmp_path / "alpha.png").tolist()[0][:2] == [[255, 0, 0], [255, 255, 255]]
    Image.fromarray(np.array([[0, 65535]], np.uint16)).save(tmp_path / "deep.png")
    assert read_still(tmp_path / "deep.png")[0].tolist() == [[0, 0, 0], [255, 255, 255]]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.new("RGB", (4, 2)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_still(tmp_path / "turned.jpg").shape == (4, 2, 3)


def test_no_images_and_clashing_names_are_refused_before_anything_is_written(folder, out, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no images in it"):
        record_folder(tmp_path / "empty", out, CAMERA)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        record_folder(tmp_path / "gone", out, CAMERA)
    Image.new("L", (4, 4)).save(folder / "cat/a.bmp")
    with pytest.raises(ValueError, match=r"cat/a\.bmp and cat/a\.png would give one recording"):
        record_folder(folder, out, CAMERA)
    with pytest.raises(ValueError, match=r"\.bin holds up to 256 x 256"):
        record_folder(folder, out, SaccadeCamera(sensor_size=(480, 640)), ".bin")
    assert not out.exists()


def test_a_camera_is_read_from_files_and_fields(tmp_path, folder, out):
    (tmp_path / "path.csv").write_text("ms,down,right\n0,0,0\n50,2,-3\n")
    (tmp_path / "camera.json").write_text('{"threshold_on": 0.5, "black_level": 0.2}')
    camera = read_camera(tmp_path / "camera.json", tmp_path / "path.csv", {"threshold_on": "0.25", "rests": "true"})
    assert (camera.threshold_on, camera.black_level, camera.rests) == (0.25, 0.2, True)
    assert camera.path == ((0, 0, 0), (50, 2, -3))
    record_folder(folder, out, CAMERA)
    assert read_camera(out / "camera.json", None, {}) == CAMERA


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "camera.json: not a JSON file of camera fields"),
        ("[1]", "holds list, expected camera fields by name"),
        ('{"camera": 5}', "holds int, expected camera fields by name"),
        ('{"threshold": 1}', "has no field threshold; its fields are sensor_size, path"),
    ],
)
def test_a_bad_camera_file_is_named(tmp_path, content, message):
    (tmp_path / "camera.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_camera(tmp_path / "camera.json", None, {})
    (tmp_path / "path.csv").write_text("ms,up\n0,1\n")
    with pytest.raises(ValueError, match=r"path\.csv: not a CSV with the numeric columns ms,down,right"):
        read_camera(None, tmp_path / "path.csv", {})
    (tmp_path / "path.csv").write_text("ms,down,right\n5,0,0\n1,2,3\n")
    with pytest.raises(ValueError, match=r"path\.csv: path with times \[5.0, 1.0\] ms"):
        read_camera(None, tmp_path / "path.csv", {})


def test_a_place_that_is_no_folder_and_a_damaged_note_are_named(folder, out):
    out.write_text("a file")
    with pytest.raises(ValueError, match="out: a file, not a folder for recordings"):
        record_folder(folder, out, CAMERA)
    out.unlink()
    record_folder(folder, out, CAMERA)
    for content in ("{", "[]"):
        (out / "camera.json").write_text(content)
        with pytest.raises(ValueError, match=r"camera\.json: (not a JSON file|holds list)"):
            record_folder(folder, out, CAMERA)


# The command line


def test_the_command_records_and_tells_how_many(folder, out):
    arguments = ["record", str(folder), "--out", str(out), "--sensor", "24", "32", "-c", "threshold_on", "0.25"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "4 simulated recordings in" in done.output
    assert read_camera(out / "camera.json", None, {}).threshold_on == 0.25


def test_the_command_ends_badly_when_an_image_is_bad(folder, out):
    (folder / "cat/broken.png").write_bytes(b"no image")
    done = CliRunner().invoke(main, ["record", str(folder), "--out", str(out), "--sensor", "24", "32"])
    assert done.exit_code == 1
    assert "not recorded: cat/broken.png" in done.output and "1 of 5 images" in done.output
    assert "Traceback" not in done.output


def test_an_interrupted_command_says_how_to_go_on(folder, out, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(SaccadeCamera, "record", stopped)
    done = CliRunner().invoke(main, ["record", str(folder), "--out", str(out)])
    assert done.exit_code == 130
    assert "what is recorded is kept in" in done.output and "the same call goes on" in done.output


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["-c", "threshold", "1"], "has no field threshold"),
        (["-c", "threshold_on", "high"], "threshold_on = 'high': not a number"),
        (["--path", "nowhere.csv"], "nowhere.csv: no such file of a path"),
    ],
)
def test_a_mistake_is_one_message(folder, out, extra, said):
    done = CliRunner().invoke(main, ["record", str(folder), "--out", str(out), *extra])
    assert done.exit_code == 2 and said in done.output and "Traceback" not in done.output
