"""The ledger: one JSON line a run, with config and provenance, and tables made of it.

row dicts -> `runs/results.jsonl` -> pandas.
"""

import hashlib
import json
import os
import platform
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from io import FileIO
from pathlib import Path

import pandas as pd

from eclip_lib import __version__
from eclip_lib.config import METHOD_NAMES
from eclip_lib.locks import hold
from eclip_lib.paths import INSTALLED, REPORTS, ROOT, RUNS

LEDGER = RUNS / "results.jsonl"
TRACKED = REPORTS / "results.jsonl"
COLUMNS = (  # of a row; a table has each metric as a column besides
    "run_id",  # hash of the config, method, seed
    "experiment",  # the batch that it belongs to
    "method",  # "e-clip" or a rival, see `config.METHOD_NAMES`
    "dataset",  # that is tested, or the subset of it
    "simulated",  # whether its recordings are
    *("protocol", "shots", "seed", "fold"),
    "recipe",  # of E-CLIP
    *("backbone", "preset"),  # the preset whose settings these are, if any
    "variant",  # what an ablation changes
    "smoke",  # whether it only shows that everything works
    "metrics",  # fractions in [0, 1] by name, and n, the recordings tested
    "losses",  # the terms in the last epoch, unweighted
    "split_hash",  # of the ids on each side
    "predictions",  # file of the scores of every test recording, relative to the ledger
    "config",  # all fields of the `Run`
    "provenance",  # commit, dirty, code, versions, device, seconds, utc
)


def _git(*arguments: str) -> str:
    """Return what git says of the sources; nothing where they are no checkout."""
    if INSTALLED:
        return ""  # a repository around the user's folder is another project
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def code_hash() -> str:
    """Return 8 hex digits of the package's sources; unlike the commit, they stay when a text of the project changes."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:8]


def provenance(seconds: float, device: str = "cpu") -> dict:
    """Return what a number depends on besides its config: commit, sources, versions, device, time."""
    packages = ("torch", "open_clip_torch", "numpy", "numba", "scikit-learn")
    return {
        "commit": _git("rev-parse", "HEAD") or None,
        "dirty": bool(_git("status", "--porcelain")),
        "code": code_hash(),
        "versions": {
            "eclip": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in packages},
        },
        "device": device,
        "seconds": round(seconds, 1),
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def append_row(row: dict, ledger: Path = LEDGER, once: bool = False) -> bool:
    """Append one row: whole or not at all, however many processes write at once.

    A lock lets one process write at a time. If the write fails (a full disk, say), what it left is cut off again, so
    that the ledger is as it was. A fragment that a killed process left gets a line of its own.

    Args:
        row: of a run.
        ledger: a file, made if need be.
        once: nothing is written where the ledger has a row of the same run by this version already (`find_row`), for
            batches, in which a run may be done twice.

    Returns:
        Whether the row was written.

    Raises:
        ValueError: the row holds something JSON cannot (a number that is not finite, say); nothing is written.
        OSError: the ledger cannot be written; the message names it, and nothing in it is damaged.
    """
    ledger = Path(ledger)
    line = json.dumps(row, sort_keys=True, allow_nan=False).encode() + b"\n"
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with locked(ledger), ledger.open("a+b", buffering=0) as file:
        if once and find_row(ledger, row["run_id"]):
            return False
        end = file.seek(0, os.SEEK_END)
        try:
            _write_all(file, line if _ends_a_line(file, end) else b"\n" + line)
            os.fsync(file.fileno())
        except OSError as error:
            file.truncate(end)
            raise OSError(
                error.errno, f"a row could not be added to {ledger} ({error.strerror}); the ledger is as it was before"
            ) from error
    return True


@contextmanager
def locked(ledger: Path) -> Iterator[None]:
    """Let no other process change a ledger meanwhile; its lock is a hidden file beside it.

    Raises:
        OSError: there can be no lock; nothing in the ledger has changed.
    """
    file = Path(ledger).resolve()  # whatever name a process has for it
    with hold(file.with_name(f".{file.name}.lock")):
        yield


def find_row(ledger: Path, run_id: str) -> dict | None:
    """Return the last row of a run that this version of the package wrote, None where there is none.

    The run's id holds its config, method and seed. Other sources of the same version have another `code` in the row's
    provenance, which is the caller's to judge.
    """
    lines = Path(ledger).read_bytes().split(b"\n") if Path(ledger).is_file() else []
    rows = [row for line in lines if run_id.encode() in line and (row := own_row(line)) and row["run_id"] == run_id]
    return rows[-1] if rows else None


def own_row(line: bytes) -> dict | None:
    """Return the row of a ledger's line, None where it is damaged or of another version of the package."""
    try:
        row = json.loads(line)
        return row if "run_id" in row and row["provenance"]["versions"].get("eclip") == __version__ else None
    except (ValueError, KeyError, TypeError, AttributeError):  # `read_results` tells
        return None


