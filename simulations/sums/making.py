"""What adds up the sites of a world."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from clients.site import Site
from clients.training.isolation import Tally
from clients.training.work import Trainer, site_stream
from federation.plan.plan import Plan
from simulations.sums.adding import Adding, Begins, all_at_once
from simulations.world import World


def adding_of(
    plan: Plan,
    world: World,
    own: Mapping[str, Site] = MappingProxyType({}),
    *,
    device: str = "auto",
    begins: Begins = lambda _terms, _params, _charged: None,
) -> Adding:
    """Adds up the sites of a world under this plan; `own` are those that go by rules of their own."""
    tally = Tally()
    trainers = {
        name: Trainer(world.task, data, partial(site_stream, plan, name), world.held_out.get(name), tally)
        for name, data in world.training.items()
    }
    works = all_at_once(plan, world.task, world.training, trainers, device, tally)
    return Adding(works, own, tally, begins)
