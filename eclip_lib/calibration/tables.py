"""The tables of a calibration, and the published ones.

profiles, cameras -> tables -> reports/camera_calibration.json -> tables.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from eclip_lib.cache import atomic_path
from eclip_lib.calibration.fitting import camera_table
from eclip_lib.calibration.pairs import caltech_pairs
from eclip_lib.calibration.profiles import Profile, compare, profile
from eclip_lib.camera import SaccadeCamera
from eclip_lib.ledger import percent, provenance
from eclip_lib.paths import REPORTS

TRACKED = REPORTS / "camera_calibration.json"


def agreement_table(real: Profile, simulated: Mapping[str, Profile]) -> pd.DataFrame:
    """Return one row for each camera: real figures beside simulated ones of the same stills, see `compare`."""
    return pd.DataFrame([{"camera": name} | _figures(real, part) for name, part in simulated.items()])


def _figures(real: Profile, simulated: Profile) -> dict:
    """Return what `compare` does, with the medians themselves."""
    return {
        "recordings": len(real.events),
        "median events": float(np.median(simulated.events)),
        "real median events": float(np.median(real.events)),
        "ON share": float(np.median(simulated.on_share)),
        "real ON share": float(np.median(real.on_share)),
        **compare(real, simulated),
    }


def caltech_table(csv: str, cameras: Mapping[str, SaccadeCamera]) -> pd.DataFrame:
    """Return one row for each camera and real N-Caltech101 recording of a CSV of pairs; see `caltech_pairs`."""
    rows = []
    for name, camera in cameras.items():
        for title, still, recording, own in caltech_pairs(csv, camera):
            duration_ms = camera.duration_us / 1000
            real, simulated = (profile([r], duration_ms) for r in (recording, own.record(still)))
            rows.append({"camera": name, "recording": title} | _figures(real, simulated))
    return pd.DataFrame(rows)


def save_report(tables: Mapping[str, pd.DataFrame], facts: Mapping[str, object], seconds: float, path: Path) -> None:
    """Write tables, how they were made and with what, to one JSON file."""
    content = {
        "facts": dict(facts),
        "provenance": provenance(seconds),
        "tables": {name: table.to_dict("records") for name, table in tables.items()},
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False))


def read_report(path: Path = TRACKED) -> dict[str, pd.DataFrame]:
    """Return the tables of a report by name; the published one unless another is named.

    Raises:
        FileNotFoundError: there is no such report.
        ValueError: the file is not one.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such report; notebook 02 writes one with publish = True")
    try:
        return {name: pd.DataFrame(rows) for name, rows in json.loads(path.read_text())["tables"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a report of a calibration ({error})") from error


def field_table(cameras: Mapping[str, SaccadeCamera]) -> pd.DataFrame:
    """Return the fields in which cameras differ, as a reader wants them: one row a field, few digits."""
    rows = [{name: _short(value) for name, value in row.items()} for row in camera_table(cameras)]
    return pd.DataFrame(rows)


def _short(value: object) -> str:
    """Format a field of a camera; a path as the places it comes to."""
    if isinstance(value, tuple) and isinstance(value[0], tuple):
        return "; ".join(f"{ms:.0f} ms {down:+.2f} {right:+.2f}" for ms, down, right in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def readable(table: pd.DataFrame, reference: str = "real") -> pd.DataFrame:
    """Return an agreement table or one of `sim_to_real` as a reader wants it: percent, few digits.

    Args:
        table: the table.
        reference: what the real recordings are called; a stand-in for them must not be called real.
    """
    if "trained on" in table:
        accuracy = [percent(*row) for row in zip(table["mean"], table["sd"], table["n"], strict=True)]
        share = [f"{100 * share:.0f} %" for share in table["share"]]
        return pd.DataFrame(
            {
                "trained on": table["trained on"].str.replace("real recordings", f"{reference} recordings"),
                "recordings": [f"{number:,}" for number in table["recordings"]],
                f"accuracy on {reference}, %": accuracy,
                f"of {reference} training": share,
            }
        )
    names = [name for name in ("camera", "recording") if name in table]
    return pd.DataFrame(
        {name: table[name] for name in names}
        | {
            f"median events ({reference})": _beside(table, "median events", "{:,.0f}"),
            "ratio": [f"{value:.2f}" for value in table["event_ratio"]],
            f"ON share, % ({reference})": _beside(100 * table[["ON share", "real ON share"]], "ON share", "{:.1f}"),
            "saccade shares off by, points": [f"{100 * value:.1f}" for value in table["saccade_share_error"]],
            "rate off by, %": [f"{100 * value:.0f}" for value in table["rate_error"]],
            "map correlation": [f"{value:.2f}" for value in table["correlation"]],
        }
    )


def _beside(table: pd.DataFrame, name: str, form: str) -> list[str]:
    """Return simulated figures with the real ones in brackets."""
    pairs = zip(table[name], table[f"real {name}"], strict=True)
    return [f"{form.format(ours)} ({form.format(real)})" for ours, real in pairs]
