"""N-Caltech101, N-ImageNet and folders of a user's own, as they lie on disk."""

import json
import re

import numpy as np
import pytest
from timm.data import ImageNetInfo

from eclip_lib.config import DataConfig
from eclip_lib.data.loading import load_dataset
from eclip_lib.data.recordings import tracked_classes
from eclip_lib.data.sets.scan import Folders
from eclip_lib.events.files import _READERS
from eclip_lib.paths import ASSETS
from tests.support.dataset_files import events, write_list, write_recordings, write_stills

pytestmark = pytest.mark.filterwarnings("ignore:.*has recordings of")  # small copies lack most classes
CALTECH = ["ant/image_0001.bin", "ant/image_0012.bin", "trilobite/image_0009.bin", "trilobite/image_0010.bin"]
LISTED = ["N_Caltech101/" + file for file in CALTECH]
LISTED_STILLS = ["Caltech-101/" + file.replace(".bin", ".jpg") for file in CALTECH]


def load(dataset, root, **fields):
    return load_dataset(DataConfig(dataset, root=str(root), protocol="fine-tune", shots=None, **fields))


@pytest.fixture
def caltech(tmp_path):
    """Return a folder of N-Caltech101 beside the stills of Caltech101."""
    write_recordings(tmp_path / "events", CALTECH, (180, 240))
    write_stills(
        tmp_path / "caltech101/101_ObjectCategories",
        [file.replace(".bin", ".jpg") for file in CALTECH] + ["Faces/a.jpg"],
    )
    return tmp_path / "events"


# --- class lists ---


@pytest.mark.parametrize(("dataset", "count"), [("n-mnist", 10), ("n-caltech101", 101), ("n-imagenet", 1000)])
def test_each_class_list_has_a_name_a_class(dataset, count):
    classes = tracked_classes(dataset)
    assert len(classes) == len(set(classes.values())) == count


def test_imagenet_classes_are_those_of_timm_in_order_with_their_double_names_resolved():
    info = ImageNetInfo()
    classes = tracked_classes("n-imagenet")
    assert list(classes) == info.label_names()
    first = {label: info.label_name_to_description(label).split(",")[0] for label in info.label_names()}
    renamed = {label: name for label, name in classes.items() if name != first[label]}
    assert renamed == {"n02012849": "crane bird", "n03126707": "construction crane", "n03710721": "tank suit"}


@pytest.mark.data
def test_caltech_classes_and_test_part_are_the_official_ones(data_folder):
    labels = json.loads((data_folder / "splits/Caltech101_classnames.json").read_text())
    assert {name: label for label, name in enumerate(tracked_classes("n-caltech101"))} == labels
    listed = (data_folder / "splits/Caltech101_val.txt").read_text().splitlines()
    tracked = {
        f"N_Caltech101/{name}/image_{int(number):04d}.bin"
        for name, numbers in (line.split("\t") for line in (ASSETS / "n_caltech101_test.txt").read_text().splitlines())
        for number in numbers.split()
    }
    assert len(tracked) == 1741 and {line.split("\t")[0] for line in listed} == tracked


def test_every_suffix_that_can_be_read_is_looked_for(tmp_path):
    names = sorted(f"a{suffix}" for known in _READERS for suffix in (known, known.upper()))
    for name in [*names, "notes.txt", "still.png"]:
        (tmp_path / name).touch()
    assert Folders().recordings(tmp_path) == names


# --- n-caltech101 ---


def test_caltech_folders_have_the_official_division_and_their_stills(caltech):
    data = load("n-caltech101", caltech)
    assert data.ids == tuple(CALTECH)
    assert data.part.tolist() == ["train", "train", "test", "train"]  # trilobite 9 is in the official list of val
    assert [data.class_names[label] for label in data.labels] == ["ant", "ant", "trilobite", "trilobite"]
    assert (data.labels[2], data.class_names[3], data.simulated) == (0, "Faces easy", False)
    assert [int(data.still(i)[0, 0, 0]) for i in range(4)] == [5, 10, 15, 20]
    assert data.recording(2).sensor_size == (180, 240)
    assert np.array_equal(data.recording(2).events, events(2, (180, 240)).events)


def test_est_release_has_a_validation_part_and_no_stills(tmp_path):
    files = ["training/cup/cup_0.npy", "validation/cup/cup_1.npy", "testing/ant/ant_7.npy"]
    write_recordings(tmp_path, files, (180, 240))
    data = load("n-caltech101", tmp_path)
    assert dict(zip(data.ids, data.part, strict=True)) == dict(zip(files, ["train", "val", "test"], strict=True))
    assert not data.has_still.any()
    with pytest.raises(ValueError, match=r"recording testing/ant/ant_7\.npy has no still"):
        data.still(0)
    assert np.array_equal(data.recording(1).events, events(0, (180, 240)).events)  # seconds, -1 and 1 in the file


