"""What a site consents to, whatever the server says, and the site file that says so.

A policy is the institution's own; it is never sent, and a plan cannot loosen it. `consent` compares the two
before anything else happens. What earlier runs have spent is the journal's business.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, Strict, field_validator, model_validator

from federation.mistakes import Mistake, Table, validate
from federation.plan import Plan
from federation.tabular import CODE, Texts
from federation.toml import read
from privacy.errors import PolicyViolation

Noise = Literal["site", "distributed", "central", "none"]

SITE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_KEY = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Policy(Table):
    """`[policy]`: a site's limits. Runs without privacy need `"none"` in `noise` and `epsilon_max = inf`."""

    epsilon_max: float = Field(gt=0, allow_inf_nan=True, examples=["5.0"])
    delta_max: float = Field(gt=0, lt=1, examples=["1e-5"])
    cohort_minimum: int = Field(ge=3, le=1_000_000, examples=["3"])
    noise: Annotated[tuple[Noise, ...], Strict(False)] = Field(
        min_length=1, examples=['["distributed", "site"]']
    )
    plans: Texts = Field(default=(), examples=['["sha256:..."]'])
    tasks: Texts = Field(default=(), examples=['["tabular-classification"]'])

    @classmethod
    def for_plan(cls, plan: Plan) -> Self:
        """Exactly what a plan asks: the policy of a simulated site."""
        return cls(
            epsilon_max=plan.privacy.epsilon or math.inf,
            delta_max=plan.privacy.delta or 1e-5,
            cohort_minimum=plan.cohort.minimum,
            noise=(plan.privacy.noise,),
            plans=(plan.digest,),
        )

    @field_validator("plans")
    @classmethod
    def _digests(cls, plans: tuple[str, ...]) -> tuple[str, ...]:
        for digest in plans:
            if not _DIGEST.fullmatch(digest):
                raise Mistake("must be digests", 'copy "sha256:..." from: federation check PLAN')
        return plans

    @field_validator("tasks")
    @classmethod
    def _names(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for task in tasks:
            if task != "tabular-classification" and not CODE.fullmatch(task):
                raise Mistake("must be names of tasks", '"tabular-classification" or "package.module:name"')
        return tasks

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.plans and not self.tasks:
            raise Mistake("approves no plan and no task", 'add a line such as: plans = ["sha256:..."]')
        if ("none" in self.noise) != math.isinf(self.epsilon_max):
            hint = 'write epsilon_max = inf beside "none" in noise, or a number and no "none"'
            raise Mistake("and noise contradict each other", hint, ("epsilon_max",))
        return self


class Identity(Table):
    """`[site]`: who the site is, and where it keeps keys and journal, seen from the site file's folder."""

    id: str = Field(examples=['"cleveland"'])
    keys: str = Field(min_length=1, examples=['"keys/"'])
    journal: str = Field(min_length=1, examples=['"journal.sqlite"'])

    @field_validator("id")
    @classmethod
    def _plain(cls, name: str) -> str:
        if not SITE_ID.fullmatch(name):
            raise Mistake("cannot be a site's id", "use letters, digits, dots, - and _, up to 64")
        return name


class SiteData(Table):
    """`[data]`: the records. `pool` is the population whose budget they spend; `size` is public."""

    source: str = Field(min_length=1, examples=['"cleveland.csv"'])
    pool: str = Field(min_length=1, examples=['"cardiology-patients-2024"'])
    size: int | None = Field(default=None, ge=1, lt=1 << 53, examples=["300"])

    @field_validator("source")
    @classmethod
    def _file(cls, source: str) -> str:
        if "://" in source:
            raise Mistake("is a database, which cannot be read yet", "export the query to a CSV file")
        return source


class Consortium(Table):
    """`[consortium]`: the keys that may sign a roster, how many of them must have, and the oldest one accepted."""

    keys: Texts = Field(min_length=1, examples=['["64 hexadecimal digits"]'])
    quorum: int = Field(ge=1, le=1000, examples=["1"])
    serial: int = Field(default=0, ge=0, lt=1 << 53, examples=["3"])

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if not all(_KEY.fullmatch(key) for key in self.keys) or len(set(self.keys)) < len(self.keys):
            raise Mistake("must be distinct public keys", "copy them from the .pub files", ("keys",))
        if self.quorum > len(self.keys):
            raise Mistake(
                f"is more than the {len(self.keys)} keys", "pin more keys, or lower it", ("quorum",)
            )
        return self


class Endpoint(Table):
    """`[server]`: where the coordinator is, and the certificate that it must show."""

    address: str = Field(min_length=1, examples=['"fed.example.org:8443"'])
    certificate: str = Field(min_length=1, examples=['"ca.crt"'])


class _Tables(Table):
    site: Identity = Field(examples=["[site]"])
    data: SiteData = Field(examples=["[data]"], repr=False)  # a source may be a URL with a password
    policy: Policy = Field(examples=["[policy]"])
    consortium: Consortium | None = Field(default=None, examples=["[consortium]"])
    server: Endpoint | None = Field(default=None, examples=["[server]"])


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


def load_site(path: Path) -> SiteFile:
    """The site file at a path. PlanError names line and key."""
    tables = validate(_Tables, read(path))
    folder = path.parent
    return SiteFile(
        id=tables.site.id,
        keys=folder / tables.site.keys,
        journal=folder / tables.site.journal,
        data=tables.data,
        policy=tables.policy,
        consortium=tables.consortium,
        server=tables.server,
    )


def consent(plan: Plan, policy: Policy) -> None:
    """Return if the policy allows the plan; a PolicyViolation names rule, value, limit and way out."""
    privacy = plan.privacy
    if privacy.noise not in policy.noise:
        allowed = ", ".join(policy.noise)
        raise _violation("noise", f"the plan's privacy.noise is {privacy.noise}, allowed: {allowed}")
    if (privacy.epsilon or math.inf) > policy.epsilon_max:
        raise _violation(
            "epsilon_max", f"the plan's privacy.epsilon is {privacy.epsilon}, the limit {policy.epsilon_max}"
        )
    if (privacy.delta or 0.0) > policy.delta_max:
        raise _violation(
            "delta_max", f"the plan's privacy.delta is {privacy.delta}, the limit {policy.delta_max}"
        )
    if plan.cohort.minimum < policy.cohort_minimum:
        raise _violation(
            "cohort_minimum",
            f"the plan's cohort.minimum is {plan.cohort.minimum}, the limit {policy.cohort_minimum}",
        )
    if plan.digest not in policy.plans and plan.code not in policy.tasks:
        raise PolicyViolation(
            f"policy.plans: the plan {plan.digest} is not approved",
            hint="read the plan, then add its digest to policy.plans",
        )


def _violation(rule: str, message: str) -> PolicyViolation:
    return PolicyViolation(
        f"policy.{rule}: {message}", hint=f"agree on another plan, or change policy.{rule}"
    )
