"""What the extra brings: the writers of two file formats, imported when something is written."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from federation.errors import InputError

_CURE = "pip install 'private-federation[tracking]'"


def require(name: str) -> None:
    """InputError unless this library is installed. It is not imported: that may take seconds."""
    if find_spec(name) is None:
        raise InputError(f"{name} writes this, and is not here", hint=_CURE)


def library(name: str, module: str = "") -> Any:
    """The library, or a module of it."""
    require(name)
    try:
        return import_module(f"{name}.{module}" if module else name)
    except ImportError:
        raise InputError(f"{name} writes this, and is damaged here", hint=_CURE) from None
