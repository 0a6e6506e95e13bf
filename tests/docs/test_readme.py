import re

from eclip_lib.ledger import TRACKED, read_tracked
from eclip_lib.paths import ROOT
from eclip_lib.results.comparisons import accuracy_grid, effects
from eclip_lib.results.summaries import markdown

README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_LINES, MOST_WORDS = 120, 900  # it is the door; the rest is in docs/


def test_the_example_recognizes_the_still(tmp_path, monkeypatch):
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    monkeypatch.chdir(tmp_path)
    exec(block, names)  # the reader is meant to paste it
    assert names["words"][int(names["scores"].argmax())] == "envelope"
    assert names["facts"]["metrics"]["n"] == 892


def test_its_table_is_that_of_the_tracked_ledger():
    found = effects(read_tracked("n-mnist"), "e-clip workbench", TRACKED)
    assert markdown(accuracy_grid(found).drop(columns="data")) in README


def test_it_is_short():
    assert len(README.splitlines()) <= MOST_LINES
    assert len(README.split()) <= MOST_WORDS


def test_assets_are_small():
    files = [path for path in (ROOT / "eclip_lib" / "assets").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 20e6
    assert (ROOT / "eclip_lib" / "assets" / "eclip_tiny_events" / "model.safetensors").stat().st_size <= 5e6
