"""Privacy units: converts an event into its cost for a record, a patient or a whole site.

A plan is calibrated for one unit at one site. The same releases touch every other unit in the data, more or less
often, so each kind of unit has an epsilon of its own:

* A **part** of what a plan protects as a whole (a record of a patient, a patient or a record of a site) does not
  add or remove the whole: it puts another whole in its place. Its clipped vector may turn from v to -v, so a
  release moves by twice the sensitivity, and without sampling z becomes z / 2. With sampling it costs no more than
  a removal and an addition, each with half of the noise: a `ReplacedEvent`, and the proof is below.
* A **patient** with up to m records at a site, sampled record by record, moves a release by Binomial(m, q) clipped
  gradients, at worst all in one direction: a mixture of Gaussians (Ganesh 2024, "Tight group-level DP guarantees
  for DP-SGD with sampling via mixture of Gaussians mechanisms"). With q = 1 this is group privacy, a noise
  multiplier of z / m. That epsilon is more than m times the record's at the same delta would suggest.
* At h **sites** the same patient is touched h times. Noise at every site: h mechanisms with noise of their own,
  which compose, so T releases become h T. One noise on the sum over sites: up to h m gradients in each release.
* A **client**, all of a site's data at once, is bounded only by a plan that clips its update as a whole.

The worst case is what is charged and reported: declared numbers are upper bounds, never averages.

**Replaced: the proof.** In units of the sensitivity, let one release be S + B v + N with the old whole and
S + B' w + N with the new one, where |v| <= 1, |w| <= 1, B and B' are 1 with probability q and otherwise 0, N is
normal with variance z^2, and S is what everybody else contributes. N is N1 + N2, independent, each of variance
z^2 / 2. So
    S + B v  + N  is the sum of  S + B v + N1  and         N2,
    S + B' w + N  is the sum of  S       + N1  and  B' w + N2.
To add up two results is post-processing. The first pair of results is a release that loses a unit, the second one
that gains a unit, each with noise multiplier z / sqrt 2 and with coins and noise of its own: they compose, as
releases of two mechanisms do. T releases, each chosen after seeing the ones before, are T removals composed with T
additions: at Renyi order a, T (D_a(P || Q) + D_a(Q || P)), where the worse of the two directions would be charged
2 T times. Turned around, both change places, so one direction is all. With q = 1 that is 2 T Gaussian mechanisms at
z / sqrt 2, mu^2 = 4 T / z^2: exactly z / 2, which v = -w attains. A group (the same patient at several sites of one
sum) replaces up to g contributions, each with a coin of its own; B v becomes a sum of g such terms, and nothing
else changes. A part that is all of the whole (w = 0) is a case of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from privacy.accounting.events import Event, GaussianEvent, NonPrivateEvent, ReplacedEvent, event_from_json
from privacy.accounting.filters import UNSAMPLED, Budget, Filter, Foreseen
from privacy.errors import UnsafeParameters, UnsupportedEvent

Unit = Literal["record", "patient", "client"]
UNITS: tuple[Unit, ...] = get_args(Unit)


@dataclass(frozen=True)
class Patient:
    """The most that one person may hold: `records` at a site, and as many at each of `sites` sites."""

    records: int = 1
    sites: int = 1

    def __post_init__(self) -> None:
        for name in ("records", "sites"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise UnsafeParameters(f"the {name} of a patient must be a whole number of at least 1")


@dataclass(frozen=True)
class Charge:
    """What a plan asks: the event of one `protects` at one site. `summed`: the noise is on the sum over sites."""

    event: Event
    protects: Unit
    summed: bool
    whole: int = 0
    """Where a plan has folds, how many releases it makes: what every unit is charged but the one that it protects.

    A unit of that kind is in one fold, whatever else is in the data, and so in `event.count` of these releases only
    (`clients.data.folds` has the proof). 0: in all of them.
    """

    def to(self, unit: Unit, patient: Patient = Patient()) -> Event:
        """The event that one `unit` is charged; NonPrivateEvent where the plan bounds nothing for it."""
        asked = self.event
        if not isinstance(asked, GaussianEvent) or (unit == "client" and self.protects != "client"):
            return NonPrivateEvent()
        if self.whole and not self._is_in_one(unit, patient, asked):
            asked = replace(asked, count=self.whole)
        event: GaussianEvent | ReplacedEvent = asked
        if self.protects not in (unit, "record"):
            event = ReplacedEvent(asked.noise_multiplier, asked.sample_rate, asked.count, asked.group)
        if unit != "patient":
            return event
        records = patient.records if self.protects == "record" else 1
        if self.summed:
            return replace(event, group=event.group * records * patient.sites)
        return replace(event, group=event.group * records, count=event.count * patient.sites)

    def _is_in_one(self, unit: Unit, patient: Patient, event: GaussianEvent) -> bool:
        """Whether the count of one fold covers a unit, where a plan has folds.

        Nothing shows that a person has one id at several sites, and with two ids is in two folds. Where every site
        adds noise of its own, each is charged by itself. In a sum without sampling a person at h sites who is n_i
        times in fold i moves the training without i by h - n_i and the evaluation of i by n_i. These add up as
        squares, which are convex: the sum is largest where all are in one fold. Of a sample that is not shown.
        """
        is_sampled = unit == "patient" and patient.sites > 1 and self.summed and event.sample_rate < 1
        return unit == self.protects != "client" and not is_sampled

    def with_count(self, count: int) -> Charge:
        """The same for another number of releases."""
        if not isinstance(self.event, GaussianEvent):
            return self
        return replace(self, event=replace(self.event, count=count))

    def of(self, part: int, rounds: int) -> Charge:
        """What `part` of as many `rounds` cost, whichever they are: no unit is in more of them than are planned."""
        if not isinstance(self.event, GaussianEvent):
            return self
        count = (self.whole or self.event.count) // rounds * part
        if not self.whole:
            return self.with_count(count)
        return replace(self.with_count(min(count, self.event.count)), whole=count)

    def to_json(self) -> dict[str, object]:
        """Plain data."""
        plain: dict[str, object] = {
            "event": self.event.to_json(),
            "protects": self.protects,
            "summed": self.summed,
        }
        return {**plain, "whole": self.whole} if self.whole else plain


@dataclass(frozen=True)
class Limit:
    """What one unit of a population may ever be charged. `patient` says how much one patient may hold.

    `foreseen` is no part of the limit: it fixes the filter of a limit that is new, and nothing later.
    """

    unit: Unit
    budget: Budget
    patient: Patient = Patient()
    foreseen: Foreseen | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise UnsafeParameters("a limit is per record, patient or client")

    def stricter(self, other: Limit) -> Limit:
        """What satisfies both limits of one unit. ValueError for limits of different units."""
        if self.unit != other.unit:
            raise ValueError("limits of different units do not compare")
        one, two, people = self.budget, other.budget, (self.patient, other.patient)
        budget = Budget(min(one.epsilon, two.epsilon), min(one.delta, two.delta))
        patient = Patient(max(each.records for each in people), max(each.sites for each in people))
        return Limit(self.unit, budget, patient, self.foreseen or other.foreseen)

    def frozen(self, first: Event) -> Filter:
        """The filter of this limit where it is new: `first` is what the pool is charged first.

        Of a site as a whole nothing is ever a sample, since the server sees who takes part.
        """
        return Filter.frozen(self.budget, first, UNSAMPLED if self.unit == "client" else self.foreseen)

    def is_looser(self, than: Limit) -> bool:
        """Whether this allows anything that `than` does not: a larger budget, or a milder word on a patient.

        It is enough that one of them grows: which budget is the larger would otherwise depend on the plan.
        """
        return self.stricter(than) != self


def unit_named(name: object) -> Unit | None:
    """The unit of this name, or None."""
    return next((unit for unit in UNITS if unit == name), None)


def charge_from_json(data: Mapping[str, object]) -> Charge:
    """The charge that `to_json` wrote. UnsupportedEvent for anything else, UnsafeParameters out of range."""
    match dict(data):
        case {"event": Mapping() as event, "protects": str(name), "summed": bool(summed), **rest} if (
            rest.keys() <= {"whole"}
        ):
            asked = event_from_json(event)  # what is replaced follows from a charge; no plan asks for it
            unit, whole = unit_named(name), rest.get("whole", 0)
            if unit and not isinstance(asked, ReplacedEvent) and _is_whole(whole, asked, "whole" in rest):
                return Charge(asked, unit, summed, whole)  # type: ignore[arg-type]  # checked there
    raise UnsupportedEvent("a charge of a form that this version does not know", hint="install a newer one")


def _is_whole(whole: object, event: Event, is_told: bool) -> bool:
    """Whether so many releases may be those of which `event` counts a part."""
    if not is_told:
        return True
    return isinstance(event, GaussianEvent) and type(whole) is int and 0 < event.count <= whole <= 10**9
