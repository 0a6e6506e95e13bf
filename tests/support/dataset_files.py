"""Write small data sets as users have them on disk."""

import numpy as np
from PIL import Image

from eclip_lib.events.array import EVENT_DTYPE
from eclip_lib.events.files import write_events
from eclip_lib.events.recording import Recording


def events(seed, size=(34, 34), count=50):
    """Return a recording that differs from those of other seeds."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(count, EVENT_DTYPE)
    rows["x"], rows["y"] = rng.integers(0, size[1], count), rng.integers(0, size[0], count)
    rows["t"], rows["p"] = np.arange(count) * 1000, rng.random(count) < 0.5
    return Recording(rows, size)


def write_recordings(root, files, size=(34, 34)):
    """Write a recording of seed i to file i: .bin, or what the suffix says (.npy: EST, .npz: N-ImageNet)."""
    for seed, file in enumerate(files):
        path, rows = root / file, events(seed, size).events
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            columns = [rows["x"], rows["y"], rows["t"] / 1e6, np.where(rows["p"], 1, -1)]
            np.save(path, np.stack(columns, 1).astype(np.float32))
        elif path.suffix == ".npz":
            np.savez(path, event_data=rows.astype([("x", "<u2"), ("y", "<u2"), ("t", "<i8"), ("p", "u1")]))
        else:
            write_events(path, Recording(rows, size))


def write_stills(root, files):
    """Write an image of gray value 5 i + 5 to file i."""
    for i, file in enumerate(files):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 6, 3), 5 * i + 5, np.uint8)).save(root / file, format="PNG")


def write_list(path, events, stills=None):
    """Write a split list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = events if stills is None else [f"{a}\t{b}" for a, b in zip(events, stills, strict=True)]
    path.write_text("\n".join(rows) + "\n")
