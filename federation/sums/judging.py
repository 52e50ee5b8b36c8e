"""Judges an opened sum before anything is made of it: can honest sites have sent it?

Secure aggregation hides what a site sends, so nobody can look at one vector. But the bounds on all of them are
public, and so is the noise: a sum beyond both was made by a site that does not do what the plan says
(`federation.kinds.allowed`, docs/decisions/0021-what-a-sum-may-be.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from torch import Tensor

from federation.errors import SumRefused
from federation.kinds.allowed import Unlikely, unlikely_in
from federation.round.terms import Terms


def judge(terms: Terms, released: Iterable[Tensor], survivors: Collection[str]) -> Unlikely | None:
    """What is wrong with the sum of these survivors, as it was released in parts, where the plan has that reported.

    SumRefused where the plan refuses it, which is the default.
    """
    found = unlikely_in(released, terms.kind.allowed(terms.parties, survivors))
    if found is None:
        return None
    if terms.plan.server.unlikely_sum != "report":
        raise SumRefused(terms.round, found.check, found.ratio)
    return found
