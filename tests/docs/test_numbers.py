"""Every table of numbers in the documentation is what the tracked ledger and reports say, to the last character."""

import re
from io import StringIO

import pandas as pd
import pytest

from eclip_lib.calibration.tables import read_report, readable
from eclip_lib.clip import read_recipe
from eclip_lib.config import RECIPES, LossConfig, ModelConfig, Run
from eclip_lib.ledger import TRACKED, compared_top1, read_tracked
from eclip_lib.paths import ASSETS, ROOT
from eclip_lib.results.comparisons import accuracy_grid, effects, lead_grid
from eclip_lib.results.summaries import markdown, paired_gains, recipe_gains, result_table
from eclip_lib.training import load_checkpoint

BENCHMARKS = (ROOT / "reports" / "benchmarks.md").read_text(encoding="utf-8")
MEANINGS = {
    "template": "words of the handcrafted prompt",
    "additions": "prompts and temporal parts: in full strength, or behind gates that start at 0",
    "text_condition": "in training: on its own event, or on the one that asks",
    "text_mix": "how the two kinds of text are mixed",
    "clip_normalization": "CLIP's mean and deviation",
    "targets": "positives: the pair alone, or all rows of its class",
    "scale": "of the cosines",
    "text_mse": "weight of the MSE between the two kinds of text",
}


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def prose(name: str) -> str:
    """Return a page without its line breaks."""
    return " ".join(page(name).split())


# --- results ---


def result_tables() -> list[str]:
    published = read_tracked()
    tables = [result_table(published), paired_gains(published), recipe_gains(read_tracked("initializations"))]
    found = effects(read_tracked("n-mnist"), "e-clip workbench", TRACKED)
    tables += [grid(found).drop(columns="data") for grid in (accuracy_grid, lead_grid)]
    return [markdown(table) for table in tables]


def test_the_tables_of_results_are_those_of_the_tracked_ledger():
    text = page("results")
    for table in result_tables():
        assert table in text


def settings_table() -> str:
    """Return how E-CLIP was trained for each table: the fields of the rows' configs that differ."""
    batches = {"published": "Methods", "initializations": "What the recipe is worth", "n-mnist": "Real recordings"}
    lines: dict[tuple, list[str]] = {}
    for experiment, title in batches.items():
        rows = read_tracked(experiment)
        for row in rows[(rows.method == "e-clip") & (rows.protocol != "zero-shot")].itertuples():
            train = Run.from_dict(row.config).train
            moves = (train.epochs, train.batch_size, train.tower_rate, train.shift, train.rotate, train.zoom)
            shots = "all" if row.protocol == "fine-tune" else f"{row.shots:.0f}"
            told = lines.setdefault((title, row.dataset, *moves, "yes" if train.flip else "no"), [])
            told += [shots] * (shots not in told)
    table = [(key[0], key[1], ", ".join(shots), *map(str, key[2:])) for key, shots in lines.items()]
    heads = ["table", "data", "shots", "epochs", "batch", "tower rate", "shift, px", "rotate, °", "zoom", "flip"]
    return markdown(pd.DataFrame(table, columns=heads))


def test_the_settings_behind_the_tables_are_those_of_the_rows():
    assert settings_table() in page("results")
    configs = [Run.from_dict(config) for name in ("published", "initializations", "n-mnist")
               for config in read_tracked(name).query("method == 'e-clip'").config]  # fmt: skip
    frames = {(run.frames.frames, run.frames.events_per_frame, run.frames.color, run.frames.size) for run in configs}
    rates = {(run.train.additions_rate, run.train.weight_decay, run.train.warmup) for run in configs}
    assert frames == {(3, None, "count", 48)} and rates == {(1e-3, 0.05, 0.1)}


def fine_tuned(experiment: str) -> pd.DataFrame:
    """Return the rows of a batch whose recipe `workbench` trained on all of N-MNIST but a fold."""
    rows = read_tracked(experiment)
    return rows[(rows.dataset == "n-mnist") & (rows.protocol == "fine-tune") & (rows.recipe == "workbench")]


def test_the_numbers_in_the_text_of_results_are_those_of_the_ledger_and_the_models():
    text, base = prose("results"), read_tracked("ablation")
    full = base[(base.variant == "full") & (base.dataset == "n-mnist") & (base.protocol == "few-shot")]
    assert f"and {100 * compared_top1(full).mean():.1f} as the base of the ablations" in text
    first, later = fine_tuned("published"), fine_tuned("n-mnist")
    assert set(first.seed) == {0} and (later.seed == later.fold).all()
    assert f"is {100 * later.top1.mean():.1f} here and {100 * first.top1.mean():.1f} under *Methods*" in text
    assert set(later.n) <= {199, 200, 201} and later.n.sum() == 1000  # "five folds of about 200"
    tiny = read_recipe(ASSETS / "eclip_tiny")[0]["test"]
    assert f"{100 * tiny['top1']:.1f} % top-1 and {100 * tiny['top5']:.1f} % top-5" in text
    model, _, facts = load_checkpoint()
    gates = [prompts.gate.abs().item() for prompts in model.event_encoder.prompts]
    assert f"at most {max(gates):.2f} in the shipped checkpoint" in text
    assert f"the {facts['metrics']['n']:.0f} test-family stills" in text


