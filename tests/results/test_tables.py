"""Tables of results: from nothing but a ledger; what cannot be shown is told, the rest is shown."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eclip_lib.experiments.batch.grid import ablation_base, with_seed
from eclip_lib.experiments.batch.variants import FAMILIES, PRESETS
from eclip_lib.experiments.overrides import override
from eclip_lib.results.plots import gain_dots
from eclip_lib.results.published import published_numbers
from eclip_lib.results.rows import ledger_rows, with_predictions
from eclip_lib.results.sections import result_sections
from eclip_lib.results.tables import TITLES, families, gain_table, method_tables, published_table, shown_effects
from tests.support.made_ledgers import TESTED, halved_row, made_row, write_ledger

ACCURACY = {"full": 0.75, "no event-text": 0.45, "no text-text": 0.76, "paper": 0.7, "of my own": 0.6}


@pytest.fixture
def ledger(tmp_path):
    rows = [made_row(name, seed, data) for data in ("n-mnist", "icons25") for name in ACCURACY for seed in range(5)]
    return write_ledger(tmp_path, rows, ACCURACY)


def edit(ledger, change) -> None:
    """Rewrite a ledger's rows."""
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    ledger.write_text("\n".join(json.dumps(change(row)) for row in rows) + "\n")


def test_families_are_the_presets_by_data_set_and_each_is_corrected_for_its_own_size(ledger):
    found = shown_effects(ledger_rows(ledger, "ablation"), "full", ledger)
    parts = families(found)
    assert list(parts) == [
        f"{family}-{data}-5-shot" for family in ("htca", "recipes", "own") for data in ("n-mnist", "icons25")
    ]
    assert parts["htca-n-mnist-5-shot"].label.tolist() == ["full", "no event-text", "no text-text"]
    assert parts["own-icons25-5-shot"].label.tolist() == ["full", "of my own"]
    lone = parts["recipes-n-mnist-5-shot"].iloc[1]
    assert lone.p_holm == lone.p and lone.low_holm == pytest.approx(lone.low)
    pair = parts["htca-n-mnist-5-shot"].iloc[1]
    assert pair.p_holm == pytest.approx(2 * pair.p)


def test_the_presets_have_titles_and_an_order():
    assert FAMILIES == ("htca", "recipes", "prompts", "temporal", "input")
    assert set(TITLES) == {*FAMILIES, "own"} and set(FAMILIES) == set(PRESETS) - {"all", "claims"}


def test_a_table_tells_accuracy_gain_intervals_mark_and_what_was_detectable(ledger):
    found = shown_effects(ledger_rows(ledger, "ablation"), "full", ledger)
    table = gain_table(families(found)["htca-n-mnist-5-shot"], "htca-n-mnist-5-shot")
    full, marked, best = table.cells.to_dict("records")
    assert full == dict.fromkeys(table.cells, "-") | {"variant": "full", "top-1 %": "74.8 ± 0.8 (n=5)"}
    assert marked["gain over full, points"] == "-30.0 *" and marked["p, corrected"] == "<0.001"
    assert not best["gain over full, points"].endswith("*")
    assert float(marked["detectable, points"]) > 0
    assert table.bold.loc[2, ["variant", "top-1 %"]].all() and table.bold.to_numpy().sum() == 2
    assert table.caption.startswith("Terms of the loss: n-mnist (real), 5-shot.") and "for the 2 gains" in table.caption
    assert "draws" not in table.numbers and table.numbers.gain[1] == pytest.approx(-0.3)
    table.latex()


def test_methods_stand_in_columns_with_the_best_of_each_setting_in_bold(tmp_path):
    accuracy = {"a": 0.5, "b": 0.8, "c": 0.3}
    rows = [made_row(name, seed, shots=shots) for shots in (1, 5) for name in accuracy for seed in range(3)]
    ledger = write_ledger(tmp_path, rows, accuracy)
    found = shown_effects(ledger_rows(ledger, "ablation"), "a", ledger)
    table, leads = method_tables(found, "methods", "Digits", "a")
    assert table.cells.columns.tolist() == ["data", "setting", "a", "b", "c"]
    assert table.bold.b.all() and table.bold.to_numpy().sum() == 2
    assert leads.name == "methods-leads" and leads.cells.c.str.startswith("+20.0 (").all()


