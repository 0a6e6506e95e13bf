"""A results section: its text, tables and figures, made of a ledger and of the published numbers.

ledger → sections → a notebook's display, or files for a paper.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from eclip_lib.experiments.batch import EXPERIMENT, FAMILIES, FULL, PRESETS
from eclip_lib.figure import Picture
from eclip_lib.ledger import label, percent, setting
from eclip_lib.results.claims import claim_effects, claim_list, claims_table, verdicts
from eclip_lib.results.files import Table, write_figure, write_table
from eclip_lib.results.plots import few_shot_curves, gain_dots, gain_map
from eclip_lib.results.published import DATASETS, published_numbers
from eclip_lib.results.rows import SAME, ledger_rows, with_predictions
from eclip_lib.results.tables import (
    TITLES,
    each_once,
    families,
    gain_table,
    method_tables,
    published_table,
    shown_effects,
)

REAL = "n-mnist"  # the experiment that compares methods on real recordings
OWN = "train"  # that of notebook 04, on any data set
WORKBENCH = "e-clip workbench"


@dataclass(frozen=True)
class Section:
    """Part of a results section; figures by the name of their files."""

    title: str
    text: str
    tables: Sequence[Table] = ()
    figures: dict[str, Picture] = field(default_factory=dict)


def result_sections(ledger: Path | str, presets: Sequence[str] = FAMILIES) -> list[Section]:
    """Return claims, ablations, methods on real recordings and published numbers, in this order.

    What the ledger has no rows for is a section that says so; the rest is shown.

    Args:
        ledger: a file of rows, the files of predictions beside it.
        presets: of the ablation grid, those whose tables are made; claims do not depend on it.

    Raises:
        FileNotFoundError: there is no ledger.
        ValueError: the ledger is of another program, or two runs that should be a pair tested other recordings.
    """
    ablation, real = (ledger_rows(ledger, experiment) for experiment in (EXPERIMENT, REAL))
    if ablation.empty:
        text = f"The ledger has no rows of the experiment {EXPERIMENT!r} yet; `eclip ablate` writes them."
        sections = [Section("The claims", f"{text}\n\n{claim_list()}"), Section("Ablations", text)]
    else:
        sections = [_claims(ablation, ledger), *_ablations(ablation, ledger, presets)]
    own = ledger_rows(ledger, OWN)
    both = pd.concat([own[~own.simulated.astype(bool)], real])
    return [*sections, _methods(real, ledger), _published(both.drop_duplicates([*SAME, "backbone"], keep="last"))]


def _claims(rows: pd.DataFrame, ledger: Path | str) -> Section:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the ablations tell the same
        rows = with_predictions(rows, ledger)
    found = claim_effects(rows, ledger)
    text = (
        "What the paper and a reading note of it claim, and the comparison that tests each claim. A claim is "
        "*supported* where the corrected interval of each of its differences lies wholly where the claim predicts, "
        "*not supported* where one lies wholly elsewhere, *undecided* otherwise.\n\n" + claim_list()
    )
    return Section("The claims", text, [claims_table(verdicts(rows, found), found)])


def _ablations(rows: pd.DataFrame, ledger: Path | str, presets: Sequence[str]) -> Iterator[Section]:
    """Yield a section for the grid as a whole, and one for each preset that has gains."""
    wanted = {FULL} | {name for preset in presets for name in PRESETS[preset]}
    others = {name for preset in FAMILIES for name in PRESETS[preset]} - wanted
    found = shown_effects(rows[[label(row) not in others for _, row in rows.iterrows()]], FULL, ledger)
    parts = families(found)
    lone = _lone(found, parts)
    if not parts:
        yield Section("Ablations", f"No variant has a gain. {lone}")
        return
    grid = each_once(parts)
    text = (
        f"Each variant changes the full model ({FULL!r}) in one respect. Simulated and real recordings are never in "
        "one table; the map has a column for each, its stars are those of the tables."
    )
    text = "\n\n".join(filter(None, (text, _bases(rows), lone)))
    yield Section("Ablations", text, figures={"grid": gain_map(grid, FULL, "The grid: each variant and what it gains")})
    for preset in (*presets, "own"):
        own = {name: part for name, part in parts.items() if name.split("-")[0] == preset}
        if own:
            tables = [gain_table(part, name) for name, part in own.items()]
            figure = gain_dots(pd.concat(own.values()), FULL, f"{TITLES[preset]}: gain of each variant")
            yield Section(f"Ablations: {TITLES[preset].lower()}", "", tables, {preset: figure})


def _lone(found: pd.DataFrame, parts: dict[str, pd.DataFrame]) -> str:
    """Name the variants that no table has, "" where there are none; a warning does the same."""
    place = ["data", "setting", "label"]
    shown = {key for part in parts.values() for key in part[place].itertuples(index=False, name=None)}
    absent = [key not in shown for key in found[place].itertuples(index=False, name=None)]
    lone = found[np.array(absent, bool) & (found.label != FULL)]
    if lone.empty:
        return ""
    cells = zip(lone.label, lone.data, lone.setting, map(percent, lone["mean"], lone.sd, lone.n), strict=True)
    named = "; ".join(f"{name} ({data}, {place}: {accuracy})" for name, data, place, accuracy in cells)
    text = f"In no table, since no readable run of {FULL!r} has the same setting, seed and fold: {named}."
    warnings.warn(text, stacklevel=2)
    return text


def _bases(rows: pd.DataFrame) -> str:
    """Return what the full model of each data set and setting is, as a Markdown list; only rows with a config tell."""
    told = [isinstance(config, dict) and {"frames", "train"} <= set(config) for config in rows.config]
    full = rows[(rows.variant == FULL) & np.array(told, bool)]
    lines = [
        f"- {row.dataset}, {setting(row.protocol, row.shots)}: {row.backbone}, recipe `{row.recipe}`, "
        + _windows(**row.config["frames"])
        + ("" if row.protocol == "zero-shot" else _training(**row.config["train"]))
        for row in full.drop_duplicates(["dataset", "protocol", "shots"], keep="last").itertuples()
    ]
    return "\n".join(["The full model:", "", *lines]) if lines else ""


def _windows(frames: int, events_per_frame: int | None = None, window_us: int | None = None, **_: object) -> str:
    number = f"{frames} window" + ("s" if frames > 1 else "")
    if window_us:
        return f"{number} of {window_us:,} \N{MICRO SIGN}s"
    return f"{number} of {events_per_frame:,} events" if events_per_frame else f"{number} with all events"


def _training(epochs: int, batch_size: int, tower_rate: float, **_: object) -> str:
    return f", {epochs} epochs of batches of {batch_size}, rate {tower_rate:g}"


def _methods(rows: pd.DataFrame, ledger: Path | str) -> Section:
    title = "Methods on real recordings"
    if rows.empty:
        return Section(title, f"The ledger has no rows of the experiment {REAL!r} yet.")
    found = shown_effects(rows.sort_values("shots", kind="stable"), WORKBENCH, ledger)
    tables = method_tables(found, "methods-n-mnist", "N-MNIST, real recordings", WORKBENCH)
    text = (
        "Every method of a repeat sees the same recordings and is tested on the same fold; what each may choose is "
        "chosen on validation recordings."
    )
    return Section(title, text, tables, {"few-shot-n-mnist": few_shot_curves(rows)})


def _published(rows: pd.DataFrame) -> Section:
    text = (
        "What papers report on the same data sets, with paper, version and backbone. Only real recordings of ours "
        "stand beside it. `reports/published_results.csv` has every number with its source, and what speaks against it."
    )
    numbers = published_numbers()
    return Section("Published numbers", text, [published_table(rows, numbers, dataset) for dataset in DATASETS])


def by_title(sections: Sequence[Section]) -> dict[str, Section]:
    """Return sections by their titles, in their order."""
    return {section.title: section for section in sections}


def show(*sections: Section) -> None:
    """Show sections in a notebook, under smaller headings where there are several."""
    for section in sections:
        display(Markdown((f"### {section.title}\n\n" if len(sections) > 1 else "") + section.text))
        for item in (*(table.style() for table in section.tables), *section.figures.values()):
            display(item)


def write_sections(sections: Sequence[Section], folder: Path) -> list[Path]:
    """Write all tables to `folder/tables` and all figures to `folder/figures`. Returns their paths."""
    paths = []
    for section in sections:
        for table in section.tables:
            paths += write_table(table, folder / "tables")
        for name, figure in section.figures.items():
            paths += write_figure(figure, folder / "figures" / name)
    return paths
