"""Paired effects over seeds and recordings together, and their correction for how many there are."""

import numpy as np
import pandas as pd
import pytest

from eclip_lib.evaluation.predictions import write_predictions
from eclip_lib.ledger import label, label_name
from eclip_lib.results.comparisons import accuracy_grid, effects, holm, lead_grid, paired_effect, two_sided_p


def scores_of(predicted, classes=3):
    scores = np.zeros((len(predicted), classes), np.float32)
    scores[np.arange(len(predicted)), predicted] = 5.0
    return scores


def make_rows(folder, accuracies, folds=False, shots=5):
    """Write runs of 40 recordings, the first so many right, each in another order; return their rows."""
    rows, rng = [], np.random.default_rng(0)
    for (name, seed), share in accuracies.items():
        method, _, recipe = name.partition(" ")
        right = np.arange(40) < round(40 * share)
        ids = np.array([f"{seed if folds else ''}/{i}" for i in range(40)])
        order = rng.permutation(40)
        path = f"predictions/{name}{seed}.npz"
        write_predictions(folder / path, ids[order], np.zeros(40, int), scores_of((~right[order]).astype(int)))
        rows.append(
            {
                "run_id": path,
                "method": method,
                "recipe": recipe or None,
                "variant": None,
                "dataset": "icons100",
                "simulated": True,
                "protocol": "few-shot",
                "shots": shots,
                "seed": 0 if folds else seed,
                "fold": seed if folds else None,
                "predictions": path,
                "metrics": {"top1": share},
            }
        )
    return rows


def test_a_run_is_named_by_what_sets_it_apart():
    assert label({"method": "e-clip", "recipe": "paper", "variant": None}) == "e-clip paper"
    assert label({"method": "e-clip", "recipe": "paper", "variant": "no text-text"}) == "no text-text"
    assert label({"method": "linear-probe", "recipe": None, "variant": float("nan")}) == "linear-probe"
    assert label_name("e-clip paper") == "E-CLIP, paper"
    assert label_name("linear-probe") == "linear probe, frozen CLIP"
    assert label_name("no text-text") == "no text-text"


def test_effects_are_of_the_same_recordings(tmp_path):
    """Two seeds 10 points behind, on recordings told apart by their ids; a third seed has no partner."""
    ours = {("e-clip workbench", 0): 0.8, ("e-clip workbench", 1): 0.9}
    theirs = {("linear-probe", 1): 0.8, ("linear-probe", 0): 0.7, ("linear-probe", 2): 0.3}
    table = effects(make_rows(tmp_path, ours | theirs), "e-clip workbench", tmp_path / "results.jsonl")
    reference, probe = table.to_dict("records")
    assert (reference["label"], reference["n"]) == ("e-clip workbench", 2) and np.isnan(reference["gain"])
    assert reference["mean"] == pytest.approx(0.85) and reference["sd"] == pytest.approx(0.005**0.5)
    assert (probe["data"], probe["setting"], probe["n"]) == ("icons100 (simulated)", "5-shot", 3)
    assert probe["gain"] == pytest.approx(-0.1) and (probe["repeats"], probe["recordings"]) == (2, 40)
    assert -0.25 < probe["low"] < -0.1 < probe["high"] <= 0
    assert 0.02 < probe["se"] < 0.08  # of 40 recordings: sqrt(0.1 * 0.9 / 40)


def test_settings_are_kept_apart(tmp_path):
    few = make_rows(tmp_path / "a", {("e-clip paper", 0): 0.5, ("linear-probe", 0): 0.4})
    many = make_rows(tmp_path / "b", {("e-clip paper", 1): 0.9, ("linear-probe", 1): 0.4}, shots=20)
    for folder, rows in (("a", few), ("b", many)):
        for row in rows:
            row["predictions"] = f"{folder}/{row['predictions']}"
    table = effects([*few, *many], "e-clip paper", tmp_path / "results.jsonl")
    gains = table.dropna(subset="gain").set_index("setting").gain
    assert gains.to_dict() == pytest.approx({"5-shot": -0.1, "20-shot": -0.5})


def test_effects_over_folds_take_each_fold_with_its_own(tmp_path):
    shares = {("e-clip paper", f): 0.8 for f in range(3)} | {("linear-probe", f): 0.8 for f in range(3)}
    rows = make_rows(tmp_path, shares, folds=True)
    probe = effects(rows, "e-clip paper", tmp_path / "results.jsonl").iloc[1]
    assert (probe.low, probe.high, probe.p) == (0, 0, 1) and (probe.repeats, probe.recordings) == (3, 120)


def test_a_single_run_stands_against_every_seed(tmp_path):
    rows = pd.DataFrame(
        make_rows(tmp_path, {("e-clip paper", 0): 0.8, ("e-clip paper", 1): 0.9, ("clip-zero-shot", 0): 0.5})
    )
    ours, zero = rows[rows.method == "e-clip"], rows[rows.method != "e-clip"]
    found = paired_effect(ours, zero, tmp_path / "results.jsonl")
    assert found["gain"] == pytest.approx(0.35) and found["repeats"] == 2
    assert paired_effect(ours, zero.iloc[:0], tmp_path / "results.jsonl") == {}


