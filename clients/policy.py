"""A site's policy and its site file: what the site consents to, whatever the server says.

A policy is the institution's own; the site never sends it, and a plan cannot loosen it. `consent` compares the two
before anything else happens, and again in every round. The journal takes `Policy.limits` and accounts for what
earlier runs have spent, and for what a plan for records costs a patient.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, Strict, field_validator, model_validator

from clients.endpoint import KEY, Consortium, Endpoint, PathText, check_certificate
from clients.rules.approval import Approval, Approvals
from clients.rules.data import SiteData
from clients.rules.origin import Origin
from federation.config.schema import Mistake, Table, Texts, validate
from federation.config.tables import SMALLEST
from federation.config.toml import read
from federation.errors import InputError, SiteFileError
from federation.identity.keys import credential, load_passphrase, load_private
from federation.plan.plan import Plan
from federation.plan.tabular import CODE, KINDS
from federation.round.cohort import required_survivors
from federation.round.groups import smallest_sum
from privacy.accounting.events import MAX_GROUP, MIN_SAMPLE_RATE
from privacy.accounting.filters import USUAL, Budget, Foreseen
from privacy.accounting.pld import epsilon
from privacy.accounting.units import Limit, Patient
from privacy.errors import PolicyViolation

Noise = Literal["site", "distributed", "central", "none"]

SITE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

MAX_LIMIT = 1e6
MAX_STEPS = 1_000_000


class _ClientPolicy(Table):
    """`[policy.client]`: the limit for all of the site's data at once. Only client-level plans can keep it."""

    epsilon_max: float = Field(gt=0, le=MAX_LIMIT, examples=["8.0"])
    delta_max: float | None = Field(default=None, gt=0, lt=1, examples=["1e-5"])


class _PatientPolicy(_ClientPolicy):
    """`[policy.patient]`: the limit for a person, who has `records` here at most and is known to `sites` sites."""

    records: int = Field(ge=1, le=MAX_GROUP, examples=["4"])
    sites: int = Field(ge=1, le=MAX_GROUP, examples=["2"])

    @model_validator(mode="after")
    def _countable(self) -> Self:
        if self.records * self.sites > MAX_GROUP:
            message = f"and sites make a patient more than {MAX_GROUP} records"
            raise Mistake(message, "lower one", ("records",))
        return self


class _ForeseenTraining(Table):
    """`[policy.foreseen]`: the training that the pool is kept for; `sample_rate = 1.0`: nothing is ever sampled.

    It fixes by what rule the ledger adds plans up, before there is anything to add.
    """

    sample_rate: float = Field(ge=MIN_SAMPLE_RATE, le=1, examples=["0.1"])
    steps: int = Field(ge=1, le=1 << 53, examples=["200"])


