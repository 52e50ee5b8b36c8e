"""What a federation learns: a model, a loss per example, a source of data; plain functions.

A user's own task is a `Task` at a name, `task = "my_package.readmission:task"` in the plan. Its model must treat
every record by itself (no BatchNorm): federation/model/params.py says why and refuses. A record on which its code
raises contributes zero (clients/training/isolation.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from federation.config.toml import inline
from federation.errors import TaskError
from federation.model.base import Kept, has_base, require_base, require_layers
from federation.model.builtin import OF_WINDOWS, factory, imported, is_built_in_factory, said
from federation.model.code import require_here
from federation.model.losses import Hinge, Known
from federation.model.outcomes import loss_of
from federation.model.own import of_all_layers, own_of, require_kept
from federation.model.params import Layout
from federation.plan.identifiers import digest_of
from federation.plan.measures import is_known
from federation.plan.outcomes import Classes, Outcome
from federation.plan.plan import Plan
from federation.plan.tabular import CNN, TabularTask
from federation.plan.tasks import Classification
from privacy.errors import UnsafeParameters


@dataclass(frozen=True)
class Source:
    """Where a site keeps its data. Only a task's `data` function looks inside."""

    path: Path


@dataclass(frozen=True)
class Dataset:
    """Checked data: `features` (n, ...) float32, `labels` (n,) int64 with values 0 to classes - 1.

    Labels of other outcomes than classes: federation/plan/outcomes.py says what they are.

    `patients` (n,) int64, where it is known, numbers the patient of each row: from 0, without gaps. `ids` (n,)
    int64, where it is known beside it, is `hashed` of the patient's own id: the same at every site. `persons` (n,)
    int64, which a site fills in, says whose each record is: those of people who withdrew are left out by it.
    `contents` (n,) int64, where last bits of features differ between machines, is a hash of what each record says.
    """

    features: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    patients: Tensor | None = field(default=None, repr=False)
    ids: Tensor | None = field(default=None, repr=False)
    persons: Tensor | None = field(default=None, repr=False)
    contents: Tensor | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: Tensor) -> Dataset:
        """The records at these rows, or where `rows` is true. Patients keep their numbers, so there may be gaps."""
        patients = None if self.patients is None else self.patients[rows]
        ids = None if self.ids is None else self.ids[rows]
        persons = None if self.persons is None else self.persons[rows]
        contents = None if self.contents is None else self.contents[rows]
        return Dataset(self.features[rows], self.labels[rows], patients, ids, persons, contents)

    def renumbered(self) -> Dataset:
        """With patients numbered from 0, without gaps."""
        if self.patients is None:
            return self
        return replace(self, patients=torch.unique(self.patients, return_inverse=True)[1])


def hashed(ids: Sequence[str]) -> Tensor:
    """For `Dataset.ids`: a hash of each id, (n,) int64. Equal text gives equal numbers, everywhere."""
    known = {name: int.from_bytes(digest_of(name), "big", signed=True) for name in set(ids)}
    return torch.tensor([known[name] for name in ids], dtype=torch.int64)


Metric = Callable[[Tensor, Tensor], float | None]
"""Outputs (n, outputs) and labels (n,) to a number; None where it is not defined, as with one class."""


