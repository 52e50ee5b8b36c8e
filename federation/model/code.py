"""The digest of a task's code: of all files of the top-level package or module that a plan names.

A plan may pin it, `code = "sha256:..."` under [federation]; whoever has other files then takes no part, and is told
before anything is charged. `federation check PLAN` prints it. It covers the package itself, not what that imports:
a pinned package that needs a certain version of another should say so where it is installed.

A process keeps the code that it imported first, whatever is installed meanwhile. So the digest is taken before that
import, and stands until the process ends.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from federation.errors import CodeError
from federation.plan.plan import Plan
from privacy.wire import Writer, digest

_INSTALL = "install it, or add its folder to PYTHONPATH"
_loaded: dict[str, str] = {}  # by top-level name, before the first import


def package_of(name: str) -> str:
    """The top-level name of "package.module:attribute"."""
    return name.partition(":")[0].partition(".")[0]


def code_digest(name: str) -> str:
    """The digest of the code that "package.module:attribute" is in. CodeError if it is not there."""
    package = package_of(name)
    if package not in _loaded:
        _loaded[package] = _digest(package)
    return _loaded[package]


def note_before_import(name: str) -> None:
    """Have `code_digest` speak of the code that is about to be imported, unless it is in use already."""
    package = package_of(name)
    if package not in sys.modules and package not in _loaded and _places(package):
        _loaded[package] = _digest(package)


def require_here(plan: Plan) -> None:
    """CodeError if the plan's own code is not here, or is not what it pins: told without importing it."""
    if not plan.has_own_code:
        return
    if plan.federation.code is not None:
        require_code(plan.code, plan.federation.code)
    elif package_of(plan.code) not in sys.modules and not _places(package_of(plan.code)):
        raise _missing(plan.code)


def require_code(name: str, pinned: str) -> None:
    """CodeError unless the files here are those that the plan pins."""
    found = code_digest(name)
    if found != pinned:
        raise CodeError(
            f"{package_of(name)}: the code here is {found}, the plan pins {pinned}",
            hint="install the version that the plan was made with, then start again",
            key="federation.code",
        )


def _places(package: str) -> list[Path]:
    """Where the package lies: its folder, or folders, or its one file. Nothing if there is none."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return [Path(place) for place in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.origin is not None and Path(spec.origin).is_file() else []


def _digest(package: str) -> str:
    places = _places(package)
    if not places:
        raise _missing(package)
    listed = Writer()
    try:
        for name, path in sorted(pair for place in places for pair in _files(place)):
            with path.open("rb") as file:
                listed.text(name).fixed(hashlib.file_digest(file, "sha256").digest())
    except (OSError, ValueError) as error:
        raise CodeError(f"{package}: its files cannot be read: {error}", hint="check them") from None
    return f"sha256:{digest('federation/code/1', listed.finish()).hex()}"


def _missing(name: str) -> CodeError:
    return CodeError(f'{name}: there is no module "{package_of(name)}"', hint=_INSTALL)


def _files(place: Path) -> Iterator[tuple[str, Path]]:
    """Every file by its name within the package, but what Python, and tools that hide their files, keep there."""
    if place.is_file():
        yield place.name, place
        return
    for path in place.rglob("*"):
        parts = path.relative_to(place).parts
        if path.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in parts):
            yield "/".join(parts), path
