"""Libraries of extras: what only some uses need, imported when one is made, and named where it is not here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from federation.errors import InputError


def library(module: str, extra: str, message: str, error: type[InputError] = InputError) -> Any:
    """A library of an extra, or a module of one. `error` with this message, and the command that installs it."""
    try:
        return import_module(module)
    except ImportError:
        raise error(message, hint=installing(extra)) from None


def installing(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'private-federation[{extra}]'"
