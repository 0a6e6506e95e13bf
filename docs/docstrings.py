"""The prose of docstrings as reStructuredText: what reads well in an editor and would break the page is mended here."""

import re


def mend(app, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Change the lines of a docstring in place, after napoleon has read its sections."""
    in_returns = False
    for number, line in enumerate(lines):
        if line.startswith((".. ", ":")):
            in_returns = line == ".. rubric:: Returns"
        elif not line.lstrip().startswith(">>>"):
            lines[number] = inline(entry(line) if in_returns else line)


def inline(line: str) -> str:
    """Return a line whose code may be followed by letters ("`Run`s") and whose bars are bars, as in |d|."""
    return re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", line.replace("|", r"\|"))


def entry(line: str) -> str:
    """Return a line of "Returns"; one that begins with a name ("valid: False for ...") becomes an item of a list."""
    named = re.match(r"`?(\w+)`?: ", line)
    if named:
        return f"- ``{named[1]}``: {line[named.end() :]}"
    return f"  {line.lstrip()}" if line.startswith("    ") else line
