"""Tables and figures as files: complete, the same each time, and LaTeX that compiles."""

import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eclip_lib.figure import Picture
from eclip_lib.results.files import Table, latex_text, write_figure, write_table

DASHES = "\N{EN DASH} \N{MINUS SIGN} \N{DAGGER} \N{DOUBLE DAGGER}"
HARD = r"50 % of n_a & b: ±2 ≥ 1 <0.001 #1 {x} $5 ~ ^ \end | → " + DASHES


def a_table(name="made", columns=2, **cells) -> Table:
    frame = pd.DataFrame({"a 100 % column_name": ["x", HARD], "gain": ["-1.5 *", "-"], **cells})
    bold = frame.map(lambda _: False)
    bold.iloc[0, 1] = True
    numbers = pd.DataFrame({"label": ["x", "y"], "gain": [-0.0151234567, np.nan]})
    return Table(name, "A caption of 95 % intervals, 5_shot.", frame, bold, numbers)


def wide_table() -> Table:
    return short_table("wide", **{f"column {k}": ["+1.0 (-0.3 to +2.9)", "-"] for k in range(9)})


def long_table() -> Table:
    return short_table("long", text=["a sentence " * 12, "another"])


def short_table(name, **cells) -> Table:
    table = a_table(name, **cells)
    return replace(table, cells=table.cells.replace(HARD, "y"))


def latex_complaints(text: str) -> list[str]:
    """Return what would keep pdfLaTeX from a table: open braces or environments, bare signs, rows of other lengths."""
    said = [] if text.isascii() else [f"not ASCII: {sorted({c for c in text if not c.isascii()})}"]
    plain = re.sub(r"\\[\\&%$#_{}]", "", text).replace("{!}{%\n", "{!}{\n")
    if plain.count("{") != plain.count("}"):
        said.append("braces are open")
    if re.findall(r"\\begin\{(\w+)\}", text) != re.findall(r"\\end\{(\w+)\}", text)[::-1]:
        said.append("environments are open")
    if re.search(r"[%#]", plain) or "_" in re.sub(r"\\label\{[^}]*\}", "", plain):
        said.append("a bare % # or _")
    if plain.count("$") % 2:
        said.append("math is open")
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    lengths = {len(re.findall(r"(?<!\\)&", line)) for line in body.splitlines() if line.endswith(r"\\")}
    if len(lengths) != 1:
        said.append(f"rows of other lengths: {lengths}")
    return said


def test_markdown_has_caption_cells_and_what_is_bold():
    lines = a_table().markdown().splitlines()
    assert lines[0] == "A caption of 95 % intervals, 5_shot."
    assert [cell.strip() for cell in lines[4].split("|")[1:-1]] == ["x", "**-1.5 ***"]


def test_latex_escapes_every_sign_and_has_the_rules_of_booktabs():
    text = a_table().latex()
    assert latex_complaints(text) == []
    assert [text.count(rf"\{rule}rule") for rule in ("top", "mid", "bottom")] == [1, 1, 1]
    assert r"\bfseries $-$1.5 *" in text and r"95~\%" in text and r"\label{tab:made}" in text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("-1.5 to -0.5", "$-$1.5 to $-$0.5"),
        ("event-text, 5-shot, 2026-01", "event-text, 5-shot, 2026-01"),
        ("a_b & 5 %", r"a\_b \& 5~\%"),
        ("\\x{", r"\textbackslash{}x\{"),
        ("3 ± 1 (n=5)", r"3 $\pm$ 1 (n=5)"),
    ],
)
def test_texts_are_written_as_latex_wants_them(text, written):
    assert latex_text(text) == written


def test_a_sign_that_latex_lacks_is_told():
    with pytest.raises(ValueError, match="'5 µs' cannot be written in LaTeX: 'µ' is not in LATEX"):
        latex_text("5 µs")


@pytest.mark.parametrize("broken", [r"{", r"\begin{x}", "5 % of", "a_b", "5$", "x & y & z \\\\\n"])
def test_the_check_of_latex_sees_what_breaks_it(broken):
    text = a_table().latex().replace(r"\midrule", rf"\midrule {broken}")
    assert len(latex_complaints(text)) == 1


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize("table", [a_table(), wide_table(), long_table()], ids=lambda table: table.name)
def test_latex_compiles(tmp_path, table):
    write_table(table, tmp_path)
    head = r"\documentclass{article}\usepackage{booktabs,array,graphicx}\begin{document}"
    (tmp_path / "page.tex").write_text(rf"{head}\input{{{table.name}}}\end{{document}}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    too_wide = re.findall(r"Overfull \\hbox \(([\d.]+)pt", (tmp_path / "page.log").read_text())
    assert all(float(points) < 10 for points in too_wide)


def test_long_cells_break_their_lines_in_what_the_others_leave():
    text = long_table().latex()
    assert latex_complaints(text) == [] and "resizebox" not in text
    (share,) = (float(width) for width in re.findall(r"p\{([\d.]+)\\linewidth\}", text))
    assert 0.5 < share < 0.9
    assert r"{@{}ll>{" in text


def test_a_table_of_many_columns_is_scaled_to_a_line():
    text = wide_table().latex()
    assert latex_complaints(text) == []
    assert text.count(r"\resizebox{\linewidth}{!}{%") == text.count(r"\end{tabular}}") == 1


def test_files_are_whole_and_the_same_each_time(tmp_path):
    paths = write_table(a_table(), tmp_path / "new")
    assert [path.name for path in paths] == ["made.md", "made.tex", "made.csv"]
    first = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_table(a_table(), tmp_path / "new")] == first
    assert first[2] == b"label,gain\nx,-0.0151235\ny,\n"


def test_what_latex_lacks_costs_the_file_of_latex_alone(tmp_path):
    write_table(a_table(), tmp_path)
    odd = replace(a_table(), caption="5 µs")
    with pytest.warns(UserWarning, match=r"made.tex is not written: '5 µs' cannot be written in LaTeX"):
        paths = write_table(odd, tmp_path)
    assert (
        [path.name for path in paths]
        == ["made.md", "made.csv"]
        == sorted((path.name for path in tmp_path.iterdir()), reverse=True)
    )


def test_a_styled_table_is_the_same_each_time_and_escapes_nothing_wrongly():
    html = a_table().style().to_html()
    assert html == a_table().style().to_html()
    assert "font-weight: bold" in html and "A caption of 95 %" in html


def test_html_in_a_cell_stays_text():
    assert "<0.001" not in a_table().style().to_html()


def test_the_names_in_an_svg_do_not_depend_on_the_last_bits_of_its_coordinates(tmp_path):
    texts = []
    for name, nudge in (("a", 0.0), ("b", 1e-13)):
        figure = Picture(figsize=(3, 2))
        figure.add_axes((0.2 + nudge, 0.2, 0.7, 0.7)).plot([1, 3, 2])
        texts.append(write_figure(figure, tmp_path / name / "made")[1].read_text())
    assert texts[0] == texts[1] and re.search(r'clip-path="url\(#p\d\)"', texts[0])


def test_a_figure_is_written_twice_and_the_same_each_time(tmp_path):
    def draw():
        figure = Picture(figsize=(3, 2))
        figure.subplots().plot([1, 3, 2], label="a ± b")
        figure.suptitle("A title")
        return figure

    paths = write_figure(draw(), tmp_path / "curve.v1")
    assert [path.name for path in paths] == ["curve.v1.png", "curve.v1.svg"]
    first = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_figure(draw(), tmp_path / "curve.v1")] == first
    assert first[0].startswith(b"\x89PNG") and b"<dc:date>" not in first[1]
