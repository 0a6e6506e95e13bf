"""Widgets for every field of a `FrameConfig`.

a config and a recording → sliders and menus → the config that they are set to.
"""

from collections.abc import Callable
from contextlib import contextmanager
from typing import get_args, get_type_hints

import ipywidgets as w

from eclip_lib.config import Color, FrameConfig
from eclip_lib.events import Recording
from eclip_lib.views import MS

SIZES = (32, 48, 96, 128, 224, 336)  # pixels; image sizes of common backbones
PARTS, EVENTS, TIME = "equal parts", "number of events", "time"
MOST_FRAMES, MOST_OVERLAP = 8, 0.9
_STYLE = {"description_width": "7.5em"}
_WIDE = {"layout": {"width": "98%"}, "style": _STYLE}


class Controls:
    """One setting of the explorer.

    Args:
        cfg: what the widgets are set to at first.
        recording: sets the ranges of the sliders.
        changed: called without arguments after a user's change.
    """

    def __init__(self, cfg: FrameConfig, recording: Recording, changed: Callable[[], None]):
        self._changed, self._held = changed, False
        cut = EVENTS if cfg.events_per_frame else TIME if cfg.window_us else PARTS
        self.cut = w.Dropdown(options=(PARTS, EVENTS, TIME), value=cut, description="windows by", **_WIDE)
        self.events = w.IntSlider(min=1, max=len(recording), description="events each", **_WIDE)
        self.length_ms = w.FloatSlider(min=0.1, step=0.1, description="ms each", readout_format=".1f", **_WIDE)
        self.frames = w.IntSlider(cfg.frames, 1, max(MOST_FRAMES, cfg.frames), description="how many", **_WIDE)
        self.start_events = w.IntSlider(min=0, max=len(recording) - 1, description="start, event", **_WIDE)
        self.start_ms = w.FloatSlider(min=0, step=0.1, description="start, ms", readout_format=".1f", **_WIDE)
        self.windows = w.Dropdown(
            options=(("one after another", "first"), ("spread evenly", "spread")), description="placed", **_WIDE
        )
        most = max(MOST_OVERLAP, cfg.overlap)
        self.overlap = w.FloatSlider(cfg.overlap, min=0, max=most, step=0.05, description="overlap", **_WIDE)
        self.color = w.Dropdown(options=get_args(Color), value=cfg.color, description="color", **_WIDE)
        polarities = get_args(get_type_hints(FrameConfig)["polarity"])
        self.polarity = w.Dropdown(options=polarities, value=cfg.polarity, description="polarity", **_WIDE)
        sizes = sorted({*SIZES, cfg.size})
        self.size = w.Dropdown(options=sizes, value=cfg.size, description="frame size", **_WIDE)
        self.keep_aspect = w.Checkbox(cfg.keep_aspect, description="keep the aspect ratio", **_WIDE)
        self.windows.value = cfg.windows
        self.fit(recording)
        self.events.value = cfg.events_per_frame or max(1, len(recording) // cfg.frames)
        self.length_ms.value = (cfg.window_us or round(recording.duration / cfg.frames, -2)) / MS
        start = self.start_ms if cut == TIME else self.start_events
        start.value = cfg.start / MS if cut == TIME else cfg.start
        self.box = w.VBox(self._widgets())
        self._show_what_counts()
        for widget in self._widgets():
            widget.observe(self._on_change, "value")

    def config(self) -> FrameConfig:
        """Return the config that the widgets are set to."""
        cut = self.cut.value
        return FrameConfig(
            size=self.size.value,
            frames=self.frames.value,
            events_per_frame=self.events.value if cut == EVENTS else None,
            window_us=max(1, round(self.length_ms.value * MS)) if cut == TIME else None,
            windows=self.windows.value if cut != PARTS else "first",
            overlap=self.overlap.value if self._can_overlap() else 0.0,
            start=round(self.start_ms.value * MS) if cut == TIME else self.start_events.value,
            polarity=self.polarity.value,
            color=self.color.value,
            keep_aspect=self.keep_aspect.value,
        )

    def fit(self, recording: Recording) -> None:
        """Set the ranges of the sliders to those of a recording; values outside move to the nearest end."""
        with self._quiet():
            self.events.max, self.start_events.max = len(recording), len(recording) - 1
            longest = round(recording.duration / MS + 0.1, 1)  # the last event lies before the end of such a window
            self.length_ms.max, self.start_ms.max = longest, longest

    def _widgets(self) -> list[w.Widget]:
        """Return all widgets in the order in which they are shown."""
        where = [self.cut, self.events, self.length_ms, self.frames, self.start_events, self.start_ms]
        return [*where, self.windows, self.overlap, self.color, self.polarity, self.size, self.keep_aspect]

    def _can_overlap(self) -> bool:
        """Return whether the windows have an overlap of their own."""
        return self.cut.value != PARTS and self.windows.value == "first"

    def _show_what_counts(self) -> None:
        """Hide the sliders of the other unit; disable what has no effect."""
        cut = self.cut.value
        for widget, shown in (
            (self.events, cut == EVENTS),
            (self.length_ms, cut == TIME),
            (self.start_events, cut != TIME),
            (self.start_ms, cut == TIME),
        ):
            widget.layout.display = None if shown else "none"
        self.windows.disabled = cut == PARTS
        self.overlap.disabled = not self._can_overlap()

    def _on_change(self, change: dict) -> None:
        """Pass a user's change on."""
        if self._held:
            return
        if change["owner"] in (self.cut, self.windows):
            self._show_what_counts()
        self._changed()

    @contextmanager
    def _quiet(self):
        """Keep changes made by the program to itself."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