def test_official_lists_divide_whatever_machine_their_paths_are_of(caltech, tmp_path):
    write_list(tmp_path / "lists/Caltech101_train.txt", LISTED[::2], LISTED_STILLS[::2])
    write_list(tmp_path / "lists/Caltech101_val.txt", LISTED[1:2], LISTED_STILLS[1:2])
    data = load("n-caltech101", caltech, splits=str(tmp_path / "lists"))
    assert data.ids == tuple(CALTECH[:3]) and data.part.tolist() == ["train", "test", "train"]
    assert [int(data.still(i)[0, 0, 0]) for i in range(3)] == [5, 10, 15]
    write_list(tmp_path / "lists/Caltech101_train.txt", ["/elsewhere/x/" + name for name in LISTED[2::-2]])
    again = load("n-caltech101", caltech, splits=str(tmp_path / "lists"))
    assert again.ids == data.ids and again.has_still.tolist() == [False, True, False]


def test_a_list_may_pair_recordings_with_stills_of_other_names(caltech, tmp_path):
    write_list(tmp_path / "lists/my_train.txt", CALTECH[:2], ["Faces/a.jpg", "ant/image_0001.jpg"])
    write_list(tmp_path / "lists/my_val.txt", CALTECH[2:3])
    write_list(tmp_path / "lists/my_test.txt", CALTECH[3:])
    data = load("n-caltech101", caltech, splits=str(tmp_path / "lists"), stills=str(tmp_path / "caltech101"))
    assert data.part.tolist() == ["train", "train", "val", "test"]
    assert [int(data.still(i)[0, 0, 0]) for i in range(2)] == [25, 5]


def test_wrong_lists_are_told(caltech, tmp_path):
    lists = tmp_path / "lists"

    def said(error, text, **fields):
        with pytest.raises(error, match=text):
            load("n-caltech101", caltech, splits=str(lists), **fields)

    lists.mkdir()
    said(FileNotFoundError, r"no split lists; expected a folder of \*_train.txt")
    gone = [f"N_Caltech101/ant/image_{i:04d}.bin" for i in range(2, 9)]
    write_list(lists / "train.txt", LISTED[:1] + gone)
    said(
        FileNotFoundError,
        re.escape(f"7 of 8 recordings that it lists are not in {caltech}: {', '.join(gone[:5])}, ..."),
    )
    write_list(lists / "train.txt", ["other/" + name for name in gone])
    said(FileNotFoundError, "7 of 7 recordings that it lists are not in .*root must be the folder")
    write_list(lists / "train.txt", LISTED[:3])
    write_list(lists / "val.txt", LISTED[2:])
    said(ValueError, r"1 recordings are listed twice, so a split would leak: trilobite/image_0009.bin")
    write_list(lists / "train_list.txt", LISTED[:1])
    said(ValueError, "two lists for train, train.txt and train_list.txt")
    (lists / "train_list.txt").unlink()
    (lists / "val.txt").write_text("a b c\n")
    said(ValueError, "val.txt, line 1: 'a b c'; expected <class>/<recording>")
    (lists / "val.txt").write_bytes(b"\xff\xfe")
    said(ValueError, r"val\.txt is not a text file in UTF-8")
    (lists / "val.txt").write_text("\n")
    said(ValueError, "val.txt is empty")
    write_list(lists / "val.txt", LISTED[3:], ["nowhere/b/c.jpg"])
    said(FileNotFoundError, "val.txt lists 1 stills, but none of them is in .*: nowhere/b/c.jpg; name their folder")


def test_listed_stills_that_are_missing_are_told_and_the_rest_paired(caltech, tmp_path):
    write_list(tmp_path / "lists/val.txt", LISTED, [*LISTED_STILLS[:3], "Caltech-101/ant/gone.jpg"])
    with pytest.warns(UserWarning, match=r"val\.txt: 1 of 4 stills that it lists are not in .*: .*gone\.jpg; rec"):
        data = load("n-caltech101", caltech, splits=str(tmp_path / "lists"))
    assert data.has_still.tolist() == [True, True, True, False]


