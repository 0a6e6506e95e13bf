"""Verdicts: each follows from where an interval lies, and every claim tests variants that the grid has."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from eclip_lib.experiments.batch.grid import ablation_base, plan_grid
from eclip_lib.experiments.batch.variants import PRESETS
from eclip_lib.results import claims
from eclip_lib.results.claims import (
    CLAIMS,
    claim_effects,
    claim_list,
    claims_table,
    comparison_verdict,
    terms_verdict,
    verdicts,
)
from eclip_lib.results.rows import ledger_rows
from tests.support.made_ledgers import TESTED, halved_row, made_row, write_ledger

TRUE = {  # a world in which every claim holds
    "full": 0.75,
    "no event-text": 0.45,
    "no event-image": 0.74,
    "with image-text": 0.60,
    "handcrafted text": 0.75,
    "learnable text": 0.90,
    "no text additions": 0.75,
    "HTCA alone": 0.75,
    "no additions": 0.75,
}
UNTRAINED = {"full": 0.2}
NEW = {"handcrafted text": 0.6, "learnable text": 0.3}  # on classes that were not trained on
NAMES = ["carries", "matters", "little", "image-text fine-tuning", "Learnable", "Equal"]


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr("eclip_lib.results.comparisons.DRAWS", 2000)


def a_ledger(folder, trained=TRUE, untrained=UNTRAINED, new=NEW, dataset="n-mnist", seeds=range(5)):
    """Write a ledger of an ablation with five shots, zero-shot and by base-to-new; return its rows and its path."""
    text = ""
    for accuracy, make, shots in ((trained, made_row, 5), (untrained, made_row, None), (new, halved_row, 5)):
        ledger = write_ledger(
            folder, [make(name, seed, dataset, shots) for name in accuracy for seed in seeds], accuracy
        )
        text += ledger.read_text()
    ledger.write_text(text)
    return ledger_rows(ledger, "ablation"), ledger


def judged(rows, ledger) -> dict[str, str]:
    table = verdicts(rows, claim_effects(rows, ledger))
    return {name: table[table.claim.str.contains(name)].verdict.item() for name in NAMES}


def test_every_variant_that_a_claim_names_is_in_the_grid():
    grid = {"full"} | {name for preset in PRESETS.values() for name in preset}
    named = {name for claim in CLAIMS for pair in claim.comparisons for name in (pair.variant, pair.reference)}
    assert named | {claims.EQUAL} <= grid


def test_the_preset_of_the_claims_has_the_runs_that_they_compare():
    protocols = {"trained": "few-shot", "zero-shot": "zero-shot", "new classes": "base-to-new"}
    pairs = [pair for claim in CLAIMS for pair in claim.comparisons]
    sides = {(one.variant, one.side) for one in pairs} | {(one.reference, one.reference_side) for one in pairs}
    for dataset, root in (("icons100", None), ("n-mnist", "n-mnist")):
        grid = plan_grid(ablation_base(dataset, root), ["claims"], {}, range(5))
        there = {(run.variant, run.data.protocol) for run in grid.runs}
        assert {(name, protocols[side]) for name, side in sides} <= there
        extra = there - {(name, protocols[side]) for name, side in sides}
        assert extra == {("full", "base-to-new")}, "what a table of these variants compares them to"
        assert len(grid.runs) == len(set(grid.runs)) == 5 * len(there)


def test_every_claim_is_found_true_where_it_is(tmp_path):
    assert judged(*a_ledger(tmp_path)) == dict.fromkeys(NAMES, "supported")


@pytest.mark.parametrize(
    ("name", "trained", "untrained", "new"),
    [
        ("carries", {"HTCA alone": 0.3, "full": 0.75}, {"full": 0.25}, {}),
        ("matters", {"no event-text": 0.74, "no event-image": 0.45}, {}, {}),
        ("little", {"no text additions": 0.5}, {}, {}),
        ("little", {"no additions": 0.95}, {}, {}),
        ("little", {"no text additions": 0.5, "no additions": 0.73}, {}, {}),  # the other comparison is undecided
        ("image-text fine-tuning", {"with image-text": 0.9}, {}, {}),
        ("Learnable", {"learnable text": 0.5}, {}, {}),
        ("Learnable", {}, {}, {"learnable text": 0.9}),
    ],
)
def test_the_opposite_of_a_claim_is_not_supported(tmp_path, name, trained, untrained, new):
    rows, ledger = a_ledger(tmp_path, TRUE | trained, UNTRAINED | untrained, NEW | new)
    assert judged(rows, ledger)[name] == "not supported"


def test_no_difference_decides_nothing_but_that_it_is_little(tmp_path):
    even = dict.fromkeys(TRUE, 0.75), dict.fromkeys(UNTRAINED, 0.2), dict.fromkeys(NEW, 0.6)
    same = judged(*a_ledger(tmp_path, *even))
    assert same == dict.fromkeys(NAMES, "undecided") | {
        "carries": "supported",
        "little": "supported",
        "Equal": "supported",
    }


def test_missing_runs_leave_a_claim_untested_and_say_which(tmp_path):
    some = {name: TRUE[name] for name in ("full", "no event-text", "no event-image")}
    rows, ledger = a_ledger(tmp_path, some, {}, {"learnable text": 0.3})
    table = verdicts(rows, claim_effects(rows, ledger)).set_index("claim")
    untested = table[table.verdict == "not tested"]
    assert len(untested) == 4
    assert untested.evidence["Any image-text fine-tuning hurts"] == (
        "no runs to pair: with image-text against full (`eclip ablate --preset claims` makes them of the default base)"
    )
    learnable = table.evidence["Learnable prompts cost zero-shot and help few-shot"]
    assert "learnable text, new classes against handcrafted text, new classes" in learnable
    assert table.verdict["The event-text loss matters more than event-image"] == "supported"


def test_a_ledger_without_any_pair_gives_no_verdict(tmp_path):
    rows, ledger = a_ledger(tmp_path, {"no event-text": 0.5}, {}, {})
    table = verdicts(rows, claim_effects(rows, ledger))
    assert set(table.verdict) == {"not tested"} and len(table) == len(CLAIMS)


def test_new_classes_are_those_of_runs_with_as_many_shots_and_are_no_setting_of_their_own(tmp_path):
    rows, ledger = a_ledger(tmp_path)
    other = rows.assign(shots=rows.shots.where(rows.protocol != "base-to-new", 16))
    found = claim_effects(other, ledger)
    pair = found[found.comparison.str.contains("new classes")]
    assert set(found.setting) == {"5-shot"} and pair.gain.isna().all()
    assert verdicts(other, found).set_index("claim").verdict[CLAIMS[4].text] == "not tested"
    pair = claim_effects(rows, ledger).query("comparison.str.contains('new classes')")
    assert pair.gain.item() == pytest.approx(-0.3, abs=0.1) and pair.recordings.item() < 5 * TESTED


def row(predicted, gain=0.0, low=0.0, high=0.0, mark=False, comparison="a against b"):
    low, high = gain + low, gain + high
    return SimpleNamespace(
        predicted=predicted, gain=gain, low_holm=low, high_holm=high, low_all=low, high_all=high, mark=mark,
        comparison=comparison,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (row("above", 0.1, mark=True), "supported"),
        (row("above", -0.1, mark=True), "not supported"),
        (row("above", 0.1, mark=False), "undecided"),
        (row("below", -0.1, mark=True), "supported"),
        (row("below", 0.1, mark=True), "not supported"),
        (row("near", 0.005, -0.02, 0.01), "supported"),
        (row("near", 0.005, -0.02, 0.02), "undecided"),
        (row("near", 0.05, -0.02, 0.02, mark=True), "not supported"),
        (row("near", -0.05, -0.02, 0.02, mark=True), "not supported"),
        (row("near", 0.01, -0.005, 0.005, mark=True), "supported"),  # not zero, but little
    ],
)
def test_a_verdict_follows_from_where_the_interval_lies(found, verdict):
    assert comparison_verdict(found, pd.DataFrame([vars(found)])) == verdict


@pytest.mark.parametrize(
    ("gain", "other", "verdict"),
    [
        (0.5, 0.05, "supported"),  # 0.4 at least, of 0.1 at most besides
        (0.5, 0.07, "undecided"),
        (0.5, 0.3, "not supported"),  # more, but not almost everything
        (0.1, 0.5, "not supported"),
        (0.5, -0.2, "supported"),  # what the other part takes away
        (-0.5, -0.9, "not supported"),
    ],
)
def test_almost_everything_is_four_fifths_of_both(gain, other, verdict):
    first, second = row("most", gain, -0.09, 0.1), row("any", other, -0.05, 0.05, comparison="c against d")
    assert comparison_verdict(first, pd.DataFrame([vars(first), vars(second)])) == verdict


def test_intervals_for_all_at_once_are_wider_than_those_of_the_last_step(tmp_path):
    found = claim_effects(*a_ledger(tmp_path))
    known = found[found.gain.notna()]
    assert (known.low_all <= known.low_holm).all() and (known.high_all >= known.high_holm).all()
    assert (known.low_all <= known.low).all() and (known.high_all >= known.high).all()
    unique = known.drop_duplicates("comparison")
    smallest = unique.loc[unique.p.idxmin()]
    assert smallest.low_all == pytest.approx(smallest.low_holm)  # Holm's first step is Bonferroni's


def test_a_comparison_that_two_claims_share_counts_once(tmp_path, monkeypatch):
    again = claims.Claim("Said again", "a test", (claims.Comparison("with image-text", "full", "above"),))
    monkeypatch.setattr(claims, "CLAIMS", (*CLAIMS, again))
    rows, ledger = a_ledger(tmp_path)
    found = claim_effects(rows, ledger)
    assert (found.comparison == "with image-text against full").sum() == 2
    assert verdicts(rows, found).set_index("claim").verdict["Said again"] == "not supported"
    caption = claims_table(verdicts(rows, found), found).caption
    assert "corrected for all 8 comparisons" in caption


def test_data_sets_and_settings_are_judged_apart(tmp_path):
    one, ledger = a_ledger(tmp_path / "one")
    other, second = a_ledger(tmp_path / "two", TRUE | {"with image-text": 0.9}, dataset="icons25")
    for file in (second.parent / "predictions").iterdir():
        file.rename(ledger.parent / "predictions" / file.name)
    rows = pd.concat([one, other])
    table = verdicts(rows, claim_effects(rows, ledger))
    hurts = table[table.claim.str.contains("hurts")]
    assert hurts.data.tolist() == ["icons25 (simulated)", "n-mnist (real)"]
    assert hurts.verdict.tolist() == ["not supported", "supported"]


def some_losses(*ratios):
    return [{"event_image": 1.0, "event_text": ratio, "text_text": 1.0} for ratio in ratios]


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        (some_losses(1.1, 1.2, 0.9), "supported"),
        (some_losses(40, 50, 60), "not supported"),
        (some_losses(2, 9, 40), "undecided"),
        (some_losses(0.0, 0.0), "not supported"),  # a solved term has left the range
        ([*some_losses(1, 1), None, float("nan"), {"event_image": 1.0}], "supported"),
        (some_losses(1), "not tested"),
        ([], "not tested"),
    ],
)
def test_terms_are_in_one_range_if_the_interval_of_their_ratio_is(losses, verdict):
    assert terms_verdict(losses)[0] == verdict


def test_the_evidence_of_the_terms_is_their_geometric_mean_ratio():
    assert "the largest is 4.0 (" in terms_verdict(some_losses(2, 8))[1]


def test_the_table_has_the_verdicts_in_bold_and_the_list_names_every_source(tmp_path):
    rows, ledger = a_ledger(tmp_path, TRUE | {"with image-text": 0.75})
    found = claim_effects(rows, ledger)
    table = claims_table(verdicts(rows, found), found)
    assert (table.cells.verdict[table.bold.verdict] != "undecided").all() and table.bold.verdict.sum() == 5
    assert np.array_equal(table.bold.any(), [False, False, True, False])
    listed = claim_list()
    assert all(claim.text in listed and claim.source in listed for claim in CLAIMS)
    table.latex()
