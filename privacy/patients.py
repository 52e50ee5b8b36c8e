"""The same patient at several sites: what the run as a whole reveals about them.

A run's epsilon is for one record at one site. A patient with a record at each of h sites is touched h times:

* Noise at every site: h mechanisms with independent noise, which compose; T steps become h T.
* One noise on the sum over the sites: each step adds B ~ Binomial(h, q) of the patient's clipped gradients, so a
  step is a Gaussian mechanism whose sensitivity is B, at worst with all of them in one direction: a mixture of
  Gaussians (Ganesh 2024, "Tight group-level DP guarantees for DP-SGD with sampling via mixture of Gaussians
  mechanisms"). With q = 1 this is plain group privacy, a noise multiplier of z / h.
"""

from __future__ import annotations

from math import comb

from privacy.accountant import check_delta, epsilon
from privacy.events import GaussianEvent

GRID = 1e-3  # spacing of the discretized privacy losses; rounding is pessimistic


def epsilon_at_sites(event: GaussianEvent, sites: int, delta: float, *, summed: bool) -> float:
    """Epsilon of a patient with one record at each of `sites` sites.

    `event` is what one record is charged. `summed`: the noise is on the sum over sites, not at each of them.
    """
    check_delta(delta)
    z, rate, count = event.noise_multiplier, event.sample_rate, event.count
    if sites == 1 or not summed:
        return epsilon([GaussianEvent(z, rate, count * sites)], delta)
    if rate == 1:
        return epsilon([GaussianEvent(z / sites, rate, count)], delta)
    from dp_accounting.pld import privacy_loss_distribution as pld

    chances = [comb(sites, hits) * rate**hits * (1 - rate) ** (sites - hits) for hits in range(sites + 1)]
    step = pld.from_mixture_gaussian_mechanism(
        z, list(range(sites + 1)), chances, value_discretization_interval=GRID
    )
    return float(step.self_compose(count).get_epsilon_for_delta(delta))
