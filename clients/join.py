"""From a site file to a Site that can answer: what a hospital's own process does when it starts."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from federation.journal import Journal

from clients.data import read_data, split
from clients.policy import SiteFile, load_site
from clients.release import Trainer, site_stream
from clients.site import Site
from federation.errors import PlanError
from federation.messages import Member
from federation.plan import Plan, check_delta
from federation.task import build_task


def open_site(path: Path) -> Site:
    """The site of a site file, its journal open. Data is read when a plan has been consented to, not before."""
    rules = load_site(path)
    if rules.data.size is None:
        raise PlanError(
            "is missing",
            hint="declare in public about how many records you bring, such as size = 300; do not count them here",
            path=path,
            key="data.size",
        )
    journal = Journal.open(rules.journal, site=rules.id, pool=rules.data.pool)
    member = Member(rules.id, rules.data.size)
    return Site(member, rules.policy, journal, load=partial(load_trainer, rules, path.parent))


def load_trainer(rules: SiteFile, folder: Path, plan: Plan) -> Trainer:
    """The site's data as the plan's task reads them. DataError names row and column."""
    task = build_task(plan)
    data, _ = split(
        read_data(folder / rules.data.source, plan, task), plan.evaluation.holdout, plan.federation.seed
    )
    if plan.privacy.unit == "record":  # how many clients there are is not a site's to know
        check_delta(plan, len(data))
    return Trainer(task, data, partial(site_stream, plan, rules.id))
