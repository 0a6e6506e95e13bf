import json
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

from eclip_lib import ledger as ledgers
from eclip_lib.ledger import append_row, as_table, find_row, provenance, read_results, read_tracked
from eclip_lib.locks import hold
from eclip_lib.paths import ROOT
from eclip_lib.results.summaries import paired_gains, recipe_gains, result_table, summary_table


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


def test_a_run_of_a_batch_is_written_once_for_each_version(tmp_path, monkeypatch):
    ledger = tmp_path / "results.jsonl"
    first = row(provenance=provenance(1.0), top1=0.5)
    assert find_row(ledger, "e-clip-0") is None
    assert append_row(first, ledger, once=True)
    assert not append_row(first | {"seed": 1}, ledger, once=True)
    assert append_row(row(seed=10, provenance=provenance(1.0)), ledger, once=True)  # e-clip-10 is not e-clip-1
    assert find_row(ledger, "e-clip-1") is None
    assert find_row(ledger, "e-clip-0") == first
    monkeypatch.setattr(ledgers, "__version__", "99.0")
    assert find_row(ledger, "e-clip-0") is None
    assert append_row(row(provenance=provenance(1.0), top1=0.75), ledger, once=True)
    assert find_row(ledger, "e-clip-0")["metrics"]["top1"] == 0.75


def test_rows_of_older_versions_and_damaged_lines_are_no_row_of_this_one(tmp_path):
    ledger = tmp_path / "results.jsonl"
    for older in (row(), row(provenance=None), row(provenance={"versions": {"python": "3.11"}})):
        append_row(older, ledger)
    with ledger.open("a") as file:
        file.write('{"run_id": "e-clip-0", "prov')
    assert find_row(ledger, "e-clip-0") is None


def test_writers_of_one_run_at_once_leave_one_row(tmp_path):
    ledger = tmp_path / "results.jsonl"
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda _: append_row(row(provenance=provenance(1.0)), ledger, once=True), range(16)))
    assert sum(written) == 1
    assert len(read_results(ledger)) == 1


def _append_many(writer, ledger):
    for seed in range(200):
        append_row(row(seed=seed, writer=writer, note="x" * (200 * writer)), ledger)


def test_eight_processes_share_a_ledger(tmp_path):
    """8 writers x 200 rows of other lengths: none is lost, torn, or out of its writer's order."""
    ledger = tmp_path / "runs" / "results.jsonl"
    with ProcessPoolExecutor(8) as pool:
        list(pool.map(_append_many, range(8), [ledger] * 8))
    table = read_results(ledger)
    assert len(table) == len(ledger.read_bytes().splitlines()) == 1600
    for writer, rows in table.groupby("writer"):
        assert rows.seed.tolist() == list(range(200))
        assert (rows.note.str.len() == 200 * writer).all()


