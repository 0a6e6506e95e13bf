"""The explorer: a recording, its frames under two settings side by side, and what can be kept of them.

`Sample` and `FrameConfig` → one box of widgets; a change redraws only what depends on it.
"""

import html
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ipywidgets as w
import numpy as np
import torch
from PIL import Image

from eclip_lib.config import FrameConfig
from eclip_lib.frames import compose_strip, event_frames, png_bytes, recording_windows, write_gif, write_mp4, write_png
from eclip_lib.paths import RUNS
from eclip_lib.views.explorer.controls import Controls
from eclip_lib.views.explorer.live_figure import make_figure, show_polarity, show_recording, show_windows
from eclip_lib.views.explorer.sources import SourceBar
from eclip_lib.views.samples import Sample, snippet
from eclip_lib.views.timeline import MS, window_labels, window_times

FOLDER = RUNS / "explore"
_FITTED = {"max_width": "100%", "object_fit": "contain"}
WRITERS: dict[str, tuple[Callable[..., Path], str]] = {
    "PNG strip": (write_png, ".png"),
    "GIF": (write_gif, ".gif"),
    "MP4": (write_mp4, ".mp4"),
}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: for a few small frames, threads wait for each other longer than they help."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Setting:
    """A row of the explorer: its controls, its strip of frames, and the frames themselves.

    Attributes:
        name: "A" or "B".
        frames: (T, 3, S, S) in [0, 1], as last drawn.
        valid: (T,) bool.
        labels: one a frame.
    """

    def __init__(self, name: str, cfg: FrameConfig, sample: Sample, changed: Callable[["Setting"], None]):
        self.name = name
        self.frames: np.ndarray  # there after `draw`, like `valid`
        self.valid: np.ndarray
        self.labels: list[str] = []
        self.controls = Controls(cfg, sample.recording, lambda: changed(self))
        self.image = w.Image(format="png", layout={"max_height": "270px", "align_self": "flex-start", **_FITTED})
        self.strip = w.VBox([w.HTML(f"<b>{name}</b>"), self.image])
        self.panel = w.VBox([w.HTML(f"<b>Setting {name}</b>"), self.controls.box], layout={"width": "49%"})

    def draw(self, sample: Sample) -> np.ndarray:
        """Draw the frames of a recording and return the times of their windows, (T, 2) in ms.

        Raises:
            ValueError: the recording has no such frames; what was drawn before stays.
        """
        cfg, recording = self.controls.config(), sample.recording
        windows = recording_windows(recording, cfg)
        with _one_thread():
            frames, valid = event_frames(recording, cfg)
        self.frames, self.valid = frames.numpy(), valid.numpy()
        self.labels = window_labels(recording, windows)
        self.image.value = png_bytes(compose_strip(self.frames, self.valid, self.labels))
        return window_times(recording, windows)

    def show(self, shown: bool) -> None:
        """Show or hide the row."""
        self.strip.layout.display = self.panel.layout.display = None if shown else "none"