@dataclass(frozen=True)
class Task:
    """`loss` maps outputs and labels to one number per example. `data` is None for the plan's own table.

    `class_weights`: what the gradient of a record counts, by its label; none above 1. Empty: each counts 1.

    `mock` makes so many made-up records, shaped like what `data` reads: for `federation check` and for rehearsals,
    which see no data. `outcome` says what is predicted; None for classes, as many as labels tell apart.
    """

    name: str
    model: Callable[[], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    data: Callable[[Source], Dataset] | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    mock: Callable[[int], Dataset] | None = None
    outcome: Outcome | None = None

    @property
    def predicts(self) -> Outcome:
        """What is predicted. How many classes there are, where nobody said so, is for the labels to tell."""
        return self.outcome or Classes(2)

    class_weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """What was clipped must not be made longer again."""
        if not all(0 < weight <= 1 for weight in self.class_weights):
            raise UnsafeParameters("a weight of a class must be above 0, and at most 1")


def build_task(plan: Plan) -> Task:
    """The plan's task, its model tried once. TaskError if the user's code fails or does not fit.

    CodeError if it is not there, or not the code that the plan pins; OtherBase for another base than it pins. Each
    names the line of the plan.
    """
    try:
        return _built(plan)
    except TaskError as error:
        plan.place_in(error, *(("task",) if isinstance(plan.task, str) else ("task", "model")))
        raise


def _built(plan: Plan) -> Task:
    name, table = plan.federation.name, plan.task
    require_here(plan)
    task = _tabular(name, table) if isinstance(table, TabularTask) else _own(table)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(plan.federation.seed)
        model = _model(task)
        Layout.of(model)
        require_base(plan, task.name, model)
        require_layers(model, (plan.personal and plan.personal.layers) or ())
        require_kept(plan, model)
        if has_base(model) or plan.kept:
            task = replace(task, model=Kept(task.model, plan.federation.seed, model, own_of(plan)))
            model = _model(task)
        if isinstance(table, TabularTask):
            _check_outputs(model, table)
    _check_figures(plan, task)
    return task


def _check_figures(plan: Plan, task: Task) -> None:
    """What a plan says of figures has to fit what a task of the user's own predicts: nobody else knows."""
    if isinstance(plan.task, TabularTask) and isinstance(task.predicts, Classes):
        return
    classes = isinstance(task.predicts, Classes)
    if plan.figures is not None and not classes and not isinstance(plan.task, TabularTask):
        raise TaskError(
            f"{task.name}: evaluation.epsilon publishes right and wrong answers, which there are of classes only",
            hint="remove it from the plan",
            key="evaluation.epsilon",
        )
    known = task.predicts.metrics
    for name in plan.evaluation.metrics:
        if name in task.metrics or (is_known(name) if classes else name in known):
            continue
        hint = f"write evaluation.metrics = {inline(list(task.metrics or type(task.predicts).usual))}"
        reason = f'{task.name}: "{name}" is no metric of what it predicts'
        raise TaskError(reason, hint=hint, key="evaluation.metrics")


def is_built_in(task: Task) -> bool:
    """Whether all code of the task is this repository's: it cannot raise on data that were checked by the plan.

    Data that a function of the user's own reads may have a label that the model has no output for.
    """
    factory = task.model.factory if isinstance(task.model, Kept) else task.model
    model = factory.func if isinstance(factory, partial) else None
    return task.data is None and is_ours(task.loss) and is_built_in_factory(model)


def whole(task: Task) -> Task:
    """The task with all layers of its model, also those that sites keep for themselves: what a site trains."""
    return replace(task, model=of_all_layers(task.model))


def is_ours(loss: object) -> bool:
    """Whether a loss is one of this repository's: it treats every record by itself, whatever the values."""
    return loss is cross_entropy or isinstance(loss, Known)


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """The loss of every example: outputs (n, classes), labels (n,) to (n,)."""
    return functional.cross_entropy(outputs, labels, reduction="none")


def weighed(labels: Tensor, class_weights: Sequence[float], like: Tensor) -> Tensor:
    """What the gradient of each record counts, (n,), by its label; in the dtype and on the device of `like`."""
    if not class_weights:
        return like.new_ones(len(labels))
    return like.new_tensor(class_weights)[labels]


def _tabular(name: str, table: TabularTask) -> Task:
    outcome = table.outcome
    if table.model in OF_WINDOWS:
        model = partial(OF_WINDOWS[table.model], table.inputs, outcome.outputs, table.steps)
    else:
        model = partial(factory(table.model, outcome), table.inputs, outcome.outputs, *_shown(table))
    loss = loss_of(outcome) if not isinstance(outcome, Classes) else _of_classes(table)
    weights = table.shares if isinstance(table, Classification) else ()
    return Task(name=name, model=model, loss=loss, outcome=outcome, class_weights=weights)


def _of_classes(table: TabularTask) -> Callable[[Tensor, Tensor], Tensor]:
    return cross_entropy if table.learns_chances else Hinge()


def _shown(table: TabularTask) -> tuple[int, tuple[int, int, int]] | tuple[()]:
    """Where a network finds its image, if its model is one."""
    return (table.image[0], table.image[1].shape) if table.model == CNN and table.image is not None else ()


def _own(name: str) -> Task:
    task = imported(name)
    if not isinstance(task, Task):
        raise TaskError(f"{name}: is not a federation.Task", hint="assign it a Task(name, model, loss, data)")
    if task.class_weights:
        reason = f"{name}: has weights of classes, which no plan would show"
        raise TaskError(reason, hint="write task.class_weights into a plan with a table")
    if task.data is None:
        raise TaskError(f"{name}: has no data function", hint="pass data=, from a Source to a Dataset")
    return task


def _model(task: Task) -> nn.Module:
    try:
        model = task.model()
    except (Exception, SystemExit) as error:
        reason = f"{task.name}: making the model failed with {said(error)}"
        raise TaskError(reason, hint="call it by hand") from error
    if not isinstance(model, nn.Module):
        raise TaskError(
            f"{task.name}: the model is not a torch.nn.Module", hint="return one from its factory"
        )
    return model


def _check_outputs(model: nn.Module, table: TabularTask) -> None:
    expected = (2, table.outcome.outputs)
    try:
        outputs = model(torch.zeros(2, table.inputs))
    except Exception as error:
        hint = f"it must take {table.inputs} inputs"
        raise TaskError(f"{table.model}: the model failed with {said(error)}", hint=hint) from error
    if not isinstance(outputs, Tensor) or outputs.shape != expected:
        hint = "one column per class" if isinstance(table.outcome, Classes) else "return as many columns"
        raise TaskError(f"{table.model}: the outputs are not (n, {expected[1]})", hint=hint)
