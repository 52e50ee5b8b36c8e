"""What a plan's claim comes to: its noise multiplier, and the event that a site is charged for the whole run."""

from __future__ import annotations

from federation.plan import Plan
from privacy.calibration import noise_multiplier
from privacy.errors import UnsafeParameters
from privacy.events import MAX_GROUP, Event, GaussianEvent, NonPrivateEvent
from privacy.units import Charge, Patient


def planned_noise_multiplier(plan: Plan) -> float:
    """Noise standard deviation over sensitivity that makes the whole run (epsilon, delta)-private."""
    privacy = plan.privacy
    if privacy.epsilon is None or privacy.delta is None:
        raise UnsafeParameters("a plan without privacy has no noise multiplier")
    return noise_multiplier(privacy.epsilon, privacy.delta, sample_rate(plan), plan.steps)


def noise_text(plan: Plan) -> str:
    """The noise multiplier as every party must have worked it out, digit for digit; "" where there is none."""
    return repr(planned_noise_multiplier(plan)) if plan.is_private else ""


def planned_event(plan: Plan) -> Event:
    """All that a site releases if the plan runs to its end."""
    if not plan.is_private:
        return NonPrivateEvent()
    return GaussianEvent(planned_noise_multiplier(plan), sample_rate(plan), plan.steps)


def planned_charge(plan: Plan) -> Charge:
    """The same, with whom it protects and where the noise is: what it costs every unit follows from that."""
    return Charge(planned_event(plan), plan.privacy.unit, plan.privacy.noise != "site")


def evaluation_event(plan: Plan) -> GaussianEvent:
    """The one release of figures about held-out records; UnsafeParameters if the plan publishes none."""
    epsilon, delta = plan.evaluation.epsilon, plan.privacy.delta
    if epsilon is None or delta is None:
        raise UnsafeParameters("a plan without evaluation.epsilon publishes no evaluation")
    return GaussianEvent(noise_multiplier(epsilon, delta, 1.0, 1), 1.0, 1)


def evaluation_charge(plan: Plan) -> Charge:
    """The same as it is charged to the people held out."""
    return Charge(evaluation_event(plan), plan.privacy.unit, plan.privacy.noise != "site")


def planned_patient(plan: Plan, sites: int) -> Patient:
    """The patient that the plan's report speaks of: where it says nothing, one at every one of `sites` sites."""
    records = plan.privacy.records_per_patient or 1
    return Patient(records, plan.privacy.sites_per_patient or max(1, min(sites, MAX_GROUP // records)))


def sample_rate(plan: Plan) -> float:
    """The rate that amplification may count on: for clients 1, since the server sees which of them take part."""
    return 1.0 if plan.privacy.unit == "client" else plan.training.sample_rate
