r"""Tables and figures as files that go straight into a paper or a page.

a `Table` → Markdown, LaTeX with booktabs, CSV, a styled view of a notebook; a `Figure` → PNG and SVG.
"""

import html
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from pandas.io.formats.style import Styler

from eclip_lib.cache import atomic_path
from eclip_lib.figure import Picture, styled
from eclip_lib.results.summaries import markdown

LINE = 82  # characters of LaTeX's footnote size in a line of its article
LONG = 34  # characters; a longer cell breaks its lines
GAP = 3  # characters between columns
LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "→": r"$\rightarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "\N{DAGGER}": r"$\dagger$",
    "\N{DOUBLE DAGGER}": r"$\ddagger$",
}


@dataclass(frozen=True)
class Table:
    """A table of a results section.

    Attributes:
        name: of its files, without a suffix, and of its label in LaTeX.
        caption: says what is shown, simulated or real or published, and what intervals and marks mean.
        cells: what a reader sees, texts only.
        bold: bool, of the same shape: which cells are in bold.
        numbers: what the CSV file has, unrounded.
    """

    name: str
    caption: str
    cells: pd.DataFrame
    bold: pd.DataFrame
    numbers: pd.DataFrame

    def markdown(self) -> str:
        """Return the caption and the table as Markdown, with `**` around what is bold."""
        cells = self.cells.map(lambda text: text.replace("|", r"\|"))
        return f"{self.caption}\n\n{markdown(cells.mask(self.bold, '**' + cells + '**'))}\n"

    def latex(self) -> str:
        r"""Return a floating table; the document needs the packages booktabs, array and graphicx.

        A table too wide for a line is scaled down to it.

        Raises:
            ValueError: a cell has a character that pdfLaTeX does not know.
        """
        cells = self.cells.map(latex_text).rename(columns=latex_text)
        style = cells.style.hide(axis="index").apply(lambda _: self._weights(cells.columns), axis=None)
        text = style.to_latex(
            caption=latex_text(self.caption),
            label=f"tab:{self.name}",
            column_format=f"@{{}}{self._columns()}@{{}}",
            hrules=True,
            convert_css=True,
            position="t",
            position_float="centering",
        )
        text = text.replace(r"\begin{tabular}", "\\footnotesize\n\\begin{tabular}")
        if self._short_width() <= LINE:
            return text
        scaled = text.replace(r"\begin{tabular}", "\\resizebox{\\linewidth}{!}{%\n\\begin{tabular}")
        return scaled.replace(r"\end{tabular}", r"\end{tabular}}")

    def style(self) -> Styler:
        """Return the table as a notebook and a page show it; the same HTML each time."""
        return (
            Styler(self.cells, uuid=self.name, cell_ids=False)
            .format(escape="html")
            .format_index(escape="html", axis="columns")
            .hide(axis="index")
            .set_caption(html.escape(self.caption, quote=False))
            .apply(lambda _: self._weights(self.cells.columns), axis=None)
            .set_table_styles(
                [
                    {"selector": "caption", "props": "caption-side: top; text-align: left; max-width: 60em;"},
                    {"selector": "th, td", "props": "text-align: left; vertical-align: top;"},
                ]
            )
        )

    def _weights(self, columns: pd.Index) -> pd.DataFrame:
        """Return CSS of each cell, which pandas turns into LaTeX too."""
        weights = self.bold.map(lambda bold: "font-weight: bold" if bold else "")
        return weights.set_axis(columns, axis=1)

    def _long(self) -> dict[str, int]:
        """Return the columns whose lines LaTeX breaks, and the length of their longest cell."""
        longest = {name: max(map(len, self.cells[name]), default=0) for name in self.cells}
        return {name: length for name, length in longest.items() if length > LONG}

    def _short_width(self) -> int:
        """Return how many characters the other columns take of a line."""
        short = [name for name in self.cells if name not in self._long()]
        return sum(max([len(name), *map(len, self.cells[name])]) + GAP for name in short)

    def _columns(self) -> str:
        """Return how LaTeX sets the columns: as wide as they are, long ones in what the others leave of a line."""
        lengths = {name: min(length, 3 * LONG) for name, length in self._long().items()}
        left = max(LONG, LINE - self._short_width() - GAP * len(lengths)) / LINE
        shares = {name: left * length / sum(lengths.values()) for name, length in lengths.items()}
        wrapped = {
            name: rf">{{\raggedright\arraybackslash}}p{{{share:.3f}\linewidth}}" for name, share in shares.items()
        }
        return "".join(wrapped.get(name, "l") for name in self.cells)


def latex_text(text: str) -> str:
    """Return a text as LaTeX writes it.

    Raises:
        ValueError: it has a character that pdfLaTeX does not know.
    """
    unknown = sorted({sign for sign in text if not sign.isascii() and sign not in LATEX})
    if unknown:
        raise ValueError(f"{text!r} cannot be written in LaTeX: {', '.join(map(repr, unknown))} is not in LATEX")
    text = re.sub(r"(?<![\w-])-(?=\d)", "\N{MINUS SIGN}", text)
    return "".join(LATEX.get(sign, sign) for sign in text).replace(r" \%", r"~\%")


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write a table as Markdown, LaTeX and CSV; each file appears whole or not at all. Returns their paths.

    One that LaTeX cannot write is left out there, with a warning.
    """
    texts = {"md": table.markdown()}
    try:
        texts["tex"] = table.latex()
    except ValueError as error:
        (folder / f"{table.name}.tex").unlink(missing_ok=True)  # one of an earlier table
        warnings.warn(f"{table.name}.tex is not written: {error}", stacklevel=2)
    texts["csv"] = table.numbers.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    paths = [folder / f"{table.name}.{suffix}" for suffix in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths


@styled
def write_figure(figure: Picture, path: Path) -> list[Path]:
    """Write a figure as PNG, as a notebook shows it, and as SVG; the same bytes each time. Returns their paths."""
    png, svg = path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")
    figure.save(png)
    with atomic_path(svg) as temporary, rc_context({"svg.hashsalt": path.name}):
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
        temporary.write_text(_numbered(temporary.read_text(encoding="utf-8")), encoding="utf-8")
    return [png, svg]


def _numbered(svg: str) -> str:
    """Number what an SVG names by hashes: those are of coordinates whose last bits vary between processes."""
    hashes = dict.fromkeys(re.findall(r'(?<=id=")[a-z][0-9a-f]{10}(?=")', svg))
    names = {name: f"{name[0]}{number}" for number, name in enumerate(hashes)}
    return re.sub(r"\b[a-z][0-9a-f]{10}\b", lambda found: names.get(found[0], found[0]), svg)