class Explorer:
    """All widgets of the explorer, in `box`.

    Args:
        sample: the recording to start with.
        cfg: setting A, and B's as long as it is not changed.
        folder: where exports go.
    """

    def __init__(self, sample: Sample, cfg: FrameConfig, folder: Path = FOLDER):
        self.sample, self.folder = sample, folder
        self.message = w.HTML()
        self.figure = make_figure()
        self.still = w.Image(format="png", layout={"max_height": "260px", **_FITTED})
        self.settings = [Setting(name, cfg, sample, self._on_setting) for name in "AB"]
        self.compare = w.Checkbox(False, description="compare with a second setting", indent=False)
        self.snippet = w.Textarea(layout={"width": "98%", "height": "170px"})
        self.compare.observe(self._on_compare, "value")
        self.sources = SourceBar(self.open)
        self.box = w.VBox([self.sources.box, self.message, self._views(), *self._keep()])
        self.settings[1].show(False)
        self.open(lambda: sample)

    def open(self, load: Callable[[], Sample]) -> None:
        """Show the recording that `load` returns; if it fails, say why and keep the one there is."""
        self._guarded(lambda: self._open(load()))

    def _open(self, sample: Sample) -> None:
        """Show another recording, or the one before if it cannot be drawn."""
        before, self.sample = self.sample, sample
        try:
            self._show()
        except ValueError:
            self.sample = before
            self._show()
            raise
        self._say_what_is_shown()

    def _show(self) -> None:
        """Draw all that there is to see of the recording."""
        recording, still = self.sample.recording, self.sample.still
        for setting in self.settings:
            setting.controls.fit(recording)
        show_recording(self.figure, recording)
        self.still.value = b"" if still is None else png_bytes(Image.fromarray(still))
        self.still.layout.display = "none" if still is None else None
        for setting in self._visible():
            self._draw(setting)

    def _draw(self, setting: Setting) -> None:
        """Redraw what depends on one setting."""
        times, second = setting.draw(self.sample), setting.name == "B"
        show_windows(self.figure, self.sample.recording, times, second)
        if not second:  # the cloud is A's alone
            show_polarity(self.figure, self.sample.recording, setting.controls.polarity.value)
        self._write_snippet()

    def _visible(self) -> list[Setting]:
        """Return the settings that are shown."""
        return self.settings if self.compare.value else self.settings[:1]

    def _on_setting(self, setting: Setting) -> None:
        """React to a change of one setting."""
        if setting in self._visible() and self._guarded(lambda: self._draw(setting)):
            self._say_what_is_shown()

    def _on_compare(self, change: dict) -> None:
        """Show or hide the second setting."""
        second = self.settings[1]
        second.show(change["new"])
        if change["new"]:
            self._guarded(lambda: self._draw(second))
        else:
            show_windows(self.figure, self.sample.recording, np.empty((0, 2)), second=True)
            self._write_snippet()

    def _write_snippet(self) -> None:
        """Write the code that makes the frames which are shown."""
        codes = [snippet(self.sample, setting.controls.config()) for setting in self._visible()]
        heads = [f"# setting {setting.name}\n" for setting in self._visible()] if len(codes) > 1 else [""]
        self.snippet.value = "\n\n".join(head + code for head, code in zip(heads, codes, strict=True))

    def _export(self, kind: str) -> None:
        """Write the strips or animations of the settings that are shown, and say where they are."""
        write, suffix = WRITERS[kind]
        name, paths = re.sub(r"[^\w.-]+", "_", self.sample.name).strip("_"), []
        for setting in self._visible():
            path = self.folder / f"{name}-{setting.name}-{setting.controls.config().id}{suffix}"
            labels = [setting.labels] if write is write_png else []
            paths.append(write(path, setting.frames, setting.valid, *labels))
        self._say("written: " + ", ".join(map(str, paths)))

    def _guarded(self, action: Callable[[], None]) -> bool:
        """Do something for the user and return whether it went well; if not, the message says why."""
        try:
            action()
        except Exception as error:  # the edge of the program: a traceback would be lost in a log that no one sees
            self._say(str(error) or type(error).__name__, bad=True)
            return False
        return True

    def _say_what_is_shown(self) -> None:
        """Name the recording, its size and its length."""
        recording, (height, width) = self.sample.recording, self.sample.recording.sensor_size
        facts = f"{len(recording):,} events in {recording.duration / MS:.1f} ms, sensor {height} x {width} pixels"
        self._say(f"{self.sample.name}: {facts}" + (f" ({self.sample.note})" if self.sample.note else ""))

    def _say(self, text: str, bad: bool = False) -> None:
        """Show a message."""
        mark = '<b style="color: #D55E00">\N{WARNING SIGN}</b> ' if bad else ""
        self.message.value = mark + html.escape(text)

    def _views(self) -> w.Widget:
        """Return what shows the recording and the settings."""
        first, second = self.settings
        glance = w.HBox([w.Box([self.still], layout={"width": "22%"}), self.figure])
        controls = w.HBox([first.panel, second.panel], layout={"justify_content": "space-between"})
        return w.VBox([glance, first.strip, second.strip, self.compare, controls])

    def _keep(self) -> list[w.Widget]:
        """Return the widgets that keep something, and connect them."""
        self.buttons = {kind: w.Button(description=kind, layout={"width": "7em"}) for kind in WRITERS}
        for kind, button in self.buttons.items():
            button.on_click(lambda _, kind=kind: self._guarded(lambda: self._export(kind)))
        return [w.HBox([w.HTML("keep as"), *self.buttons.values()]), w.HTML("the same frames in code"), self.snippet]
