import re

import pytest
from api_pages import api_pages

from eclip_lib.paths import ROOT
from tests.support.pages import PAGES, anchors, links

TEXTS = {path: path.read_text(encoding="utf-8") for path in PAGES if path.exists()}


def lost(path, text):
    """Return the links of a page that lead nowhere."""
    return [link for link in links(text) if not leads_somewhere(path, link)]


def leads_somewhere(path, link):
    file, _, anchor = link.partition("#")
    target = path if not file else path.parent / file
    if target.parent == ROOT / "docs" / "api":  # made when the documentation is built
        return target.name in api_pages()
    return target.exists() and (not anchor or anchor in anchors(target))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_links_and_pictures_lead_somewhere(path):
    assert lost(path, TEXTS[path]) == []


def test_most_pages_have_links():
    assert sum(bool(links(text)) for text in TEXTS.values()) > len(TEXTS) / 2


@pytest.mark.parametrize("link", ["start.md", "start.md#nothing", "#nothing", "../reports/no.png", "api/nothing.rst"])
def test_a_link_that_leads_nowhere_is_seen(link):
    assert lost(ROOT / "README.md", f"Read [this]({link}).") == [link]


def test_a_heading_and_a_page_of_the_api_are_somewhere():
    page = ROOT / "docs" / "index.md"
    assert lost(page, "[here](#e-clip-workbench), [there](api/frames.rst), [out](https://example.org)") == []


def test_every_page_is_in_the_table_of_contents():
    tree = set(re.findall(r"^(?:.* <)?([\w/]+)>?$", TEXTS[ROOT / "docs" / "index.md"], re.MULTILINE))
    assert {path.stem for path in TEXTS if path.parent.name == "docs"} - tree == {"index"}


def test_every_notebook_has_a_card_and_a_place_in_the_table_of_contents():
    text = TEXTS[ROOT / "docs" / "notebooks.md"]
    names = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    assert re.findall(r"^:link: notebooks/(\w+)$", text, re.MULTILINE) == names
    assert re.findall(r"<notebooks/(\w+)>$", text, re.MULTILINE) == names
