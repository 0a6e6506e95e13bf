"""The Markdown pages of the project, as tests read them: fenced blocks, commands, links."""

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from eclip_lib.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+?) -->\s*)?^ *(?P<fence>`{3,}|:{3,})(?P<language>[^\s`]*)[^\n]*\n"
    r"(?P<code>.*?)^ *(?P=fence) *$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its code, and why it is not run, or nothing."""

    language: str
    code: str
    reason: str = ""


def blocks(text: str) -> list[Block]:
    """Return the blocks of code of a page, in order; what MyST fences with colons is prose."""
    found = [match for match in BLOCK.finditer(text) if match["fence"].startswith("`")]
    return [Block(match["language"], dedent(match["code"]), match["reason"] or "") for match in found]


def prose(text: str) -> str:
    """Return a page without its blocks of code."""
    return BLOCK.sub(lambda match: "" if match["fence"].startswith("`") else match[0], text)


def shell_lines(text: str) -> list[str]:
    """Return the commands of a page: lines of console blocks without their prompt, and code in the prose."""
    lines = []
    for block in blocks(text):
        if block.language in ("console", "bash"):
            joined = block.code.replace("\\\n", " ").splitlines()
            lines += [line[2:] for line in joined if line.startswith("$ ")]
    return lines + re.findall(r"(?<!`)`((?:eclip|make) [^`\n]+)`", prose(text))


def links(text: str) -> list[str]:
    """Return where a page points within the project: links, pictures, cards, included files."""
    told = prose(text)
    found = re.findall(r"\]\(([^)\s]+)\)", told) + re.findall(r"^:img-top: (\S+)", text, re.MULTILINE)
    found += re.findall(r"(?:src|href)=\"([^\"]+)\"", told)
    found += re.findall(r"^```\{(?:include|image|figure)\} (\S+)", text, re.MULTILINE)
    return [link for link in found if not re.match(r"\w+://|mailto:", link)]


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", prose(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
