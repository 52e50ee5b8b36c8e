"""The tables of a plan, one class each. Nothing that changes a guarantee has a default."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from federation.config.base import Base
from federation.config.purpose import Purpose
from federation.config.schema import Mistake, Table, Texts, Where, Written, missing
from federation.config.toml import Document
from federation.errors import InputError, located
from privacy.accounting.events import MAX_EPSILON, MAX_GROUP, MIN_CLIPPING_NORM, MIN_DELTA, MIN_SAMPLE_RATE

METRICS = ("accuracy", "balanced_accuracy", "auc", "f1", "recall")
_MAX_COUNT = 1_000_000
_MAX_NORM = 1e6
_ADAPTING = ("clipping_quantile", "clipping_bounds", "clipping_rate", "clipping_noise")
SMALLEST = 2
"""The fewest sites of a round: two that see each other's part of the sum (decision 43)."""
DEFAULT_LEVELS = 3  # of excess noise, and the most: each costs a draw per parameter and 66 bytes per pair

_Count = Annotated[int, Field(ge=0, le=_MAX_COUNT)]
_Positive = Annotated[int, Field(ge=1, le=_MAX_COUNT)]


class Federation(Table):
    """`[federation]`: the run's name, length and public seed (initial params and cohorts, never noise).

    `code` pins the files of the user's own package by their digest (federation/model/code.py). `rehearsal` is no
    key of a file: the coordinator sets it, so that a rehearsal of a plan has a digest of its own. Both are absent
    where a plan leaves them out, so that it keeps its digest.
    """

    name: str = Field(examples=['"heart-disease"'])
    rounds: _Positive = Field(examples=["200"])
    seed: int = Field(ge=0, lt=1 << 53, examples=["7"])
    code: str | None = Field(default=None, pattern=r"^sha256:[0-9a-f]{64}$", examples=['"sha256:..."'])
    rehearsal: Literal[True] | None = Field(default=None, examples=["true"])

    @field_validator("name")
    @classmethod
    def _printable(cls, name: str) -> str:
        if not name.strip() or not name.isprintable() or len(name) > 100:
            hint = 'write for example: name = "heart-disease"'
            raise Mistake("must be 1 to 100 printable characters", hint)
        return name


class Cohort(Table):
    """`[cohort]`: who trains in a round. Exactly one of `size` and `sample_rate`."""

    size: int | Literal["all"] | None = Field(default=None, examples=['"all"'])
    sample_rate: float | None = Field(default=None, gt=0, le=1, examples=["0.5"])
    minimum: _Positive = Field(examples=["3"])
    weights: Literal["uniform", "declared"] = Field(default="uniform", examples=['"uniform"'])
    deadline_seconds: float = Field(default=60.0, gt=0, le=86400 * 7, examples=["60"])

    @field_validator("size", mode="before")
    @classmethod
    def _all_or_number(cls, size: Any) -> Any:
        number = isinstance(size, int) and not isinstance(size, bool)
        if not (size in ("all", None) or (number and 1 <= size <= _MAX_COUNT)):
            raise Mistake('must be "all" or a number of sites', 'write for example: size = "all"')
        return size

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.size is None and self.sample_rate is None:
            raise missing("size", 'size = "all"')
        if self.size is not None and self.sample_rate is not None:
            raise Mistake("cannot stand beside cohort.size", "keep one of the two", ("sample_rate",))
        if self.minimum < SMALLEST:
            hint = f"set it to 3 or more, or to {SMALLEST} for two sites: a sum of one is that one's own"
            raise Mistake("so few sites cannot hide in a sum", hint, ("minimum",), unsafe=True)
        if isinstance(self.size, int) and self.size < self.minimum:
            reason = f"is below cohort.minimum = {self.minimum}"
            raise Mistake(reason, "raise it, or lower the minimum", ("size",))
        return self