def test_a_single_seed_of_what_has_seeds_stands_against_its_own_alone(tmp_path):
    shares = {("e-clip paper", 0): 0.8, ("e-clip paper", 1): 0.9, ("linear-probe", 0): 0.5}
    found = effects(make_rows(tmp_path, shares), "linear-probe", tmp_path / "results.jsonl").iloc[0]
    assert found.repeats == 1 and found.gain == pytest.approx(0.3)


def test_a_single_fold_stands_against_its_own_alone(tmp_path):
    shares = {("e-clip paper", f): 0.8 for f in range(3)} | {("linear-probe", 1): 0.5}
    probe = effects(make_rows(tmp_path, shares, folds=True), "e-clip paper", tmp_path / "results.jsonl").iloc[1]
    assert (probe.repeats, probe.recordings) == (1, 40) and probe.gain == pytest.approx(-0.3)


def test_grids_have_a_row_a_setting_and_a_column_a_label(tmp_path):
    few = make_rows(tmp_path, {("e-clip paper", 0): 0.5, ("e-clip paper", 1): 0.5, ("linear-probe", 0): 0.4})
    zero = make_rows(tmp_path, {("e-clip paper", 7): 0.25}, shots=None)
    table = effects([*few, *zero], "e-clip paper", tmp_path / "results.jsonl")
    assert accuracy_grid(table).to_dict("records") == [
        {
            "data": "icons100 (simulated)",
            "setting": "5-shot",
            "E-CLIP, paper": "50.0 ± 0.0 (n=2)",
            "linear probe, frozen CLIP": "40.0",
        },
        {
            "data": "icons100 (simulated)",
            "setting": "few-shot",
            "E-CLIP, paper": "25.0",
            "linear probe, frozen CLIP": "-",
        },
    ]
    (lead,) = lead_grid(table).to_dict("records")
    low, high = table.iloc[1][["low", "high"]]
    assert lead["linear probe, frozen CLIP"] == f"+10.0 ({-100 * high:+.1f} to {-100 * low:+.1f})"


def test_runs_on_other_recordings_are_no_pair(tmp_path):
    rows = make_rows(tmp_path, {("e-clip paper", 0): 0.8, ("linear-probe", 0): 0.7})
    write_predictions(tmp_path / rows[0]["predictions"], list("ab"), np.zeros(2, int), scores_of([0, 0]))
    with pytest.raises(
        ValueError, match=r"linear-probe0.npz and .*e-clip paper0.npz were .*other recordings \(40 and 2"
    ):
        effects(rows, "e-clip paper", tmp_path / "results.jsonl")


def test_no_rows_make_an_empty_table():
    rows = pd.DataFrame(
        columns=["run_id", "method", "dataset", "simulated", "protocol", "shots", "seed", "fold", "top1"]
    )
    assert len(effects(rows, "full", "results.jsonl")) == 0


def test_p_counts_both_sides():
    draws = np.concatenate([np.full(900, 1.0), np.full(99, -1.0)])
    assert two_sided_p(draws) == pytest.approx(2 * 100 / 1000)
    assert two_sided_p(np.ones(999)) == pytest.approx(2 / 1000)
    assert two_sided_p(np.zeros(999)) == 1


def family(*means, sd=1.0):
    rng = np.random.default_rng(0)
    draws = [mean + sd * rng.standard_normal(100_000) for mean in means]
    rows = [
        {"label": str(m), "gain": m, "p": two_sided_p(d), "se": d.std(), "draws": d}
        for m, d in zip(means, draws, strict=True)
    ]
    return pd.DataFrame([*rows, {"label": "reference", "gain": np.nan, "p": np.nan, "se": np.nan, "draws": None}])


def test_holm_by_hand():
    """Worked example: p of 0.01, 0.04 and 0.03 become 0.03, 0.06 and 0.06."""
    table = family(1.0, 1.0, 1.0).assign(p=[0.01, 0.04, 0.03, np.nan])
    assert holm(table).p_holm.tolist()[:3] == pytest.approx([0.03, 0.06, 0.06])


def test_marks_are_what_the_corrected_intervals_say():
    table = holm(family(2.2, -3.5, 0.1))  # alone, the first would be marked: p = 0.028
    assert table.mark.tolist()[:3] == [False, True, False]
    assert pd.isna(table.mark.iloc[3]) and pd.isna(table.p_holm.iloc[3])
    low, high = table.low_holm, table.high_holm
    assert high[1] < 0 and low[0] < 0 < high[0]
    assert high[1] - low[1] == pytest.approx(2 * 2.394, abs=0.05)  # at 1 - 0.05 / 3
    assert high[2] - low[2] == pytest.approx(2 * 1.960, abs=0.05)  # the last step: uncorrected
    assert table.detectable.iloc[0] == pytest.approx(2.394 + 0.842, abs=0.02)


def test_a_family_without_effects_is_rarely_marked():
    rng = np.random.default_rng(1)
    marked = 0
    for _ in range(60):
        draws = rng.standard_normal((20, 1)) + rng.standard_normal((20, 4000))
        rows = [
            {"label": str(k), "gain": d.mean(), "p": two_sided_p(d), "se": d.std(), "draws": d}
            for k, d in enumerate(draws)
        ]
        marked += bool(holm(pd.DataFrame(rows)).mark.any())
    assert marked <= 9  # 3 expected; uncorrected, two families of three
