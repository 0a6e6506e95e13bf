"""The pixels of the simulated event camera, compiled.

log intensity of a screen, gaze, pixel parameters -> events, pixel by pixel.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from numba import njit

from eclip_lib.camera.gaze import Gaze
from eclip_lib.events import EVENT_DTYPE

_EVENTS_EXPECTED = 4  # per pixel; the first size of the buffer, which grows when needed


class Pixels(NamedTuple):
    """What the pixels of one sensor are like.

    Attributes:
        state: float32 `(3, H, W)`: ON threshold, OFF threshold, and how far the memory is from the first intensity.
        refractory: microseconds in reset after an event.
        lag: microseconds, the time constant of the photoreceptor at white; it grows as the light falls.
    """

    state: np.ndarray
    refractory: float
    lag: float


def simulate(screen: np.ndarray, gaze: Gaze, pixels: Pixels) -> np.ndarray:
    """Return the events of all pixels, pixel by pixel, each in the order of time.

    Args:
        screen: float32 `(H + 2 m, W + 2 m)`, log intensity with m = `gaze.margin`; white is 0.
        gaze: where the camera looks.
        pixels: of a sensor of (H, W) pixels.
    """
    follow = _follow_rates(screen, gaze, pixels.lag)
    path = (gaze.cells, gaze.runs, gaze.weights, gaze.times)
    room = _EVENTS_EXPECTED * pixels.state[0].size
    while True:
        events = np.empty(room, EVENT_DTYPE)
        n = _fire(screen, follow, path, pixels.state, pixels.refractory, events)
        if n <= room:
            return events[:n]
        room = n


def _follow_rates(screen: np.ndarray, gaze: Gaze, lag: float) -> np.ndarray:
    """Return by which share of a step's distance the photoreceptor follows the light, at each point of the screen."""
    step = np.diff(gaze.times).max()
    return (step / (step + lag * np.exp(-screen))).astype(np.float32)


@njit(nogil=True, cache=True)
@no_type_check  # here and below: numba compiles the function itself, not a type checker's wrapper
def _fire(screen, follow, path, state, refractory, events):
    """Simulate every pixel; return the number of events, of which only those that fit `events` are written."""
    cells, _, _, times = path
    trace, rate = np.empty(len(times), np.float32), np.empty(len(times), np.float32)
    slow = follow.min() < 1
    n = 0
    for y in range(state.shape[1]):
        for x in range(state.shape[2]):
            on, off, phase = state[:, y, x]
            if _contrast(screen, cells, y, x) < min(on + phase, off - phase):
                continue  # too little for either threshold, wherever on the path it lies
            _fill_trace(screen, path, y, x, trace)
            if slow:
                _fill_trace(follow, path, y, x, rate)
                _smooth(trace, rate)
            first, n = n, n + _pixel_events(trace, times, state[:, y, x], refractory, events[n:])
            for i in range(first, min(n, len(events))):
                events[i].x, events[i].y = x, y
    return n


@njit(nogil=True, cache=True)
@no_type_check
def _contrast(screen, cells, y, x):
    """Return the range of the screen along a pixel's path."""
    lowest = highest = screen[y + cells[0, 0], x + cells[0, 1]]
    for i in range(len(cells)):
        row, column = y + cells[i, 0], x + cells[i, 1]
        above, below = screen[row, column : column + 2], screen[row + 1, column : column + 2]
        lowest = min(lowest, above[0], above[1], below[0], below[1])
        highest = max(highest, above[0], above[1], below[0], below[1])
    return highest - lowest


@njit(nogil=True, cache=True, fastmath=True)
@no_type_check
def _fill_trace(screen, path, y, x, trace):
    """Write what a pixel sees at each step of a screen of intensities, or of rates."""
    cells, runs, weights, _ = path
    for i in range(len(cells)):
        row, column = y + cells[i, 0], x + cells[i, 1]
        here, right = screen[row, column], screen[row, column + 1]
        below, across = screen[row + 1, column], screen[row + 1, column + 1]
        for k in range(runs[i], runs[i + 1]):  # unsigned, so that the compiler vectorizes it
            above = weights[0, k] * here + weights[1, k] * right
            trace[k] = above + weights[2, k] * below + weights[3, k] * across


@njit(nogil=True, cache=True)
@no_type_check
def _smooth(trace, rate):
    """Let the photoreceptor follow the light: a low-pass of first order, starting at rest."""
    seen = trace[0]
    for k in range(1, len(trace)):
        seen += rate[k] * (trace[k] - seen)
        trace[k] = seen


@njit(nogil=True, cache=True)
@no_type_check
def _pixel_events(trace, times, pixel, refractory, events):
    """Write time and polarity of one pixel's events as far as they fit; return their number.

    The intensity is linear within a step. `memory` is what the pixel compares with; it follows the intensity until
    `release`, the end of the refractory period.
    """
    on, off, phase = pixel
    memory, release = trace[0] + phase, times[0]
    n = 0
    for k in range(1, len(trace)):
        if -off < trace[k] - memory < on and release <= times[k - 1]:
            continue  # most steps
        begin, end, change = times[k - 1], times[k], trace[k] - trace[k - 1]
        while release <= end:
            if release > begin:
                memory = trace[k - 1] + change * (release - begin) / (end - begin)
            rise = trace[k] - memory
            if change == 0 or -off < rise < on:
                break
            memory += on if rise > 0 else -off
            fired = begin + (end - begin) * (memory - trace[k - 1]) / change
            fired = min(max(fired, begin, release), end)
            if n < len(events):
                events[n].t, events[n].p = int(fired), rise > 0
            n += 1
            release = fired + refractory
    return n