def test_published_numbers_say_so_and_stand_below_ours(ledger):
    rows = ledger_rows(ledger, "ablation")
    table = published_table(rows, published_numbers(), "n-mnist")
    assert table.cells.columns.tolist()[:5] == ["origin", "method", "backbone", "zero-shot", "1-shot"]
    assert table.cells.columns.tolist()[-2:] == ["20-shot", "100-shot"]
    origins = table.cells.origin.tolist()
    assert set(origins) == {"ours", "published"} and origins == sorted(origins)
    cells = table.cells.set_index(["method", "backbone"])
    assert cells.loc[("EventBind v4", "ViT-L/14"), "zero-shot"] == "56.81"
    assert cells.loc[("E-CLIP v1", "ViT-B/16?"), "zero-shot"] == "40.4\N{DAGGER}"
    assert cells.loc[("E-CLIP, workbench", "eclip-tiny"), ["zero-shot", "1-shot"]].eq("-").all()
    assert "E-CLIP, arXiv 2308.03135v1" in table.caption
    assert "97.20" in table.numbers.cell.tolist()  # a paper's own ablation is in the CSV file alone
    assert "97.20" not in table.cells.to_string()
    table.latex()


def test_published_numbers_stand_alone_where_there_are_none_of_ours(ledger):
    rows = ledger_rows(ledger, "ablation")
    for dataset in ("n-caltech101", "n-imagenet"):
        table = published_table(rows, published_numbers(), dataset)
        assert set(table.cells.origin) == {"published"} and len(table.cells) > 5


# --- bad ledgers ---


def test_smoke_rows_other_experiments_and_a_run_done_before_do_not_count(ledger):
    first = json.loads(ledger.read_text().splitlines()[0])
    extra = [
        first | {"run_id": "s", "smoke": True},
        first | {"run_id": "o", "experiment": "train"},
        first | {"metrics": {"top1": 0.1}},
    ]
    ledger.write_text(ledger.read_text() + "\n".join(map(json.dumps, extra)) + "\n")
    rows = ledger_rows(ledger, "ablation")
    assert len(rows) == 50 and rows[rows.run_id == first["run_id"]].top1.tolist() == [0.1]


def test_runs_that_differ_in_what_no_table_tells_are_not_mixed(ledger):
    first = json.loads(ledger.read_text().splitlines()[0])
    other = first | {"run_id": "more-epochs", "metrics": {"top1": 0.1}}
    ledger.write_text(ledger.read_text() + json.dumps(other) + "\n")
    with pytest.warns(UserWarning, match=f"1 rows are left out for later ones .*, the first: {first['run_id']};"):
        rows = ledger_rows(ledger, "ablation")
    assert len(rows) == 50 and "more-epochs" in set(rows.run_id)


def test_runs_by_base_to_new_are_compared_on_the_new_classes(tmp_path):
    accuracy = {"full": 0.8, "no event-text": 0.4}
    ledger = write_ledger(tmp_path, [halved_row(name, seed) for name in accuracy for seed in range(5)], accuracy)
    found = shown_effects(ledger_rows(ledger, "ablation"), "full", ledger)
    rows = [json.loads(line)["metrics"] for line in ledger.read_text().splitlines()]
    assert found["mean"].tolist() == pytest.approx(
        [np.mean([one["new_top1"] for one in part]) for part in (rows[:5], rows[5:])]
    )
    assert found.gain[1] == pytest.approx(-0.4, abs=0.1) and found.recordings[1] < 5 * TESTED
    assert found.gain[1] == pytest.approx(found["mean"][1] - found["mean"][0], abs=0.02)
    ((name, part),) = families(found).items()
    assert name == "htca-n-mnist-base-to-new-5-shot"
    assert "Accuracies are those on new classes." in gain_table(part, name).caption
    assert gain_dots(part, "full").axes[0].get_title(loc="left") == "n-mnist (real), base-to-new, new classes, 5-shot"


def of_base(row: dict, **base) -> dict:
    """Give a made-up row the config that its variant makes of a base."""
    data = {"dataset": "icons100", "subset": "icons25"} if row["simulated"] else {"dataset": "n-mnist", "root": "here"}
    full = override(ablation_base(data["dataset"], data.get("root")), base)
    changed = replace(override(full, PRESETS["all"].get(row["variant"], {})), variant=row["variant"])
    return row | {"config": with_seed(changed, row["seed"]).to_dict()}


