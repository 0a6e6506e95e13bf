"""The saccade camera: simulated recordings of still images.

Still uint8 (H, W, 3) or (H, W) -> `Recording`.
"""

from dataclasses import dataclass
from math import ceil, sqrt
from typing import ClassVar, no_type_check

import numpy as np
from numba import njit
from numpy.typing import ArrayLike
from PIL import Image

from eclip_lib.config import Checked
from eclip_lib.events import EVENT_DTYPE, Recording

VERSION = 1  # counted up when the same camera and seed give other events, so that caches know
SACCADES = 3
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # of linear red, green, blue (ITU-R BT.709)
# Corners of an equilateral triangle with side 1 around its center, (y, x), closed; the third saccade is horizontal.
_LOW, _TOP = 0.5 / sqrt(3), -1 / sqrt(3)
TRIANGLE = np.array([(_LOW, -0.5), (_TOP, 0.0), (_LOW, 0.5), (_LOW, -0.5)])
_LEAST_THRESHOLD = 0.2  # of the nominal one; mismatch must not make a pixel fire at nothing
_EVENTS_EXPECTED = 4  # per pixel; the first size of the buffer, which grows when needed

Gaze = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # see SaccadeCamera._gaze


@dataclass(frozen=True)
class SaccadeCamera(Checked):
    """An event camera that looks at a still on a white screen while it makes three saccades in a triangle.

    Each pixel remembers a log intensity and fires ON or OFF when the present one differs by a threshold. After an
    event it is held in reset for the refractory period, so change within that is lost, as in the real circuit.
    Thresholds and initial states are drawn from the seed: each seed is another sensor of the same make.

    Source: our choice, after the way N-Caltech101 and N-MNIST were made (E-CLIP section 1.1 takes such recordings): a
        screen, three saccades of 100 ms. Limits: no latency, no leak, no photon noise that depends on intensity.

    Example:
        >>> still = np.full((32, 32, 3), 255, np.uint8)
        >>> still[8:24, 8:24] = 0
        >>> recording = SaccadeCamera(sensor_size=(32, 32)).record(still)
        >>> recording.sensor_size, 250_000 < recording.duration <= 300_000
        ((32, 32), True)
    """

    sensor_size: tuple[int, int] = (96, 96)  # (height, width) in pixels; that of the embedded stills
    saccade_ms: float = 100.0  # milliseconds of each of the three
    amplitude_px: float = 4.0  # pixels, the side of the triangle; N-Caltech101 moves by about 4 % of its view too
    threshold_on: float = 0.3  # natural log of intensity
    threshold_off: float = 0.3  # natural log of intensity
    threshold_mismatch: float = 0.03  # natural log of intensity, standard deviation between pixels
    refractory_us: int = 1000  # microseconds without events after each
    noise_hz: float = 0.1  # background events per pixel and second, either polarity
    step_us: int = 500  # microseconds; event times are interpolated within a step
    black_level: float = 0.1  # of white: screen black and stray light; keeps line art from saturating the pixels
    blur_px: float = 0.6  # pixels, standard deviation of the optics' Gaussian
    gamma: float = 2.2  # of the screen

    _at_least: ClassVar = {
        "saccade_ms": 1,
        "amplitude_px": 0,
        "threshold_on": 0.01,
        "threshold_off": 0.01,
        "threshold_mismatch": 0,
        "refractory_us": 0,
        "noise_hz": 0,
        "step_us": 1,
        "black_level": 0.001,
        "blur_px": 0,
        "gamma": 0.1,
    }

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        if len(self.sensor_size) != 2 or min(self.sensor_size) < 1:
            raise ValueError(
                f"SaccadeCamera.sensor_size = {self.sensor_size!r}: expected (height, width) of at least 1"
            )
        if self.black_level >= 1:
            raise ValueError(f"SaccadeCamera.black_level = {self.black_level!r}: must be below 1, which is white")

    @property
    def duration_us(self) -> int:
        """Return the length of a recording in microseconds."""
        return SACCADES * round(self.saccade_ms * 1000)

    def record(self, image: ArrayLike | Image.Image, seed: int = 0) -> Recording:
        """Record a still; image, seed and camera determine the events.

        The same on every run; another processor may round a few event times differently. The simulation releases the
        interpreter's lock, so threads run side by side.

        Args:
            image: uint8 (H, W, 3) or (H, W), scaled to fit the sensor with its aspect kept, on white; not modified.
            seed: of thresholds, initial states and background noise.

        Raises:
            ValueError: not such an image, or no event at all (a blank still and no noise).
        """
        rng = np.random.default_rng(seed)
        screen = self._log_intensity(image)
        fired = _simulate(screen, self._gaze(), self._pixels(rng), float(self.refractory_us))
        events = np.concatenate([fired, self._noise(rng)])
        if not len(events):
            raise ValueError("the still is blank, so no pixel fired; leave it out, or set noise_hz above 0")
        return Recording(events[np.argsort(events["t"], kind="stable")], self.sensor_size)

    def _gaze(self) -> Gaze:
        """Return where the camera looks at each of S steps, which form R runs within one cell of the pixel grid.

        Returns:
            cells: int64 `(R, 2)`, the row and column of the padded screen that the first pixel sees.
            runs: uint64 `(R + 1,)`, the step each run starts with, and S.
            weights: float32 `(4, S)`, bilinear, of the screen at (row, column), one to the right, one below, both.
            times: float64 `(S,)` in microseconds.
        """
        times = np.minimum(np.arange(0, self.duration_us + self.step_us, self.step_us), self.duration_us)
        times = np.unique(times).astype(np.float64)
        position = times / self.duration_us * SACCADES
        saccade = np.minimum(position.astype(int), SACCADES - 1)
        s = position - saccade
        progress = s**3 * (10 - 15 * s + 6 * s**2)  # minimum jerk: at rest at both ends
        start, stop = TRIANGLE[saccade], TRIANGLE[saccade + 1]
        offset = self._margin + self.amplitude_px * (start + progress[:, None] * (stop - start))
        cells = np.floor(offset).astype(np.int64)
        down, right = (offset - cells).T
        weights = np.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right])
        starts = np.flatnonzero(np.any(np.diff(cells, axis=0, prepend=-1), axis=1))
        return cells[starts], np.append(starts, len(times)).astype(np.uint64), weights.astype(np.float32), times

    @property
    def _margin(self) -> int:
        """Return the pixels of screen around the sensor's view that the saccades bring into it."""
        return ceil(self.amplitude_px) + 1

    def _log_intensity(self, image: ArrayLike | Image.Image) -> np.ndarray:
        """Return the log intensity of the screen, with margin, in sensor pixels; white is 0, float32."""
        light = _blur(_fit(_luminance(image, self.gamma), self.sensor_size), self.blur_px)
        # Repeating the border, a still that fills the view shows no frame around it.
        return np.log(self.black_level + (1 - self.black_level) * np.pad(light, self._margin, mode="edge"))

    def _pixels(self, rng: np.random.Generator) -> np.ndarray:
        """Draw each pixel's ON and OFF threshold and how far its memory is from the first intensity, (3, H, W)."""
        draw = rng.standard_normal((2, *self.sensor_size), np.float32) * np.float32(self.threshold_mismatch)
        nominal = np.array([self.threshold_on, self.threshold_off], np.float32)[:, None, None]
        on, off = np.maximum(nominal + draw, _LEAST_THRESHOLD * nominal)
        # A camera that has been looking around rests anywhere between its thresholds, not on the present intensity.
        return np.stack([on, off, rng.random(self.sensor_size, np.float32) * (on + off) - on])

    def _noise(self, rng: np.random.Generator) -> np.ndarray:
        """Draw Poisson background events, which know neither thresholds nor refractory period."""
        height, width = self.sensor_size
        events = np.empty(rng.poisson(self.noise_hz * height * width * self.duration_us * 1e-6), EVENT_DTYPE)
        for name, limit in zip(EVENT_DTYPE.names, (width, height, self.duration_us, 2), strict=True):
            events[name] = rng.integers(0, limit, len(events))
        return events


