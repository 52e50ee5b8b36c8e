"""What every error owes its reader: a place in the tree, an exit code, and a hint that fits it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import NamedTuple

import pytest

import federation.errors
import privacy.errors
from federation.errors import FederationError, InputError
from privacy.errors import LedgerCorrupt, PrivacyError, RecordsUnavailable

PACKAGES = ("privacy", "federation", "clients", "server", "simulations")
ROOT = Path(federation.errors.__file__).parents[1]
BRANCH = re.compile(r"^    ((?:[|`]-|\|  |   )*) ?([A-Z]\w+) +(\d)\b", re.MULTILINE)
RETRY = re.compile(
    r"\b(start|try|run|send|ask|join|begin|answer|play)\b.*\b(again|anew)\b|\bre(try|start)\b", re.IGNORECASE
)
RETRYABLE = (RecordsUnavailable,)


class Place(NamedTuple):
    """A class, its parent and its exit code."""

    name: str
    parent: str
    exit_code: int


class Raised(NamedTuple):
    """An error made somewhere in the code: where, of which class, and with which hints, if any."""

    where: str
    kind: type[FederationError | PrivacyError]
    has_hint: bool
    hints: tuple[str, ...]


def drawn(doc: str) -> list[Place]:
    """The tree of a docstring."""
    places: list[Place] = []
    above = ["Hinted"]
    for branch, name, code in BRANCH.findall(doc):
        depth = len(branch) // 3 + bool(branch)
        above = [*above[: depth + 1], name]
        places.append(Place(name, above[-2], int(code)))
    return places


def family(kind: type[FederationError | PrivacyError]) -> Iterator[type[FederationError | PrivacyError]]:
    """A class of ours and all that come from it."""
    yield kind
    for child in kind.__subclasses__():
        if child.__module__.split(".")[0] in PACKAGES:
            yield from family(child)


def families() -> dict[str, type[FederationError | PrivacyError]]:
    """Every error of ours, by name."""
    for package in map(import_module, PACKAGES):
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    return {kind.__name__: kind for root in (FederationError, PrivacyError) for kind in family(root)}


KINDS = families()


def raised() -> list[Raised]:
    """Every error made in the code by its class's name."""
    found: list[Raised] = []
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in KINDS:
                given = [word.value for word in call.keywords if word.arg == "hint"]
                texts = tuple(
                    part.value
                    for hint in given
                    for part in ast.walk(hint)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                )
                where = f"{path.relative_to(ROOT)}:{call.lineno}"
                found.append(Raised(where, KINDS[call.func.id], bool(given), texts))
    return found


RAISED = raised()


@pytest.mark.parametrize(
    ("doc", "root"), [(federation.errors.__doc__, FederationError), (privacy.errors.__doc__, PrivacyError)]
)
def test_a_docstring_draws_the_tree_as_it_is(doc: str, root: type[FederationError | PrivacyError]) -> None:
    real = [Place(kind.__name__, kind.__mro__[1].__name__, kind.exit_code) for kind in family(root)]
    assert sorted(drawn(doc)) == sorted(real)


def test_a_tree_is_read_with_its_branches() -> None:
    doc = "    Root  4  it\n    |- One  2\n    |  `- Leaf  2  x\n    `- Two  4\n       `- Last  3\n"
    parents = [("Root", "Hinted", 4), ("One", "Root", 2), ("Leaf", "One", 2), ("Two", "Root", 4)]
    assert drawn(doc) == [*parents, ("Last", "Two", 3)]


def test_every_class_says_when_it_is_raised() -> None:
    assert [name for name, kind in KINDS.items() if not (kind.__dict__.get("__doc__") or "").strip()] == []


def test_no_refusal_for_privacy_tells_to_retry() -> None:
    refusals = [one for one in RAISED if issubclass(one.kind, PrivacyError) and one.kind not in RETRYABLE]
    assert len(refusals) > 150
    assert [one for one in refusals if any(map(RETRY.search, one.hints))] == []
    assert RETRY.search(str(LedgerCorrupt("x", "cut"))) is None
    for hint in ("check the disk, then start again", "start anew in another folder", "Retry later"):
        assert RETRY.search(hint)


def test_every_mistake_in_what_was_given_says_what_to_do() -> None:
    mistakes = [one for one in RAISED if issubclass(one.kind, InputError)]
    assert len(mistakes) > 50
    assert [one.where for one in mistakes if not one.has_hint or one.hints == ("",)] == []


def test_no_text_of_ours_has_a_line_break() -> None:
    broken = [one.where for one in RAISED if any("\n" in hint for hint in one.hints)]
    assert broken == []