def test_variants_of_another_base_are_not_held_against_the_full_model(ledger):
    def later_base(row: dict) -> dict:
        again = row["variant"] in ("full", "no text-text") and row["simulated"]
        return of_base(row, **({"train.epochs": 7} if again else {}))

    edit(ledger, of_base)
    assert len(ledger_rows(ledger, "ablation")) == 50
    edit(ledger, later_base)
    with pytest.warns(UserWarning, match="10 rows are left out since their variants change another base .*'full'"):
        rows = ledger_rows(ledger, "ablation")
    kept = rows[rows.simulated].groupby("variant").size().to_dict()
    assert kept == {"full": 5, "no text-text": 5, "of my own": 5}  # what one's own variant changes, no row tells
    assert len(rows[~rows.simulated]) == 25


def test_other_protocols_are_of_the_base_of_the_trained_runs(tmp_path):
    accuracy = {"full": 0.8, "handcrafted text": 0.7}

    def kept(**base) -> dict:
        rows = [of_base(made_row(name, seed), **base) for name in accuracy for seed in range(2)]
        zero = {"data.protocol": "zero-shot", "data.shots": None}
        rows += [of_base(made_row(name, seed, shots=None), **zero) for name in accuracy for seed in range(2)]
        new = {"data.protocol": "base-to-new"}
        rows += [of_base(halved_row(name, seed), **new) for name in accuracy for seed in range(2)]
        found = ledger_rows(write_ledger(tmp_path, rows, accuracy), "ablation")
        return found.groupby("protocol").size().to_dict()

    assert kept() == {"few-shot": 4, "zero-shot": 4, "base-to-new": 4}
    with pytest.warns(UserWarning, match="4 rows are left out since their variants change another base"):
        assert kept(**{"train.epochs": 7}) == {"few-shot": 4, "zero-shot": 4}  # which is not trained
    with pytest.warns(UserWarning, match="8 rows are left out since their variants change another base"):
        assert kept(**{"frames.color": "gray"}) == {"few-shot": 4}


def test_the_full_models_of_two_recipes_are_not_mixed(tmp_path):
    rows = [
        made_row("full", seed) | {"recipe": recipe, "run_id": f"{recipe}{seed}"}
        for recipe in ("paper", "workbench")
        for seed in (0, 1)
    ]
    with pytest.warns(UserWarning, match="2 rows are left out for later ones"):
        found = ledger_rows(write_ledger(tmp_path, rows, {"full": 0.8}), "ablation")
    assert found.recipe.tolist() == ["workbench"] * 2


def test_one_base_on_two_machines_is_one_base(ledger):
    def elsewhere(row: dict) -> dict:
        changes = {"train.device": "cuda", "train.workers": 4, "data.root": "there"}
        return of_base(row, **({} if row["variant"] == "full" else changes))

    edit(ledger, elsewhere)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(ledger_rows(ledger, "ablation")) == 50


@pytest.mark.filterwarnings("ignore:.* rows are left out for later ones")
def test_rows_of_an_older_version_are_shown_and_what_they_lack_is_told(ledger):
    edit(ledger, lambda row: {k: v for k, v in row.items() if k not in ("variant", "losses", "smoke", "fold")})
    with pytest.warns(
        UserWarning, match=r"results.jsonl is of an older version: fold, variant, losses, smoke filled in"
    ):
        rows = ledger_rows(ledger, "ablation")
    assert set(shown_effects(rows, "full", ledger).label) == {"e-clip workbench"}


def test_rows_without_predictions_config_or_backbone_are_shown_too(ledger):
    edit(ledger, lambda row: {k: v for k, v in row.items() if k not in ("predictions", "config", "backbone")})
    with pytest.warns(UserWarning) as told:
        sections = result_sections(ledger)
    assert "predictions, config, backbone filled in" in str(told[0].message)
    assert any("predictions cannot be read" in str(one.message) for one in told)
    assert "No variant has a gain." in next(part.text for part in sections if part.title == "Ablations")


def test_a_variant_that_nothing_is_beside_is_named(tmp_path):
    accuracy = {"full": 0.8, "no event-text": 0.4, "ten shots": 0.9}
    rows = [made_row(name, seed) for name in ("full", "no event-text") for seed in range(3)]
    rows += [made_row("ten shots", seed, shots=10) for seed in range(3)]
    with pytest.warns(
        UserWarning,
        match=r"In no table, since no readable run of 'full' .*: ten shots \(n-mnist \(real\), 10-shot: 90.0",
    ):
        sections = result_sections(write_ledger(tmp_path, rows, accuracy))
    assert "ten shots (n-mnist (real), 10-shot" in next(part.text for part in sections if part.title == "Ablations")


