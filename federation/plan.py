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
from typing import Annotated, Any, Literal, Self

import rfc8785
from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from federation.errors import PlanError
from federation.mistakes import Mistake, Table, missing, nearest, validate
from federation.tabular import CODE, MODELS, TabularTask, Texts
from federation.toml import Document
from federation.toml import parse as parse_toml
from federation.toml import read as read_toml
from privacy.errors import MalformedMessage, UnsafeParameters
from privacy.events import MAX_GROUP

METRICS = ("accuracy", "balanced_accuracy", "auc", "f1", "recall")
MAX_COUNT = 1_000_000
MAX_EPSILON = 100.0
SMALLEST_COHORT = 3

Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Positive = Annotated[int, Field(ge=1, le=MAX_COUNT)]


class Federation(Table):
    """`[federation]`: the run's name, length and public seed (initial params and cohorts, never noise)."""

    name: str = Field(examples=['"heart-disease"'])
    rounds: Positive = Field(examples=["200"])
    seed: int = Field(ge=0, lt=1 << 53, examples=["7"])

    @field_validator("name")
    @classmethod
    def _printable(cls, name: str) -> str:
        if not name.strip() or not name.isprintable() or len(name) > 100:
            raise Mistake(
                "must be 1 to 100 printable characters", 'write for example: name = "heart-disease"'
            )
        return name


class Cohort(Table):
    """`[cohort]`: who trains in a round. Exactly one of `size` and `sample_rate`."""

    size: int | Literal["all"] | None = Field(default=None, examples=['"all"'])
    sample_rate: float | None = Field(default=None, gt=0, le=1, examples=["0.5"])
    minimum: Positive = Field(examples=["3"])
    weights: Literal["uniform", "declared"] = Field(default="uniform", examples=['"uniform"'])
    deadline_seconds: float = Field(default=60.0, gt=0, le=86400 * 7, examples=["60"])

    @field_validator("size", mode="before")
    @classmethod
    def _all_or_number(cls, size: Any) -> Any:
        number = isinstance(size, int) and not isinstance(size, bool)
        if not (size in ("all", None) or (number and 1 <= size <= MAX_COUNT)):
            raise Mistake('must be "all" or a number of sites', 'write for example: size = "all"')
        return size

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.size is None and self.sample_rate is None:
            raise missing("size", 'size = "all"')
        if self.size is not None and self.sample_rate is not None:
            raise Mistake("cannot stand beside cohort.size", "keep one of the two", ("sample_rate",))
        if self.minimum < SMALLEST_COHORT:
            hint = f"set it to {SMALLEST_COHORT} or more: of a sum of two, each knows the other's part"
            raise Mistake("so few sites cannot hide in a sum", hint, ("minimum",), unsafe=True)
        if isinstance(self.size, int) and self.size < self.minimum:
            raise Mistake(
                f"is below cohort.minimum = {self.minimum}", "raise it, or lower the minimum", ("size",)
            )
        return self


class Training(Table):
    """`[training]`: what a site does in a round. `sample_rate` is the Poisson rate of a record, per step."""

    optimizer: Literal["sgd", "adam", "rmsprop"] = Field(examples=['"sgd"'])
    learning_rate: float = Field(gt=0, le=MAX_COUNT, examples=["0.5"])
    local_steps: Positive = Field(examples=["1"])
    sample_rate: float = Field(gt=0, le=1, examples=["0.1"])


class Privacy(Table):
    """`[privacy]`: the claim. `noise = "none"` claims nothing and takes no other numbers.

    The last two say of the people behind the data: how many records of a patient a site has at most, and how
    many sites have the same patient. Nothing that is spent at a site depends on them; the report does.
    """

    unit: Literal["record", "patient", "client"] = Field(examples=['"record"'])
    noise: Literal["site", "distributed", "central", "none"] = Field(examples=['"distributed"'])
    epsilon: float | None = Field(default=None, gt=0, le=MAX_EPSILON, examples=["3.0"])
    delta: float | None = Field(default=None, gt=0, lt=1, examples=["1e-5"])
    clipping_norm: float | None = Field(default=None, gt=0, le=1e6, examples=["1.0"])
    records_per_patient: int | None = Field(default=None, ge=1, le=MAX_GROUP, examples=["1"])
    sites_per_patient: int | None = Field(default=None, ge=1, le=MAX_GROUP, examples=["2"])

    @model_validator(mode="after")
    def _claim(self) -> Self:
        for name in ("epsilon", "delta", "clipping_norm"):
            given = getattr(self, name) is not None
            if given and self.noise == "none":
                hint = 'remove it, or choose noise = "site", "distributed" or "central"'
                raise Mistake('means nothing beside noise = "none"', hint, (name,))
            if not given and self.noise != "none":
                raise missing(name, f"{name} = {(type(self).model_fields[name].examples or [''])[0]}")
        return self

    @model_validator(mode="after")
    def _people(self) -> Self:
        for name in ("records_per_patient", "sites_per_patient"):
            if getattr(self, name) is not None and self.noise == "none":
                raise Mistake('means nothing beside noise = "none"', "remove it", (name,))
        if self.records_per_patient is not None and self.unit != "record":
            reason = (
                f'means nothing beside unit = "{self.unit}", which protects all records of a patient at once'
            )
            raise Mistake(reason, 'remove it, or choose unit = "record"', ("records_per_patient",))
        if (self.records_per_patient or 1) * (self.sites_per_patient or 1) > MAX_GROUP:
            reason = f"and sites_per_patient make a patient more than {MAX_GROUP} records"
            raise Mistake(reason, 'lower one, or choose unit = "patient"', ("records_per_patient",))
        return self


