"""`eclip data check` and `eclip data pack`: what is wrong is named, and the exit code tells."""

import re

import pytest
from click.testing import CliRunner

from eclip_lib.cli.program import main
from eclip_lib.config import DataConfig
from eclip_lib.data.check import SHOWN, check_dataset
from eclip_lib.data.loading import guess_dataset, load_dataset
from tests.support.dataset_files import write_recordings, write_stills

FILES = [f"{part}/{name}/{i}.npz" for part in ("train", "test") for name in ("wren", "kite") for i in range(3)]


@pytest.fixture
def folder(tmp_path):
    write_recordings(tmp_path / "birds", FILES, (480, 640))
    write_recordings(tmp_path / "birds", ["train/kite/0.npz"], (48, 64))
    write_stills(tmp_path / "birds", [file.replace(".npz", ".png") for file in FILES])
    return tmp_path / "birds"


def eclip(*arguments: object):
    return CliRunner().invoke(main, ["data", *map(str, arguments)])


def test_a_data_set_in_order(folder):
    done = eclip("check", folder)
    assert done.exit_code == 0, done.output
    assert "looks like folder" in done.output and "no problems" in done.output
    assert "folder: 12 recordings, 2 of 2 classes" in done.output
    rows = [re.split(r" *\| *", line)[1:-1] for line in done.output.splitlines() if line.startswith("| t")]
    assert rows == [["train", "6", "3", "6", "50", "50", "50", "0"], ["test", "6", "3", "6", "50", "50", "50", "0"]]


def test_what_is_wrong_is_named_and_the_exit_code_tells(folder):
    (folder / "train/wren/1.npz").write_bytes(b"PK\x03\x04 damaged")
    (folder / "train/wren/2.png").write_bytes(b"no image")
    (folder / "test/kite/0.png").unlink()
    (folder / "test/kite/1.npz").write_bytes(b"")
    done = eclip("check", folder)
    assert done.exit_code == 1
    assert re.search(r"unreadable: .*train/wren/1\.npz: ", done.output)
    assert re.search(r"unreadable: .*train/wren/2\.png: not an image", done.output)
    assert re.search(r"unreadable: .*test/kite/1\.npz: ", done.output)
    assert "1 recordings have no still: test/kite/0.npz" in done.output
    assert "Traceback" not in done.output and "no problems" not in done.output
    report = check_dataset(guess_dataset(folder), progress=False)
    assert (report.events == 0).sum() == 2 and sum(reason != "" for reason in report.unreadable) == 3
    assert len(report.problems) == 4


def test_many_problems_are_counted_not_listed(tmp_path):
    write_recordings(tmp_path, [f"a/{i}.npz" for i in range(SHOWN + 5)], (480, 640))
    for path in tmp_path.glob("a/*"):
        path.write_bytes(b"nothing")
    problems = check_dataset(guess_dataset(tmp_path), progress=False).problems
    assert len(problems) == SHOWN + 1 and problems[-1] == "unreadable: 5 more"


def test_no_stills_at_all_is_no_problem(tmp_path):
    write_recordings(tmp_path, ["a/1.npz", "b/1.npz"], (480, 640))
    assert eclip("check", tmp_path).exit_code == 0


def test_absent_classes_are_a_problem(tmp_path):
    write_recordings(tmp_path, ["cup/image_0001.bin"], (180, 240))
    done = eclip("check", tmp_path)
    assert done.exit_code == 1 and "looks like n-caltech101" in done.output
    assert "recordings of 1 of the 101 classes" in done.output


@pytest.mark.parametrize(
    ("files", "dataset"),
    [
        (["Train/0/00001.bin", "Test/1/00001.bin"], "n-mnist"),
        (["training/cup/cup_0.npy"], "n-caltech101"),
        (["extracted_val/n01440764/ILSVRC2012_val_1.npz"], "n-imagenet"),
        (["cup/1.npz", "mug/1.npz"], "folder"),
    ],
)
def test_the_data_set_is_guessed_from_its_folders(tmp_path, files, dataset):
    write_recordings(tmp_path, files)
    assert guess_dataset(tmp_path).dataset == dataset


def test_mistakes_are_one_message(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, said in [
        (["check", tmp_path / "none"], "does not exist"),
        (["check", tmp_path / "empty"], "holds no recordings of a data set; there are\n  n-mnist: the folder"),
        (["check", folder, "--dataset", "n-caltec"], "expected one of 'icons100'"),
        (["check", folder, "--dataset", "n-imagenet"], "holds no recordings of n-imagenet"),
        (["check", folder, "--splits", folder], "no split lists"),
        (["check", folder, "--fold", 1], "has no folds"),
        (["pack", folder], "Missing option '--out'"),
        (["pack", folder, "--dataset", "icons100", "--out", tmp_path / "x"], "is embedded and has no files"),
    ]:
        done = eclip(*arguments)
        assert done.exit_code == 2, (arguments, done.output)
        assert said in done.output and "Traceback" not in done.output


def test_a_packed_data_set_takes_the_place_of_its_files(folder, tmp_path):
    done = eclip("pack", folder, "--out", tmp_path / "shards")
    assert done.exit_code == 0, done.output
    assert "12 recordings and 12 stills in 2 shards" in done.output
    cfg = DataConfig("folder", root=str(tmp_path / "shards"), protocol="fine-tune", shots=None)
    data = load_dataset(cfg)
    assert data.ids == tuple(sorted(FILES))
    assert f"use them with dataset = 'folder', root = {str(tmp_path / 'shards')!r}" in done.output
    assert eclip("check", tmp_path / "shards").exit_code == 0
    shard = tmp_path / "shards/test-000000.tar"
    content = shard.read_bytes()
    start = content.index(b".npz") // 512 * 512 + 512
    shard.write_bytes(content[:start] + bytes(64) + content[start + 64 :])
    done = eclip("check", tmp_path / "shards")
    assert done.exit_code == 1 and re.search(r"unreadable: test/\w+/\d\.npz in .*test-000000\.tar: ", done.output)
