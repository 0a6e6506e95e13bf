import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

BURST = 0.005  # seconds that a quick function is called for in its turn
LEAST_ROUNDS = 3


def side_by_side(functions: Mapping[str, Callable[[], Any]], seconds: float = 5.0) -> dict[str, float]:
    """Return the seconds that a call of each function takes at best, when all take turns for so many seconds.

    A turn is a few calls in a row. The best call is the one that nothing else on the machine interrupted, and taking
    turns gives each function the same chance of one, so that ratios hold on a noisy machine too.
    """
    calls = {name: _calls(function) for name, function in functions.items()}
    best = dict.fromkeys(functions, float("inf"))
    end, rounds = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or rounds < LEAST_ROUNDS:
        for name, function in functions.items():
            best[name] = min(best[name], *(timed(function) for _ in range(calls[name])))
        rounds += 1
    return best


def timed(function: Callable[[], Any]) -> float:
    """Return the seconds that one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _calls(function: Callable[[], Any]) -> int:
    """Return how many calls fill a turn; the first call, which may compile, is not counted."""
    function()
    return max(1, min(20, int(BURST / max(timed(function), 1e-6))))


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown: the first column to the left, numbers to the right."""
    align = ["left", *["right"] * (len(headers) - 1)]
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True, colalign=align) + "\n"


def ms(seconds: float) -> str:
    """Write a time in milliseconds to three digits or more."""
    return f"{1e3 * seconds:.3g}" if seconds < 0.1 else f"{1e3 * seconds:.0f}"


def verdict(name: str, ratio: float, goal: float) -> str:
    """Compare a ratio with its goal."""
    return f"- {name}: {ratio:.1f}x, goal {goal:g}x: {'reached' if ratio >= goal else 'MISSED'}."
