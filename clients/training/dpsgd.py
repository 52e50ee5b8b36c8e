"""The gradient of every record or patient, clipped and summed, by the fastest route that is right for the model.

We use Opacus 1.6's formulas for its layers (`clients.training.per_example`) and nothing else of it: its sampler
rounds the sample rate, its noise comes from torch's generator, its optimizer can be bypassed, and its accountant
forgets between rounds. Sampling and noise are ours (`privacy.mechanism.noise`), and the journal holds the charge
before this runs.

We trust no route to fit a model. Each is tried, once per kind of model, on a few made-up records:
  1. Exchanging some records must leave the losses of the others as they were, and so must leaving them out. Else
     the model, or its loss, mixes the records of a batch: a clipped gradient would not bound what a record does.
     This finds what a list of layers cannot, in any code, as far as made-up records can show it.
  2. If the code's path follows the values of records (`Trial.follows_values`), made-up ones do not show all of it.
     Then every record is computed by itself.
  3. Code of the user's own sees no batch but under `vmap`; chains of torch's layers may (`clients.training.known`).
  4. A model with a large base computes in float32, under `vmap` in slices of one shape if no record's gradient
     depends on its place (`clients.training.slices`), else one record after the other.
  5. The route's gradients must equal those of plain autograd, taken one record after the other.
Small models then take hooks. For others all routes that are right are measured on made-up records, as many as a
batch is expected to hold: measurements on real ones would reveal something of them.

Why float64: in float32 the rounding error of a sum depends on every record in it, by more than a proof can
ignore. In float64 it is below 1e-12 of the clipping norm, far under the grid that the sum is put on.

Dropout and the like draw from torch's generator, which anyone may know. They belong to the model and add nothing to
its privacy.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import FunctionType

import torch
from torch import Tensor, nn

from clients.training.frozen import is_large
from clients.training.isolation import Tally
from clients.training.known import is_known
from clients.training.local import Gradient
from clients.training.per_example import Loss
from clients.training.places import HERE, Place
from clients.training.slices import is_place_free
from clients.training.sums import PER_RECORD, ROUTES, clipped_sums
from clients.training.trial import MADE_UP, TRIED, Trial
from federation.errors import TaskError
from federation.model.builtin import said
from privacy.errors import UnsafeParameters
from privacy.mechanism.clipping import clip_rows

SMALL = 4096  # parameters up to which there is nothing to gain from measuring
_MEASURED = 256  # made-up records at most in a measurement: beyond, every route takes time in proportion
KINDS = 256  # choices that are remembered
RECURRENT = (nn.GRU, nn.LSTM, nn.RNN)  # `adapted` replaces them; one record at a time they would take ages
_known: dict[object, str] = {}


@contextmanager
def clipped_gradient(
    model: nn.Module,
    loss: Loss,
    clipping_norm: float,
    expected_batch: float = 64.0,
    tally: Tally | None = None,
    class_weights: Sequence[float] = (),
    place: Place = HERE,
) -> Iterator[Gradient]:
    """Within the context: `(features, labels, patients or None) -> sum of clipped gradients`, float64, flat.

    The model must be `clients.training.frozen.prepared`, in float64. A record whose gradient is not finite, or on
    which the code raises, contributes zero: neither its presence nor its absence can be read from the sum. `tally`
    counts those that raise. With `patients`, (n,) numbers, it is each patient's whole gradient that is clipped.
    `class_weights`, none above 1, are what a record counts by its label: after it was clipped, or before its
    patient is. An empty batch sums to zero. The model leaves the context as it came, whatever happened inside.

    UnsafeParameters for a clipping norm that is not finite and above 0; TaskError if the model mixes records, or if
    no route can take it apart.
    """
    if not (math.isfinite(clipping_norm) and clipping_norm > 0):
        raise UnsafeParameters("a clipping norm must be finite and above 0")
    with ExitStack() as stack:
        opened: dict[bool, Gradient] = {}
        counted = Tally() if tally is None else tally

        def gradient(features: Tensor, labels: Tensor, patients: Tensor | None = None) -> Tensor:
            whole = patients is not None
            if whole not in opened:
                shape = features[:0], labels[:0]
                route = chosen_route(model, loss, *shape, expected_batch, whole_patients=whole)
                opened[whole] = stack.enter_context(
                    clipped_sums(
                        route,
                        model,
                        loss,
                        clipping_norm,
                        tally=counted,
                        class_weights=class_weights,
                        place=place,
                    )
                )
            return opened[whole](features, labels, patients)

        yield gradient


def chosen_route(
    model: nn.Module,
    loss: Loss,
    features: Tensor,
    labels: Tensor,
    expected_batch: float = 64.0,
    *,
    whole_patients: bool = False,
) -> str:
    """The route for a model, chosen by the shapes of model and data alone: `features` and `labels` may be empty.

    Remembered as long as the process lives. TaskError as in `clipped_gradient`.
    """
    batch = min(_MEASURED, max(1, math.ceil(expected_batch)))
    shapes = features.shape[1:], features.dtype, labels.shape[1:], batch
    # Kernels divide their work by the number of threads, so what was tried with one number says nothing of another.
    key = _kind(model), loss, *shapes, whole_patients, torch.get_num_threads()
    if key not in _known:
        candidates = tuple(route for route in ROUTES if route in PER_RECORD or not whole_patients)
        if len(_known) >= KINDS:
            _known.clear()
        with torch.random.fork_rng(devices=[]):
            _known[key] = _choose(Trial(model, loss, features, labels), candidates, batch)
    return _known[key]


def _choose(trial: Trial, candidates: tuple[str, ...], batch: int) -> str:
    try:
        if trial.mixes():
            raise TaskError(
                "the model or its loss mixes the records of a batch",
                hint="compute every record by itself: no mean, no rank, no statistic over the first dimension",
            )
        rows = trial.rows(*trial.records(TRIED, 0))
        follows_values = trial.follows_values(2 if is_large(trial.model) else batch)
        if is_large(trial.model):
            return _of_large(trial, rows, follows_values=follows_values)
    except TaskError:
        raise
    except (Exception, SystemExit) as error:  # of the task's own code, which has seen no data
        message = f"the model or its loss failed with {said(error)} on made-up records"
        raise TaskError(message, hint=MADE_UP) from error
    if follows_values and not _has_recurrence(trial):
        return "alone"
    if not is_known(trial.model):
        return _one_by_one(trial, rows)
    small = sum(parameter.numel() for parameter in trial.parameters) <= SMALL
    if small and _is_right(trial, "hooks", rows):
        return "hooks"
    right = [route for route in candidates if _is_right(trial, route, rows)]
    if not right:
        raise _not_apart()
    return right[0] if len(right) == 1 else min(right, key=lambda route: _seconds(trial, route, batch))


def _of_large(trial: Trial, rows: Tensor, *, follows_values: bool) -> str:
    """The route where gradients are in float32: what a record gives may not depend on another in its last bit."""
    if not follows_values and _is_right(trial, "slices", rows) and is_place_free(trial):
        return "slices"
    if _is_right(trial, "alone", rows):
        return "alone"
    raise _not_apart()


def _has_recurrence(trial: Trial) -> bool:
    return any(type(part) in RECURRENT for part in trial.model.modules())


def _one_by_one(trial: Trial, rows: Tensor) -> str:
    """The route for a model of the user's own: each record a batch of its own, by `vmap` or truly alone."""
    if _is_right(trial, "functorch", rows):
        return "functorch"
    if not _has_recurrence(trial) and _is_right(trial, "alone", rows):
        return "alone"
    raise _not_apart()


