import json
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from eclip_lib.results import (
    append_row,
    as_table,
    paired_gains,
    provenance,
    read_published,
    read_results,
    recipe_gains,
    result_table,
    summary_table,
)


def row(method="e-clip", seed=0, top1=0.5, **more):
    return {
        "run_id": f"{method}-{seed}",
        "method": method,
        "dataset": "icons100",
        "simulated": True,
        "protocol": "few-shot",
        "shots": 5,
        "seed": seed,
        "metrics": {"top1": top1, "top5": 0.75},
        **more,
    }


def test_round_trip(tmp_path):
    ledger = tmp_path / "runs" / "results.jsonl"
    append_row(row(seed=0), ledger)
    append_row(row(seed=1, top1=0.25), ledger)
    table = read_results(ledger)
    assert table.seed.tolist() == [0, 1]
    assert table.top1.tolist() == [0.5, 0.25]


def test_a_killed_writer_costs_one_line(tmp_path):
    ledger = tmp_path / "results.jsonl"
    append_row(row(seed=0), ledger)
    with ledger.open("a") as file:
        file.write('{"run_id": "half')
    append_row(row(seed=2), ledger)
    with pytest.warns(UserWarning, match="line 2 is left out"):
        assert read_results(ledger).seed.tolist() == [0, 2]


def _append_many(ledger):
    for seed in range(50):
        append_row(row(seed=seed, note="x" * 5000), ledger)


def test_processes_share_a_ledger(tmp_path):
    ledger = tmp_path / "results.jsonl"
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(_append_many, [ledger] * 2))
    assert len(read_results(ledger)) == 100


def test_a_value_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        append_row(row(top1=float("nan")), tmp_path / "results.jsonl")
    assert not (tmp_path / "results.jsonl").exists()


def test_no_ledger_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="a run writes it"):
        read_results(tmp_path / "none.jsonl")


def test_tables_give_spread_and_n_and_say_simulated():
    rows = [
        row(seed=0, top1=0.4),
        row(seed=1, top1=0.5),
        row("clip-zero-shot", top1=0.2, protocol="zero-shot", shots=None),
    ]
    table = result_table(rows)
    assert table["top-1 %"].tolist() == ["45.0 ± 7.1 (n=2)", "20.0"]
    assert table["setting"].tolist() == ["5-shot", "zero-shot"]
    assert set(table["data"]) == {"icons100 (simulated)"}
    dots = summary_table(rows, classes=100)
    assert np.allclose(dots["values"][0], [0.4, 0.5]) and dots.chance[0] == 0.01
    assert as_table(rows).shape[0] == 3


def test_gains_are_paired_by_seed_and_fold():
    """Opponents that vary with the seed as E-CLIP does: the difference has no spread."""
    rows = [
        row(m, s, 0.3 + 0.1 * s + (0.05 if m == "e-clip" else 0), fold=None)
        for m in ("e-clip", "linear-probe")
        for s in (2, 0, 1)
    ]
    rows.append(
        row("clip-zero-shot", 0, 0.2, protocol="zero-shot", shots=None, fold=None)
    )  # one run, against every seed
    gain, zero = paired_gains(rows).to_dict("records")
    assert (zero["E-CLIP ahead of"], zero["points"], zero["n"]) == ("CLIP on frames, zero-shot", "+25.0", 3)
    assert gain == {
        "data": "icons100, 5-shot",
        "E-CLIP ahead of": "linear probe, frozen CLIP",
        "points": "+5.0",
        "95 % interval": "+5.0 to +5.0",
        "n": 3,
    }


def test_recipes_are_paired_by_seed_and_zero_shot_comes_first():
    rows = [
        row(
            seed=s,
            top1=0.3 + 0.1 * s + gain,
            recipe=recipe,
            protocol=protocol,
            shots=shots,
            run_id=f"{recipe}{s}{shots}",
        )
        for protocol, shots in (("few-shot", 5), ("zero-shot", None))
        for s in (1, 0)
        for recipe, gain in (("paper", 0.0), ("workbench", 0.02 * s + (shots or 0) / 100))
    ]
    zero, few = recipe_gains([{"fold": None} | r for r in rows]).to_dict("records")
    assert (zero["setting"], zero["points"], few["setting"], few["points"]) == ("zero-shot", "+1.0", "5-shot", "+6.0")
    assert few["workbench"] == "41.0 ± 8.5 (n=2)" and few["paper"] == "35.0 ± 7.1 (n=2)"


def test_the_tracked_batch_has_five_paired_seeds_in_each_setting():
    rows = read_published("initializations")
    sizes = rows.groupby(["dataset", "shots", "recipe"], dropna=False).seed.nunique()
    assert len(sizes) == 12 and (sizes == 5).all()


def test_provenance_is_plain():
    facts = json.loads(json.dumps(provenance(1.23)))
    assert facts["seconds"] == 1.2
    assert {"torch", "python", "open_clip_torch"} <= set(facts["versions"])