class Training(Table):
    """`[training]`: what a site does in a round. `sample_rate` is the Poisson rate of a record, per step.

    `momentum` is that of a site's own SGD, begun anew in each round. `proximal` is the mu of FedProx (Li et al.
    2020, "Federated optimization in heterogeneous networks"): each step's gradient gets mu times the way from the
    round's params. Both are absent where they are 0, so that a plan without them keeps its digest.
    `weight_decay` is that of "adamw" (Loshchilov and Hutter 2019): each step first takes the rate times it of every
    param.
    """

    optimizer: Literal["sgd", "adam", "adamw", "rmsprop"] = Field(examples=['"sgd"'])
    learning_rate: float = Field(gt=0, le=_MAX_COUNT, examples=["0.5"])
    local_steps: _Positive = Field(examples=["1"])
    sample_rate: float = Field(ge=MIN_SAMPLE_RATE, le=1, examples=["0.1"])
    momentum: float | None = Field(default=None, ge=0, lt=1, examples=["0.9"])
    proximal: float | None = Field(default=None, ge=0, le=_MAX_COUNT, examples=["0.01"])
    weight_decay: float | None = Field(default=None, gt=0, le=_MAX_COUNT, examples=["0.01"])

    @field_validator("momentum", "proximal")
    @classmethod
    def _absent_for_zero(cls, value: float | None) -> float | None:
        return value or None

    @model_validator(mode="after")
    def _momentum_is_of_sgd(self) -> Self:
        if self.momentum is not None and self.optimizer != "sgd":
            hint = 'remove it, or choose training.optimizer = "sgd"'
            raise Mistake(f'means nothing beside optimizer = "{self.optimizer}"', hint, ("momentum",))
        return self

    @model_validator(mode="after")
    def _decay_is_of_adamw(self) -> Self:
        decay = self.weight_decay
        if self.optimizer == "adamw" and decay is None:
            raise missing("weight_decay", "weight_decay = 0.01")
        if decay is not None and self.optimizer != "adamw":
            hint = 'remove it, or choose training.optimizer = "adamw"'
            raise Mistake(f'means nothing beside optimizer = "{self.optimizer}"', hint, ("weight_decay",))
        if decay is not None and decay * self.learning_rate >= 1:
            reason = "times learning_rate takes all of a param in one step"
            raise Mistake(reason, "keep their product below 1", ("weight_decay",))
        return self