class SecureAggregation(Table):
    """`[secure_aggregation]`: the sites that may collude with the server, and that may vanish mid-round."""

    colluders: Count = Field(examples=["1"])
    dropouts: Count = Field(examples=["1"])


class Server(Table):
    """`[server]`: the server optimizer (Reddi et al. 2021, "Adaptive Federated Optimization").

    "adam-bc" is Adam with the noise taken out of its second moment (Tang et al. 2024).
    """

    optimizer: Literal["average", "momentum", "adagrad", "adam", "adam-bc", "yogi"] = Field(
        examples=['"adam"']
    )
    learning_rate: float = Field(gt=0, le=MAX_COUNT, examples=["0.05"])
    beta1: float = Field(default=0.9, ge=0, lt=1, examples=["0.9"])
    beta2: float = Field(default=0.99, ge=0, lt=1, examples=["0.99"])
    tau: float = Field(default=1e-3, gt=0, le=1, examples=["1e-3"])


class Evaluation(Table):
    """`[evaluation]`: the fraction of its rows a site without a test file holds out; what to report.

    `epsilon`, at the delta of the privacy table, is what a published evaluation may cost whoever is held out.
    Without it no figure leaves a site.
    """

    epsilon: float | None = Field(default=None, gt=0, le=MAX_EPSILON, examples=["0.5"])
    holdout: float = Field(default=0.2, ge=0, le=0.9, examples=["0.2"])
    metrics: Texts = Field(default=METRICS, examples=['["accuracy", "auc"]'])

    @field_validator("metrics")
    @classmethod
    def _once_each(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        if "" in metrics or len(set(metrics)) < len(metrics):
            raise Mistake("names a metric twice, or by nothing", "name each once")
        return metrics


def _kind_of_task(task: Any) -> str:
    return "tabular" if isinstance(task, Mapping | TabularTask) else "code"


class Plan(Table):
    """A whole plan. Make one with `load`, `parse` or `Plan.from_canonical`."""

    federation: Federation = Field(examples=["[federation]"])
    task: Annotated[
        Annotated[str, Tag("code")] | Annotated[TabularTask, Tag("tabular")], Discriminator(_kind_of_task)
    ] = Field(examples=["[task]"])
    cohort: Cohort = Field(examples=["[cohort]"])
    training: Training = Field(examples=["[training]"])
    privacy: Privacy = Field(examples=["[privacy]"])
    secure_aggregation: SecureAggregation = Field(examples=["[secure_aggregation]"])
    server: Server = Field(examples=["[server]"])
    evaluation: Evaluation = Field(default=Evaluation(), examples=["[evaluation]"])

    @field_validator("task")
    @classmethod
    def _importable(cls, task: str | TabularTask) -> str | TabularTask:
        if isinstance(task, str) and not CODE.fullmatch(task):
            hint = 'write task = "my_package.my_module:task" above the first table, or a [task] table'
            raise Mistake('must be "package.module:name"', hint)
        return task

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        for check in (
            _patients_known,
            _claim_holds,
            _cohort_hides,
            _metrics_exist,
            _figures_protected,
            _noise_known,
        ):
            check(self)
        return self

    @property
    def is_private(self) -> bool:
        """Whether the plan claims any privacy."""
        return self.privacy.noise != "none"

    @property
    def steps(self) -> int:
        """How often a site's data is released through noise in the whole run: what the accountant counts."""
        each_step = self.privacy.unit != "client" and self.privacy.noise == "site"
        return self.federation.rounds * (self.training.local_steps if each_step else 1)

    @property
    def code(self) -> str:
        """The code that the plan runs at a site: "tabular-classification", or "package.module:name"."""
        if isinstance(self.task, str):
            return self.task
        return self.task.kind if self.task.model in MODELS else self.task.model

    @property
    def patient_column(self) -> str | None:
        """The column that says whose a row is, if the plan names one."""
        return self.task.patient if isinstance(self.task, TabularTask) else None

    @cached_property
    def digest(self) -> str:
        """Hash of the canonical form, as "sha256:" and hex: what a site approves."""
        return "sha256:" + hashlib.sha256(self.canonical()).hexdigest()

    def canonical(self) -> bytes:
        """The one byte string of this plan, whatever the layout, comments or omitted defaults of its file."""
        return rfc8785.dumps(self.model_dump(mode="json", exclude_none=True))

    @classmethod
    def from_canonical(cls, data: bytes) -> Plan:
        """The plan of canonical bytes from the network; MalformedMessage if they are not exactly that."""
        try:
            document = json.loads(data)
            if isinstance(document["task"], dict):
                features = document["task"]["features"]
                document["task"]["features"] = {feature.pop("name"): feature for feature in features}
            plan = validate(cls, Document("", document))
            exact = plan.canonical() == data
        except (PlanError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            exact = False
        if not exact:
            raise MalformedMessage("this is no plan in canonical form")
        return plan


def load(path: Path) -> Plan:
    """The plan in a file. PlanError names line and key; UnsafeParameters where its claim cannot hold."""
    return validate(Plan, read_toml(path))


def parse(text: str, path: Path | None = None) -> Plan:
    """The plan in a text. `path` is only for messages."""
    return validate(Plan, parse_toml(text, path))


def check_delta(plan: Plan, protected: int) -> None:
    """Refuse a delta at which somebody may simply be published: it must be below 1/`protected`.

    `protected` counts what the unit protects: records or patients of a site, or sites where it is "client".
    """
    delta = plan.privacy.delta
    if delta is not None and delta * protected >= 1:
        raise UnsafeParameters(
            f"privacy.delta = {delta}: must be below 1/N = {1 / protected:.3g} (N = {protected})",
            hint="choose a tenth of that or less",
        )


def _patients_known(plan: Plan) -> None:
    """A patient can only be protected as a whole where it is known which records are theirs."""
    if plan.privacy.unit == "patient" and isinstance(plan.task, TabularTask) and plan.task.patient is None:
        raise missing("patient", 'patient = "patient_id"').under("task")


def _claim_holds(plan: Plan) -> None:
    """Noise that is added once to the sum protects one clipped gradient per record or patient, and no more."""
    unit = plan.privacy.unit
    if unit == "client" or plan.privacy.noise not in ("distributed", "central"):
        return
    reason = f'is not covered by {unit}-level "{plan.privacy.noise}" noise'
    if plan.training.local_steps > 1:
        hint = 'set it to 1, or choose privacy.noise = "site"'
        raise Mistake(reason, hint, ("training", "local_steps"), unsafe=True)
    if plan.training.optimizer != "sgd":
        hint = 'set it to "sgd" (the server optimizer can be adaptive), or choose privacy.noise = "site"'
        raise Mistake(reason, hint, ("training", "optimizer"))
    if plan.cohort.weights != "uniform":
        raise Mistake(reason, f'set it to "uniform": every {unit} counts once', ("cohort", "weights"))


def _cohort_hides(plan: Plan) -> None:
    """An honest site needs a second one beside it, or its update is the sum less what colluders know."""
    needed = plan.secure_aggregation.colluders + 2
    if plan.cohort.minimum < needed:
        hint = f"raise it to {needed} or more, or lower secure_aggregation.colluders"
        raise Mistake("leaves no two honest sites to hide in a sum", hint, ("cohort", "minimum"), unsafe=True)


def _noise_known(plan: Plan) -> None:
    """Noise can be taken out of a moment where its variance is known: what a site's own Adam makes of it is not."""
    each_step = plan.privacy.noise == "site" and plan.privacy.unit != "client"
    if plan.server.optimizer == "adam-bc" and each_step and plan.training.optimizer != "sgd":
        hint = 'set training.optimizer to "sgd", or this to "adam"'
        raise Mistake(
            "cannot know the noise in what a site's own optimizer made", hint, ("server", "optimizer")
        )


def _figures_protected(plan: Plan) -> None:
    """What an evaluation reveals is noised for a record or a patient: a whole site would be all there is of it."""
    if plan.evaluation.epsilon is None:
        return
    place = ("evaluation", "epsilon")
    if not plan.is_private:
        raise Mistake('means nothing beside noise = "none"', "remove it", place)
    if plan.privacy.unit == "client":
        hint = 'remove it, or choose privacy.unit = "record" or "patient"'
        raise Mistake("cannot protect a site as a whole", hint, place)


def _metrics_exist(plan: Plan) -> None:
    """The user's own task may bring metrics; a built-in one has ours."""
    unknown = [name for name in plan.evaluation.metrics if name not in METRICS]
    if unknown and isinstance(plan.task, TabularTask):
        raise Mistake(f'"{unknown[0]}" is unknown', nearest(unknown[0], METRICS), ("evaluation", "metrics"))
