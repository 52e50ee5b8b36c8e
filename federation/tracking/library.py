"""What the extra brings: the writers of two file formats, imported when something is written."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from federation import extras
from federation.errors import InputError

_EXTRA = "tracking"


def require(name: str) -> None:
    """InputError unless this library is installed. It is not imported: that may take seconds."""
    if find_spec(name) is None:
        raise InputError(f"{name} writes this, and is not here", hint=extras.installing(_EXTRA))


def library(name: str, module: str = "") -> Any:
    """The library, or a module of it."""
    require(name)
    message = f"{name} writes this, and is damaged here"
    return extras.library(f"{name}.{module}" if module else name, _EXTRA, message)
