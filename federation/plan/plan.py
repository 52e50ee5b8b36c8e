"""The plan: what every party agrees on before anything moves, as one frozen, canonical, hashed document.

One class per table of `plan.toml`. Nothing that changes a guarantee has a default. Each check says what it
protects; a plan that breaks one never becomes a Plan. The digest is over the canonical form (RFC 8785), in
which the features are a list, since their order is the layout of the model's input.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import rfc8785
from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from federation.config.schema import Mistake, missing, nearest, validate
from federation.config.tables import SMALLEST, Rules
from federation.config.toml import Document, write
from federation.config.toml import parse as parse_toml
from federation.config.toml import read as read_toml
from federation.errors import InputError, PlanError
from federation.kinds.adaptive import AdaptiveUpdate
from federation.kinds.base import Kind
from federation.kinds.figures import Figures
from federation.kinds.folds import check_folds, plays, tests
from federation.kinds.sums import ClippedUpdate, SummedGradients
from federation.kinds.tallies import Tallies
from federation.kinds.updates import NoisedSteps, PlainUpdate
from federation.plan.cells import check_cells
from federation.plan.measures import check_metrics
from federation.plan.outcomes import Classes
from federation.plan.personal import check_personal
from federation.plan.series.tasks import check_whole
from federation.plan.tabular import CODE, KINDS, MODELS, TabularTask
from federation.plan.tallies.chosen import TabularKind, settled
from federation.plan.tallies.tasks import Curves, Statistics
from federation.plan.tasks import usual_metrics
from privacy.accounting.units import Charge
from privacy.errors import MalformedMessage, UnsafeParameters

_FEWEST_TO_COMBINE = 3
REHEARSED_ROUNDS = 2
"""What a rehearsal plays: a round that begins with an invitation, and one that was prepared on the way."""


def _kind_of_task(task: Any) -> str:
    return "tabular" if isinstance(task, Mapping | TabularTask) else "code"


class Plan(Rules):
    """A whole plan. Make one with `load`, `parse` or `Plan.from_canonical`."""

    refusal: ClassVar[type[InputError]] = PlanError
    task: Annotated[
        Annotated[str, Tag("code")] | Annotated[TabularKind, Tag("tabular")], Discriminator(_kind_of_task)
    ] = Field(examples=["[task]"])

    @model_validator(mode="before")
    @classmethod
    def _measured(cls, data: Any) -> Any:
        """A plan that names no metrics has those that are usual for what it predicts."""
        task = data.get("task") if isinstance(data, Mapping) else None
        if isinstance(task, Mapping) and (kind := task.get("kind", KINDS[0])) not in KINDS:
            raise Mistake(f"must be one of {', '.join(KINDS)}", nearest(str(kind), KINDS), ("task", "kind"))
        data = settled(data)
        usual = usual_metrics(task)
        evaluation = data.get("evaluation", {}) if usual is not None else None
        if not isinstance(evaluation, Mapping) or "metrics" in evaluation:
            return data
        return {**data, "evaluation": {**evaluation, "metrics": usual}}

    @field_validator("task")
    @classmethod
    def _importable(cls, task: str | TabularTask) -> str | TabularTask:
        if isinstance(task, str) and not CODE.fullmatch(task):
            hint = 'write task = "my_package.my_module:task" above the first table, or a [task] table'
            raise Mistake('must be "package.module:name"', hint)
        return task

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        for check in _CHECKS:
            check(self)
        return self

    @property
    def is_private(self) -> bool:
        """Whether the plan claims any privacy."""
        return self.privacy.noise != "none"

    @property
    def is_of_two(self) -> bool:
        """Whether a round may be of two sites, each of which then knows the other's part of the sum."""
        return self.cohort.minimum == SMALLEST

    @property
    def kind(self) -> Kind:
        """What the training rounds release."""
        return kind_of(self)

    @property
    def figures(self) -> Figures | None:
        """What the round after the last releases; None if no evaluation is published."""
        return None if self.evaluation.epsilon is None else Figures(self)

    @property
    def charges(self) -> tuple[Charge, ...]:
        """What a site is charged: for the training rounds, and for the evaluation if one is published."""
        return (self.kind.charge,) if self.figures is None else (self.kind.charge, self.figures.charge)

    @property
    def reserved(self) -> tuple[int, int]:
        """How many training rounds and evaluations a site reserves: of all folds and of the model together."""
        return self.federation.rounds * plays(self), tests(self)

    @property
    def is_rehearsal(self) -> bool:
        """Whether this is a plan with mock data in the place of all records: nothing is charged for it."""
        return self.federation.rehearsal is True

    @property
    def rounds(self) -> int:
        """How many training rounds are played."""
        return min(self.federation.rounds, REHEARSED_ROUNDS) if self.is_rehearsal else self.federation.rounds

    @property
    def last_round(self) -> int:
        """The number of the evaluation's round, or of the last training round."""
        return self.rounds + (self.figures is not None and not self.is_rehearsal)

    def rehearsal(self) -> Plan:
        """The same plan as it is rehearsed, under a digest of its own."""
        return self._but("federation", "rehearsal", True)

    def rehearsed(self) -> Plan:
        """The plan that this one rehearses: what a site has to have approved."""
        return self._but("federation", "rehearsal", None)

    @property
    def code(self) -> str:
        """The code that the plan runs at a site: "tabular-classification", or "package.module:name"."""
        if isinstance(self.task, str):
            return self.task
        return self.task.kind if self.task.model in MODELS else self.task.model

    @property
    def task_is_tally(self) -> bool:
        """Whether nothing is trained: the one round sums up what the records are."""
        return isinstance(self.task, Statistics | Curves)

    @property
    def has_own_code(self) -> bool:
        """Whether that is the user's own."""
        return bool(CODE.fullmatch(self.code))

    @property
    def patient_column(self) -> str | None:
        """The column with the patient of each row, if the plan names one."""
        return self.task.patient if isinstance(self.task, TabularTask) else None

    @cached_property
    def digest(self) -> str:
        """Hash of the canonical form, as "sha256:" and hex: what a site approves."""
        return "sha256:" + hashlib.sha256(self.canonical()).hexdigest()

    def canonical(self) -> bytes:
        """The one byte string of this plan, whatever the layout, comments or omitted defaults of its file."""
        return rfc8785.dumps(self.model_dump(mode="json", exclude_none=True))

    @property
    def older(self) -> Plan | None:
        """What these lines meant while `server.tau` was 0.001 by default; None if they say what it is.

        Runs of that time are recorded under the digest of that plan. Its guarantee is the same.
        """
        if self.server.tau is not None:
            return None
        return self._but("server", "tau", 1e-3)

    def _but(self, table: str, key: str, value: float | None) -> Plan:
        """The same plan but for one key; None leaves it out. A copy would keep the digest of this one."""
        content = self.model_dump(mode="json", exclude_none=True)
        content[table].pop(key, None)
        content[table] |= {} if value is None else {key: value}
        return Plan.from_canonical(rfc8785.dumps(content))

    def to_toml(self) -> str:
        """A plan.toml that says the same: `parse(plan.to_toml())` has the same digest."""
        return write(_features_by_name(self.model_dump(mode="json", exclude_none=True)))

    @classmethod
    def from_canonical(cls, data: bytes) -> Plan:
        """The plan of canonical bytes from the network; MalformedMessage if they are not exactly that.

        UnsafeParameters where its claim cannot hold, as in a file.
        """
        try:
            document = json.loads(data)
            plan = validate(cls, Document("", _features_by_name(document)))
            exact = plan.canonical() == data
        except (InputError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            exact = False
        if not exact:
            raise MalformedMessage("this is no plan in canonical form")
        return plan


def kind_of(rules: Rules) -> Kind:
    """What the training rounds of a plan release."""
    privacy = rules.privacy
    if isinstance(rules.task, Statistics | Curves):  # whatever else the plan says
        return Tallies(rules)
    if privacy.noise == "none":
        return PlainUpdate(rules)
    if privacy.unit == "client":
        return AdaptiveUpdate(rules) if privacy.adapts else ClippedUpdate(rules)
    return NoisedSteps(rules) if privacy.noise == "site" else SummedGradients(rules)


def load(path: Path | str) -> Plan:
    """The plan in a file. PlanError names line and key; UnsafeParameters where its claim cannot hold."""
    return _to_be_run(validate(Plan, read_toml(Path(path))), Path(path))


def parse(text: str, path: Path | None = None) -> Plan:
    """The plan in a text. `path` is only for messages."""
    return _to_be_run(validate(Plan, parse_toml(text, path)), path)


def _to_be_run(plan: Plan, path: Path | None) -> Plan:
    """PlanError for the plan of a rehearsal: a file says what is run, so no folder of one can pass for a run."""
    if plan.is_rehearsal:
        hint = "remove the line; a plan is rehearsed with: federation serve PLAN ... --rehearse"
        raise PlanError(
            "is for rehearsals, which are no runs", hint=hint, path=path, key="federation.rehearsal"
        )
    return plan


def _features_by_name(document: dict[str, Any]) -> dict[str, Any]:
    """The canonical document as a file has it: features in a table rather than a list."""
    if isinstance(document["task"], dict):
        features = document["task"]["features"]
        document["task"]["features"] = {feature.pop("name"): feature for feature in features}
    return document


def check_delta(plan: Plan, protected: int, *, is_told: bool = True) -> None:
    """UnsafeParameters unless delta is below 1/`protected`: from there on, it allows to publish one unit in full.

    `protected` counts what the unit protects: records or patients of a site, or sites where it is "client".
    Unless it `is_told`, the error keeps the number to itself: a service writes errors to its log.
    """
    delta = plan.privacy.delta
    if delta is not None and delta * protected >= 1:
        told = (
            f"1/N = {1 / protected:.3g} (N = {protected})"
            if is_told
            else "1/N, for the N that it protects here"
        )
        raise UnsafeParameters(
            f"{plan.place('privacy', 'delta')}: must be below {told}", hint="choose a tenth of that or less"
        )


def _patients_known(plan: Plan) -> None:
    """A patient can only be protected as a whole where it is known which records are theirs."""
    if plan.privacy.unit == "patient" and isinstance(plan.task, TabularTask) and plan.task.patient is None:
        raise missing("patient", 'patient = "patient_id"').under("task")


def _kind_fits(plan: Plan) -> None:
    """What is released in a round has to be what the noise covers."""
    plan.kind.check()


def _code_is_own(plan: Plan) -> None:
    """Only files of the user's own can be pinned: ours are those of the version."""
    if plan.federation.code is not None and not plan.has_own_code:
        reason = f'means nothing beside "{plan.code}", which runs no code but ours'
        raise Mistake(reason, "remove it", ("federation", "code"))


def _cohort_hides(plan: Plan) -> None:
    """An honest site needs a second one beside it, or its update is the sum less what colluders know.

    Of two sites each knows the other's part: the sum less its own. So the noise has to be whole in each part, or
    none is promised. A share of distributed noise that a site draws itself it can take out again, and what is left
    is half. Central noise would do, but leaves the bare sum of two with the server.
    """
    if plan.cohort.minimum == SMALLEST and plan.privacy.noise not in ("site", "none"):
        reason = "of a sum of two, each site knows the other's part, and its own share of the noise"
        hint = 'choose privacy.noise = "site", of which each adds all, or set it to 3 or more'
        raise Mistake(reason, hint, ("cohort", "minimum"), unsafe=True)
    needed = plan.secure_aggregation.colluders + 2
    if plan.cohort.minimum < needed:
        hint = f"raise it to {needed} or more, or lower secure_aggregation.colluders"
        raise Mistake("leaves no two honest sites to hide in a sum", hint, ("cohort", "minimum"), unsafe=True)


def _excess_fits(plan: Plan) -> None:
    """Only of noise that all sites add together is there too much where fewer are lost than may be."""
    if plan.secure_aggregation.excess_levels and plan.privacy.noise != "distributed":
        reason = f'means nothing beside noise = "{plan.privacy.noise}"'
        hint = 'remove it, or choose privacy.noise = "distributed"'
        raise Mistake(reason, hint, ("secure_aggregation", "excess_levels"))
    if plan.secure_aggregation.excess_levels and plan.secure_aggregation.groups is not None:
        reason = "means nothing beside groups, of whose sums nothing is taken out"
        raise Mistake(reason, "remove it", ("secure_aggregation", "excess_levels"))


def _sums_hide(plan: Plan) -> None:
    """Under central noise the sum that is opened has none in it: nobody but the server may ever see it."""
    if plan.privacy.noise == "central" and plan.secure_aggregation.transcripts:
        reason = 'cannot stand beside noise = "central": the sum that it shows has no noise in it'
        raise Mistake(
            reason,
            "remove it, or choose distributed noise",
            ("secure_aggregation", "transcripts"),
            unsafe=True,
        )


def _groups_fit(plan: Plan) -> None:
    """Groups and their combination come together; what is left out of a median has no known noise."""
    groups, combine, place = plan.secure_aggregation.groups, plan.server.combine, ("server", "combine")
    if groups is None and combine is not None:
        raise Mistake("means nothing without groups", "add secure_aggregation.groups, or remove it", place)
    if groups is None:
        return
    if combine is None:
        raise missing("combine", 'combine = "median"').under("server")
    if combine != "mean" and groups < _FEWEST_TO_COMBINE:
        hint = f"set it to {_FEWEST_TO_COMBINE} or more"
        reason = f"leave no {combine} that one bad group could not move"
        raise Mistake(reason, hint, ("secure_aggregation", "groups"))
    if combine != "mean" and plan.server.optimizer == "adam-bc":
        reason = f"cannot know the noise in a {combine} of groups"
        raise Mistake(reason, 'set it to "adam", or server.combine to "mean"', ("server", "optimizer"))
    if plan.secure_aggregation.transcripts:
        reason = "hold one sum of a round, and groups make several"
        raise Mistake(reason, "remove it", ("secure_aggregation", "transcripts"))


def _groups_hide(plan: Plan) -> None:
    """Every group hides its sites by itself, also with all the colluders in it and after all the dropouts."""
    groups, rules = plan.secure_aggregation.groups, plan.secure_aggregation
    if groups is None:
        return
    needed = max(3, rules.colluders + rules.dropouts + 2)
    if plan.cohort.minimum // groups < needed:
        least = needed * groups
        hint = f"raise cohort.minimum to {least} or more, or make fewer groups"
        small = plan.cohort.minimum // groups
        reason = f"leave groups of {small}, and each needs colluders + dropouts + 2, here {needed}"
        raise Mistake(reason, hint, ("secure_aggregation", "groups"), unsafe=True)
    if not plan.is_private and (plan.cohort.sample_rate is not None or plan.cohort.size != "all"):
        hint = 'set cohort.size to "all", or choose noise'
        reason = "of changing cohorts are bare sums that differ by single updates"
        raise Mistake(reason, hint, ("secure_aggregation", "groups"), unsafe=True)


def _noise_known(plan: Plan) -> None:
    """Noise can be taken out of a moment where its variance is known."""
    if plan.server.optimizer == "adam-bc" and not plan.kind.knows_its_noise:
        hint = 'set training.optimizer to "sgd", or this to "adam"'
        reason = "cannot know the noise in what a site's own optimizer made"
        raise Mistake(reason, hint, ("server", "optimizer"))


def _figures_fit(plan: Plan) -> None:
    """What an evaluation reveals has to be noised for those that the plan protects."""
    if plan.task_is_tally and plan.figures is not None:
        raise Mistake("means nothing where nothing is trained", "remove it", ("evaluation", "epsilon"))
    check_cells(plan)
    check_folds(plan)
    if plan.figures is not None:
        plan.figures.check()


def _personal_fits(plan: Plan) -> None:
    """What a site keeps for itself may enter no release beyond what is charged."""
    check_personal(plan, trains=not plan.task_is_tally)


def _metrics_exist(plan: Plan) -> None:
    """The user's own task may bring metrics; a built-in one has ours."""
    if not isinstance(plan.task, TabularTask):
        return
    outcome, (metrics, threshold) = plan.task.outcome, (plan.evaluation.metrics, plan.evaluation.threshold)
    if isinstance(outcome, Classes):
        check_metrics(metrics, threshold, outcome.count, has_chances=plan.task.learns_chances)
        return
    if threshold is not None:
        raise Mistake("is of classes only", "remove it", ("evaluation", "threshold"))
    unknown = [name for name in metrics if name not in outcome.metrics]
    if unknown:
        what = f'"{unknown[0]}" is unknown for kind = "{plan.task.kind}"'
        raise Mistake(what, nearest(unknown[0], outcome.metrics), ("evaluation", "metrics"))


_CHECKS = (
    *(_code_is_own, _patients_known, check_whole, _kind_fits, _cohort_hides, _metrics_exist),
    *(_figures_fit, _noise_known, _personal_fits, _excess_fits, _sums_hide, _groups_fit, _groups_hide),
)
