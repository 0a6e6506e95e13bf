"""Make docs/pictures/: the hero of the README, the house of CONTRIBUTING, a thumbnail of each notebook.

`python docs/make_pictures.py`; the embedded recording and checkpoint, pictures kept with notebooks and reports -> PNG.
"""

import ast
import base64
import io
from pathlib import Path

import nbformat
import numpy as np
from api_pages import house
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from eclip_lib.events import Recording
from eclip_lib.figure import BLUE, GRAY, GREEN, OFF, ON, ORANGE, PURPLE, SKY, Picture, outline, styled
from eclip_lib.frames import event_frames, recording_windows
from eclip_lib.training import load_checkpoint
from eclip_lib.views import load_sample, sample_names

ROOT = Path(__file__).parent.parent
PICTURES = Path(__file__).parent / "pictures"
THUMBNAIL = (400, 250)
SOURCES = {  # of thumbnails: which of a notebook's kept pictures, or a file of reports/; which part (x0, y0, x1, y1)
    "00_quickstart": (2, (0, 0.04, 1, 0.96)),
    "01_explore_events": (0, (0, 0, 1, 1)),
    "02_calibrate_camera": ("camera_maps.png", (0, 0.05, 0.485, 0.71)),
    "03_inside_the_event_encoder": (1, (0, 0.035, 0.82, 0.5)),
    "04_train": (0, (0, 0.06, 1, 1)),
    "05_ablate": ("figures/input.png", (0, 0, 1, 1)),
    "06_result_tables": ("figures/few-shot-n-mnist.png", (0, 0, 1, 1)),
    "90_pretrain_tiny_clip": (0, (0.5, 0.1, 1, 1)),
}
WING_GIVES = {  # what goes on to the wings above
    "events": "Recording",
    "frames": "count maps, frames (T, 3, S, S)",
    "camera": "Recording, simulated",
    "clip": "image and text tower",
    "model": "event_emb, image_emb, text_emb",
    "data": "frames, stills, class names, splits",
    "evaluation": "scores, metrics",
    "training": "checkpoint",
    "pretraining": "the embedded CLIP",
    "rivals": "scores to compare with",
    "experiments": "ledger row",
    "results": "tables, figures, a page",
    "calibration": "a fitted camera",
    "views": "figures, live views",
    "look": "a recording as a page",
    "cli": "eclip run, eval, classify, ...",
}


@styled
def hero() -> Picture:
    """Draw the way from a still to the name that the embedded checkpoint gives to its simulated recording."""
    model, run, _ = load_checkpoint()
    sample = load_sample("guitar")
    frames, valid = event_frames(sample.recording, run.frames)
    figure = Picture(figsize=(16, 4.2))
    still = figure.add_axes((0.01, 0.17, 0.15, 0.571))
    still.imshow(sample.still)
    outline(still, GRAY)
    cloud(figure.add_axes((0.2, 0.08, 0.245, 0.72)), sample.recording, recording_windows(sample.recording, run.frames))
    for i, frame in enumerate(frames.permute(0, 2, 3, 1).numpy()):
        axis = figure.add_axes((0.49 + 0.099 * i, 0.28, 0.093, 0.354))
        axis.imshow(frame)
        outline(axis, GRAY)
        axis.set_xlabel(f"frame {i + 1}", fontsize=14, labelpad=6)
    names = list(sample_names())
    scores = model.classify(frames[None], valid[None], names).softmax(1)[0].detach().numpy()
    bars(figure.add_axes((0.892, 0.17, 0.07, 0.571)), names, scores)
    heads = {
        0.085: "a still",
        0.322: "its events (simulated)",
        0.635: "count maps as frames",
        0.9: f"one of {len(names)} words",
    }
    for x, text in heads.items():
        figure.text(x, 0.865, text, fontsize=19, ha="center", va="center")
    for x in (0.182, 0.464, 0.803):
        figure.text(x, 0.455, "→", fontsize=28, color=GRAY, ha="center", va="center")
    return figure


def cloud(axis: Axes, recording: Recording, windows: np.ndarray, most: int = 9000) -> None:
    """Draw the events in space and time, thinned, and a gate where each window begins and where the last ends."""
    events = recording.events[np.linspace(0, len(recording.events) - 1, most).astype(int)]
    times, (height, width) = recording.events["t"] / 1000, recording.sensor_size
    colors = np.where(events["p"], ON, OFF)
    axis.scatter(*oblique(events["t"] / 1000, events["x"], events["y"]), s=2.4, c=colors, linewidths=0)
    for time in [*times[windows[:, 0]], times[windows[-1, 1] - 1]]:
        corners = oblique(time, np.array([0, width, width, 0, 0]), np.array([0, 0, height, height, 0]))
        axis.plot(*corners, color=GRAY, linewidth=1.2)
    for x, y in ((0, 0), (width, 0), (width, height), (0, height)):
        axis.plot(*oblique(times[[0, -1]], np.array([x, x]), np.array([y, y])), color=GRAY, linewidth=0.6)
    axis.set_axis_off()
    axis.set_aspect("equal")
    for x, text, color in (
        (0, "● brighter", ON),
        (72, "● darker", OFF),
        (136, f"{times[-1] - times[0]:.0f} ms →", "black"),
    ):
        axis.text(x, -height - 7, text, fontsize=14, color=color, va="top")