def _not_apart() -> TaskError:
    return TaskError(
        "the model's gradient cannot be taken apart into gradients of records",
        hint="recurrent layers can be replaced: return adapted(model).module, see clients.training.adapt",
    )


def _is_right(trial: Trial, route: str, rows: Tensor) -> bool:
    """Whether a route runs, and agrees with autograd record by record."""
    features, labels = trial.records(TRIED, 0)
    try:
        if route in PER_RECORD:
            with PER_RECORD[route](trial.model, trial.loss) as per_record:
                torch.default_generator.manual_seed(0)
                state = torch.random.get_rng_state()
                found = torch.cat([part.flatten(1) for part in per_record(features, labels)], dim=1)
                drew = not torch.equal(state, torch.random.get_rng_state())
            # Each record by itself draws dropout of its own: right all the same, and not to be compared.
            return (route in ("functorch", "slices") and drew) or trial.close(
                found.detach().to(rows.dtype), rows
            )
        norm = float(torch.nan_to_num(rows).norm(dim=1).median()) or 1.0
        with clipped_sums(route, trial.model, trial.loss, norm) as gradient:
            torch.default_generator.manual_seed(0)
            return trial.close(gradient(features, labels), clip_rows(rows, norm).sum(dim=0))
    except Exception:  # it does not know the model, in whatever words of torch or Opacus
        return False


def _seconds(trial: Trial, route: str, batch: int) -> float:
    features, labels = trial.records(batch, 2)
    with clipped_sums(route, trial.model, trial.loss, 1.0) as gradient:
        start = time.perf_counter()
        gradient(features, labels)
        return time.perf_counter() - start


def _kind(model: nn.Module) -> object:
    """What distinguishes models for the choice: layers with their settings and functions, and parameters."""
    common = vars(nn.Module()).keys()  # parameters, layers inside, hooks
    layers = tuple(
        (name, type(part), tuple((key, _mark(item)) for key, item in vars(part).items() if key not in common))
        for name, part in model.named_modules()
    )
    tensors = *model.named_parameters(), *model.named_buffers()
    params = tuple((name, each.shape, each.dtype, each.requires_grad) for name, each in tensors)
    return layers, params, model.training


def _mark(value: object, depth: int = 8) -> object:
    """Something that is equal for settings that are; of functions the code, and what it refers to outside."""
    inside = partial(_mark, depth=depth - 1)
    found: object = type(value)
    if value is None or isinstance(value, bool | int | float | str | type):
        found = value
    elif isinstance(value, Tensor):
        found = value.shape, value.dtype, value.detach().cpu().numpy().tobytes()
    elif depth == 0:
        found = type(value)
    elif isinstance(value, list | tuple):
        found = type(value), tuple(map(inside, value))
    elif isinstance(value, dict):
        found = tuple((inside(key), inside(item)) for key, item in value.items())
    elif isinstance(value, partial):
        found = inside((value.func, value.args, value.keywords))
    elif isinstance(value, FunctionType):
        found = value.__code__, tuple(inside(cell.cell_contents) for cell in value.__closure__ or ())
    return found
