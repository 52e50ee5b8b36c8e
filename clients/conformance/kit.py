"""The conformance kit: everything that is asked of a task, tried on made-up records, each thing by name.

    from federation import conformance
    from my_package.readmission import task

    def test_the_task_conforms():
        assert [found for found in conformance(task) if found.is_fault] == []

`federation check PLAN` prints the same as a table. A `fault` is what a site would refuse, or what breaks a promise
of the plan; a `note` is allowed, and worth knowing. Where one thing fails others may be left out, for they would
fail of the same.
"""

from __future__ import annotations

import random  # noqa: TID251 - its state is compared, and nothing is drawn
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from clients.conformance.asked import ASKED, Finding, cost_told
from clients.conformance.watched import Reached, watched
from clients.rehearsing.records import made_by, made_records
from clients.training.dpsgd import chosen_route
from clients.training.isolation import undisturbed
from clients.training.known import is_known
from clients.training.screening.moving import require_moving
from clients.training.screening.screen import dtype_of
from clients.training.trial import BY_ITSELF, CHECKS, MADE_UP, MIXES, Called, Trial, blaming
from federation.errors import FederationError, NoMock, OtherEncoder, TaskError
from federation.model.base import base_digest, trained
from federation.model.builtin import said
from federation.model.params import Layout, initial_params
from federation.model.task import Dataset, Task, build_task, is_built_in, whole
from federation.plan.plan import Plan

LARGEST: Final = 64  # records at a time, where no plan says how many
_FEW: Final = 8


def of_plan(plan: Plan) -> list[Finding]:
    """The same of the task of a plan, on records that are made up from its public ranges, or by the task."""
    task = build_task(plan)
    return conformance(task, records=partial(made_records, plan, task, "mock"), dtype=dtype_of(plan))


@dataclass
class _Kit:
    task: Task  # with all layers that a site trains
    sent: Task  # with those that travel
    records: Callable[[int], Dataset]
    largest: int
    dtype: torch.dtype
    reached: Reached = field(default_factory=Reached)
    faults: dict[str, tuple[str, str]] = field(default_factory=dict)
    notes: dict[str, tuple[str, str]] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def fault(self, check: str, message: str, hint: str = "") -> None:
        """The first of each kind counts."""
        self.done.add(check)
        self.faults.setdefault(check, (message, hint))

    def note(self, check: str, message: str, hint: str = "") -> None:
        self.done.add(check)
        self.notes.setdefault(check, (message, hint))

    @contextmanager
    def asking(self, check: str) -> Iterator[None]:
        """Whatever is raised within is a fault of this kind."""
        self.done.add(check)
        try:
            with watched(self.reached), undisturbed():
                yield
        except FederationError as error:
            self.fault(check, str(error.args[0]), error.hint)
        except (Exception, SystemExit) as error:
            self.fault(check, f"{self.task.name}: failed with {said(error)}", MADE_UP)

    def findings(self) -> list[Finding]:
        """All that was asked, in order."""
        return [self._finding(check) for check in ASKED if check in self.done or check != "metrics"]

    def _finding(self, check: str) -> Finding:
        if check in self.faults:
            return Finding(check, "fault", *self.faults[check])
        if check in self.notes:
            return Finding(check, "note", *self.notes[check])
        if check not in self.done:
            return Finding(check, "skipped", ASKED[check])
        return Finding(check, "pass", ASKED[check])


def conformance(
    task: Task,
    *,
    records: Callable[[int], Dataset] | None = None,
    largest: int = LARGEST,
    dtype: torch.dtype = torch.float64,
) -> list[Finding]:
    """What a task's code does to made-up records, one finding for each thing that is asked of it.

    `records` makes them; by default the task's own `mock`. `largest`: as many as a batch may have. `dtype`: private
    gradients of records are computed in float64. Nothing of a site is read, and torch is left as it was.
    """
    kit = _Kit(whole(task), task, records or (lambda count: made_by(task, count)), largest, dtype)
    with torch.random.fork_rng(devices=[]):
        _model(kit)
        made = _mock(kit) if "model" not in kit.faults else None
        if made is not None:
            _called(kit, made)
            _together(kit, made[_FEW])
            _outputs(kit, made[_FEW])
    _reached(kit)
    return kit.findings()


def _model(kit: _Kit) -> None:
    with kit.asking("model"):
        first: object = kit.task.model()
        second = kit.task.model()
        if not isinstance(first, nn.Module):
            raise TaskError(f"{kit.task.name}: the model is not a torch.nn.Module", hint="return one")
        if Layout.of(first) != Layout.of(second) or base_digest(first) != base_digest(second):
            raise TaskError(f"{kit.task.name}: two models differ", hint="make the same model every time")
        starts = initial_params(kit.task.model, 7), initial_params(kit.task.model, 7)
        if not torch.equal(*starts):
            message = f"{kit.task.name}: two models with the same seed begin with other params"
            raise TaskError(message, hint="draw them from torch's own generator")


def _mock(kit: _Kit) -> Mapping[int, Dataset] | None:
    """One mock record and a few, if there are any. A task that makes none is allowed, and tried at the sites alone;
    so is one whose texts an encoder reads that only the sites have.

    They are made once: how `mock` draws them, and whether it makes the same again, is its own affair.
    """
    try:
        made = {count: kit.records(count) for count in (1, _FEW)}
    except FederationError as error:
        tell = kit.note if isinstance(error, NoMock | OtherEncoder) else kit.fault
        tell("mock", str(error.args[0]), error.hint)
        return None
    kit.done.add("mock")
    return made


