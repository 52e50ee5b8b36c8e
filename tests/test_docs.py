"""Files and names in the pages exist, and the picture of the rooms is drawn from the imports."""

from __future__ import annotations

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import ROOT
from tests.rooms import BLOCK, PAGE, imports, picture, reachable, reduced

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
TOP = "privacy|federation|clients|server|simulations|tests|docs"
FILE = re.compile(rf"(?<![\w/.-])((?:{TOP})(?:/[\w-]+)+\.\w+)(?::(\w+))?")
FOLDER = re.compile(rf"(?<![\w/.-])((?:{TOP})(?:/\w+)*/)(?![\w.{{*-])")
MODULE = re.compile(rf"`((?:{TOP})(?:\.[a-z_]+)+)`")
# Keys of plan.toml and site.toml, which look like modules.
TABLES = re.compile(r"(federation|server)\.(seed|tau|name|rounds|optimizer|learning_rate)")


def defined(path: Path) -> set[str]:
    """Every name that a module defines, at its top or in a class."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_folders_modules_and_links_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    for name, inside in FILE.findall(text):
        assert (ROOT / name).is_file(), name
        assert not inside or inside in defined(ROOT / name), f"{name}:{inside}"
    for name in FOLDER.findall(text):
        assert (ROOT / name).is_dir(), name
    for name in MODULE.findall(text):
        if not TABLES.fullmatch(name) and not name.endswith(".py"):
            found = find_spec(name)
            assert found is not None, name
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / link).exists(), link


def test_the_picture_of_the_rooms_is_drawn_from_the_imports() -> None:
    drawn = BLOCK.search(PAGE.read_text("utf-8"))
    assert drawn is not None
    assert drawn[0] == picture(), "run: python -m tests.rooms"


def test_fewer_arrows_reach_the_same_rooms() -> None:
    whole = imports()
    few = reduced(whole)
    assert all(reachable(few, room) == reachable(whole, room) for room in whole)
    assert sum(map(len, few.values())) < sum(map(len, whole.values())) / 2
    assert reduced({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}, "c": set()}


def test_the_page_has_a_line_for_every_room() -> None:
    rows = set(re.findall(r"^\| `([a-z/]+)/` \|", PAGE.read_text("utf-8"), re.MULTILINE))
    assert rows == {room.replace(".", "/") for room in imports()}