class Policy(Table):
    """`[policy]`: a site's limits. Runs without privacy need `"none"` in `noise` and `epsilon_max = inf`.

    `epsilon_max` and `delta_max` are for a record; people and the site as a whole may have a table of their own.
    `colluders_minimum` and `survivors_minimum` are the company that a site demands: against how many sites on the
    server's side it wants to be safe, and how many there are at least in a sum that its update is in.
    `cohort_minimum = 2` agrees to rounds of two sites: the other sees this site's part of each sum. Of a plan in
    `plans` one run is approved, or as many as it says. `plan_files` are files of plans to be looked at before
    joining; they approve nothing. `steps_max` bounds the work of a plan that is approved by its task alone.
    `rehearsals`: how many a day of the plans that it allows, on made-up records; 0 for none.
    """

    epsilon_max: float = Field(gt=0, allow_inf_nan=True, examples=["5.0"])
    delta_max: float = Field(gt=0, lt=1, examples=["1e-5"])
    cohort_minimum: int = Field(ge=SMALLEST, le=1_000_000, examples=["3"])
    colluders_minimum: int | None = Field(default=None, ge=0, le=1_000_000, examples=["1"])
    survivors_minimum: int | None = Field(default=None, ge=SMALLEST, le=1_000_000, examples=["3"])
    noise: Annotated[tuple[Noise, ...], Strict(False)] = Field(
        min_length=1, examples=['["distributed", "site"]']
    )
    noise_multiplier_min: float | None = Field(default=None, gt=0, le=1e6, examples=["0.5"])
    plans: Approvals = Field(default=(), examples=['["sha256:..."]'])
    plan_files: Texts = Field(default=(), examples=['["plan.toml"]'])
    tasks: Texts = Field(default=(), examples=['["tabular-classification"]'])
    steps_max: int = Field(default=MAX_STEPS, ge=1, le=1 << 53, examples=["100000"])
    rehearsals: int = Field(default=8, ge=0, le=1000, examples=["8"])
    patient: _PatientPolicy | None = Field(default=None, examples=["[policy.patient]"])
    client: _ClientPolicy | None = Field(default=None, examples=["[policy.client]"])
    foreseen: _ForeseenTraining | None = Field(default=None, examples=["[policy.foreseen]"])
    approvers: Texts = Field(default=(), examples=['["64 hexadecimal digits", "64 others"]'])

    @classmethod
    def for_plan(cls, plan: Plan) -> Self:
        """Exactly what a plan asks: the policy of a simulated site."""
        claimed, unit, smallest = (
            plan.privacy.epsilon,
            plan.privacy.unit,
            smallest_sum(plan, plan.cohort.minimum),
        )
        if claimed is not None and plan.evaluation.epsilon is not None:
            # Two charges, of which the second has to fit the filter, which is coarser than a plan's own epsilon.
            claimed = 2 * (claimed + plan.evaluation.epsilon)
        patient = client = None
        if claimed is not None and unit == "patient":
            # Such a plan samples and clips a patient as a whole, so the number of their records does not matter.
            patient = _PatientPolicy(epsilon_max=claimed, records=1, sites=1)
        if claimed is not None and unit == "client":
            client = _ClientPolicy(epsilon_max=claimed)
        return cls(
            epsilon_max=(claimed if unit == "record" else _asked_per_record(plan)) or math.inf,
            delta_max=plan.privacy.delta or 1e-5,
            cohort_minimum=smallest,
            colluders_minimum=plan.secure_aggregation.colluders,
            survivors_minimum=required_survivors(plan, smallest),
            noise=(plan.privacy.noise,),
            plans=(Approval(digest=plan.digest),),
            patient=patient,
            client=client,
            foreseen=_foreseen(plan),
        )

    def limits(self) -> tuple[Limit, ...]:
        """What may ever be spent of this population's privacy, for each unit that has a limit."""
        foreseen = None if self.foreseen is None else self.training_foreseen
        limits = [Limit("record", Budget(self.epsilon_max, self.delta_max), foreseen=foreseen)]
        if self.patient is not None:
            people = Patient(self.patient.records, self.patient.sites)
            limits.append(Limit("patient", self._budget(self.patient), people, foreseen))
        if self.client is not None:
            limits.append(Limit("client", self._budget(self.client)))
        return tuple(limits)

    @property
    def training_foreseen(self) -> Foreseen:
        """The training that the budget is kept for; a usual one if nobody says."""
        named = self.foreseen
        return USUAL if named is None else Foreseen(named.sample_rate, named.steps)

    def runs_of(self, digest: str) -> int | None:
        """How many runs of a plan are approved; None if its digest is not, but perhaps its task."""
        return next((plan.runs for plan in self.plans if plan.digest == digest), None)

    def colluders_demanded(self, plan: Plan) -> int:
        """Against how many colluders a plan has to be safe: one in ten of its smallest cohort, if not told."""
        if self.colluders_minimum is not None:
            return self.colluders_minimum
        if self._agrees_to_two(plan):
            return 0  # the other site sees as much as one that works with the server
        return max(1, -(-plan.cohort.minimum // 10))

    def survivors_demanded(self, plan: Plan) -> int:
        """How many sites a sum has to be of: two honest ones beside the colluders, if not told."""
        if self.survivors_minimum is not None:
            return self.survivors_minimum
        least = SMALLEST if self._agrees_to_two(plan) else 3
        return max(least, max(plan.secure_aggregation.colluders, self.colluders_demanded(plan)) + 2)

    def _agrees_to_two(self, plan: Plan) -> bool:
        """Whether plan and policy both say that a round may be of two sites, who see each other's part of a sum."""
        return plan.is_of_two and self.cohort_minimum == SMALLEST

    def _budget(self, table: _ClientPolicy) -> Budget:
        return Budget(table.epsilon_max, table.delta_max or self.delta_max)

    @field_validator("plans")
    @classmethod
    def _once(cls, plans: tuple[Approval, ...]) -> tuple[Approval, ...]:
        if len({plan.digest for plan in plans}) < len(plans):
            raise Mistake("name a plan twice", 'say how often: { digest = "sha256:...", runs = 2 }')
        return plans

    @field_validator("tasks")
    @classmethod
    def _names(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for task in tasks:
            if task not in KINDS and not CODE.fullmatch(task):
                raise Mistake("must be names of tasks", '"tabular-classification" or "package.module:name"')
        return tasks

    @field_validator("approvers")
    @classmethod
    def _two_or_more(cls, approvers: tuple[str, ...]) -> tuple[str, ...]:
        if not all(KEY.fullmatch(key) for key in approvers) or len(set(approvers)) < len(approvers):
            raise Mistake("must be distinct public keys", "copy them from the .pub files")
        if len(approvers) == 1:
            raise Mistake("are one person, and raising a budget takes two", "name another, or none")
        return approvers

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.plans and not self.tasks:
            raise Mistake("approves no plan and no task", 'add a line such as: plans = ["sha256:..."]')
        if MAX_LIMIT < self.epsilon_max < math.inf:
            raise Mistake("is no limit", f"write inf, or at most {MAX_LIMIT:g}", ("epsilon_max",))
        if ("none" in self.noise) != math.isinf(self.epsilon_max):
            hint = 'write epsilon_max = inf beside "none" in noise, or a number and no "none"'
            raise Mistake("and noise contradict each other", hint, ("epsilon_max",))
        for name in ("patient", "client", "noise_multiplier_min"):
            if "none" in self.noise and getattr(self, name) is not None:
                hint = 'remove it, or "none" from policy.noise: a plan without noise keeps no limit'
                raise Mistake("and noise contradict each other", hint, (name,))
        return self


class _Identity(Table):
    """`[site]`: who the site is, and where it keeps keys and journal, seen from the site file's folder.

    `passphrase_file` is for a sealed key; "credential:NAME" is what systemd hands in by LoadCredential=NAME:FILE.
    """

    id: str = Field(examples=['"cleveland"'])
    keys: PathText = Field(min_length=1, examples=['"keys/"'])
    journal: PathText = Field(min_length=1, examples=['"journal.sqlite"'])
    passphrase_file: PathText | None = Field(default=None, min_length=1, examples=['"credential:site"'])
    device: Literal["cpu", "cuda", "auto"] = Field(default="cpu", examples=['"cuda"'])

    @field_validator("id")
    @classmethod
    def _plain(cls, name: str) -> str:
        if not SITE_ID.fullmatch(name):
            raise Mistake("cannot be a site's id", "use letters, digits, dots, - and _, up to 64")
        return name


class _Tables(Table):
    refusal: ClassVar[type[InputError]] = SiteFileError
    site: _Identity = Field(examples=["[site]"])
    data: SiteData = Field(
        examples=["[data]"], repr=False
    )  # a source and a query may say more than a screen should
    policy: Policy = Field(examples=["[policy]"])
    consortium: Consortium | None = Field(default=None, examples=["[consortium]"])
    server: Endpoint | None = Field(default=None, examples=["[server]"])

    @model_validator(mode="after")
    def _two_are_noised(self) -> Self:
        """The other one of two sites sees this one's part of a sum: without noise, its bare update."""
        if self.policy.cohort_minimum == SMALLEST and "none" in self.policy.noise:
            hint = 'remove "none" from policy.noise, or set it to 3 or more; without noise two sites can simulate'
            raise Mistake("shows this site's bare update to the other", hint, ("policy", "cohort_minimum"))
        return self


@dataclass(frozen=True)
class SiteFile:
    """A site file, its paths made whole."""

    id: str
    keys: Path
    journal: Path
    data: SiteData
    policy: Policy
    consortium: Consortium | None
    server: Endpoint | None
    passphrase_file: Path | None = None
    device: str = "cpu"

    @property
    def key_file(self) -> Path:
        """The file of the key that the site signs with."""
        return self.keys / f"{self.id}.key"

    @property
    def node_file(self) -> Path:
        """The file of the key by which Flower knows the site's node."""
        return self.keys / f"{self.id}.node.key"

    @property
    def greetings_file(self) -> Path:
        """What is remembered of greetings."""
        return self.keys / f"{self.id}.greetings"

    @property
    def rosters_file(self) -> Path:
        """What is remembered of rosters: it is there once the site has taken part in a run."""
        return self.keys / f"{self.id}.rosters"

    @property
    def restores_file(self) -> Path:
        """What is remembered of restored ledgers: it is there once one was."""
        return self.keys / f"{self.id}.restores"

    def identity(self) -> Ed25519PrivateKey:
        """The key that the site signs with, read from its file now. UnusableFile if the file is missing."""
        return load_private(self.key_file, self.passphrase())

    def passphrase(self) -> bytes | None:
        """What the key file is sealed by, if the site file says where that is."""
        return None if self.passphrase_file is None else load_passphrase(self.passphrase_file)


def load_site(path: Path) -> SiteFile:
    """The site file at a path. SiteFileError names line and key."""
    tables = validate(_Tables, read(path))
    folder = path.parent
    site, keys, journal = tables.site.id, folder / tables.site.keys, folder / tables.site.journal
    named = tables.site.passphrase_file
    sealed = None if named is None else credential(named, folder)
    given = tables.data, tables.policy, tables.consortium, tables.server, sealed, tables.site.device
    return SiteFile(site, keys, journal, *given)


def data_files(rules: SiteFile, folder: Path) -> tuple[Origin, Origin | None]:
    """A site's records, and those to evaluate on if it keeps them apart."""
    return rules.data.origins(folder)


def data_paths(rules: SiteFile, folder: Path) -> tuple[Path, ...]:
    """The files on this machine that these are in."""
    return tuple(path for place in data_files(rules, folder) if place is not None for path in place.files)


def require_complete(rules: SiteFile, path: Path) -> Consortium:
    """The consortium of a site that takes part for real.

    SiteFileError without it, without a declared size, or with a `[server]` that cannot be connected to.
    """
    if rules.data.size is None:
        hint = "declare in public about how many you bring, such as size = 300; do not count them here"
        raise SiteFileError("is missing", hint=hint, path=path, key="data.size")
    if rules.consortium is None:
        hint = "add the table: keys of the consortium that may sign a roster, and the quorum of them"
        raise SiteFileError("is missing", hint=hint, path=path, key="consortium")
    if rules.server is not None:
        check_certificate(rules.server.certificate, path)
        if rules.server.proxy_ca is not None:
            check_certificate(rules.server.proxy_ca, path, key="server.proxy_ca")
    return rules.consortium


def consent(plan: Plan, policy: Policy) -> None:
    """Return if the policy allows the plan; a PolicyViolation names rule, value, limit and way out.

    Cheap after the first time: the noise multiplier of a plan is worked out once.
    """
    if plan.privacy.noise not in policy.noise:
        allowed = ", ".join(policy.noise)
        raise _violation("noise", f"the plan's privacy.noise is {plan.privacy.noise}, allowed: {allowed}")
    _within_limits(plan, policy)
    smallest = smallest_sum(plan, plan.cohort.minimum)
    if smallest < policy.cohort_minimum:
        of = "" if plan.secure_aggregation.groups is None else f" in {plan.secure_aggregation.groups} groups"
        message = f"the plan's cohort.minimum is {plan.cohort.minimum}{of}, the limit {policy.cohort_minimum}"
        if plan.is_of_two:
            message += ": of two sites the other sees this one's part of each sum"
        raise _violation("cohort_minimum", message)
    require_company(plan, policy, smallest)
    if policy.runs_of(plan.digest) is None and plan.code not in policy.tasks:
        raise PolicyViolation(
            f"policy.plans: the plan {plan.digest} is not approved",
            hint="read the plan, then add its digest to policy.plans",
        )
    if policy.runs_of(plan.digest) is None:
        _little_enough_work(plan, policy)
    _noisy_enough(plan, policy)  # last, since it may take a second to work out


def require_company(plan: Plan, policy: Policy, cohort: int) -> None:
    """PolicyViolation unless a cohort of so many sites is safe against the colluders that the policy demands.

    Asked of the smallest cohort at consent, and of the sampled one in every round.
    """
    counted, demanded = plan.secure_aggregation.colluders, policy.colluders_demanded(plan)
    if counted < demanded:
        message = f"the plan's secure_aggregation.colluders is {counted}, the limit {demanded}"
        raise _violation("colluders_minimum", message)
    required, least = required_survivors(plan, cohort), policy.survivors_demanded(plan)
    if required < least:
        message = (
            f"with the plan's dropouts a sum of {required} of {cohort} sites is opened, the limit {least}"
        )
        raise _violation("survivors_minimum", message)


def _foreseen(plan: Plan) -> _ForeseenTraining | None:
    """What a pool foresees that is kept for one plan: no sampling where the plan does not sample."""
    whole = plan.is_private and plan.kind.sample_rate == 1
    return _ForeseenTraining(sample_rate=1.0, steps=1) if whole else None


def _asked_per_record(plan: Plan) -> float | None:
    """What a plan that protects more than a record costs one of its records: more than it costs the whole."""
    if plan.privacy.epsilon is None or plan.privacy.delta is None:
        return None
    charges, delta = plan.charges, plan.privacy.delta
    return len(charges) * sum(epsilon([charge.to("record")], delta) for charge in charges)


def _within_limits(plan: Plan, policy: Policy) -> None:
    """Check each limit that the plan's own epsilon and delta decide: a record is no safer than its whole."""
    claimed, delta, unit = plan.privacy.epsilon or math.inf, plan.privacy.delta or 0.0, plan.privacy.unit
    for limit in policy.limits():
        table = "" if limit.unit == "record" else f"{limit.unit}."
        if limit.unit == "client" and unit != "client":
            message = f'the plan\'s privacy.unit is "{unit}", which promises the site as a whole nothing'
            raise _violation("client", message)
        if limit.unit not in ("record", unit):
            continue  # what this plan costs a patient is accounted at the patient's own delta
        budget = limit.budget
        for name, asked, most in (("epsilon", claimed, budget.epsilon), ("delta", delta, budget.delta)):
            if asked > most:
                message = f"the plan's privacy.{name} is {asked}, the limit {most}"
                raise _violation(f"{table}{name}_max", message)


def _little_enough_work(plan: Plan, policy: Policy) -> None:
    """Where a task is approved and nobody has read the plan, its work is bounded before any of it is begun."""
    steps = plan.federation.rounds * plan.training.local_steps
    if steps > policy.steps_max:
        message = f"the plan's rounds times training.local_steps is {steps}, the limit {policy.steps_max}"
        raise _violation("steps_max", message)


def _noisy_enough(plan: Plan, policy: Policy) -> None:
    least = policy.noise_multiplier_min
    if least is None:
        return
    multiplier = plan.kind.noise_multiplier if plan.is_private else 0.0
    if multiplier < least:
        message = f"the plan's noise multiplier is {multiplier:.4g}, the limit {least}"
        raise _violation("noise_multiplier_min", message)


def _violation(rule: str, message: str) -> PolicyViolation:
    return PolicyViolation(f"policy.{rule}: {message}", hint=f"agree on another plan or change policy.{rule}")
