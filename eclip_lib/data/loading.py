"""Data sets of recordings with their stills.

`DataConfig` -> `EventData`: what there is, in which order, and how to get it.
"""

from pathlib import Path

from eclip_lib.config import DataConfig, Dataset
from eclip_lib.data.recordings import EventData, FileList, tracked_classes
from eclip_lib.data.sets.folders import Layout, list_folders
from eclip_lib.data.sets.icons import load_icons
from eclip_lib.data.sets.n_mnist import N_MNIST_SENSOR, list_n_mnist
from eclip_lib.data.sets.scan import Folders, scan
from eclip_lib.data.shards import has_shards, open_shards, shards_config
from eclip_lib.paths import find_path

# What is known of each data set on disk; its class list is `assets/<id>.txt`, or the folder's own for "folder".
LAYOUTS: dict[Dataset, Layout] = {
    "n-mnist": Layout("the folder that holds Train/<digit>/<nnnnn>.bin", N_MNIST_SENSOR),
    "n-caltech101": Layout(
        "<class>/image_<nnnn>.bin, or training, validation and testing folders of <class>/<name>.npy",
        (180, 240),
        (
            "101_ObjectCategories",
            *(f"{name}/101_ObjectCategories" for name in ("caltech101", "caltech-101", "Caltech101", "Caltech-101")),
            *("Caltech-101", "Caltech101", "caltech101", "stills", "images"),
        ),
    ),
    "n-imagenet": Layout(
        "extracted_train/<synset>/<name>.npz and extracted_val/<synset>/<name>.npz, or the folders of synsets of one "
        "of its variants",
        (480, 640),
        ("imagenet", "ImageNet", "Imagenet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC", "stills", "images"),
    ),
    "folder": Layout(
        "<class>/<recording>, or train, val and test folders of <class>/<recording>", None, (".", "stills", "images")
    ),
}


def load_dataset(cfg: DataConfig) -> EventData:
    """Open the data set of a config.

    Its division into train, val and test is that of its folders or lists; where the official "val" is the only part
    that does not train, it is "test". `list_n_mnist` and `list_folders` say what the folders look like. A root with a
    `shards.json` is read from shards (`pack`). A
    recording or still is read, or recorded, when it is asked for.

    Raises:
        FileNotFoundError: its folder or a file of it is missing.
        ValueError: a name is unknown, class folders disagree with the class list, or a file is damaged.
    """
    if cfg.dataset == "icons100":
        return load_icons(cfg)
    root = _root(cfg)
    return open_shards(cfg, root) if has_shards(root) else list_files(cfg).open()


def list_files(cfg: DataConfig) -> FileList:
    """List the files of a data set, see `load_dataset`.

    Raises:
        ValueError: they are packed in shards.
    """
    root = _root(cfg)
    if has_shards(root):
        raise ValueError(f"{root} holds shards, which are packed already; name the folder of the files")
    return list_n_mnist(cfg, root) if cfg.dataset == "n-mnist" else list_folders(cfg, root, LAYOUTS[cfg.dataset])


def guess_dataset(root: Path) -> DataConfig:
    """Guess from what a folder looks like which data set it holds: "folder" if it is none that is known.

    Raises:
        FileNotFoundError: it holds no recordings that a data set could be made of.
    """
    if has_shards(root):
        return shards_config(root)
    table = scan(root, Folders())
    known = [name for name in LAYOUTS if name != "folder" and set(table.folder) <= set(tracked_classes(name))]
    if table.empty:
        looks = "".join(f"\n  {name}: {layout.looks}" for name, layout in LAYOUTS.items())
        raise FileNotFoundError(f"{root} holds no recordings of a data set; there are{looks}")
    return DataConfig(known[0] if known else "folder", root=str(root), protocol="fine-tune", shots=None)


def _root(cfg: DataConfig) -> Path:
    """Find the folder of a data set."""
    if cfg.dataset not in LAYOUTS:
        raise ValueError(f"data set {cfg.dataset} is embedded and has no files")
    if cfg.root is None:
        raise ValueError(f"data set {cfg.dataset} needs a root: {LAYOUTS[cfg.dataset].looks}")
    root = find_path(cfg.root)
    if not root.is_dir():
        raise ValueError(f"root = {cfg.root!r} is a file; name the folder that holds {LAYOUTS[cfg.dataset].looks}")
    if cfg.subset is not None:
        raise ValueError(f"{cfg.dataset} has no subset {cfg.subset!r}; leave it out")
    if cfg.fold is not None and cfg.dataset != "n-mnist":
        raise ValueError(f"{cfg.dataset} has no folds; leave out fold = {cfg.fold}")
    return root
