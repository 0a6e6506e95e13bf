"""Benchmarks: speed side by side with peers and with the straightforward way, as ratios.

`python -m tests.benchmarks` runs every `bench_*.py` here, `python -m tests.benchmarks NAME` one of them; each has a
function `main() -> str` that returns a section in Markdown. That the contenders of a benchmark do the same work is
checked by `tests/test_benchmarks.py`.
"""