def _called(kit: _Kit, made: Mapping[int, Dataset]) -> None:
    """Records of all shapes and counts: made up blindly, as at a site, and then the task's own mock records."""
    like = made[_FEW]
    with kit.asking("loss"):
        trial = Trial.of(kit.task, like, kit.dtype)
        for size in trial.sizes(kit.largest):
            with blaming(kit.task.name, size):
                _ask_all(kit, Called.on(trial, kit.task.name, size))
    if "loss" in kit.faults:
        return
    with kit.asking("loss"):
        mock = _Mock.of(kit.task, like, kit.dtype)
        mock.made = made
        for size in made:
            _ask_all(kit, Called.on(mock, kit.task.name, size))


def _ask_all(kit: _Kit, called: Called) -> None:
    generators = _generators()
    if not bool(torch.isfinite(called.losses.detach()).all()):
        message = f"{called.name}: a loss is not finite, with {called.size} made-up records"
        raise TaskError(message, hint="bound what goes into log, exp and divisions")
    for name, check in CHECKS.items():
        if name not in kit.faults:
            with kit.asking(name), blaming(called.name, called.size):
                check(called)
    if _generators() != generators:
        kit.fault("generators", f"{called.name}: draws from random or numpy.random", "draw from torch")
    kit.done.add("generators")
    if called.size:
        _reach_parameters(kit, called)


def _generators() -> tuple[object, ...]:
    """The states of the generators that are not torch's."""
    state = np.random.get_state(legacy=False)["state"]  # noqa: TID251 - compared, as above
    return random.getstate(), state["key"].tobytes(), state["pos"]


class _Mock(Trial):
    """A trial on the task's own mock records."""

    made: Mapping[int, Dataset]

    def records(self, count: int, seed: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002 - all that there are
        """A copy of so many, which code may spoil."""
        found = self.made[count]
        features = found.features
        dtype = next(iter(self.parameters)).dtype if features.is_floating_point() else features.dtype
        return features.to(dtype, copy=True), found.labels.clone()


def _reach_parameters(kit: _Kit, called: Called) -> None:
    if "gradients" in kit.faults:
        return  # of each kind the first is told
    for (name, _), part in zip(trained(called.trial.model).items(), called.gradients, strict=True):
        if part is None:
            hint = "remove it: it would be noised and moved for nothing"
            kit.fault("gradients", f'{called.name}: the loss does not depend on the parameter "{name}"', hint)
        elif not bool(torch.isfinite(part).all()):
            message = f'{called.name}: the gradient of "{name}" is not finite on made-up records'
            kit.fault("gradients", message, "bound what goes into log, exp, sqrt and divisions")


def _together(kit: _Kit, like: Dataset) -> None:
    """What takes more than one call: whether records mix, and whether the path follows values."""
    if "loss" in kit.faults:
        return
    with kit.asking("alone"):
        trial = Trial.of(kit.task, like, kit.dtype)
        if trial.mixes():
            raise TaskError(MIXES.format(kit.task.name, 4), hint=BY_ITSELF)
    if "gradients" not in kit.faults:
        with kit.asking("gradients"):
            require_moving(trial, kit.task.name)
    with kit.asking("shapes"):
        if not is_known(trial.model) and trial.follows_values(_FEW):
            hint = "allowed, and slow: records go one at a time; use torch.where in place of if, and no masks"
            kit.note("shapes", f"{kit.task.name}: its path may follow from values of records", hint)
    if kit.dtype == torch.float64 and not is_built_in(kit.task):
        # The first of these loads torch's compiler, which makes folders of its own: not the task's doing.
        torch.func.grad(torch.sum)(torch.zeros(1))
    with kit.asking("cost"):
        _cost(kit, trial)


def _cost(kit: _Kit, trial: Trial) -> None:
    dimension = Layout.of(kit.sent.model()).dimension
    size = trial.sizes(kit.largest)[-1]
    features, labels = trial.records(size, 0)
    start = time.perf_counter()
    torch.autograd.grad(trial.losses(features, labels).sum(), trial.parameters, materialize_grads=True)
    spent = 1000 * (time.perf_counter() - start)
    told = f"{cost_told(dimension)}; {size} records in {spent:.3g} ms"
    # Of built-in models nobody has to ask, and to choose a route loads Opacus: a second and more of every `check`.
    if "alone" not in kit.faults and kit.dtype == torch.float64 and not is_built_in(kit.task):
        told += (
            f"; gradients of records: {chosen_route(trial.model, kit.task.loss, features[:0], labels[:0])}"
        )
    kit.note("cost", told)


def _outputs(kit: _Kit, data: Dataset) -> None:
    """The user's own metrics."""
    for name, metric in kit.task.metrics.items():
        with kit.asking("metrics"), torch.no_grad():
            found: object = metric(kit.task.model()(data.features), data.labels)
            if found is not None and not isinstance(found, int | float):
                kind = type(found).__name__
                raise TaskError(f'the metric "{name}" gives a {kind}', hint="return a float, or None")


def _reached(kit: _Kit) -> None:
    reached, name = kit.reached, kit.task.name
    if "loss" in kit.done:
        kit.done |= {"files", "network", "processes", "silent"}
    if reached.files:
        hint = "read it once, where the module is imported, and have it in the package"
        kit.fault("files", f"{name}: opens {', '.join(reached.files[:3])}", hint)
    if reached.network:
        kit.fault(
            "network", f"{name}: opens a connection ({', '.join(reached.network)})", "bring it in the package"
        )
    if reached.processes or reached.threads:
        found = ", ".join([*reached.processes, *reached.threads])
        kit.fault("processes", f"{name}: starts {found}", "compute in the process that calls")
    if reached.told:
        hint = "remove it: with real records it would show them in a terminal or a log"
        kit.fault("silent", f"{name}: {' and '.join(reached.told)} while it computes", hint)
