"""The embedded stills: icons100 (the default data set), icons_open, and any file of the same layout.

npz file -> `Stills` (images and a table with one row a still).
"""

import io
import itertools
import json
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from eclip_lib.paths import ASSETS

TRAIN, TEST, PHOTO = "train", "test", "photo"


@dataclass(frozen=True)
class Stills:
    """Encoded stills and what is known of each.

    Attributes:
        encoded: one WebP file a still.
        table: one row a still; columns `vendor, family, style, licence, concept, cls, caption, split, dup, ...`, where
            `cls` is the class and `split` the part.
        classes: the ordered class list of the file; a label is an index in it.
    """

    encoded: tuple[bytes, ...]
    table: pd.DataFrame
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of stills."""
        return len(self.encoded)

    def image(self, index: int) -> np.ndarray:
        """Decode one still to uint8 `(H, W, 3)`, on white.

        Raises:
            ValueError: its bytes are no image.
        """
        try:
            return decode_image(self.encoded[index])
        except OSError as error:
            row = self.table.iloc[index]
            raise ValueError(f"still {index} ({row.vendor}/{row.source_name}) is not an image: {error}") from error

    def select(self, mask: np.ndarray) -> "Stills":
        """Keep the stills where `mask` is True, in order."""
        keep = np.flatnonzero(np.asarray(mask))
        return Stills(tuple(self.encoded[i] for i in keep), self.table.iloc[keep].reset_index(drop=True), self.classes)


def decode_image(encoded: bytes) -> np.ndarray:
    """Decode an image file held in memory to uint8 `(H, W, 3)`."""
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


@lru_cache(maxsize=4)
def load_stills(path: Path) -> Stills:
    """Read a file of stills.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not of this layout.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file of stills at {path}; the embedded ones lie in {ASSETS}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            blob, offset = archive["webp"].tobytes(), archive["offset"]
            meta = json.loads(zlib.decompress(archive["meta"].tobytes()))
    except (OSError, KeyError, ValueError, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a file of stills (npz with webp, offset, meta): {error}") from error
    table = pd.DataFrame(meta["columns"])
    table["dup"] = meta["dup"] if len(meta["dup"]) == len(table) else np.arange(len(table))
    encoded = tuple(blob[a:b] for a, b in itertools.pairwise(offset))
    return Stills(encoded, table, tuple(meta["classes100"]))


def icons100() -> Stills:
    """Return the 4,187 embedded stills of 100 classes, split by design family."""
    return load_stills(ASSETS / "icons100.npz")


def icons_open() -> Stills:
    """Return the embedded stills of 50 further classes, which no event training sees."""
    return load_stills(ASSETS / "icons_open.npz")