class Privacy(Table):
    """`[privacy]`: the claim. `noise = "none"` claims nothing and takes no other numbers.

    `records_per_patient` is how many records of one patient a site has at most, `sites_per_patient` how many sites
    have the same patient. The report depends on both; what a site spends does not.

    With the four keys from `clipping_quantile` on, the norm follows this quantile of the sites' updates (Andrew et
    al. 2021, "Differentially private learning with adaptive clipping") and `clipping_norm` is where it begins.
    `clipping_bounds` are its lowest and highest value, `clipping_rate` how fast it moves, and `clipping_noise` the
    standard deviation of the noise on the share of sites that are within it: a part of the plan's noise, not more.
    """

    unit: Literal["record", "patient", "client"] = Field(examples=['"record"'])
    noise: Literal["site", "distributed", "central", "none"] = Field(examples=['"distributed"'])
    epsilon: float | None = Field(default=None, gt=0, le=MAX_EPSILON, examples=["3.0"])
    delta: float | None = Field(default=None, ge=MIN_DELTA, lt=1, examples=["1e-5"])
    clipping_norm: float | None = Field(default=None, gt=0, le=_MAX_NORM, examples=["1.0"])
    records_per_patient: int | None = Field(default=None, ge=1, le=MAX_GROUP, examples=["1"])
    sites_per_patient: int | None = Field(default=None, ge=1, le=MAX_GROUP, examples=["2"])
    clipping_quantile: float | None = Field(default=None, gt=0, lt=1, examples=["0.5"])
    clipping_bounds: tuple[float, float] | None = Field(default=None, examples=["[0.1, 10.0]"])
    clipping_rate: float | None = Field(default=None, gt=0, le=1, examples=["0.2"])
    clipping_noise: float | None = Field(default=None, gt=0, le=1, examples=["0.05"])

    @field_validator("clipping_bounds", mode="before")
    @classmethod
    def _two_numbers(cls, bounds: Any) -> Any:
        if bounds is None:
            return None
        numbers = isinstance(bounds, list | tuple) and all(type(one) in (int, float) for one in bounds)
        if not numbers or len(bounds) != 2:
            raise Mistake("must be two numbers", "write for example: clipping_bounds = [0.1, 10.0]")
        return tuple(map(float, bounds))

    @property
    def adapts(self) -> bool:
        """Whether the clipping norm follows what the rounds release."""
        return self.clipping_quantile is not None

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
    def _keeps_its_bound(self) -> Self:
        if self.clipping_norm is not None and self.clipping_norm < MIN_CLIPPING_NORM:
            reason = f"must be at least {MIN_CLIPPING_NORM:g}, or floats cannot keep the bound"
            raise Mistake(reason, "scale the loss", ("clipping_norm",))
        return self

    @model_validator(mode="after")
    def _adapts_wholly(self) -> Self:
        """All four keys or none; a bit of a site protects the site, so of a record it would say too much."""
        given = [name for name in _ADAPTING if getattr(self, name) is not None]
        if not given:
            return self
        if self.noise == "none" or self.unit != "client":
            beside = f'unit = "{self.unit}", noise = "{self.noise}"'
            hint = 'remove it, or choose unit = "client" and noise'
            raise Mistake(f"means nothing beside {beside}", hint, (given[0],))
        for name in _ADAPTING:
            if name not in given:
                raise missing(name, f"{name} = {(type(self).model_fields[name].examples or [''])[0]}")
        (lowest, highest), norm = self.clipping_bounds or (0.0, 0.0), self.clipping_norm or 0.0
        if not 2 * MIN_CLIPPING_NORM <= lowest < highest <= _MAX_NORM:
            hint = "write the lowest and the highest norm, such as [0.1, 10.0]"
            raise Mistake("must be two rising numbers above 0", hint, ("clipping_bounds",))
        if not lowest <= norm <= highest:
            hint = "begin between the bounds, or widen them"
            raise Mistake("is outside of clipping_bounds", hint, ("clipping_norm",))
        return self

    @model_validator(mode="after")
    def _people(self) -> Self:
        for name in ("records_per_patient", "sites_per_patient"):
            if getattr(self, name) is not None and self.noise == "none":
                raise Mistake('means nothing beside noise = "none"', "remove it", (name,))
        if self.records_per_patient is not None and self.unit != "record":
            beside = f'beside unit = "{self.unit}", which protects all records of a patient at once'
            hint = 'remove it, or choose unit = "record"'
            raise Mistake(f"means nothing {beside}", hint, ("records_per_patient",))
        if (self.records_per_patient or 1) * (self.sites_per_patient or 1) > MAX_GROUP:
            reason = f"and sites_per_patient make a patient more than {MAX_GROUP} records"
            raise Mistake(reason, 'lower one, or choose unit = "patient"', ("records_per_patient",))
        return self


class SecureAggregation(Table):
    """`[secure_aggregation]`: the sites that may collude with the server, and that may vanish mid-round.

    `excess_levels`: in how many steps the noise that is there for lost sites can be taken out again where fewer are
    lost; 0 leaves it in. Absent, it is DEFAULT_LEVELS where that is possible.
    `groups`: into how many groups a cohort is cut, each with a sum of its own; absent, there is one sum of all.
    `transcripts`: whether the run keeps what shows an auditor every sum (docs/protocol.md, section 11).
    `transcripts_max`: the gigabytes (10^9 bytes) that all of them may take; above, none is kept. Both are absent
    where the plan leaves them out, so that a plan without them keeps its digest.
    """

    colluders: _Count = Field(examples=["1"])
    dropouts: _Count = Field(examples=["1"])
    excess_levels: int | None = Field(default=None, ge=0, le=DEFAULT_LEVELS, examples=["3"])
    groups: int | None = Field(default=None, ge=2, le=1000, examples=["4"])
    transcripts: bool | None = Field(default=None, examples=["true"])
    transcripts_max: float | None = Field(default=None, gt=0, le=_MAX_COUNT, examples=["10"])

    @property
    def tolerance(self) -> dict[str, int]:
        """Colluders and dropouts, and groups where there are any, by name."""
        groups = {} if self.groups is None else {"groups": self.groups}
        return {"colluders": self.colluders, "dropouts": self.dropouts, **groups}


