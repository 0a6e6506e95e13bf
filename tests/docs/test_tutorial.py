"""The tutorial's commands, as they stand on its page, run in order in a project of their own and leave what it says."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eclip_lib import Recording, SaccadeCamera, read_events, write_events
from eclip_lib.data import icons100
from eclip_lib.ledger import read_results
from eclip_lib.paths import ROOT
from tests.support.pages import blocks

PAGE = (ROOT / "docs" / "your_recordings.md").read_text(encoding="utf-8")
CLASSES, EACH = ("cup", "guitar", "bus"), 5


def commands() -> list[list[str]]:
    """Return the words of each command of the page, in order."""
    lines = [line for block in blocks(PAGE) if block.language == "console" for line in joined(block.code)]
    return [shlex.split(line[2:]) for line in lines if line.startswith("$ ")]


def joined(code: str) -> list[str]:
    return code.replace("\\\n", "").splitlines()


def write_project(folder: Path) -> None:
    """Copy what the commands use of this project, so that they write nowhere else, and draw the page's images."""
    for name in ("eclip_lib", "notebooks"):
        shutil.copytree(ROOT / name, folder / name)  # with the compiled functions beside the sources
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "reports").symlink_to(ROOT / "reports")
    stills = icons100()
    for name in CLASSES:
        place = folder / "images" / name
        place.mkdir(parents=True)
        for number, index in enumerate((stills.table.cls == name).to_numpy().nonzero()[0][:EACH], 1):
            Image.fromarray(stills.image(int(index))).save(place / f"{number}.png")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Run the commands; return the project's folder, and what each printed by its first words."""
    folder = tmp_path_factory.mktemp("project")
    write_project(folder)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ECLIP_")}
    environment = kept | {"PYTHONPATH": str(folder), "OMP_WAIT_POLICY": "PASSIVE"}
    printed = {}
    for program, *words in commands():
        start = [sys.executable, *(["-m", "eclip_lib"] if program == "eclip" else [])]
        ran = subprocess.run([*start, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{program} {' '.join(words)}\n{ran.stdout}\n{ran.stderr}"
        printed[words[0]] = ran.stdout
    return folder, printed


def test_the_page_goes_from_a_file_to_a_table():
    assert [words[1] for words in commands()] == ["record", "data", "run", "eval", "classify", "-c"]


def test_images_become_recordings_that_are_in_order(done):
    folder, printed = done
    assert "15 simulated recordings in recordings" in printed["record"]
    assert sorted(path.name for path in (folder / "recordings").glob("*/*.npz")) == sorted(
        f"{number}.npz" for number in range(1, EACH + 1) for _ in CLASSES
    )
    assert "folder: 15 recordings, simulated, 3 of 3 classes" in printed["data"] and "no problems" in printed["data"]
    stills = {
        line.split("|")[1].strip(): line.split("|")[4].strip() for line in printed["data"].splitlines() if "|" in line
    }
    assert (stills["train"], stills["test"]) == ("12", "3")  # each recording has its image


def test_training_leaves_weights_a_page_and_a_row(done):
    folder, printed = done
    assert "| folder (simulated) | E-CLIP   | 3-shot" in printed["run"]
    assert (folder / "runs" / "mine" / "last" / "checkpoint.json").is_file()
    (html,) = (folder / "runs" / "pages").glob("04_train-*.html")
    assert f"page: {html}" in printed["run"]  # nothing is written outside of the project
    rows = read_results(folder / "runs" / "mine.jsonl")
    assert rows.experiment.tolist() == ["train", "eval"] and not rows.smoke.any()
    assert rows.config[0]["train"]["epochs"] == 2 and set(rows.shots) == {3}
    assert all((folder / "runs" / name).is_file() for name in rows.predictions)


def test_the_checkpoint_is_evaluated_as_it_was_tested(done):
    folder, printed = done
    rows = read_results(folder / "runs" / "mine.jsonl")
    assert rows.top1[0] == rows.top1[1]
    assert "folder (simulated), 3-shot, 3 recordings" in printed["eval"] and "guitar" in printed["eval"]


def test_free_words_are_ranked(done):
    lines = [line.split("|")[1:4] for line in done[1]["classify"].splitlines() if line.startswith("|")][2:]
    words, probabilities = [line[0].strip() for line in lines], [float(line[1].strip(" %")) for line in lines]
    assert words[0] == "cup" and set(words) == {"cup", "guitar", "bus", "tree"}
    assert probabilities == sorted(probabilities, reverse=True) and sum(probabilities) == pytest.approx(100, abs=0.3)


def test_the_ledger_is_a_table(done):
    printed = done[1]
    (row,) = [line for line in printed["-c"].splitlines() if line.startswith("| folder")]
    assert row in PAGE and "(n=" not in row  # the evaluation is no second run


def test_a_long_recording_becomes_clips_that_lose_no_event(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    looks = [SaccadeCamera().record(icons100().image(0), seed).events for seed in (0, 1)]
    looks[1]["t"] += 1_000_000  # with a silence, which gives no clip
    session = Recording(np.concatenate(looks), (96, 96))
    write_events("session1.npz", session)
    (cut,) = [block.code for block in blocks(PAGE) if block.language == "python"]
    exec(cut.replace("session1.raw", "session1.npz"), {})
    files = sorted(Path("recordings/train/cup").iterdir())
    clips = [read_events(path) for path in files]
    assert len(clips) > 2 and files[0].name == "session1-000.npz"
    assert all(clip.duration < 300_000 and clip.sensor_size == (96, 96) for clip in clips)
    assert np.array_equal(np.concatenate([clip.events for clip in clips]), session.events)
