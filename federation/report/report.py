"""`Report`: the content of report.json (schema federation.report/1), typed and frozen.

A field that a run cannot know is never given, and is then absent from the JSON: only simulations know `records` and
`mean_of_sites`. A number that is not finite becomes None, which JSON writes as null: an infinite epsilon bounds
nothing. Reading is strict about the fields listed here and ignores any other, so that a later version may add some.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    PlainValidator,
    model_validator,
)

from federation.report.figures.published import Histogram, Measures
from federation.report.figures.scores import (
    BesideAlone,
    Calibration,
    Clipped,
    Confusion,
    Energy,
    GroupFigures,
    Intervals,
)
from federation.report.figures.tables import Tables
from federation.report.parts import AnyList, Number, Part
from federation.report.risks.told import RiskFigures
from privacy.accounting.units import Unit
from privacy.canonical import finite

SCHEMA: Literal["federation.report/1"] = "federation.report/1"

Metrics = Mapping[str, Number]


def _plain_number(value: object) -> int | float | None:
    """A count stays a whole number, where `Number` would make 36.0 of it."""
    if value is not None and type(value) not in (int, float):
        raise ValueError("input should be a number")
    return value if type(value) is int else finite(value)  # type: ignore[arg-type]  # a float or None


Figures = Mapping[str, Annotated[int | float | None, PlainValidator(_plain_number)]]
"""Metrics, and in a simulation exact counts beside them: `n` records, `positives` of them (None: many classes)."""
COUNTS = ("n", "positives")


def metrics_of(figures: Figures) -> Metrics:
    """The metrics without the counts beside them."""
    return {name: value for name, value in figures.items() if name not in COUNTS}


class Amount(Part):
    """An epsilon by itself, and what it means where that is told; None: no bound."""

    epsilon: Number
    risk: RiskFigures | None = None


class UnitCost(Part):
    """Epsilon of the whole run for one unit with `records` records at each of `sites` sites; None: no promise.

    Here and below, `epsilon` is that of the training. `evaluation` and `together` (both composed) are there where
    the plan publishes an evaluation; then `together` is what the run costs. `risk` stands beside the epsilon of
    which it says what it means.
    """

    unit: Unit
    records: int
    sites: int
    epsilon: Number
    risk: RiskFigures | None = None
    evaluation: Amount | None = None
    together: Amount | None = None


class ExcessChoice(Part):
    """`noise_excess` as it would be with these numbers of dropouts and colluders."""

    dropouts: int
    colluders: int
    noise_excess: Number


class ExcessLevel(Part):
    """The most noise that is left in a sum, over what epsilon needs, until so many sites are lost."""

    lost: int
    noise_excess: Number


class ExcessOf(Part):
    """The size of the cohort that `noise_excess` is of, and what other choices give; the plan's comes first.

    `levels`: what is left when sites are lost, where the rest is taken out; else none.
    """

    sites: int
    choices: Annotated[tuple[ExcessChoice, ...], AnyList]
    levels: Annotated[tuple[ExcessLevel, ...], AnyList] = ()


class Tried(Part):
    """How many simulations on this machine used any of these data, this one included; None: not counted, `reason`.

    `epsilon` is for the plan's unit at one site and the plan's delta, over the runs that were private; None: no
    bound. `exact`: it is their composition, as for one run alone. Otherwise runs may have been chosen after seeing
    others, and it is the least limit that, set before the first of them, would have admitted them all.
    `study`: this run is one of so many of one trade-off.
    """

    runs: int | None
    without_privacy: int | None
    epsilon: Number
    exact: bool
    reason: str | None = None
    study: int | None = None


class MovingNorm(Part):
    """How the clipping norm moves: towards a quantile of the sites' updates, between bounds, by a rate.

    `noise` is the standard deviation of that on the share of sites within it. `update_noise_multiplier` is what is
    left for the update, in the smallest cohort: the two together are the plan's noise multiplier. `last` is the
    norm of the last round; None where there was none.
    """

    quantile: float
    bounds: Annotated[tuple[float, float], AnyList]
    rate: float
    noise: float
    update_noise_multiplier: float
    last: Number = None


class PrivacyClaim(Part):
    """The guarantee that the run claims for its params; without privacy every number is None."""

    unit: Unit
    noise: Literal["site", "distributed", "central", "none"]
    epsilon: Number
    delta: Number
    noise_multiplier: Number
    clipping_norm: Number = None
    clipping: MovingNorm | None = None
    accountant: str | None
    cross_check: Metrics
    risk: RiskFigures | None = None
    evaluation: Amount | None = None
    together: Amount | None = None
    noise_excess: Number = None
    noise_excess_why: str | None = None
    noise_excess_of: ExcessOf | None = None
    units: Annotated[tuple[UnitCost, ...], AnyList] = ()
    tried: Tried | None = None
    private: bool


class SiteLine(Part):
    """One site: what its rounds cost, and how many bytes of them went over its line; None if nothing was sent.

    `charged` is what its ledger holds charged for the run; only a simulation can look. It is more where a limit
    admitted the plan as a whole only, of which nothing is returned for rounds that the site was not in.
    `lines` are those of its files, from which `records` are trained on and others held out.
    """

    id: str
    epsilon: Number
    evaluation: Amount | None = None
    together: Amount | None = None
    charged: Amount | None = None
    rounds: int | None = None
    steps: int
    bytes_up: int | None
    bytes_down: int | None
    records: int | None = None
    lines: int | None = None


def whole_risk(part: PrivacyClaim | UnitCost) -> RiskFigures | None:
    """What whoever sees the whole run can do; None where nothing is promised, or an earlier version did not say."""
    return part.risk if part.together is None else part.together.risk


def whole(part: PrivacyClaim | UnitCost | SiteLine) -> float | None:
    """What people read first: training and evaluation together, or the training if there is no evaluation."""
    return part.epsilon if part.together is None else part.together.epsilon


class UnlikelySum(Part):
    """A sum that honest sites do not make: the check that it fails, and how many times what they can send it is."""

    check: Literal["coordinate", "norm"]
    ratio: float


class RoundLine(Part):
    """One round: how many sites were invited, and how many are in the sum; `unlikely` if that is no honest one.

    `excess_left`: of how many of these noise is in it that should have been taken out.
    `lost`: only of a round without a sum, which spent its budget all the same: why, by site.
    `simulated_seconds`: what it would have taken, in a simulation with faults. `clipping_norm`: where it moves.
    """

    round: int
    cohort: int
    survivors: int
    seconds: float
    clipping_norm: float | None = None
    excess_left: int = 0
    lost: Mapping[str, str] | None = None
    unlikely: UnlikelySum | None = None
    simulated_seconds: float | None = None


class HistoryLine(Part):
    """Epsilon spent up to the end of a round, and the pooled metrics after it."""

    round: int
    epsilon: Number
    metrics: Metrics


class Published(Part):
    """The evaluation that the plan paid for; all None where its noise hides it.

    `standard_error`: of the accuracy, by the noise alone. `histogram`: of a plan with `evaluation.bins`.
    `measured`: where no class is predicted; accuracy, loss and its error are None then.
    """

    accuracy: Number
    loss: Number
    records: Number
    standard_error: Number
    histogram: Histogram | None = None
    measured: Measures | None = None


PAID = ("published", "unlikely")
"""The parts of an evaluation that a real run can have: post-processing of a sum with noise."""


class Evaluation(Part):
    """Metrics on held-out records by name: exact ones in a simulation, in a real run only what is published.

    `local_only`: by site, those of a model that the site trained by itself, without privacy, on its own records.
    `mean_of_sites` is over the sites at which a metric exists; `mean_of_sites_n` says how many those are.
    `missing` says why figures are None that were asked for, by place ("pooled", "baselines.without_privacy"):
    "diverged", "not made yet", or the kind of error. `unlikely`: how the published sums are such as honest sites do
    not make. In a simulation also: `intervals` of 95 % by the same places, of all held-out records a `confusion`
    matrix (rows: the class that they are of; columns: the answer) and, of two classes, a `calibration` curve; and
    how many training records are `clipped`; `groups`, by column and value; and each site `beside_alone`. Where the
    plan has a personal model: its figures at each site, `personal`, and what the site gains by it, `beside_shared`.
    """

    pooled: Figures
    mean_of_sites: Metrics = Field(default={})
    mean_of_sites_n: Mapping[str, int] = {}
    sites: Mapping[str, Figures]
    baselines: Mapping[str, Metrics] = {}
    local_only: Mapping[str, Metrics] = {}
    published: Published | None = None
    unlikely: UnlikelySum | None = None
    missing: Mapping[str, str] = {}
    threshold: Number = None
    intervals: Mapping[str, Intervals] = {}
    confusion: Confusion = ()
    calibration: Calibration | None = None
    clipped: Clipped | None = None
    groups: Mapping[str, Mapping[str, GroupFigures]] = {}
    beside_alone: BesideAlone | None = None
    personal: Mapping[str, Metrics] = {}
    beside_shared: BesideAlone | None = None

    def why(self, place: str) -> str:
        """Why there is no figure at a place; "" if nothing is known to be wrong."""
        return self.missing.get(place, "")


class Timing(Part):
    """Wall-clock seconds: of the command until this report was first made, and of its rounds.

    `energy`: in a simulation, what the computing took until then.
    """

    total_seconds: float
    training_seconds: float
    client_rounds_per_second: Number
    energy: Energy | None = None


class Transcripts(Part):
    """How many sums can be recomputed from what the sites signed; `left_out` says why, where none can."""

    kept: int
    left_out: str | None = None


class Suffered(Part):
    """The faults of a simulation: what they were to be, the seconds that all rounds would have taken, and from how
    many sums each site was missing to whose round it was invited.
    """

    rules: Mapping[str, int | float]
    simulated_seconds: float
    missed: Mapping[str, int]


class Made(Part):
    """Where a report comes from: the run's id in hex, when it was finished (UTC), by which version.

    `signers` are the public keys, in hex, whose signatures the roster of a real run bears.
    """

    run: str
    finished: str
    version: str
    signers: Annotated[tuple[str, ...], AnyList] = ()

    @classmethod
    def now(cls, run: bytes, signers: Iterable[bytes] = ()) -> Self:
        """Of this moment and this installation. `signers` are public keys."""
        finished = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        keys = tuple(sorted(key.hex() for key in signers))
        return cls(run=run.hex(), finished=finished, version=version("private-federation"), signers=keys)


class Fold(Part):
    """Which part of a cross-validation a simulation is: its records are held out, whatever the plan says."""

    number: int
    of: int


class FoldFigures(Part):
    """What a plan with folds published of one fold: of the model that was trained without it."""

    fold: int
    run: str
    published: Published


class Folds(Part):
    """All folds of a plan that has them, and mean and standard deviation of each figure over them.

    The figures are noised. A figure that noise hides in any fold has neither.
    """

    folds: Annotated[tuple[FoldFigures, ...], AnyList]
    mean: Figures
    deviation: Figures


class ReadBy(Part):
    """A column of texts, and the pretrained encoder that reads it."""

    column: str
    digest: str
    tokens: int
    trained_on: str


class Pinned(Part):
    """The base of the model: its digest, what it was trained on, and the plan of the run that made it, if any."""

    digest: str
    trained_on: str
    run: str | None = None


class KeptLayers(Part):
    """The layers that sites kept for themselves, by name, and how many numbers they hold."""

    layers: Annotated[tuple[str, ...], AnyList]
    numbers: int


class Report(Part):
    """The report of a run. The fields have the order of report.json.

    `iterate_average`: the decay of the average of all rounds' params that is the model, where the plan has one.
    `purpose`: what the plan says that it is for, by the names of its fields. `encoders`: what reads its texts.
    `base`: what of the model is frozen. `kept`: what of it never travels.
    """

    schema_: Literal["federation.report/1"] = Field(alias="schema")
    name: str = "Federation"
    plan_digest: str
    engine: str
    simulated: bool
    seed: int
    privacy: PrivacyClaim
    sites: Annotated[tuple[SiteLine, ...], AnyList]
    rounds: Annotated[tuple[RoundLine, ...], AnyList]
    evaluation: Evaluation
    timing: Timing
    history: Annotated[tuple[HistoryLine, ...], AnyList] = ()
    secure_aggregation: Mapping[str, int] = {}
    iterate_average: float | None = None
    fold: Fold | None = None
    folds: Folds | None = None
    transcripts: Transcripts | None = None
    made: Made | None = None
    population: int | None = None
    faults: Suffered | None = None
    tables: Tables | None = None
    purpose: Mapping[str, Annotated[tuple[str, ...], AnyList]] | None = None
    encoders: Annotated[tuple[ReadBy, ...], AnyList] | None = None
    base: Pinned | None = None
    kept: KeptLayers | None = None

    @model_validator(mode="after")
    def _exact_where_simulated(self) -> Self:
        """Nobody paid for an exact figure of a real run, and nobody outside of a site may know one."""
        if self.simulated:
            return self
        told = [
            name for name in Evaluation.model_fields if name not in PAID and getattr(self.evaluation, name)
        ]
        told += ["history"] * any(line.metrics for line in self.history)
        told += ["energy"] * (self.timing.energy is not None)  # it follows the batches, which are secret
        told += ["sites"] * any(line.records is not None or line.lines is not None for line in self.sites)
        if told:
            raise ValueError(f"{told[0]}: only a simulation has exact figures")
        return self