# --- the camera ---


def camera_tables() -> list[str]:
    return [markdown(readable(table)) for table in read_report().values()]


def test_the_tables_of_the_camera_are_those_of_the_calibration():
    assert len(camera_tables()) == 3
    for table in camera_tables():
        assert table in page("camera")
    (held_out,) = set(read_report()["held out"]["recordings"])
    assert f"the other half, {held_out} recordings that the fit never saw" in prose("camera")


# --- speed ---


def benchmark(title: str) -> pd.DataFrame:
    """Return a table of the report, its cells as they are printed, by the first line above it that starts so."""
    found = re.search(rf"^(?:## )?{re.escape(title)}[^\n]*\n(?:(?!\|)[^\n]*\n)*?((?:\|[^\n]*\n)+)", BENCHMARKS, re.M)
    assert found, f"no table {title!r} in the report"
    lines = [line.strip("| ") for line in found[1].splitlines()]
    return pd.read_csv(
        StringIO("\n".join(lines[:1] + lines[2:])), sep=r"\s*\|\s*", engine="python", dtype=str, index_col=0
    )


def cell(title: str, row: str, column: str) -> str:
    return benchmark(title).rename(index=lambda name: name.replace("`", "")).loc[row, column]


MAPS, FILE = "Events of: saccade camera", "## From a file to frames"
STEP, TESTED, BATCH = "## Training step", "Evaluation, 101 classes, 2 events", "## 12 smoke cells"
DIGITS, LARGE = "N-MNIST, real files", "Files of 115,000 events"
COUNTED = "count maps of 200,000 events, 5 windows of 180 x 240"
DRAWN = "`.bin` of 115,000 events to 5 frames of 224 x 224"
SCORED = "scores of 101 classes for an event, ViT-B/32"
STEPPED = "a training step, ViT-B/32, 8 recordings of 5 frames"
FROM_SHARDS = "from packed shards, local disk"
STRAIGHT = "stills and whole prompts in every step"
OURS, SHIPPED = "eclip_lib count_maps", ("count maps", "float frames")
EACH = ("a script for each cell", "s a cell", "s")
RATE, BOTH = "recordings/s", ("shards", "files", "recordings/s", "recordings/s")
SPEED = (  # what, against, table of the report, its rows of ours and theirs, its column, unit
    (COUNTED, "`np.add.at` per window", MAPS, OURS, "np.add.at per window, int64 columns", "ms", "ms"),
    (COUNTED, "tonic's `ToFrame`", MAPS, OURS, "tonic ToFrame", "ms", "ms"),
    (COUNTED, "one `np.bincount`, its indices at hand", MAPS, OURS, "np.bincount, indices at hand", "ms", "ms"),
    (COUNTED, "evlib's dense histogram (Rust)", MAPS, OURS, "evlib stacked_histogram_dense (uint8)", "ms", "ms"),
    (COUNTED, "a plain copy of the events", MAPS, OURS, "plain copy of the events", "ms", "ms"),
    ("an N-MNIST recording, shipped as count maps", "float frames", DIGITS, *SHIPPED, "kB a recording", "kB"),
    ("N-MNIST, loaded by 2 workers", "float frames", DIGITS, *SHIPPED, f"{RATE}, 2 workers", RATE),
    ("a recording of 115,000 events, shipped as count maps", "float frames", LARGE, *SHIPPED, "kB a recording", "kB"),
    ("such recordings, loaded by 2 workers", "float frames", LARGE, *SHIPPED, f"{RATE}, 2 workers", RATE),
    (f"small recordings {FROM_SHARDS}", "files", "Like N-MNIST (simulated)", *BOTH),
    (f"large recordings {FROM_SHARDS}", "files", "Like N-ImageNet (simulated)", *BOTH),
    (f"{STEPPED}, `workbench`", STRAIGHT, STEP, "workbench, ours", "workbench, straightforward", "ms per step", "ms"),
    (f"{STEPPED}, `paper`", STRAIGHT, STEP, "paper, ours", "paper, straightforward", "ms per step", "ms"),
    (SCORED, "whole prompts", TESTED, "ours", "straightforward", "ms per event", "ms"),
    ("a smoke cell of an ablation, 1 worker", "a script for each cell", BATCH, "a batch, 1 worker", *EACH),
    ("the same, 2 workers", "a script for each cell", BATCH, "a batch, 2 workers", *EACH),
)