def test_ones_own_runs_on_real_recordings_stand_beside_published_numbers(tmp_path):
    own = {"experiment": "train", "variant": None}
    rows = [made_row("full", seed, "n-caltech101") | own | {"simulated": False, "variant": None} for seed in range(2)]
    rows += [made_row("full", seed, "icons25") | own for seed in range(2)]
    ledger = write_ledger(tmp_path, [row | {"variant": "full"} for row in rows], {"full": 0.8})
    edit(ledger, lambda row: row | {"variant": None})
    tables = {table.name: table for part in result_sections(ledger) for table in part.tables}
    ours = tables["published-n-caltech101"].cells.query("origin == 'ours'")
    assert ours["5-shot"].tolist() == ["79.5 ± 0.7 (n=2)"] and ours.method.tolist() == ["E-CLIP, workbench"]
    assert not (tables["published-n-mnist"].cells.origin == "ours").any()


def test_no_effect_is_detectable_where_no_prediction_differs(tmp_path):
    rows = [made_row(name, seed) for name in ("full", "no text-text") for seed in range(3)]
    ledger = write_ledger(tmp_path, rows, {"full": 0.8, "no text-text": 0.8})
    (part,) = families(shown_effects(ledger_rows(ledger, "ablation"), "full", ledger)).values()
    same = gain_table(part, "htca-n-mnist-5-shot").cells.iloc[1]
    assert same["gain over full, points"] == "+0.0" and same["detectable, points"] == "-"


def test_rows_of_something_else_are_told(ledger):
    edit(ledger, lambda row: {"metrics": {"loss": 1}, "run_id": "a"})
    with pytest.raises(ValueError, match="its rows have no method, dataset, simulated, protocol, shots, seed;"):
        ledger_rows(ledger, "ablation")


def test_a_damaged_last_line_costs_its_own_row_only(ledger):
    ledger.write_text(ledger.read_text()[:-30])
    with pytest.warns(UserWarning, match="line 50 is left out"):
        rows = ledger_rows(ledger, "ablation")
    assert len(rows) == 49
    assert len(families(shown_effects(rows, "full", ledger))) == 6


def test_an_experiment_without_rows_and_an_empty_ledger_give_none(ledger):
    assert ledger_rows(ledger, "another").empty
    ledger.write_text("")
    assert ledger_rows(ledger, "ablation").empty


def test_rows_without_accuracy_are_told(ledger):
    edit(ledger, lambda row: row | {"metrics": {}} if row["seed"] == 4 else row)
    with pytest.warns(UserWarning, match="10 rows have no top-1 accuracy"):
        assert len(ledger_rows(ledger, "ablation")) == 40


@pytest.mark.parametrize("loss", ["missing", "damaged", "unnamed"])
def test_a_run_whose_predictions_are_lost_keeps_its_accuracy(ledger, loss):
    path = ledger.parent / "predictions" / "n-mnist-5-no_event-text-1.npz"
    if loss == "missing":
        path.unlink()
    elif loss == "damaged":
        path.write_bytes(path.read_bytes()[:100])
    else:
        edit(ledger, lambda row: row | {"predictions": None} if row["run_id"] == path.stem else row)
    rows = ledger_rows(ledger, "ablation")
    with pytest.warns(UserWarning, match="1 of 50 runs are in no gain.* n-mnist-5-no_event-text-1: ") as told:
        found = shown_effects(rows, "full", ledger)
    assert sum(one.category is UserWarning for one in told) == 1
    one = found[(found.label == "no event-text") & (found.data == "n-mnist (real)")].iloc[0]
    assert (one.n, one.repeats) == (5, 4)
    assert found.label.tolist()[:5] == list(ACCURACY)


def test_all_predictions_lost_leaves_accuracies_and_no_family(ledger):
    for path in (ledger.parent / "predictions").iterdir():
        path.unlink()
    rows = ledger_rows(ledger, "ablation")
    with pytest.warns(UserWarning, match="50 of 50 runs"):
        found = shown_effects(rows, "full", ledger)
    assert found["mean"].notna().all() and found.gain.isna().all() and families(found) == {}


def test_a_whole_ledger_gives_no_warning(ledger):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = ledger_rows(ledger, "ablation")
        assert len(with_predictions(rows, ledger)) == 50
        assert isinstance(shown_effects(rows, "full", ledger), pd.DataFrame)