class Server(Table):
    """`[server]`: the server optimizer (Reddi et al. 2021, "Adaptive Federated Optimization").

    "adam-bc" is Adam with the noise taken out of its second moment (Tang et al. 2024). `unlikely_sum`: what becomes
    of a sum that honest sites do not make; "refuse" if the plan does not say. `combine`: what is made of the means
    of groups, where the cohort is cut into groups. `iterate_average`: the decay of the average of all rounds'
    params that the run ends with; absent, it ends with the last params.
    """

    optimizer: Literal["average", "momentum", "adagrad", "adam", "adam-bc", "yogi"] = Field(
        examples=['"adam"']
    )
    learning_rate: float = Field(gt=0, le=_MAX_COUNT, examples=["0.05"])
    beta1: float = Field(default=0.9, ge=0, lt=1, examples=["0.9"])
    beta2: float = Field(default=0.99, ge=0, lt=1, examples=["0.99"])
    tau: float | None = Field(default=None, gt=0, le=1, examples=["1e-8"])
    combine: Literal["mean", "trimmed-mean", "median"] | None = Field(default=None, examples=['"median"'])
    unlikely_sum: Literal["refuse", "report"] | None = Field(default=None, examples=['"refuse"'])
    iterate_average: float | None = Field(default=None, ge=0, lt=1, examples=["0.95"])