def _ends_a_line(file: FileIO, end: int) -> bool:
    if not end:
        return True
    file.seek(end - 1)
    return file.read(1) == b"\n"


def _write_all(file: FileIO, data: bytes) -> None:
    """Write all bytes; a nearly full disk takes only some of them at first."""
    while data:
        data = data[file.write(data) :]


def read_results(path: Path | str = LEDGER) -> pd.DataFrame:
    """Read a ledger: one row a run, in the order of writing, its fields (`COLUMNS`) as columns.

    Every metric is a column of its own beside `metrics`; one that a run has not is nan. Damaged lines, such as a last
    one that a killed process left unfinished, are left out with a warning that names them.

    Raises:
        FileNotFoundError: there is no ledger yet.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no ledger at {path}; a run writes it")
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows.append(row | row["metrics"])
        except (ValueError, KeyError, TypeError) as error:  # no JSON, no text, or no row
            warnings.warn(f"{path} line {number} is left out: {error!r}", stacklevel=2)
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(COLUMNS))


def read_tracked(experiment: str = "published") -> pd.DataFrame:
    """Read one batch of the tracked ledger, ordered by data set, shots, method and recipe.

    "published" compares the methods; "initializations" the recipes `workbench` and `paper` at 0, 1 and 5 shots;
    "n-mnist" both on real recordings, from one of each digit to all; "ablation" the variants of a grid.
    """
    order = {name: place for place, name in enumerate(reversed(METHOD_NAMES))}  # others come last
    rows = read_results(TRACKED)
    rows = rows[rows.experiment == experiment]
    return rows.sort_values(
        ["dataset", "shots", "method", "recipe", "seed"], key=lambda c: c.map(order) if c.name == "method" else c
    )


def as_table(rows: pd.DataFrame | Sequence[dict]) -> pd.DataFrame:
    """Return ledger rows as a table whose metrics are columns; of a run done twice, the later row."""
    if not isinstance(rows, pd.DataFrame):
        rows = pd.DataFrame([row | row["metrics"] for row in rows], columns=None if rows else list(COLUMNS))
    return rows.drop_duplicates("run_id", keep="last")


def compared_top1(rows: pd.DataFrame) -> pd.Series:
    """Return the accuracy that runs are compared by: top-1, of runs by base-to-new on the new classes; else nan."""
    missing = pd.Series(float("nan"), rows.index)
    return rows.get("top1", missing).fillna(rows.get("new_top1", missing))


def percent(mean: float, sd: float, n: int) -> str:
    """Format an accuracy in percent, with its spread where there is one; a dash where the runs do not report it."""
    if pd.isna(mean):
        return "-"
    return f"{100 * mean:.1f}" if n < 2 else f"{100 * mean:.1f} ± {100 * sd:.1f} (n={n})"


def method_name(method: str) -> str:
    """Name a method in a table."""
    return METHOD_NAMES.get(method, method)


def label(row: pd.Series | dict) -> str:
    """Name what a run is compared as: its variant in an ablation, else the method, of E-CLIP with its recipe."""
    variant, recipe = row.get("variant"), row.get("recipe")
    if isinstance(variant, str):
        return variant
    return row["method"] if not isinstance(recipe, str) else f"{row['method']} {recipe}"


def label_name(label: str) -> str:
    """Write a label as tables and figures do: "E-CLIP, workbench"."""
    method, _, recipe = label.partition(" ")
    if method not in METHOD_NAMES:
        return label
    return METHOD_NAMES[method] + (f", {recipe}" if recipe else "")


def setting(protocol: str, shots: float | None) -> str:
    """Name a protocol in a table, with its shots where it has some."""
    if shots is None or pd.isna(shots):
        return protocol
    return f"{int(shots)}-shot" if protocol == "few-shot" else f"{protocol}, {int(shots)}-shot"
