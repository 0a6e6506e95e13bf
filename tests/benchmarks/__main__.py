import os

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # before evlib loads it; every contender runs in one thread

import argparse
import importlib
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from eclip_lib.cache import atomic_path
from eclip_lib.paths import RUNS

NAMES = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def machine() -> str:
    """Say what the numbers were measured on."""
    info = Path("/proc/cpuinfo")
    models = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "numba", "torch"))
    return f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores, {packages}."


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all, if none is given")
    names = parser.parse_args().names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    torch.set_num_threads(1)
    sections = [f"# Benchmarks\n\n{machine()} One thread, unless a row says otherwise.\n"]
    print(sections[0], flush=True)
    for name in names:
        sections.append(importlib.import_module(f"tests.benchmarks.bench_{name}").main())
        print(sections[-1], flush=True)
    if names == NAMES:
        with atomic_path(RUNS / "benchmarks.md") as path:
            path.write_text("\n".join(sections))


if __name__ == "__main__":
    main()
