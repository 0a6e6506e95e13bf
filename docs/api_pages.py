"""The pages of the API: one for the face of the package, one for each wing, one for the command line.

The package as it lies on disk -> reStructuredText by the name of its page. The order is that of the house in
pyproject.toml; what a page tells is read off the docstrings, so that nothing here has to follow the code.
"""

import ast
import re
import tomllib
from pathlib import Path

import click

ROOT = Path(__file__).parent.parent
PACKAGE = "eclip_lib"
ROOM = re.compile(r"(\w+/?(?:, \w+/?)*): (.*)")  # of a face: what is in which file or folder


def api_pages() -> dict[str, str]:
    """Return every page of the API by its file name."""
    names = house()
    wings = [name for name in names if (ROOT / PACKAGE / name).is_dir()]
    pages = {f"{name}.rst": wing_page(name) for name in wings}
    pages["foundations.rst"] = foundations_page([name for name in names if name not in wings])
    pages["cli.rst"] = title("cli") + command_help() + package_section(f"{PACKAGE}.cli")
    pages["index.rst"] = index_page(wings)
    return pages


def house() -> list[str]:
    """Return the names of the house from bottom to top, as the contract of its layers has them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in settings if contract["type"] == "layers"]
    return [name.strip() for layer in reversed(layers) for name in layer.split("|")]


def index_page(wings: list[str]) -> str:
    """Return the page of the package's own face, with the list of the other pages."""
    pages = "\n".join(f"   {name}" for name in ["foundations", *wings])
    tree = f".. toctree::\n   :caption: From bottom to top\n   :maxdepth: 1\n\n{pages}\n"
    return title("API") + docstring(ROOT / PACKAGE / "__init__.py") + given_names(PACKAGE) + tree


def foundations_page(names: list[str]) -> str:
    """Return the page of the single files below all wings."""
    return title("foundations") + "What every wing stands on.\n\n" + "".join(file_section(PACKAGE, n) for n in names)


def wing_page(name: str) -> str:
    """Return the page of a wing: what its face says and gives, then its files and folders."""
    return title(name) + package_section(f"{PACKAGE}.{name}")


def package_section(package: str) -> str:
    """Return what the face of a package says and gives, then its files, then its folders."""
    folder = ROOT.joinpath(*package.split("."))
    files = [path.stem for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]
    parts = [docstring(folder / "__init__.py"), given_names(package)]
    parts += [file_section(package, name) for name in files]
    for face in sorted(folder.glob("*/__init__.py")):
        inner = f"{package}.{face.parent.name}"
        parts.append(title(f"{face.parent.name}/", "-") + package_section(inner))
    return "".join(parts)


def file_section(package: str, name: str) -> str:
    """Return the section of a file: what `autodoc` finds there, and its constants."""
    heading = title(name, "~" if package.count(".") > 1 else "-")
    return heading + f".. automodule:: {package}.{name}\n   :members:\n\n" + constants(f"{package}.{name}")


def constants(module: str) -> str:
    """Return the constants of a module as they are written, comments included, for `autodoc` shows no bare value."""
    text = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text()
    parts = []
    for node in ast.parse(text).body:
        names = getattr(node, "targets", [getattr(node, "target", None)])
        if isinstance(node, ast.Assign | ast.AnnAssign) and re.match(r"[A-Z][A-Z_\d]+$", getattr(names[0], "id", "")):
            code = "".join(f"      {line}\n" for line in text.splitlines()[node.lineno - 1 : node.end_lineno])
            parts.append(f".. py:data:: {names[0].id}\n\n   .. code-block:: python\n\n{code}\n")
    return "".join(parts)


def title(text: str, mark: str = "=") -> str:
    """Return a heading."""
    return f"{text}\n{mark * len(text)}\n\n"


def docstring(path: Path) -> str:
    """Return the docstring of a face; what it says of its files and folders becomes a list."""
    lines = []
    for line in (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines():
        rooms = [ROOM.fullmatch(part) for part in re.split(r"\s{2,}", line)]
        known = all(room and is_room(path.parent, room[1]) for room in rooms)
        lines += [f"- **{room[1]}**: {room[2]}" for room in rooms] if known else [line]
    return "\n".join(lines) + "\n\n"


def is_room(folder: Path, names: str) -> bool:
    """Return whether these are files and folders of a wing, and not words before a colon."""
    return all((folder / name).is_dir() or (folder / f"{name}.py").exists() for name in names.split(", "))


def given_names(package: str) -> str:
    """Return a line of links to all names that the face of a package gives."""
    links = [f":py:obj:`{name} <{target}>`" for name, target in sorted(face_names(package).items())]
    return f"``from {package} import``: {', '.join(links)}\n\n" if links else ""


def face_names(package: str) -> dict[str, str]:
    """Return where each name of a face is written, followed through the faces in between."""
    stub = ROOT.joinpath(*package.split("."), "__init__.pyi")
    names = {}
    for node in ast.parse(stub.read_text() if stub.exists() else "").body:
        if isinstance(node, ast.ImportFrom):
            module = f"{package}.{node.module}" if node.module else package
            inner = face_names(module) if node.module else {}
            names |= {alias.name: inner.get(alias.name, f"{module}.{alias.name}") for alias in node.names}
    return names


def command_help() -> str:
    """Return what `eclip COMMAND --help` says, for all commands."""
    from eclip_lib.cli.program import main

    return "".join(help_of(main, "eclip"))


def help_of(command: click.Command, name: str, above: click.Context | None = None) -> list[str]:
    """Return the help of a command and of those below it, each as a literal block."""
    context = click.Context(command, above, name, terminal_width=88, max_content_width=88, **command.context_settings)
    indented = "\n".join(f"   {line}".rstrip() for line in command.get_help(context).splitlines())
    found = [f".. code-block:: text\n\n{indented}\n\n"]
    for inner, below in getattr(command, "commands", {}).items():
        found += [title(f"{context.command_path} {inner}", "-"), *help_of(below, inner, context)]
    return found
