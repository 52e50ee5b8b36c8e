"""What a plan's claim comes to: its noise multiplier, and the event that a site is charged for the whole run."""

from __future__ import annotations

from federation.plan import Plan
from privacy.calibration import noise_multiplier
from privacy.errors import UnsafeParameters
from privacy.events import Event, GaussianEvent, NonPrivateEvent


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


def sample_rate(plan: Plan) -> float:
    """The rate that amplification may count on: for clients 1, since the server sees which of them take part."""
    return plan.training.sample_rate if plan.privacy.unit == "record" else 1.0
