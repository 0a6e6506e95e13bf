"""Widgets for every field of a `FrameConfig`.

a config and a recording → sliders and menus → the config that they are set to.
"""

from collections.abc import Callable
from contextlib import contextmanager
from typing import get_args, get_type_hints

import ipywidgets as w

from eclip_lib.config import Color, FrameConfig
from eclip_lib.events import Recording
from eclip_lib.views.timeline import MS

SIZES = (32, 48, 96, 128, 224, 336)  # pixels; image sizes of common backbones
PARTS, EVENTS, TIME = "equal parts", "number of events", "time"
USUAL_FRAMES, USUAL_OVERLAP = 8, 0.9  # where the sliders end unless the config asks for more
_STYLE = {"description_width": "7.5em"}
_WIDE = {"layout": {"width": "98%"}, "style": _STYLE}


class Controls:
    """One setting of the explorer.

    Args:
        cfg: what the widgets are set to at first.
        recording: sets the ranges of the sliders, and the lengths of windows that the config leaves open.
        changed: called without arguments after a user's change.
    """

    def __init__(self, cfg: FrameConfig, recording: Recording, changed: Callable[[], None]):
        self._changed, self._held = changed, False
        step = 0.1 if (cfg.window_us or 0) % 100 == 0 and cfg.start % 100 == 0 else 0.001  # ms; hits what is given
        ms = {"step": step, "readout_format": ".1f" if step == 0.1 else ".3f", **_WIDE}
        cut = EVENTS if cfg.events_per_frame else TIME if cfg.window_us else PARTS
        self.cut = w.Dropdown(options=(PARTS, EVENTS, TIME), value=cut, description="windows by", **_WIDE)
        self.events = w.IntSlider(min=1, max=len(recording), description="events each", **_WIDE)
        self.length_ms = w.FloatSlider(min=step, description="ms each", **ms)
        self.frames = w.IntSlider(cfg.frames, 1, max(USUAL_FRAMES, cfg.frames), description="how many", **_WIDE)
        self.start_events = w.IntSlider(min=0, max=len(recording) - 1, description="start, event", **_WIDE)
        self.start_ms = w.FloatSlider(min=0, description="start, ms", **ms)
        self.windows = w.Dropdown(
            options=(("one after another", "first"), ("spread evenly", "spread")), description="placed", **_WIDE
        )
        most = max(USUAL_OVERLAP, cfg.overlap)
        self.overlap = w.FloatSlider(cfg.overlap, min=0, max=most, step=0.05, description="overlap", **_WIDE)
        self.color = w.Dropdown(options=get_args(Color), value=cfg.color, description="color", **_WIDE)
        polarities = get_args(get_type_hints(FrameConfig)["polarity"])
        self.polarity = w.Dropdown(options=polarities, value=cfg.polarity, description="polarity", **_WIDE)
        sizes = sorted({*SIZES, cfg.size})
        self.size = w.Dropdown(options=sizes, value=cfg.size, description="frame size", **_WIDE)
        self.keep_aspect = w.Checkbox(cfg.keep_aspect, description="keep the aspect ratio", **_WIDE)
        self.windows.value = cfg.windows
        self._set_lengths(cfg)
        self.fit(recording)
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
            windows=self.windows.value,
            overlap=self.overlap.value if self._can_overlap() else 0.0,
            start=round(self.start_ms.value * MS) if cut == TIME else self.start_events.value,
            polarity=self.polarity.value,
            color=self.color.value,
            keep_aspect=self.keep_aspect.value,
        )

    def _set_lengths(self, cfg: FrameConfig) -> None:
        """Set start and length of the windows as far as the config does, and remember which it leaves open."""
        by_time = self.cut.value == TIME
        given = {
            self.events: cfg.events_per_frame,
            self.length_ms: cfg.window_us and cfg.window_us / MS,
            self.start_ms if by_time else self.start_events: cfg.start / MS if by_time else cfg.start,
        }
        self._open = {slider for slider, value in given.items() if value is None}
        for slider in given.keys() - self._open:
            slider.max = max(slider.max, given[slider])
            slider.value = given[slider]

    def fit(self, recording: Recording) -> None:
        """Set the ranges of the sliders to those of a recording.

        What is set stays as it is, with a range that reaches it; only a length that no one has set follows.
        """
        number, frames = len(recording), self.frames.value
        longest = round(recording.duration / MS + 0.1, 1)  # the last event lies before the end of such a window
        with self._quiet():
            for slider, most, part in (
                (self.events, number, max(1, number // frames)),
                (self.length_ms, longest, max(self.length_ms.min, round(recording.duration / frames, -2) / MS)),
                (self.start_events, number - 1, None),
                (self.start_ms, longest, None),
            ):
                value = slider.value if part is None or slider not in self._open else part
                slider.max = max(most, value)
                slider.value = value

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
        used = {EVENTS: self.events, TIME: self.length_ms}.get(self.cut.value)
        self._open -= {change["owner"], used}
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
