"""Notebook 04 comes to its end under protocols of its own kind; nbval runs it under few-shot only."""

import nbformat
import pytest

from eclip_lib.experiments.batch.cells import NOTEBOOK
from eclip_lib.ledger import read_results

PARAMETERS = 0  # place of the cell among those with code
SEEN = {  # a column of the result table
    "zero-shot": "top-1 %",
    "base-to-new": "harmonic mean %",
    "retrieval": "top-1 %",
}


def execute(given):
    """Execute the cells with these parameters, and return what they leave."""
    code = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    code.insert(PARAMETERS + 1, "globals().update(given)")
    scope = {"given": given}
    for source in code:
        exec(source, scope)
    return scope


@pytest.mark.parametrize("protocol", SEEN)
def test_the_notebook_comes_to_its_end_under_other_protocols(tmp_path, protocol):
    given = {"protocol": protocol, "ledger": str(tmp_path / "results.jsonl"), "keep_weights": False}
    given |= {"output": str(tmp_path / "weights"), "watch": False}
    given |= {"shots": None} if protocol == "zero-shot" else {}
    scope = execute(given)
    assert SEEN[protocol] in scope["result_table"]([scope["row"]])
    assert read_results(tmp_path / "results.jsonl").protocol.tolist() == [protocol]
    assert not (tmp_path / "weights").exists()


def test_a_folder_of_the_users_is_refused_before_training(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    given = {"output": str(tmp_path / "mine"), "keep_weights": False, "ledger": str(tmp_path / "results.jsonl")}
    with pytest.raises(ValueError, match=r"mine holds thesis\.tex, which is of no checkpoint"):
        execute(given)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "precious"
    assert not (tmp_path / "results.jsonl").exists()
