"""What the code says of events and files, read from its source: docs/operate.md is held against it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests import ROOT

PAGE = ROOT / "docs" / "operate.md"
_SIDES = {
    "clients": "site", "federation/cli/joining.py": "site",
    "server": "coordinator", "federation/cli/serving.py": "coordinator",
    "federation": "both",
}  # fmt: skip
_WRITERS = {"note": "info", "warn": "warning"}


@dataclass(frozen=True, order=True)
class Written:
    """One place where a line of the log is written."""

    event: str
    side: str
    level: str
    fields: frozenset[str]


def written() -> Iterator[Written]:
    """Every call of `note` or `warn` of federation.log, in every function."""
    for room in ("clients", "server", "federation"):
        for path in sorted((ROOT / room).rglob("*.py")):
            side = _SIDES.get(path.relative_to(ROOT).as_posix(), _SIDES[room])
            yield from _of_module(ast.parse(path.read_text("utf-8")), side)


def _of_module(tree: ast.Module, side: str) -> Iterator[Written]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    is_log = any(function.name == "_write" for function in functions) and side == "both"
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "federation.log"
        for alias in node.names
    }
    for function in functions:
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.args:
                name = call.func.id
                if name in _WRITERS and (name in imported or is_log):
                    fields = frozenset(_fields(call, function, functions))
                    for event in _texts(call.args[0], function):
                        yield Written(event, side, _WRITERS[name], fields)


def _fields(call: ast.Call, function: ast.FunctionDef, functions: list[ast.FunctionDef]) -> Iterator[str]:
    """The names of the facts; those of `**facts` from the dictionaries that it can be."""
    for keyword in call.keywords:
        if keyword.arg is not None:
            yield keyword.arg
        elif isinstance(keyword.value, ast.Name):
            for value in _values_of(keyword.value.id, function):
                yield from _keys(value, functions)
        else:
            yield from _keys(keyword.value, functions)


def _keys(value: ast.AST, functions: list[ast.FunctionDef]) -> Iterator[str]:
    """The keys of dictionaries in an expression, and in the functions of its module that it calls."""
    called = {
        node.func.id
        for node in ast.walk(value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    for source in (value, *(each for each in functions if each.name in called)):
        for node in ast.walk(source):
            if isinstance(node, ast.Dict):
                yield from (str(key.value) for key in node.keys if isinstance(key, ast.Constant))


def _values_of(name: str, function: ast.FunctionDef) -> Iterator[ast.AST]:
    """What a variable of a function is given."""
    for each in ast.walk(function):
        if isinstance(each, ast.AnnAssign | ast.Assign) and each.value is not None:
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                yield each.value


def _texts(node: ast.AST, function: ast.FunctionDef) -> set[str]:
    """What a first argument can be: a text, one of two, or what a variable of the function was given."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    if isinstance(node, ast.IfExp):
        return _texts(node.body, function) | _texts(node.orelse, function)
    if not isinstance(node, ast.Name):
        return set()
    return {text for value in _values_of(node.id, function) for text in _texts(value, function)}


def by_event() -> Mapping[str, tuple[frozenset[str], frozenset[str], frozenset[str]]]:
    """Of each event: its levels, and its fields at a site and at a coordinator."""
    levels, fields = defaultdict[str, set[str]](set), defaultdict[tuple[str, str], set[str]](set)
    for line in written():
        levels[line.event].add(line.level)
        for side in ("site", "coordinator") if line.side == "both" else (line.side,):
            fields[line.event, side] |= line.fields
    return {
        event: (frozenset(found), frozenset(fields[event, "site"]), frozenset(fields[event, "coordinator"]))
        for event, found in levels.items()
    }


def table(name: str) -> list[list[str]]:
    """The rows of the table between the marks of this name, cell by cell, without its head."""
    text = PAGE.read_text("utf-8")
    block = text.split(f"<!-- {name} -->")[1].split(f"<!-- end of {name} -->")[0]
    rows = [line.strip("|\n ").split("|") for line in block.strip().splitlines()]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def named(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def commands(page: Path = PAGE) -> list[str]:
    """What stands behind a dollar in blocks of a console; a backslash goes on in the next line."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line[2:] for line in lines if line.startswith("$ ")]
