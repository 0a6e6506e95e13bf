"""Numbers that papers report, beside our own: always called published, and never beside simulated recordings.

the tracked `reports/published_results.csv`, checked → rows with their source → ours and theirs, each said to be so.
"""

from pathlib import Path

import pandas as pd

from eclip_lib.ledger import as_table, label, label_name, percent, setting
from eclip_lib.paths import REPORTS
from eclip_lib.results.summaries import summarize

PATH = REPORTS / "published_results.csv"
COLUMNS = (
    *("method", "variant", "paper", "version", "table", "setting", "dataset", "backbone", "metric", "value", "unit"),
    *("source", "digitized", "derived", "doubt"),
)
UNSEEN = "not seen"  # stands where the source that could be read does not tell
OTHERS = 1e7  # the place of settings other than zero-shot, few-shot and fine-tune
KEY = ["method", "variant", "paper", "table", "setting", "dataset", "backbone", "metric"]
NEEDED = ("method", "paper", "table", "setting", "dataset", "metric", "value", "source")
CHOICES = {"unit": ("percent", "points"), "digitized": ("yes", "no"), "derived": ("yes", "no")}
DATASETS = {"n-mnist": "N-MNIST", "n-caltech101": "N-Caltech101", "n-imagenet": "N-ImageNet"}  # ours: theirs


def published_numbers(path: Path | str = PATH) -> pd.DataFrame:
    """Read the published numbers, a row each.

    Returns:
        The columns of `COLUMNS`, as texts but for `value`: in percent where `unit` says so, else a difference of
        percentages in points; and `printed`, the value with the digits of its source. `digitized` numbers were read off
        a plot, `derived` ones computed from others; `doubt` says what speaks against a number.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column or a value is missing, out of range or there twice; the message names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no published numbers at {path}; the project tracks them: git checkout {path.name}")
    try:
        numbers = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{path} is no CSV file: {error}") from error
    if tuple(numbers.columns) != COLUMNS:
        raise ValueError(f"{path} has the columns {', '.join(numbers.columns)}; they have to be {', '.join(COLUMNS)}")
    for line, row in enumerate(numbers.to_dict("records"), start=2):
        if problem := _problem(row):
            raise ValueError(f"{path} line {line}: {problem}")
    if (twice := numbers.duplicated(KEY)).any():
        raise ValueError(f"{path} line {twice.idxmax() + 2}: the number is there twice: {', '.join(KEY)} are the same")
    return numbers.assign(printed=numbers.value, value=numbers.value.astype(float))


def _problem(row: dict[str, str]) -> str | None:
    """Return what is wrong with a row."""
    for column in NEEDED:
        if not row[column].strip():
            return f"{column} is empty"
    for column, choices in CHOICES.items():
        if row[column] not in choices:
            return f"{column} = {row[column]!r}; it is {' or '.join(choices)}"
    try:
        value = float(row["value"])
    except ValueError:
        return f"value = {row['value']!r} is no number"
    return None if 0 <= value <= 100 else f"value = {row['value']} is no percentage"


def beside_published(rows: pd.DataFrame, numbers: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Return our top-1 accuracies on a data set of real recordings, and the published ones behind them.

    Args:
        rows: of a ledger; those of other data sets are left out.
        numbers: of `published_numbers`.
        dataset: one of `DATASETS`.

    Returns:
        A row a method and setting, each ordered by setting: `origin` ("ours" or "published"), setting, method (with the
        version of the paper that reports it), variant, backbone, `cell` (percent; ours as mean ± sd (n)), source,
        digitized, derived, doubt.

    Raises:
        ValueError: papers report nothing on this data set, or a row of it is of simulated recordings.
    """
    if dataset not in DATASETS:
        raise ValueError(f"no published numbers on {dataset}; there are some on {', '.join(DATASETS)}")
    rows = as_table(rows)
    rows = rows[rows.dataset == dataset]
    if rows.simulated.any():
        raise ValueError(f"{int(rows.simulated.sum())} rows of {dataset} are of simulated recordings")
    theirs = numbers[(numbers.dataset == DATASETS[dataset]) & (numbers.metric == "top-1")]
    table = pd.DataFrame([*_ours(rows), *map(_published, theirs.to_dict("records"))])
    places = table.setting.map(setting_place)
    return table.assign(place=places).sort_values(["origin", "place"], kind="stable").drop(columns="place")


def _ours(rows: pd.DataFrame) -> list[dict[str, str]]:
    """Return the lines of our own runs, recipes of E-CLIP apart."""
    lines = []
    for (recipe, backbone), group in rows.groupby([rows.recipe.fillna(""), "backbone"], sort=True):
        for line in summarize(group).to_dict("records"):
            name = label_name(label(line | {"recipe": recipe or None}))
            place = setting(line["protocol"], line["shots"])
            cell = percent(line["mean"], line["sd"], line["n"])
            under = "no CLIP" if line["method"].startswith("count-map") else backbone
            lines.append({"origin": "ours", "setting": place, "method": name, "backbone": under, "cell": cell})
    told = {"variant": "", "source": "this ledger, real recordings", "digitized": "no", "derived": "no", "doubt": ""}
    return [line | told for line in lines]


def _published(number: dict) -> dict[str, str]:
    """Return the line of a published number."""
    own = f"({number['method']})" in number["paper"]
    version = "" if number["version"] == UNSEEN else f" {number['version']}" if own else f", in {number['version']}"
    line = {name: number[name] for name in ("setting", "variant", "backbone", "digitized", "derived", "doubt")}
    return {
        "origin": "published",
        "method": number["method"] + version,
        "cell": number["printed"],
        "source": f"{number['source']}; {number['table']}",
        **line,
    }


def setting_place(name: str) -> float:
    """Return where a setting stands in a table: without training, by shots, with all recordings, others."""
    shots = name.removesuffix("-shot")
    return {"zero-shot": 0.0, "fine-tune": 1e6}.get(name, float(shots) if shots.isdigit() else OTHERS)
