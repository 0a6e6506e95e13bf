"""N-MNIST as it lies on disk: Train and Test folders, split lists, stills of idx files or PNG files."""

import gzip
import os
import struct

import numpy as np
import pytest

from eclip_lib.config import DataConfig
from eclip_lib.data.loading import load_dataset
from eclip_lib.data.sets.n_mnist import read_mnist
from tests.support.dataset_files import events, write_list, write_recordings, write_stills

FILES = ["Test/7/00001.bin", "Test/2/00002.bin", "Train/5/00001.bin", "Train/0/00002.bin"]
ORDER = sorted(FILES)


def load(root, **fields):
    return load_dataset(DataConfig("n-mnist", root=str(root), protocol="fine-tune", shots=None, **fields))


def write_idx(path, values, shape, packed=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = struct.pack(f">{1 + len(shape)}i", 2048 + len(shape), *shape) + bytes(values)
    path.with_name(path.name + ".gz" * packed).write_bytes(gzip.compress(content) if packed else content)


@pytest.fixture
def root(tmp_path):
    write_recordings(tmp_path / "N-MNIST", FILES)
    return tmp_path / "N-MNIST"


@pytest.mark.parametrize(("folder", "packed"), [("mnist", True), ("N-MNIST/mnist", False), ("MNIST/raw", False)])
def test_train_and_test_folders_pair_with_idx_files(root, folder, packed):
    write_idx(root.parent / folder / "train-images-idx3-ubyte", [10, 20], (2, 1, 1), packed)
    with pytest.raises(FileNotFoundError, match="stills of N-MNIST's test part are missing"):
        load(root)
    write_idx(root.parent / folder / "t10k-images-idx3-ubyte", [30, 40], (2, 1, 1), packed)
    data = load(root)
    assert data.ids == tuple(ORDER) and data.part.tolist() == ["test", "test", "train", "train"]
    assert data.labels.tolist() == [2, 7, 0, 5] and data.class_names[7] == "seven"
    assert [int(data.still(i)[0, 0, 0]) for i in range(4)] == [40, 30, 20, 10]  # file n shows image n - 1
    assert data.has_still.all() and data.recording(0).sensor_size == (34, 34)
    assert np.array_equal(data.recording(0).events, events(1).events)


NAMES = {
    "the official code": lambda part, number: f"mnist_{part}_{number}",
    "the official lists": lambda part, number: f"mnist_train_{number}",
    "as the recordings": lambda part, number: f"{number:05d}",
    "mnist_png": lambda part, number: f"{number - 1}",
}


def png_files(name):
    rows = [(file.split("/")[0].lower(), file.split("/")[1], int(file.split("/")[2][:5])) for file in FILES]
    return [f"{part}/{digit}/{name(part, number)}.png" for part, digit, number in rows]


@pytest.mark.parametrize("way", NAMES)
def test_stills_may_be_png_files_named_in_each_way(root, way):
    write_stills(root.parent / "pngs", png_files(NAMES[way]))
    data = load(root, stills=str(root.parent / "pngs"))
    assert [int(data.still(i)[0, 0, 0]) for i in range(4)] == [5 * FILES.index(file) + 5 for file in ORDER]


def test_missing_png_files_are_told(root):
    with pytest.raises(FileNotFoundError, match=r"MNIST stills of n-mnist are missing: .* or name their folder"):
        load(root)
    files = png_files(NAMES["mnist_png"])
    write_stills(root.parent / "mnist", files[:3])
    with pytest.raises(FileNotFoundError, match=r"the stills of 1 recordings are missing: Train/0/00002\.bin"):
        load(root)
    with pytest.raises(FileNotFoundError, match="stills of n-mnist are missing"):
        load(root, stills=str(root))


def test_official_lists(root):
    write_stills(root.parent / "mnist_png", png_files(NAMES["mnist_png"]))
    lists = root.parent / "lists"
    write_list(
        lists / "N_MINIST_Train.txt", ["Path-to/N-MNIST/" + FILES[2]], ["Path-to/MINIST/train/5/mnist_train_1.png"]
    )
    write_list(lists / "N_MINIST_Val.txt", ["Path-to/N-MNIST/" + file for file in FILES[:2]])
    data = load(root, splits=str(lists))
    assert data.ids == (FILES[1], FILES[0], FILES[2]) and data.part.tolist() == ["test", "test", "train"]
    assert [int(data.still(i)[0, 0, 0]) for i in range(3)] == [10, 5, 15]
    write_recordings(root, ["Train/seven/00001.bin"])
    write_list(lists / "N_MINIST_Val.txt", ["Train/seven/00001.bin"])
    with pytest.raises(ValueError, match=r"expected Train/<digit>/<nnnnn>\.bin"):
        load(root, splits=str(lists))


def test_an_idx_file_that_has_changed_is_read_again(root):
    for values in ([10, 20], [30, 40]):
        write_idx(root / "mnist/train-images-idx3-ubyte", values, (2, 1, 1))
        write_idx(root / "mnist/t10k-images-idx3-ubyte", values, (2, 1, 1))
        os.utime(root / "mnist/train-images-idx3-ubyte.gz", ns=(0, values[0]))  # whatever the clock's resolution
        assert load(root).still(3)[0, 0, 0] == values[0]


def test_read_mnist_needs_images_and_labels(root):
    with pytest.raises(FileNotFoundError, match="MNIST stills of n-mnist are missing"):
        read_mnist(root)
    write_idx(root / "mnist/train-images-idx3-ubyte", [10, 20], (2, 1, 1))
    with pytest.raises(FileNotFoundError, match=r"train-labels-idx1-ubyte\.gz: the labels"):
        read_mnist(root)
    write_idx(root / "mnist/train-labels-idx1-ubyte", [5, 0], (2,))
    images, labels = read_mnist(root)
    assert images.shape == (2, 1, 1) and labels.tolist() == [5, 0]
