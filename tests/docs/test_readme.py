import re

from eclip_lib.ledger import PUBLISHED, read_published
from eclip_lib.paths import ROOT
from eclip_lib.results.comparisons import accuracy_grid, effects, lead_grid
from eclip_lib.results.summaries import markdown, paired_gains, recipe_gains, result_table

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_runs_and_recognizes_the_still():
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(block, names)  # the reader is meant to paste it
    assert names["words"][int(names["scores"].argmax())] == "envelope"
    assert names["facts"]["metrics"]["n"] == 892


def test_its_tables_are_those_of_the_tracked_ledger():
    published = read_published()
    for table in (result_table(published), paired_gains(published), recipe_gains(read_published("initializations"))):
        assert markdown(table) in README


def test_its_tables_of_real_recordings_are_those_of_the_tracked_ledger():
    found = effects(read_published("n-mnist"), "e-clip workbench", PUBLISHED)
    for table in (accuracy_grid(found), lead_grid(found)):
        assert markdown(table.drop(columns="data")) in README


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_assets_are_small():
    files = [path for path in (ROOT / "eclip_lib" / "assets").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 20e6
    assert (ROOT / "eclip_lib" / "assets" / "eclip_tiny_events" / "model.safetensors").stat().st_size <= 5e6
