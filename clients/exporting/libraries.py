"""What the extra brings: libraries that only ONNX needs, imported when a file of it is made."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from federation import extras

_NEEDED: Final = ("onnx", "onnxscript", "onnxruntime")
_LOUD: Final = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "root")


def require_onnx() -> None:
    """InputError, with the command that installs them, unless the libraries of ONNX are here."""
    for name in _NEEDED:
        library(name)


def library(module: str, *, extra: str = "export", what: str = "ONNX") -> Any:
    """A library of an extra, or a module of one. InputError with what installs it."""
    message = f"{what} is written with {module.partition('.')[0]}, which is not here"
    return extras.library(module, extra, message)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep what libraries say of themselves off the terminal: deprecations, and what else could be installed."""
    loggers = [logging.getLogger(name if name != "root" else None) for name in _LOUD]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