def test_missing_stills_are_told_and_the_rest_paired(caltech):
    (caltech.parent / "caltech101/101_ObjectCategories/ant/image_0012.jpg").unlink()
    with pytest.warns(UserWarning, match=r"1 recordings have no still in .*101_ObjectCategories: ant/image_0012\.bin"):
        data = load("n-caltech101", caltech)
    assert data.has_still.tolist() == [True, False, True, True]


def test_a_wrong_folder_of_stills_is_told(caltech, tmp_path):
    with pytest.raises(
        ValueError, match=r"has a still of none of the 4 recordings; .*ant/image_0001\.jpg for ant/image"
    ):
        load("n-caltech101", caltech, stills=str(caltech))
    with pytest.raises(FileNotFoundError, match="no file or folder 'nowhere'"):
        load("n-caltech101", caltech, stills="nowhere")


def test_wrong_roots_are_told(caltech, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"holds no recordings of n-caltech101: expected <class>/image.*/events\?"
    ):
        load("n-caltech101", tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"holds no recordings of n-imagenet: .*it has the folders ant, trilobite"
    ):
        load("n-imagenet", caltech)
    with pytest.raises(ValueError, match="is a file; name the folder"):
        load("n-caltech101", caltech / CALTECH[0])
    write_recordings(caltech, ["mine/a.bin", "yours/b.bin"])
    with pytest.raises(
        ValueError, match="2 class folders are not in the 101 classes of n-caltech101: mine, yours; for"
    ):
        load("n-caltech101", caltech)


@pytest.mark.parametrize(("fields", "said"), [({"subset": "icons25"}, "has no subset"), ({"fold": 1}, "has no folds")])
def test_fields_of_other_data_sets_are_refused(caltech, fields, said):
    with pytest.raises(ValueError, match=said):
        load("n-caltech101", caltech, **fields)


def test_the_key_names_the_content(caltech):
    first = load("n-caltech101", caltech).key
    assert load("n-caltech101", caltech).key == first
    write_recordings(caltech, ["ant/image_0001.bin"], (90, 90))
    second = load("n-caltech101", caltech).key
    write_stills(caltech.parent / "caltech101/101_ObjectCategories", ["ant/image_0001.jpg"])
    assert len({first, second, load("n-caltech101", caltech).key}) == 3


def test_the_key_of_very_many_files_changes_when_one_is_replaced(caltech, monkeypatch):
    monkeypatch.setattr("eclip_lib.data.recordings.MOST_STATS", 3)
    first = load("n-caltech101", caltech).key
    assert load("n-caltech101", caltech).key == first
    (caltech / "new.bin").write_bytes((caltech / CALTECH[1]).read_bytes())
    (caltech / "new.bin").rename(caltech / CALTECH[0])
    assert load("n-caltech101", caltech).key != first


@pytest.mark.filterwarnings("default:.*has recordings of")
def test_absent_classes_are_told(caltech):
    with pytest.warns(
        UserWarning, match=r"recordings of 2 of the 101 classes of n-caltech101; none of scissors, cannon"
    ):
        load("n-caltech101", caltech)


@pytest.mark.data
def test_real_caltech_recording_and_still(data_folder):
    data = load("n-caltech101", data_folder / "n-caltech101")
    assert (len(data), len(data.recording(0)), data.still(0).shape[2]) == (1, 67_445, 3)
    est = load("n-caltech101", data_folder / "n-caltech101/est")
    assert (len(est.recording(0)), est.has_still[0]) == (119_431, False)


# --- n-imagenet ---

SYNSETS = ("n01440764", "n15075141")
TRAIN = [f"extracted_train/{name}/{name}_10026.npz" for name in SYNSETS]
VAL = [f"extracted_val/{name}/ILSVRC2012_val_0000000{i}.npz" for i, name in enumerate(SYNSETS)]


@pytest.mark.parametrize("flat", [True, False])
def test_imagenet_folders_and_stills_flat_or_by_class(tmp_path, flat):
    write_recordings(tmp_path / "N_Imagenet", TRAIN + VAL, (480, 640))
    stills = [f"train/{name}/{name}_10026.JPEG" for name in SYNSETS]
    stills += [f"val/{'' if flat else name + '/'}ILSVRC2012_val_0000000{i}.JPEG" for i, name in enumerate(SYNSETS)]
    write_stills(tmp_path / "imagenet", stills)
    data = load("n-imagenet", tmp_path / "N_Imagenet")
    assert data.ids == tuple(TRAIN + VAL) and data.part.tolist() == ["train", "train", "test", "test"]
    assert data.labels.tolist() == [0, 999, 0, 999] and data.class_names[0] == "tench"
    assert [int(data.still(i)[0, 0, 0]) for i in range(4)] == [5, 10, 15, 20]
    assert np.array_equal(data.recording(3).events, events(3, (480, 640)).events)


