"""The models of a tabular task, and the user's own code by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

import torch
from torch import Tensor, nn

from federation.errors import CodeError, TaskError
from federation.model.code import note_before_import
from federation.model.images.cnn import Cnn
from federation.model.images.sizes import Shape
from federation.model.sequences import gru, transformer
from federation.model.shape import HIDDEN
from federation.plan.outcomes import Classes, Outcome, Survival
from federation.plan.tabular import CNN, TALLY

_Factory = Callable[..., nn.Module]  # of inputs and outputs; "cnn" also of where it finds its image


class Intercepts(nn.Module):
    """One score of a record, and an intercept for each bin of time: (n, 1) to (n, bins).

    A record's score moves its hazards in all bins alike, so a model has few params, which all need noise.
    """

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(bins))

    def forward(self, scores: Tensor) -> Tensor:
        """The logits of the hazards."""
        return scores + self.bias


def _mlp(inputs: int, classes: int) -> nn.Module:
    """One hidden layer of tanh: bounded activations suit clipped gradients (Papernot et al. 2021)."""
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, classes))


def _hazards(inputs: int, bins: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 1, bias=False), Intercepts(bins))


def _mlp_of_hazards(inputs: int, bins: int) -> nn.Module:
    layers = nn.Linear(inputs, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1, bias=False)
    return nn.Sequential(*layers, Intercepts(bins))


def _cnn_of_hazards(inputs: int, bins: int, place: int, shape: Shape) -> nn.Module:
    """A score without an intercept of its own, as the others: those of the bins would stand beside it."""
    return nn.Sequential(Cnn(inputs, 1, place, shape, bias=False), Intercepts(bins))


def _tally(inputs: int, outputs: int) -> nn.Module:
    """A param for each input, from 0: what is added to them is the sum of the inputs of all records."""
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.zeros_(layer.weight)
    return layer


_OF_HAZARDS: Final[Mapping[str, _Factory]] = {
    "logistic": _hazards,
    "additive": _hazards,
    "mlp": _mlp_of_hazards,
    CNN: _cnn_of_hazards,
}
OF_WINDOWS: Final[Mapping[str, Callable[[int, int, int], nn.Module]]] = {
    "gru": gru,
    "transformer": transformer,
}
"""Models of windows `(inputs, outputs, steps)`: they have to know how many rows a record is made of."""
_LINEAR: Final = ("logistic", "linear", "additive")
BUILT_IN: Final[Mapping[str, _Factory]] = {
    **dict.fromkeys(_LINEAR, nn.Linear),
    "mlp": _mlp,
    CNN: Cnn,
    TALLY: _tally,
}


def is_built_in_factory(model: object) -> bool:
    """Whether this makes a model of ours."""
    return any(model is known for known in (*BUILT_IN.values(), *_OF_HAZARDS.values(), *OF_WINDOWS.values()))


def factory(name: str, outcome: Outcome = Classes(2)) -> _Factory:  # noqa: B008  frozen
    """The function `(inputs, outputs) -> nn.Module` behind a model's name in the plan.

    "logistic" is multinomial logistic regression: one row of weights per class; of a time until an event, the
    logistic regression of its hazards. So is "additive": what bends are the inputs that the plan makes for it
    (federation/plan/columns/maps.py). TaskError for a name without one.
    """
    built_in = _OF_HAZARDS if isinstance(outcome, Survival) else BUILT_IN
    if name in built_in:
        return built_in[name]
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