class Evaluation(Table):
    """`[evaluation]`: the fraction of its rows that a site without a test file holds out; what to report.

    `epsilon`, at the delta of the privacy table, is what a published evaluation may cost a held-out record or
    patient. Without it no figure leaves a site. `threshold`, of two classes: the score from which on a record is
    taken for the second. Without one it is taken for the class with the higher score. `folds`: so many trainings
    come before that of the model, each without the records of one fold and evaluated on these.

    `bins`, of two classes: what is published is a noised histogram of scores in so many bins, by class, and by the
    values of the columns that `groups` names (20 bins where only these are named). Of numbers and counts, noised
    sums of errors, with `bins` also by what is predicted; of times, a noised histogram of scores by time and end.
    """

    epsilon: float | None = Field(default=None, gt=0, le=MAX_EPSILON, examples=["0.5"])
    holdout: float = Field(default=0.2, ge=0, le=0.9, examples=["0.2"])
    folds: int | None = Field(default=None, ge=2, le=20, examples=["5"])
    metrics: Texts = Field(default=METRICS, examples=['["accuracy", "auc"]'])
    threshold: float | None = Field(default=None, gt=0, lt=1, examples=["0.5"])
    bins: int | None = Field(default=None, ge=2, le=100, examples=["20"])
    groups: Texts | None = Field(default=None, examples=['["sex"]'])

    @field_validator("groups")
    @classmethod
    def _columns_once(cls, groups: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if groups is not None and ("" in groups or len(set(groups)) < len(groups)):
            raise Mistake("names a column twice, or by nothing", "name each once")
        return groups or None

    @field_validator("metrics")
    @classmethod
    def _once_each(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        if "" in metrics or len(set(metrics)) < len(metrics):
            raise Mistake("names a metric twice, or by nothing", "name each once")
        return metrics


class Personal(Table):
    """`[personal]`: the model that each site makes of the released one for itself, after the last round.

    So many `steps` of the site's own optimizer, at `learning_rate`, on Poisson batches at `training.sample_rate`.
    `pull` is MR-MTL's lambda (Liu et al. 2022): each step's gradient gets it times the way from the released model.
    `layers` are those that a site makes its own, by name, such as "2" or "encoder.head"; absent, all of them.
    Nothing of it leaves a site, so it costs no privacy.

    `kept`: these layers never travel. Each site trains them in every round beside the shared ones, and keeps them
    for itself from round to round. It is how many numbers they hold, so that everybody knows how long the rest is:
    `federation check` prints it. Absent, all layers travel, and a site's own are made after the last round alone.
    """

    steps: _Positive = Field(examples=["50"])
    learning_rate: float = Field(gt=0, le=_MAX_COUNT, examples=["0.1"])
    pull: float | None = Field(default=None, ge=0, le=_MAX_COUNT, examples=["0.1"])
    layers: Texts | None = Field(default=None, examples=['["2"]'])
    kept: _Positive | None = Field(default=None, examples=["34"])

    @field_validator("layers")
    @classmethod
    def _layers_once(cls, layers: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if layers is not None and (not layers or "" in layers or len(set(layers)) < len(layers)):
            raise Mistake("names a layer twice, or none", 'write for example: layers = ["2"], or remove it')
        return layers

    @field_validator("pull")
    @classmethod
    def _absent_for_zero(cls, value: float | None) -> float | None:
        return value or None

    @model_validator(mode="after")
    def _holds_back(self) -> Self:
        if self.pull is not None and self.pull * self.learning_rate > 1:
            hint = f"lower one: pull at most {1 / self.learning_rate:.3g} at this learning_rate"
            raise Mistake(
                "times personal.learning_rate is above 1: steps would leap over it", hint, ("pull",)
            )
        return self

    @model_validator(mode="after")
    def _keeps_what_is_named(self) -> Self:
        if self.kept is not None and self.layers is None:
            raise missing("layers", 'layers = ["2"]')
        return self


class Rules(Table):
    """The tables of a plan. `Plan` gives the task its type; a kind of release reads all tables but the task."""

    federation: Federation = Field(examples=["[federation]"])
    task: Any
    cohort: Cohort = Field(examples=["[cohort]"])
    training: Training = Field(examples=["[training]"])
    privacy: Privacy = Field(examples=["[privacy]"])
    secure_aggregation: SecureAggregation = Field(examples=["[secure_aggregation]"])
    server: Server = Field(examples=["[server]"])
    evaluation: Evaluation = Field(default=Evaluation(), examples=["[evaluation]"])
    base: Base | None = Field(default=None, examples=["[base]"])
    purpose: Purpose | None = Field(default=None, examples=["[purpose]"])
    personal: Personal | None = Field(default=None, examples=["[personal]"])
    _written: Written = PrivateAttr(default=Written())

    def model_post_init(self, context: Any) -> None:
        """Where the plan was read from, so that whatever is found later names file and line."""
        if isinstance(context, Document):
            self._written = Written(context)

    def place(self, *key: str) -> str:
        """Where a key is in the plan's file, for an error that has no place: `plan.toml:7 privacy.delta = 0.1`."""
        return located(**self._where(*key))

    def place_in(self, error: InputError, *otherwise: str) -> None:
        """Have an error say where its key is in the plan's file, or another key where it names none."""
        if error.path is None and self._written.document is not None:
            where = self._where(*(tuple(error.key.split(".")) if error.key else otherwise))
            error.path, error.line = where["path"], where["line"]
            error.key, error.value = where["key"], where["value"]

    def _where(self, *key: str) -> Where:
        return self._written.where(type(self), *key)

    @property
    def kept(self) -> int:
        """How many numbers of the model each site keeps for itself from round to round; 0 where all travel."""
        return 0 if self.personal is None else self.personal.kept or 0
