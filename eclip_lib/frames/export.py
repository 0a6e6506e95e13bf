"""Frames as files to show elsewhere: a strip of pictures (PNG), an animation (GIF, MP4).

frames (T, 3, S, S) in [0, 1] and valid (T,) → one picture or file, written whole or not at all.
"""

import io
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from eclip_lib.cache import atomic_path

TILE = 160  # pixels; smaller frames are enlarged by a whole factor to at least this
GAP = 6  # pixels between tiles
_WHITE, _BLACK, _LIGHT = (255, 255, 255), (40, 40, 40), (205, 205, 205)


def tiles(frames: np.ndarray) -> np.ndarray:
    """Return frames (T, 3, S, S) in [0, 1] as 8-bit pictures (T, K, K, 3), small ones enlarged without smoothing."""
    pictures = np.rint(np.clip(np.asarray(frames), 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    factor = max(1, -(-TILE // pictures.shape[1]))
    return pictures.repeat(factor, axis=1).repeat(factor, axis=2)


def compose_strip(frames: np.ndarray, valid: np.ndarray, labels: Sequence[str] = ()) -> Image.Image:
    """Compose frames side by side, a label under each.

    Args:
        frames: (T, 3, S, S) in [0, 1].
        valid: (T,) bool; a missing window is hatched.
        labels: one a frame, broken into lines at ", "; none leaves the space away.
    """
    pictures = tiles(frames)
    side = pictures.shape[1]
    letters = max(11, side // 14)  # pixels; larger frames are shrunk more when shown
    font, lines = ImageFont.load_default(letters), max((label.count(", ") + 1 for label in labels), default=0)
    height = side + 2 * GAP + lines * (letters + 4)
    strip = Image.new("RGB", (len(pictures) * (side + GAP) + GAP, height), _WHITE)
    draw = ImageDraw.Draw(strip)
    for column, picture in enumerate(pictures):
        left = GAP + column * (side + GAP)
        strip.paste(Image.fromarray(picture) if valid[column] else _missing(side), (left, GAP))
        draw.rectangle((left - 1, GAP - 1, left + side, GAP + side), outline=_LIGHT)
        if labels:
            text = labels[column].replace(", ", "\n")
            draw.multiline_text((left, GAP + side + 3), text, fill=_BLACK, font=font, spacing=3)
    return strip


def _missing(side: int) -> Image.Image:
    """Return the picture that stands for a window without events."""
    picture = Image.new("RGB", (side, side), _WHITE)
    draw = ImageDraw.Draw(picture)
    for offset in range(0, 2 * side, 12):
        draw.line((offset, 0, offset - side, side), fill=_LIGHT)
    return picture


def png_bytes(image: Image.Image) -> bytes:
    """Encode a picture as PNG, quickly rather than tightly."""
    buffer = io.BytesIO()
    image.save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def write_png(path: str | Path, frames: np.ndarray, valid: np.ndarray, labels: Sequence[str] = ()) -> Path:
    """Write the strip of `compose_strip` and return its path."""
    with atomic_path(Path(path)) as temporary:
        compose_strip(frames, valid, labels).save(temporary, "png", optimize=True)
    return Path(path)


def write_gif(path: str | Path, frames: np.ndarray, valid: np.ndarray, fps: float = 4.0) -> Path:
    """Write an animation of the valid frames, which repeats for ever, and return its path.

    Args:
        path: of the file.
        frames: (T, 3, S, S) in [0, 1].
        valid: (T,) bool.
        fps: frames per second.

    Raises:
        ValueError: no frame is valid.
    """
    first, *rest = (Image.fromarray(picture) for picture in _shown(frames, valid))
    with atomic_path(Path(path)) as temporary:
        first.save(temporary, "gif", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)
    return Path(path)


def write_mp4(path: str | Path, frames: np.ndarray, valid: np.ndarray, fps: float = 4.0) -> Path:
    """Write a video (H.264) of the valid frames with the program ffmpeg, and return its path.

    The arguments are those of `write_gif`.

    Raises:
        FileNotFoundError: there is no ffmpeg on the PATH.
        ValueError: no frame is valid, or ffmpeg cannot make the video; the message has its last words.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise FileNotFoundError("no program ffmpeg on the PATH, which writes MP4; install it, or export a GIF instead")
    pictures = _shown(frames, valid)
    even = pictures.shape[1] + pictures.shape[1] % 2  # H.264 in this pixel format has only even sides
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{pictures.shape[2]}x{pictures.shape[1]}", "-r", str(fps)]
    video = ["-vf", f"pad={even}:{even}:color=white", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "12"]
    with atomic_path(Path(path)) as temporary:
        command = [program, "-v", "error", "-y", *source, "-i", "-", *video, "-movflags", "+faststart", str(temporary)]
        done = subprocess.run(command, input=pictures.tobytes(), capture_output=True, check=False)
        if done.returncode:
            raise ValueError(f"{path}: ffmpeg failed: {done.stderr.decode(errors='replace').strip()[-300:]}")
    return Path(path)


def _shown(frames: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return the pictures of the valid frames (T, K, K, 3)."""
    keep = np.asarray(valid, dtype=bool)
    if not keep.any():
        raise ValueError("no window holds an event, so there is nothing to animate; lower the start of the windows")
    return tiles(np.asarray(frames)[keep])
