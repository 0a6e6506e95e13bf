"""The page of results: whole, offline, the same each time; and the tracked one is what its ledger gives."""

import re
import warnings
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from click.testing import CliRunner

from eclip_lib.cli.program import main
from eclip_lib.ledger import TRACKED
from eclip_lib.paths import NOTEBOOKS, ROOT
from eclip_lib.results.page import PAGE, QUICKSTART, page_body, report_page, write_report
from eclip_lib.results.sections import result_sections
from tests.support.made_ledgers import made_row, write_ledger

REPORTS = ROOT / "reports"
ACCURACY = {"full": 0.75, "no event-text": 0.45, "no event-image": 0.74}
MOST = 3_000_000  # bytes of the page


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setattr("eclip_lib.results.comparisons.DRAWS", 1000)
    rows = [made_row(name, seed, data) for data in ("n-mnist", "icons25") for name in ACCURACY for seed in range(3)]
    return write_ledger(tmp_path / "ledger", rows, ACCURACY)


@pytest.fixture
def quickstart(tmp_path):
    page = tmp_path / "quickstart.html"
    page.write_text("<html><main>\n<h1>Quick</h1>\n</main></html>")
    return page


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def bare(html: str) -> str:
    """Return what is between the tags; nbconvert sets other blanks and orders attributes."""
    return re.sub(r"<[^>]+>|\s+", "", html)


def differing(ours: dict[str, bytes], theirs: dict[str, bytes]) -> list[str]:
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def test_the_same_ledger_gives_the_same_files(ledger, quickstart, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    written, stale = write_report(ledger, first, quickstart)
    write_report(ledger, second, quickstart)
    assert differing(contents(first), contents(second)) == [] and stale == []
    assert sorted(written) == sorted(path for path in first.rglob("*") if path.is_file())
    assert {path.suffix for path in written} == {".md", ".tex", ".csv", ".png", ".svg", ".html"}


def test_another_ledger_gives_other_files(ledger, quickstart, tmp_path):
    write_report(ledger, tmp_path / "first", quickstart)
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[:-1]))
    write_report(ledger, tmp_path / "second", quickstart)
    assert PAGE in differing(contents(tmp_path / "first"), contents(tmp_path / "second"))


def test_the_page_holds_all_and_needs_nothing_but_itself(ledger, quickstart, tmp_path):
    write_report(ledger, tmp_path, quickstart)
    page = (tmp_path / PAGE).read_text()
    sections = result_sections(ledger)
    tables = [table.style().to_html() for section in sections for table in section.tables]
    assert len(tables) > 5 and all(bare(table) in bare(page) for table in tables)
    assert page.count('src="data:image/png;base64,') == sum(len(section.figures) for section in sections) == 2
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'id="([^"]+)"', page))
    assert '<hr id="quickstart">\n<h1>Quick</h1>\n</main>' in page and page.count("</main>") == 1
    assert re.findall(r'(?:src|<link[^>]*href)="(?!data:)[^"]*"', page) == []
    assert "supported" in page and "not tested" in page


def test_the_full_model_is_described(tmp_path):
    config = {"frames": {"frames": 3, "events_per_frame": 300, "window_us": None, "color": "count"}}
    config |= {"train": {"epochs": 6, "batch_size": 16, "tower_rate": 2e-4, "seed": 0}}
    spoken = config | {"frames": {"frames": 1, "events_per_frame": None, "window_us": 20_000}}
    rows = [made_row(name, seed, config=config) for name in ("full", "mine") for seed in range(2)]
    rows += [made_row("full", 0, "n-caltech101", None, config=spoken), made_row("full", 0, "icons25")]
    ledger = write_ledger(tmp_path, rows, {"full": 0.75, "mine": 0.5})
    text = next(part.text for part in result_sections(ledger) if part.title == "Ablations")
    listed = [line for line in text.splitlines() if line.startswith("- ")]
    assert listed == [
        "- n-mnist, 5-shot: eclip-tiny, recipe `workbench`, 3 windows of 300 events, "
        "6 epochs of batches of 16, rate 0.0002",
        "- n-caltech101, zero-shot: eclip-tiny, recipe `workbench`, 1 window of 20,000 \N{MICRO SIGN}s",
    ]


def test_what_the_ledger_lacks_is_said_and_the_rest_is_there(ledger, quickstart, tmp_path):
    ledger.write_text(ledger.read_text().replace('"ablation"', '"train"'))
    page = report_page(result_sections(ledger), page_body(quickstart))
    assert "no rows of the experiment 'ablation' yet" in page and "HTCA carries almost everything" in page
    assert "no rows of the experiment 'n-mnist' yet" in page and "EventBind v4" in page


def test_older_files_are_told_and_kept(ledger, quickstart, tmp_path):
    old = tmp_path / "tables" / "old.md"
    old.parent.mkdir()
    old.write_text("old")
    _, stale = write_report(ledger, tmp_path, quickstart)
    assert stale == [old] and old.read_text() == "old"


def test_the_command_tells_files_warnings_and_mistakes(ledger, quickstart, tmp_path):
    (ledger.parent / "predictions" / "n-mnist-5-full-0.npz").unlink()
    given = ["--ledger", str(ledger), "--out", str(tmp_path / "out"), "--quickstart", str(quickstart)]
    done = CliRunner().invoke(main, ["report", *given])
    assert done.exit_code == 0, done.output
    assert re.search(r"\d+ files of tables and figures in ", done.output) and f"page: {tmp_path}" in done.output
    assert "warning: 1 of 18 runs are in no gain" in done.output

    for wrong, message in (("--ledger", "no ledger at "), ("--quickstart", "no page at ")):
        done = CliRunner().invoke(main, ["report", *given, wrong, str(tmp_path / "none")])
        assert done.exit_code == 2 and message in done.output


def test_a_page_of_something_else_is_told(tmp_path):
    (tmp_path / "a.html").write_text("<html></html>")
    with pytest.raises(ValueError, match="is no page of an executed notebook"):
        page_body(tmp_path / "a.html")


def test_the_tracked_report_is_what_its_ledger_gives(tmp_path):
    """`eclip report` makes it anew; figures and page depend on the pinned versions too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_report(TRACKED, tmp_path)
    tracked = {
        name: content
        for name, content in contents(REPORTS).items()
        if name == PAGE or name.startswith(("tables/", "figures/"))
    }
    assert differing(tracked, contents(tmp_path)) == [], "run `eclip report` and commit what it writes"
    assert len(tracked[PAGE]) < MOST
    assert page_body(QUICKSTART) in tracked[PAGE].decode()


def test_the_committed_quickstart_shows_the_notebook_as_it_is():
    cells = nbformat.read(NOTEBOOKS / "00_quickstart.ipynb", as_version=4).cells
    source = [cell.source for cell in cells if cell.cell_type == "code"]
    page = BeautifulSoup(QUICKSTART.read_text(encoding="utf-8"), "html.parser")
    shown = [cell.get_text().strip() for cell in page.select(".jp-CodeCell .jp-InputArea-editor")]
    assert [text for text in source if text.strip() not in shown] == [], "run it at full size and put its page there"
