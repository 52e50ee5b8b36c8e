"""Trainings that stand beside a federation, to compare it with: none of them is charged, none leaves this machine.

A single party (a site that trains alone, or all data in one place) has no sum to hide in, so a plan for one would
be refused, and rightly. Here nothing is hidden from anybody: the figures are a simulation's. What the plan says
about training holds as it stands, down to batches, clipping, noise and the server's optimizer; there is one party.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from clients.training.work import Trainer, contribution, site_stream
from federation.config.tables import Cohort, Privacy, SecureAggregation
from federation.kinds.base import Parties
from federation.model.params import Layout, initial_params
from federation.model.task import Dataset, Task
from federation.plan.plan import Plan
from federation.report.report import Metrics
from federation.round.messages import Member
from federation.round.parts import Sum
from federation.round.terms import Terms
from federation.sums.state import ServerState, advance, begin, require_finite
from privacy.mechanism.encoding import EncodingOverflow
from server.run import server_stream
from simulations.baseline import diverged
from simulations.outcomes.judging import figures_of, judge_of

Heard = Callable[[int], None]  # rounds that are done
NO_RUN = bytes(16)


class _ByItself(Terms):
    """The terms of a round with one party: nobody to hide among, nobody who could be lost."""

    @cached_property
    def parties(self) -> Parties:
        """The one party."""
        return Parties({member.site: member.size for member in self.members}, 1, self.dimension)


def bare_privacy(plan: Plan) -> Privacy:
    """No claim, for the same unit: batches are drawn as the plan draws them."""
    return Privacy(unit=plan.privacy.unit, noise="none")


def for_one(plan: Plan, privacy: Privacy) -> Plan:
    """The plan for one party with another claim: everything about training stays."""
    cohort = plan.cohort.model_dump() | {"size": "all", "sample_rate": None, "weights": "uniform"}
    return plan.model_copy(
        update={
            "privacy": privacy,
            "cohort": Cohort.model_validate(cohort),
            "secure_aggregation": SecureAggregation(colluders=0, dropouts=0),
            "server": plan.server.model_copy(update={"combine": None}),
            "evaluation": plan.evaluation.model_copy(update={"epsilon": None}),
        }
    )


def train_one(plan: Plan, task: Task, member: Member, data: Dataset, heard: Heard = lambda _: None) -> Tensor:
    """The params that one party ends with, by a plan of `for_one`. TrainingDiverged if there are none."""
    state = begin(plan, NO_RUN, initial_params(task.model, plan.federation.seed))
    trainer = Trainer(task, data, partial(site_stream, plan, member.site))
    while state.round < plan.federation.rounds:
        require_finite(state)
        terms = _ByItself(plan, NO_RUN, state.round + 1, 1, (member,), state.params.numel())
        try:
            vector = contribution(terms, member.site, state.sent, trainer)
        except EncodingOverflow:
            raise diverged() from None
        state, _ = advance(plan, state, [Sum(terms, vector, (member.site,))], server_stream(terms.round))
        heard(state.round)
    return state.model


def last(states: Iterable[ServerState], heard: Heard = lambda _: None) -> Tensor:
    """The params after the last of these rounds."""
    params = None
    for state in states:
        params = state.model
        heard(state.round)
    if params is None:
        raise diverged()
    return params


def together(data: Iterable[Dataset]) -> Dataset:
    """All records in one place. A patient at two sites counts as two there, as in the federation."""
    everyone = list(data)
    patients: list[Tensor] = []
    for one in everyone:
        if one.patients is not None:
            above = 1 + int(patients[-1].max()) if patients and len(patients[-1]) else 0
            patients.append(one.patients + above)
    known = len(patients) == len(everyone)
    return Dataset(
        torch.cat([one.features for one in everyone]),
        torch.cat([one.labels for one in everyone]),
        torch.cat(patients) if known else None,
    )


def scores(task: Task, params: Tensor, features: Tensor) -> Tensor:
    """What a model with these params says of records, (n, ...). TrainingDiverged if it says nothing."""
    return judge_of(task.predicts).said(_outputs(task, params, features))


def _outputs(task: Task, params: Tensor, features: Tensor) -> Tensor:
    model: nn.Module = task.model()
    Layout.of(model).load(model, params)
    judge = judge_of(task.predicts)
    found = judge.outputs(model, features)
    if not bool(torch.isfinite(judge.said(found)).all()):
        raise diverged()
    return found


def measured(plan: Plan, task: Task, params: Tensor, data: Dataset) -> Metrics:
    """The plan's metrics of a model with these params."""
    outputs, rules = _outputs(task, params, data.features), plan.evaluation
    return figures_of(task, task.predicts, outputs, data.labels, rules.metrics, rules.threshold)
