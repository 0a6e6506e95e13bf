"""Images of any kind, as the camera wants them.

image file or PIL image -> uint8 (H, W, 3), upright, on white.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def read_still(path: Path | str) -> np.ndarray:
    """Read an image file as uint8 (H, W, 3); see `to_rgb`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no image that can be read.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            return to_rgb(image)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such image") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not an image that can be read ({error}); repair it or leave it out") from error


def to_rgb(image: Image.Image) -> np.ndarray:
    """Return a PIL image as uint8 (H, W, 3): upright, 8 bits, transparent parts on white.

    Raises:
        ValueError: its mode has no white that is known (32-bit integers, floats).
    """
    if image.mode in ("I", "F"):  # PIL would clip it to 0-255
        raise ValueError(f"mode {image.mode} has no known white; scale the values to 0-255 and convert to uint8")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # PIL would clip 16 bits to 8
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def find_stills(folder: Path) -> list[Path]:
    """Return the images below a folder, sorted, as paths relative to it; hidden ones are left out.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no image.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected one that holds images, as FOLDER/<class>/<image>")
    stills = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    stills = [still for still in stills if not any(part.startswith(".") for part in still.parts)]
    if not stills:
        raise ValueError(f"{folder}: no images in it; known are {', '.join(IMAGE_SUFFIXES)}")
    return stills