def oblique(t: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where events lie on the page: time to the right, y down, x into the depth."""
    return 0.5 * t + 0.6 * x, 0.22 * x - y


def bars(axis: Axes, names: list[str], scores: np.ndarray, most: int = 5) -> None:
    """Draw the best scores of all classes."""
    best = scores.argsort()[::-1][:most]
    axis.barh(range(most), 100 * scores[best], color=[BLUE, *[SKY] * (most - 1)], height=0.68)
    for row, index in enumerate(best):
        axis.text(100 * scores[index] + 4, row, f"{100 * scores[index]:.0f} %", va="center", fontsize=14)
    axis.set_yticks(range(most), [names[i] for i in best], fontsize=15)
    axis.set(ylim=(most - 0.4, -0.6), xlim=(0, 100), xticks=[])
    axis.spines[["bottom"]].set_visible(False)
    axis.tick_params(length=0)


@styled
def house_picture() -> Picture:
    """Draw the wings from bottom to top: what each is, and what goes on to those above."""
    wings = [name for name in house() if (ROOT / "eclip_lib" / name).is_dir()]
    files = [name for name in house() if name not in wings]
    rows = [(", ".join(files), "what all wings stand on", "", GRAY)]
    rows += [(name, first_line(name).replace("`", ""), WING_GIVES.get(name, ""), tint(name)) for name in wings]
    figure = Picture(figsize=(11.6, 0.36 * len(rows) + 0.75))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, 116), ylim=(-1.2, len(rows) + 0.9))
    axis.set_axis_off()
    for level, (name, told, gives, color) in enumerate(rows):
        box = FancyBboxPatch((7, level + 0.08), 107, 0.84, "round,pad=0,rounding_size=0.3", fc=color + "22", ec=color)
        axis.add_patch(box)
        axis.text(8.2, level + 0.48, name, va="center", weight="bold")
        axis.text(20 if level else 52, level + 0.48, told, va="center")
        axis.text(113, level + 0.48, gives, va="center", ha="right", color="#333333")
    axis.text(113, len(rows) + 0.35, "goes up", ha="right", va="center", style="italic")
    for x, ends, text in ((2, (len(rows), 0), "imports"), (4.9, (0, len(rows)), "data")):
        axis.annotate("", (x, ends[1]), (x, ends[0]), arrowprops={"arrowstyle": "-|>", "color": GRAY, "lw": 1.4})
        axis.text(x - 0.4, len(rows) / 2, text, rotation=90, ha="right", va="center", color="#333333")
    axis.text(7, -0.6, "A wing imports wings below it only; data go up. No way back.", va="center", style="italic")
    return figure


def first_line(wing: str) -> str:
    """Return the first line of the docstring of a wing."""
    face = ROOT / "eclip_lib" / wing / "__init__.py"
    return ast.get_docstring(ast.parse(face.read_text(encoding="utf-8"))).splitlines()[0]


def tint(wing: str) -> str:
    """Return the color of the floor that a wing belongs to."""
    floors = {
        ORANGE: ("events", "frames", "camera"),
        BLUE: ("clip", "model"),
        GREEN: ("data", "evaluation", "training", "pretraining", "rivals", "experiments"),
    }
    return next((color for color, wings in floors.items() if wing in wings), PURPLE)


def thumbnail(notebook: str) -> Image.Image:
    """Return the part of a picture that stands for a notebook, on white."""
    source, (left, top, right, bottom) = SOURCES[notebook]
    path = ROOT / "reports" / str(source)
    full = Image.open(io.BytesIO(kept_pictures(notebook)[source]) if isinstance(source, int) else path).convert("RGB")
    part = full.crop([round(x) for x in np.multiply((left, top, right, bottom), full.size * 2)])
    part.thumbnail((THUMBNAIL[0] - 16, THUMBNAIL[1] - 16), Image.Resampling.LANCZOS)
    card = Image.new("RGB", THUMBNAIL, "white")
    card.paste(part, ((THUMBNAIL[0] - part.width) // 2, (THUMBNAIL[1] - part.height) // 2))
    return card.quantize(96, kmeans=2, dither=Image.Dither.NONE)


def kept_pictures(notebook: str) -> list[bytes]:
    """Return the pictures that are committed with a notebook."""
    cells = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    shown = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    return [base64.b64decode(data["image/png"]) for data in shown if "image/png" in data]


def main() -> None:
    """Write all pictures."""
    PICTURES.mkdir(exist_ok=True)
    hero().save(PICTURES / "hero.png")
    house_picture().save(PICTURES / "house.png")
    for notebook in SOURCES:
        thumbnail(notebook).save(PICTURES / f"{notebook}.png", optimize=True)


if __name__ == "__main__":
    main()
