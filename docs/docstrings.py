"""The prose of docstrings as reStructuredText: what reads well in an editor and would break the page is mended here."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def mend(app, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Change the lines of a docstring in place, after napoleon has read its sections."""
    section = ""
    for number, line in enumerate(lines):
        if line.startswith((".. ", ":", "Source: ")):
            section = "Source" if line.startswith("Source") else line
        if not line.lstrip().startswith((">>>", "..")):
            lines[number] = inline(entry(line, section))


def shorten(
    app, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple:
    """Return a signature whose paths are the project's, not those of the machine that makes the page."""
    return signature and signature.replace(f"{ROOT}/", ""), returns


def inline(line: str) -> str:
    """Return a line whose code may be followed by letters ("`Run`s") and whose bars are bars, as in |d|."""
    return re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", line.replace("|", r"\|"))


def entry(line: str, section: str) -> str:
    """Return a line of a section; "valid: False for ..." of "Returns" becomes an item of a list."""
    if section == "Source":
        return line.lstrip()
    named = re.match(r"(\w+): ", line)
    if section == ".. rubric:: Returns" and named:
        return f"- ``{named[1]}``: {line[named.end() :]}"
    return f"  {line.lstrip()}" if section == ".. rubric:: Returns" and line.startswith("    ") else line