def _luminance(image: ArrayLike | Image.Image, gamma: float) -> np.ndarray:
    """Return the linear luminance in [0, 1] of an 8-bit image, float32 (H, W)."""
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise ValueError(
            f"a still of {pixels.dtype}{list(pixels.shape)}: expected uint8 (H, W, 3) or (H, W); "
            "convert with PIL's image.convert('RGB'), or scale floats to 0-255"
        )
    if not pixels.size:
        raise ValueError(f"a still of shape {list(pixels.shape)} has no pixels; check how it was read")
    linear = (np.arange(256, dtype=np.float32) / 255) ** np.float32(gamma)
    return linear[pixels] if pixels.ndim == 2 else linear[pixels] @ LUMINANCE


def _fit(light: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale an image to fit `size` with its aspect kept, in the middle of white."""
    scale = min(size[0] / light.shape[0], size[1] / light.shape[1])
    height, width = (max(1, round(side * scale)) for side in light.shape)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    screen = np.ones(size, np.float32)
    scaled = Image.fromarray(light).resize((width, height), Image.Resampling.BILINEAR)
    screen[top : top + height, left : left + width] = scaled
    return screen


def _blur(light: np.ndarray, sigma: float) -> np.ndarray:
    """Convolve with a Gaussian; the borders repeat."""
    radius = ceil(3 * sigma)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma, 1e-6)) ** 2)
    for axis in (0, 1):
        padded = np.pad(light, [(radius, radius) if axis == i else (0, 0) for i in (0, 1)], mode="edge")
        shifts = [np.take(padded, range(k, k + light.shape[axis]), axis) for k in range(2 * radius + 1)]
        light = sum(np.float32(w) * shift for w, shift in zip(weights / weights.sum(), shifts, strict=True))
    return light


def _simulate(screen: np.ndarray, gaze: Gaze, pixels: np.ndarray, refractory: float) -> np.ndarray:
    """Return the events of all pixels, pixel by pixel."""
    room = _EVENTS_EXPECTED * pixels[0].size
    while True:
        events = np.empty(room, EVENT_DTYPE)
        n = _fire(screen, gaze, pixels, refractory, events)
        if n <= room:
            return events[:n]
        room = n


@njit(nogil=True, cache=True)
@no_type_check  # here and below: numba compiles the function itself, not a type checker's wrapper
def _fire(screen, gaze, pixels, refractory, events):
    """Simulate every pixel; return the number of events, of which only those that fit `events` are written."""
    cells, _, _, times = gaze
    trace = np.empty(len(times), np.float32)
    n = 0
    for y in range(pixels.shape[1]):
        for x in range(pixels.shape[2]):
            on, off, phase = pixels[:, y, x]
            if _contrast(screen, cells, y, x) < min(on + phase, off - phase):
                continue  # too little for either threshold, wherever on the path it lies
            _fill_trace(screen, gaze, y, x, trace)
            first, n = n, n + _pixel_events(trace, times, pixels[:, y, x], refractory, events[n:])
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
def _fill_trace(screen, gaze, y, x, trace):
    """Write the intensity that a pixel sees at each step."""
    cells, runs, weights, _ = gaze
    for i in range(len(cells)):
        row, column = y + cells[i, 0], x + cells[i, 1]
        here, right = screen[row, column], screen[row, column + 1]
        below, across = screen[row + 1, column], screen[row + 1, column + 1]
        for k in range(runs[i], runs[i + 1]):  # unsigned, so that the compiler vectorizes it
            above = weights[0, k] * here + weights[1, k] * right
            trace[k] = above + weights[2, k] * below + weights[3, k] * across


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