def speed_table() -> pd.DataFrame:
    """Return what is measured, ours and theirs as the report prints them, and how many times better ours is."""
    rows = [
        (
            DRAWN,
            "plain NumPy, the same resize",
            *(cell(FILE, "total", f"{who}, ms") for who in ("eclip_lib", "numpy")),
            "ms",
        )
    ]
    for what, against, title, ours, theirs, column, unit in SPEED:
        rows.append((what, against, cell(title, ours, column), cell(title, theirs, column), unit))
    lines = []
    for what, against, ours, theirs, unit in rows:
        a, b = (float(number.replace(",", "")) for number in (ours, theirs))
        ratio = a / b if unit.endswith("/s") else b / a
        digits = 0 if ratio >= 10 else 1 if ratio >= 1 else 2
        cells = what, f"{ours} {unit}", against, f"{theirs} {unit}", f"{ratio:.{digits}f}x"
        lines.append(dict(zip(("what", "ours", "against", "theirs", "ratio"), cells, strict=True)))
    return pd.DataFrame(lines)


def raw_table(title: str) -> str:
    """Return a table of the report as it stands there."""
    return re.search(rf"^(?:## )?{re.escape(title)}[^|]*\n((?:\|[^\n]*\n)+)", BENCHMARKS, re.M)[1].strip()


COPIED = ("Memory of the modes", "Two stages")


def test_the_table_of_speed_is_that_of_the_report():
    assert markdown(speed_table()) in page("performance")


@pytest.mark.parametrize("title", COPIED)
def test_tables_of_the_report_are_copied_as_they_are(title):
    assert raw_table(title) in page("performance")


def test_what_limits_the_figures_is_told_with_the_numbers_of_the_report():
    text = prose("performance")
    steps = ("read the file", "count maps", "resize (the same in both)", "total")
    read, counted, resized, total = (cell(FILE, row, "eclip_lib, ms") for row in steps)
    shares = [cell(STEP, f"{recipe}, ours", "of it the event tower, %") for recipe in ("workbench", "paper")]
    alone = cell(LARGE, "count maps", "recordings/s, 0 workers")
    for told in (
        f"{cell(MAPS, OURS, 'ns per event')} ns an event",
        f"Of the {total} ms, reading takes {read}, counting {counted} and the resize",
        f"which both sides share, {resized}.",
        f"{shares[0]} % of the step with `workbench`, {shares[1]} % with `paper`",
        f"one process alone does {alone} of the large recordings a second",
    ):
        assert told in text
    assert "cost 3.5 s a cell beyond" in BENCHMARKS and "costs 3.5 s" in text
    assert "median 25 ms" in BENCHMARKS and "drawn in 25 ms" in text
    assert "the same class for 99.7 %" in BENCHMARKS and "the same class for 99.7 %" in prose("training")


def test_the_memory_of_training_is_told_with_the_numbers_of_the_report():
    text, kept, rest = prose("training"), "kept for the backward pass, MB", "gradient and optimizer, MB"
    full, checkpointed, prompts = (
        f"ViT-B-32, {mode}" for mode in ("full training", "gradient checkpointing", "prompts only (tower frozen)")
    )
    number = {
        (row, column): f"{float(cell(COPIED[0], row, column)):,.0f} MB"
        for row in (full, checkpointed, prompts)
        for column in (kept, rest)
    }
    for told in (
        f"needs {number[full, rest]} for gradients and the optimizer",
        f"keeps {number[full, kept]} for the backward pass",
        f"the same gradients, {number[checkpointed, kept]} kept",
        f"{number[prompts, kept]} kept, {number[prompts, rest]} of gradients and optimizer",
    ):
        assert told in text


# --- recipes ---


def recipe_table() -> pd.DataFrame:
    """Return each field that a recipe sets."""
    rows = []
    for part, config in (("model", ModelConfig), ("loss", LossConfig)):
        for name in RECIPES["paper"][part]:
            values = {recipe: getattr(config(recipe=recipe), name) for recipe in RECIPES}
            shown = {recipe: "CLIP's own" if value is None else f"`{value}`" for recipe, value in values.items()}
            rows.append({"field": f"`{part}.{name}`", **shown, "meaning": MEANINGS[name]})
    return pd.DataFrame(rows)


def test_the_table_of_recipes_has_every_field_that_differs():
    table = recipe_table()
    assert (table[list(RECIPES)].nunique(axis=1) > 1).all() and len(table) == len(MEANINGS)
    assert markdown(table) in page("method")


def test_the_first_lines_of_python_recognize_the_still():
    block = re.findall(r"```python\n(.*?)```", page("start"), re.DOTALL)[0]
    names = {}
    exec(block, names)  # the reader is meant to paste it
    assert names["words"][int(names["scores"].argmax())] == "envelope"
    assert names["facts"]["metrics"]["n"] == 892
