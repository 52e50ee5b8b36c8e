"""The risk that is told is that of the mechanism itself: what others' code says, and never less than is true."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from privacy.accounting import pld
from privacy.accounting.events import Event, GaussianEvent, NonPrivateEvent, ReplacedEvent
from privacy.accounting.merged import merge
from privacy.accounting.pld import epsilon
from privacy.accounting.remembered import auditors, remembering
from privacy.accounting.risks import spent
from privacy.accounting.risks.charged import promised_risk, risk_by_epsilon, risk_for
from privacy.accounting.risks.epsilon import advantage
from privacy.accounting.risks.figures import Risk
from privacy.accounting.risks.recounted import recount_risk
from privacy.accounting.risks.spent import risk_of
from privacy.accounting.units import Charge, Patient
from tests.privacy.accounting.test_remembered import Notebook

DELTA = 1e-5
DEMO = GaussianEvent(2.982, 0.2, 100)
# Advantage and TPR at FPR 1 %, .1 % and 10 %: measured from riskcal 1.5.1 with dp-accounting 0.6.0, by
# riskcal.analysis.get_advantage_from_pld and 1 - get_beta_from_pld(pld, alpha=...), where pld is
# from_gaussian_mechanism(z, sampling_prob=q, value_discretization_interval=1e-3).self_compose(count). On finer
# grids what it says of a TPR falls, below what the auditor's accountant proves from below.
BY_RISKCAL = {
    (2.982, 0.2, 100): (0.265915, 0.0517066, 0.00853549, 0.276418),
    (1.0, 0.01, 1000): (0.161098, 0.0291507, 0.00407001, 0.194254),
    (5.0, 0.05, 300): (0.0696572, 0.0158043, 0.00179301, 0.134459),
}
KINDS: dict[str, tuple[Event, ...]] = {
    "sampled": (DEMO,),
    "with an evaluation": (DEMO, GaussianEvent(4.0, 1.0, 1)),
    "a group": (GaussianEvent(2.982, 0.2, 100, 3),),
    "replaced": (ReplacedEvent(4.0, 0.2, 40),),
    "two runs": (GaussianEvent(5.0, 0.05, 30), GaussianEvent(4.0, 0.1, 20)),
    "hardly anything": (GaussianEvent(50.0, 0.1, 10),),
    "unsampled": (GaussianEvent(3.0, 1.0, 4),),
}


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    spent._risk.cache_clear()
    yield
    spent._risk.cache_clear()


@pytest.mark.parametrize("of", BY_RISKCAL)
def test_it_is_what_riskcal_says(of: tuple[float, float, int]) -> None:
    """DP-65: by other people's code, on the same releases."""
    found, wanted = risk_of([GaussianEvent(*of)], DELTA), BY_RISKCAL[of]
    assert found is not None
    told = (found.advantage, *found.tpr_at_fpr.values(), found.reconstruction[0.1])
    for value, exact in zip(told, wanted, strict=True):
        assert value == pytest.approx(exact, rel=1e-3)


def test_it_is_what_riskcal_says_here() -> None:
    analysis = pytest.importorskip("riskcal.analysis")
    from dp_accounting.pld import privacy_loss_distribution

    one = privacy_loss_distribution.from_gaussian_mechanism(
        4.0, sampling_prob=0.1, value_discretization_interval=1e-3
    )
    total, found = one.self_compose(30), risk_of([GaussianEvent(4.0, 0.1, 30)], DELTA)
    assert found is not None
    assert found.advantage == pytest.approx(analysis.get_advantage_from_pld(total), rel=2e-3)
    for rate, value in found.tpr_at_fpr.items():
        assert value == pytest.approx(1 - analysis.get_beta_from_pld(total, alpha=rate), rel=2e-3)


def test_the_demo_plan_lets_an_attack_do_far_less_than_its_epsilon_would() -> None:
    found = risk_of([DEMO], DELTA)
    assert found is not None
    assert (round(found.advantage, 3), round(found.tpr_at_fpr[0.01], 3)) == (0.266, 0.052)
    assert advantage(epsilon([DEMO], DELTA), DELTA) == pytest.approx(0.905, abs=5e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_auditor_finds_it_true_and_close(kind: str) -> None:
    events = KINDS[kind]
    found, bounds = risk_of(events, DELTA), recount_risk(auditors(merge(events) or ()), DELTA)
    assert found is not None
    for name, value, low, high in zip(
        found.names, found.values, *(each.values for each in bounds), strict=True
    ):
        assert low <= value <= high * 1.005 + 1e-6, name
        assert high - low <= 0.01 * high + 1e-6, name


@pytest.mark.parametrize("kind", KINDS)
def test_it_never_says_more_than_epsilon_alone(kind: str) -> None:
    found, alone = risk_of(KINDS[kind], DELTA), risk_by_epsilon(epsilon(KINDS[kind], DELTA), DELTA)
    assert found is not None
    assert alone is not None
    for name, value, most in zip(found.names, found.values, alone.values, strict=True):
        assert value <= most * (1 + 1e-3), name


def test_more_releases_are_never_less_risk() -> None:
    each = [risk_of([GaussianEvent(2.0, 0.1, count)], DELTA) for count in (0, 5, 20, 80)]
    for less, more in pairwise(each):
        assert less is not None
        assert more is not None
        assert all(a <= b for a, b in zip(less.values, more.values, strict=True))


def test_nothing_is_promised_where_epsilon_promises_nothing() -> None:
    vast = GaussianEvent(0.3, 0.9, 1000)
    assert risk_of([DEMO, NonPrivateEvent()], DELTA) is None
    assert promised_risk([vast], DELTA) is None
    assert risk_by_epsilon(1e4, DELTA) is None
    assert risk_for([Charge(DEMO, "record", True)], "client", Patient(), DELTA) is None
    assert risk_for([Charge(DEMO, "record", True)], "patient", Patient(1000, 1000), DELTA) is None
    loose = risk_of([vast], DELTA)
    assert loose is not None
    assert min(loose.values) > 0.99


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    pld._bound.cache_clear()
    known = Notebook()
    with remembering(known):
        yield known


def test_what_is_remembered_is_proved_and_needs_no_library(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = {kind: risk_of(events, DELTA) for kind, events in KINDS.items()}
    spent._risk.cache_clear()
    monkeypatch.setattr(spent, "spread", lambda *_: pytest.fail("the library was asked"))
    assert {kind: risk_of(events, DELTA) for kind, events in KINDS.items()} == first


def less(told: dict[str, Any]) -> None:
    told["tpr_at_fpr"]["0.01"] *= 0.995


def mean(told: dict[str, Any]) -> None:
    told["posterior"]["from"]["0.01"]["mean"] *= 0.99


def far(told: dict[str, Any]) -> None:
    told["advantage"] = 0.9


def odd(told: dict[str, Any]) -> None:
    told["reconstruction"] = {"0.1": 0.5}


@pytest.mark.parametrize("lie", [less, mean, far, odd])
def test_a_lie_in_a_memory_is_not_believed(notebook: Notebook, lie: Any) -> None:
    honest = risk_of([DEMO], DELTA)
    (page,) = [page for page in notebook.pages if "risk" in page]
    told: Any = copy.deepcopy(notebook.pages[page])
    lie(told)
    notebook.pages[page] = told
    spent._risk.cache_clear()
    found = risk_of([DEMO], DELTA)
    assert isinstance(found, Risk)
    assert found == honest
    assert notebook.pages[page] == found.to_json(), "and the memory is mended"