def test_a_writer_waits_for_the_one_before(tmp_path):
    """Not only short rows on a local disk, which are whole by themselves: cutting off a failed row needs the lock."""
    ledger = tmp_path / "results.jsonl"
    (tmp_path / "another name").symlink_to(ledger)
    with ThreadPoolExecutor(1) as pool:
        with hold(tmp_path / ".results.jsonl.lock"):
            waiting = pool.submit(append_row, row(), tmp_path / "another name")
            time.sleep(0.2)
            assert not waiting.done() and not ledger.exists()
        waiting.result(timeout=10)
    assert len(read_results(ledger)) == 1


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from eclip_lib.ledger import append_row
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write beyond the limit fails, after what still fitted
ledger = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (ledger.stat().st_size + 100, resource.RLIM_INFINITY))
append_row({"run_id": "too long", "metrics": {}, "note": "x" * 1000}, ledger)
"""


def test_a_full_disk_damages_nothing(tmp_path):
    """A true short write, by a limit on the size of files: the row is refused by name and the ledger is as before."""
    ledger = tmp_path / "results.jsonl"
    append_row(row(seed=0), ledger)
    before = ledger.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(ledger)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert f"a row could not be added to {ledger} (File too large); the ledger is as it was" in done.stderr
    assert ledger.read_bytes() == before
    append_row(row(seed=1), ledger)
    assert read_results(ledger).seed.tolist() == [0, 1]


def test_a_disk_that_takes_a_little_at_a_time_gets_all(tmp_path, monkeypatch):
    written = []

    class Slow:
        def write(self, data):
            written.append(bytes(data[:3]))
            return len(written[-1])

    ledgers._write_all(Slow(), b"0123456789")
    assert b"".join(written) == b"0123456789" and len(written) == 4


@pytest.mark.parametrize(
    "tail", [b'{"run_id": "half', b"\xff\xfe\x00", b'{"metrics": [1]}\n', b"[]\n", b"7\n", b"\x00" * 50]
)
def test_a_damaged_last_line_is_said_and_skipped(tmp_path, tail):
    ledger = tmp_path / "results.jsonl"
    append_row(row(seed=0), ledger)
    with ledger.open("ab") as file:
        file.write(tail)
    with pytest.warns(UserWarning, match=r"results.jsonl line 2 is left out: "):
        assert read_results(ledger).seed.tolist() == [0]


def test_a_ledger_is_tidy(tmp_path):
    """Rows of other protocols have other metrics; an empty ledger has the columns of a row."""
    ledger = tmp_path / "results.jsonl"
    append_row(row(seed=0), ledger)
    append_row(row(seed=1) | {"metrics": {"harmonic_mean": 0.5}}, ledger)
    table = read_results(ledger)
    assert table.harmonic_mean.isna().tolist() == table.top1.notna().tolist() == [True, False]
    ledger.write_bytes(b"\n")
    assert list(read_results(ledger).columns) == list(ledgers.COLUMNS)


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


def test_tables_name_every_protocol_and_leave_out_what_a_run_has_not():
    base = {"base_top1": 0.8, "new_top1": 0.6, "harmonic_mean": 0.6857}
    rows = [
        row(seed=0),
        row(seed=1, protocol="base-to-new", shots=16) | {"metrics": base},
        row("a-method-to-come", seed=2, protocol="transfer", shots=None, run_id="t"),
    ]
    table = result_table(rows, ("top1", "base_top1", "harmonic_mean"))
    assert table["setting"].tolist() == ["5-shot", "base-to-new, 16-shot", "transfer"]
    assert table["top-1 %"].tolist() == ["50.0", "-", "50.0"]
    assert table["harmonic mean %"].tolist() == ["-", "68.6", "-"]
    assert table["base top-1 %"].tolist() == ["-", "80.0", "-"]
    assert table["method"].tolist() == ["E-CLIP", "E-CLIP", "a-method-to-come"]


def test_a_run_by_base_to_new_alone_has_its_own_columns():
    base = {"base_top1": 0.8, "new_top1": 0.6, "harmonic_mean": 0.6857}
    table = result_table([row(protocol="base-to-new", shots=16) | {"metrics": base}])
    assert table.columns[3:].tolist() == ["base top-1 %", "new top-1 %", "harmonic mean %"]
    assert table.iloc[0, 3:].tolist() == ["80.0", "60.0", "68.6"]


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


def test_gains_are_of_one_protocol():
    """Neither the probe that was trained on all nor zero-shot among all classes stands against base-to-new."""
    base = {"protocol": "base-to-new", "shots": 5, "fold": None}
    rows = [row(seed=s, run_id=f"o{s}", top1=0.9, **base) for s in (0, 1)]
    rows += [row("linear-probe", s, fold=None) for s in (0, 1)]
    rows += [row("clip-zero-shot", protocol="zero-shot", shots=None, fold=None)]
    assert paired_gains(rows).empty
    rows += [row("clip-zero-shot", s, top1=0.8, run_id=f"z{s}", **base) for s in (0, 1)]
    (gain,) = paired_gains(rows).to_dict("records")
    assert (gain["data"], gain["points"]) == ("icons100, base-to-new, 5-shot", "+10.0")


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
    rows = read_tracked("initializations")
    sizes = rows.groupby(["dataset", "shots", "recipe"], dropna=False).seed.nunique()
    assert len(sizes) == 12 and (sizes == 5).all()


def test_provenance_is_plain():
    facts = json.loads(json.dumps(provenance(1.23)))
    assert facts["seconds"] == 1.2
    assert {"torch", "python", "open_clip_torch"} <= set(facts["versions"])
