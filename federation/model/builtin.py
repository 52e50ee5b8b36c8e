"""The models of a tabular task, and the user's own code by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

from torch import nn

from federation.errors import CodeError, TaskError
from federation.model.code import note_before_import
from federation.model.shape import HIDDEN

_Factory = Callable[[int, int], nn.Module]


def _mlp(inputs: int, classes: int) -> nn.Module:
    """One hidden layer of tanh: bounded activations suit clipped gradients (Papernot et al. 2021)."""
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, classes))


BUILT_IN: Final[Mapping[str, _Factory]] = {"logistic": nn.Linear, "additive": nn.Linear, "mlp": _mlp}


def factory(name: str) -> _Factory:
    """The function `(inputs, classes) -> nn.Module` behind a model's name in the plan.

    "logistic" is multinomial logistic regression: one row of weights per class. So is "additive": what bends are
    the inputs that the plan makes for it (federation/plan/maps.py). TaskError for a name without one.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    found: _Factory = imported(name)
    if not callable(found):
        raise TaskError(
            f"{name}: is not a function", hint="name a function from (inputs, classes) to a model"
        )
    return found


def imported(name: str) -> Any:
    """What "package.module:attribute" names. CodeError, in one line, whatever the user's code does."""
    module, _, attribute = name.partition(":")
    note_before_import(name)
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        hint = "install it, or add its folder to PYTHONPATH"
        raise CodeError(f'{name}: there is no module "{error.name}"', hint=hint) from error
    except (Exception, SystemExit) as error:
        reason = f"{name}: importing it failed with {said(error)}"
        raise CodeError(reason, hint="import it by hand") from error
    if not hasattr(found, attribute):
        raise CodeError(f'{name}: the module has no "{attribute}"', hint="check the name after the colon")
    return getattr(found, attribute)


def said(error: BaseException) -> str:
    """An exception of the user's code in one short line. Not for code that has seen data."""
    first = str(error).strip().split("\n", 1)[0][:120]
    return f"{type(error).__name__} ({first})" if first else type(error).__name__