def test_imagenet_official_lists_have_the_paths_of_their_author(tmp_path):
    write_recordings(tmp_path, TRAIN + VAL, (480, 640))
    write_list(tmp_path / "train_list.txt", ["/elsewhere/Datasets/N_Imagenet/" + file for file in TRAIN[:1]])
    write_list(tmp_path / "val_list.txt", ["/elsewhere/Datasets/N_Imagenet/" + file for file in VAL])
    data = load("n-imagenet", tmp_path, splits=str(tmp_path))
    assert data.ids == (TRAIN[0], *VAL) and data.part.tolist() == ["train", "test", "test"]


def test_imagenet_variants_test_only(tmp_path):
    write_recordings(tmp_path, [f"{name}/ILSVRC2012_val_1.npz" for name in SYNSETS], (480, 640))
    assert load("n-imagenet", tmp_path).part.tolist() == ["test", "test"]


# --- folder ---


def test_a_folder_of_ones_own(tmp_path):
    files = [f"{name}/r{i}.npz" for name in ("red_kite", "wren") for i in range(10)]
    write_recordings(tmp_path / "data", files, (480, 640))
    write_stills(tmp_path / "data", [file.replace(".npz", ".png") for file in files])
    data = load("folder", tmp_path / "data")
    assert data.class_names == ("red kite", "wren") and data.has_still.all()
    assert np.bincount(data.labels[data.part == "test"]).tolist() == [2, 2]
    assert int(data.still(3)[0, 0, 0]) == 20
    before = dict(zip(data.ids, data.part, strict=True))
    write_recordings(tmp_path / "data", ["wren/new.npz"], (480, 640))
    with pytest.warns(UserWarning, match="1 recordings have no still"):
        after = load("folder", tmp_path / "data")
    moved = [name for name, part in zip(after.ids, after.part, strict=True) if before.get(name, part) != part]
    assert len(moved) <= 1


def test_parts_of_a_folder_and_a_class_named_after_a_part(tmp_path):
    write_recordings(tmp_path / "a", ["train/cup/1.npz", "val/cup/2.npz", "test/cup/3.npz"], (480, 640))
    assert load("folder", tmp_path / "a").part.tolist() == ["test", "train", "val"]
    write_recordings(tmp_path / "b", ["train/1.npz", "bus/1.npz"], (480, 640))
    assert load("folder", tmp_path / "b").class_names == ("bus", "train")


def test_classes_txt_orders_and_names(tmp_path):
    write_recordings(tmp_path, ["a/1.npz", "b/1.npz"], (480, 640))
    (tmp_path / "classes.txt").write_text("b\tsea gull\na\n")
    data = load("folder", tmp_path)
    assert data.class_names == ("sea gull", "a") and data.labels.tolist() == [1, 0]
    for text, said in [
        ("b\n", r"1 class folders are not in .*classes\.txt: a"),
        ("a\nb\na\n", "has the folder 'a' twice"),
        ("a\nb\ta\n", "has the name 'a' twice"),
        ("\n", "is empty"),
    ]:
        (tmp_path / "classes.txt").write_text(text)
        with pytest.raises(ValueError, match=said):
            load("folder", tmp_path)
    (tmp_path / "classes.txt").unlink()
    write_recordings(tmp_path, ["c d/1.npz", "c_d/1.npz"], (480, 640))
    with pytest.raises(ValueError, match="one name but for underscores"):
        load("folder", tmp_path)


def test_the_sensor_of_a_folder_is_told_by_a_file_where_recordings_do_not(tmp_path):
    write_recordings(tmp_path, ["a/1.bin"])
    with pytest.raises(ValueError, match=r"a/1\.bin: files of this format do not tell .*sensor\.txt"):
        load("folder", tmp_path)
    (tmp_path / "sensor.txt").write_text("34 40\n")
    data = load("folder", tmp_path)
    assert (data.recording(0).sensor_size, data.simulated) == ((34, 40), False)
    (tmp_path / "camera.json").write_text(json.dumps({"camera": {"sensor_size": [34, 50]}}))
    data = load("folder", tmp_path)
    assert (data.recording(0).sensor_size, data.simulated) == ((34, 50), True)
    for name in ("camera.json", "sensor.txt"):
        (tmp_path / name).write_text("{}")
        with pytest.raises(ValueError, match=f"{name} should hold"):
            load("folder", tmp_path)
        (tmp_path / name).unlink()
