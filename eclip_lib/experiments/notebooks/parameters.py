"""The parameters of a notebook: what its `parameters` cell declares, and which values they may have.

the source of the cell → `Parameter`s by name; a text of the command line → a checked value.
"""

import ast
import re
import tokenize
from dataclasses import dataclass
from io import StringIO
from types import NoneType
from typing import Any

TYPES = {"int": int, "float": float, "str": str, "bool": bool, "None": NoneType}
WORDS = {"true": True, "false": False, "none": None}  # how a shell spells Python's constants
_UNREADABLE = object()


@dataclass(frozen=True)
class Parameter:
    """One parameter of a notebook.

    `types` are the Python types that a value may have; `choices`, where not empty, are the only texts it may be.
    """

    name: str
    types: tuple[type, ...]
    default: Any
    help: str = ""
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the declaration as the notebook shows it."""
        kind = " | ".join("None" if option is NoneType else option.__name__ for option in self.types)
        return f"{self.name}: {kind} = {self.default!r}" + (f"  # {self.help}" if self.help else "")

    def parse(self, text: str) -> Any:
        """Return the value that a text of the command line means, such as "1e-4", "true" or "none".

        Raises:
            ValueError: it is no value of the parameter's types or choices.
        """
        for option in sorted(self.types, key=lambda option: option is str):  # any text is a str, so that comes last
            value = _read_as(text, option)
            if value is not _UNREADABLE:
                return self.check(value)
        raise ValueError(f"{self.name} = {text!r}: not a value for the parameter {self}")

    def check(self, value: Any) -> Any:
        """Return the value, an int as a float where only that will do.

        Raises:
            ValueError: the value is of another type, or none of the choices.
        """
        if type(value) is int and int not in self.types and float in self.types:
            value = float(value)
        if type(value) not in self.types:
            raise ValueError(f"{self.name} = {value!r}: {type(value).__name__} is not a type of the parameter {self}")
        if self.choices and isinstance(value, str) and value not in self.choices:
            raise ValueError(f"{self.name} = {value!r}: expected one of {', '.join(map(repr, self.choices))}")
        return value


def declared_parameters(source: str) -> dict[str, Parameter]:
    """Return the parameters that a cell declares, by name and in its order.

    Each is `name: type = literal`, the comment behind it being its help. A text parameter whose comment quotes two
    words or more, its default among them, takes one of these only: `size: str = "smoke"  # "smoke" or "full"`.

    Raises:
        ValueError: the source is not made of such assignments.
    """
    try:
        comments = _comments(source)
        declared = [_parameter(statement, comments) for statement in ast.parse(source).body]
    except (SyntaxError, tokenize.TokenError) as error:
        raise ValueError(f"not Python: {error}") from error
    return {parameter.name: parameter for parameter in declared}


def _comments(source: str) -> dict[int, str]:
    """Return the comment of each line that has one."""
    tokens = tokenize.generate_tokens(StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def _parameter(statement: ast.stmt, comments: dict[int, str]) -> Parameter:
    """Return the parameter that one statement declares.

    Raises:
        ValueError: it is not `name: type = literal`, or its default is not of its type.
    """
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
            default = _literal(value)
        case _:
            raise ValueError(f"{ast.unparse(statement)!r} is not of the form 'name: type = literal'")
    told = comments.get(statement.end_lineno or statement.lineno, "")
    quoted = tuple(re.findall(r'"([^"]*)"', told))
    choices = quoted if default in quoted and len(quoted) > 1 else ()
    parameter = Parameter(name, _types(annotation), default, told, choices)
    parameter.check(default)
    return parameter


def _literal(value: ast.expr) -> Any:
    """Return the value of a literal.

    Raises:
        ValueError: it is computed, so that it would not follow a changed parameter.
    """
    try:
        return ast.literal_eval(value)
    except ValueError as error:
        raise ValueError(f"{ast.unparse(value)!r} is not a literal") from error


def _types(annotation: ast.expr) -> tuple[type, ...]:
    """Return the types that an annotation like `int | None` allows.

    Raises:
        ValueError: a part of it is none of int, float, str, bool, None.
    """
    names = [part.strip() for part in ast.unparse(annotation).split("|")]
    other = [name for name in names if name not in TYPES]
    if other:
        raise ValueError(f"{other[0]!r} is not a parameter's type; they are {', '.join(TYPES)} and unions of these")
    return tuple(TYPES[name] for name in names)


def _read_as(text: str, option: type) -> Any:
    """Return the value of a type that a text spells, or `_UNREADABLE`."""
    if option in (bool, NoneType):
        value = WORDS.get(text.lower(), _UNREADABLE)
        return value if type(value) is option else _UNREADABLE
    try:
        return option(text)
    except ValueError:
        return _UNREADABLE
