"""A site that sleeps costs a grace, not the deadline of every round; and whoever is back takes part again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from clients.site import Site
from federation.errors import TooFewSurvivors
from federation.plan.plan import Plan
from federation.report.receipt import Receipt
from federation.round.cohort import sample
from federation.round.messages import Frame, Kind
from federation.sums.state import ServerState, begin
from server.attendance.patience import KEY_GRACE_SHARE, TRAINING_GRACE_SHARE
from simulations.world import World
from tests.stories.clocked import Clocked, Takes, tell_time
from tests.worlds import NAMES, by_hand, close, opened, plan_of, rounds_of, start

WHOLE = 60.0
QUICK, TRAINING = 0.2, 1.0  # seconds of an honest site
PLAN = plan_of(rounds=10, deadline_seconds=WHOLE, dropouts=1)
REST = tuple(name for name in NAMES if name != "cedar")


def play(
    world: World, sites: Mapping[str, Site], takes: Takes, monkeypatch: pytest.MonkeyPatch
) -> tuple[ServerState, list[Receipt], Clocked]:
    """All rounds of a plan on the clock of a network; its time begins when the sites have consented."""
    network = Clocked({name: site.receive for name, site in sites.items()}, takes)
    tell_time(network, monkeypatch)
    state, receipts = begin(world.plan, bytes(range(16)), start(world.plan)), []
    for after, receipt in rounds_of(world, network, state):
        state = after
        receipts.append(receipt)
    return state, receipts, network


def honest(frame: Frame) -> float:
    return TRAINING if frame.kind is Kind.BROADCAST else QUICK


def asleep(site: str, since: Kind, number: int = 1, until: float = float("inf")) -> Takes:
    """One site gets nothing any more from a step of a round on, until the clock shows a time."""
    fell = [False]

    def takes(name: str, frame: Frame) -> float | None:
        if name != site:
            return honest(frame)
        fell[0] |= (frame.round, frame.kind) >= (number, since) and frame.kind is not Kind.HELLO
        return None if fell[0] else honest(frame)

    return takes


@pytest.mark.parametrize("since", [Kind.INVITE, Kind.ADVERTS, Kind.BROADCAST, Kind.CERTIFICATE])
def test_a_site_that_sleeps_costs_one_grace_in_a_whole_run(
    since: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(PLAN, tmp_path, 5) as (world, sites):
        state, receipts, network = play(world, sites, asleep("cedar", since), monkeypatch)
    first = NAMES if since is Kind.CERTIFICATE else REST
    assert [receipt.survivors for receipt in receipts] == [first, *[REST] * 9]
    assert close(state.params, by_hand(PLAN, world.training, [first, *[REST] * 9]))
    calm = 2 * QUICK + 10 * (TRAINING + QUICK) + QUICK  # with a vote
    grace = WHOLE * (TRAINING_GRACE_SHARE if since is Kind.BROADCAST else KEY_GRACE_SHARE)
    assert network.now - QUICK < calm + grace + 2 * QUICK
    asked = {(frame.round, frame.kind) for name, frame in network.sent if name == "cedar"}
    assert max(number for number, _ in asked) <= 2, "it is not asked any more"


def test_the_round_that_was_prepared_goes_on_without_the_sleeper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(PLAN, tmp_path, 5) as (world, sites):
        _, receipts, network = play(world, sites, asleep("cedar", Kind.BROADCAST), monkeypatch)
    invited = [frame.round for name, frame in network.sent if name == "ash" and frame.kind is Kind.INVITE]
    assert invited == [1], "the keys of every later round travelled with the one before"
    assert receipts[1].cohort == NAMES, "it was asked to the second before it fell asleep"
    assert receipts[2].cohort == REST


def test_a_site_that_wakes_up_takes_part_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is greeted again when the deadline has passed since the last greeting, and nobody waits for it."""
    plan = plan_of(rounds=12, deadline_seconds=WHOLE, dropouts=1)
    fell = [False]

    def takes(name: str, frame: Frame) -> float | None:
        train = 20.0 if frame.kind is Kind.BROADCAST else QUICK
        if name != "cedar":
            return train
        fell[0] |= (frame.round, frame.kind) == (2, Kind.BROADCAST)
        return None if fell[0] and frame.round < 5 and network.now < 100 else train

    with opened(plan, tmp_path, 5) as (world, sites):
        network = Clocked({name: site.receive for name, site in sites.items()}, takes)
        tell_time(network, monkeypatch)
        state = begin(plan, bytes(range(16)), start(plan))
        survivors = [receipt.survivors for _, receipt in rounds_of(world, network, state)]
    there = [cohort == NAMES for cohort in survivors]
    assert there[0]
    assert not there[1]
    assert there[-1]
    assert there == [True, *[False] * (there.count(False)), *[True] * (11 - there.count(False))]


def test_a_site_that_answers_greetings_and_nothing_else_costs_ever_rarer_graces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def takes(name: str, frame: Frame) -> float | None:
        return None if name == "cedar" and frame.kind is not Kind.HELLO else honest(frame)

    with opened(PLAN, tmp_path, 5) as (world, sites):
        _, receipts, network = play(world, sites, takes, monkeypatch)
    assert [receipt.survivors for receipt in receipts] == [REST] * 10
    waited = [receipt.seconds > WHOLE * KEY_GRACE_SHARE for receipt in receipts]
    assert sum(waited) <= 4, "after the 1st, 2nd, 4th and 8th round at the latest"
    assert network.now < 10 * (TRAINING + 4 * QUICK) + 4 * (WHOLE * KEY_GRACE_SHARE + 1)


def test_a_site_that_always_comes_last_cannot_stretch_the_others_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Graces follow from what enough sites take: one that answers just before the deadline is not waited for."""

    def takes(name: str, frame: Frame) -> float | None:
        return 0.9 * WHOLE if name == "cedar" and frame.kind is not Kind.HELLO else honest(frame)

    with opened(PLAN, tmp_path, 5) as (world, sites):
        _, receipts, network = play(world, sites, takes, monkeypatch)
    assert [receipt.survivors for receipt in receipts] == [REST] * 10
    assert network.now < 3 * WHOLE


def test_a_site_that_needs_twice_the_others_time_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(rounds=2, deadline_seconds=WHOLE, dropouts=1)

    def takes(name: str, frame: Frame) -> float | None:
        slow = 2 if name == "cedar" else 1
        return slow * (25.0 if frame.kind is Kind.BROADCAST else 6.0)

    with opened(plan, tmp_path, 5) as (world, sites):
        _, receipts, _ = play(world, sites, takes, monkeypatch)
    assert [receipt.survivors for receipt in receipts] == [NAMES] * 2


def test_fewer_than_a_sum_needs_are_waited_for_to_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(rounds=1, deadline_seconds=WHOLE, dropouts=1)

    def takes(name: str, frame: Frame) -> float | None:
        late = name in ("cedar", "elm") and frame.kind is Kind.BROADCAST
        return 0.95 * WHOLE if late else honest(frame)

    with opened(plan, tmp_path, 5) as (world, sites):
        _, receipts, _ = play(world, sites, takes, monkeypatch)
    assert [receipt.survivors for receipt in receipts] == [NAMES]


def test_two_that_sleep_from_the_start_make_the_cohort_smaller_before_anybody_is_charged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more than the plan tolerates: the attempt is void, and the next one is without both."""
    plan = plan_of(rounds=3, deadline_seconds=WHOLE, noise="distributed", dropouts=1)

    def takes(name: str, frame: Frame) -> float | None:
        is_up = name not in ("cedar", "elm") or (frame.kind is Kind.HELLO and network.now < 1)
        return honest(frame) if is_up else None

    with opened(plan, tmp_path, 5) as (world, sites):
        network = Clocked({name: site.receive for name, site in sites.items()}, takes)
        tell_time(network, monkeypatch)
        state = begin(plan, bytes(range(16)), start(plan))
        receipts = [receipt for _, receipt in rounds_of(world, network, state)]
        rest = ("ash", "birch", "dogwood")
        assert [receipt.survivors for receipt in receipts] == [rest] * 3
        assert [len(receipt.void) for receipt in receipts] == [1, 0, 0]
        assert receipts[0].void[0].charged == ()
        assert network.now < WHOLE + 3 * (TRAINING + 4 * QUICK) + 2
        begun = {name: site.journal.rounds_begun(state.run.hex()) for name, site in sites.items()}
        assert begun == dict.fromkeys(rest, 3) | {"cedar": 0, "elm": 0}


def test_two_that_fall_asleep_after_the_charge_cost_a_round_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, fell = plan_of(rounds=3, deadline_seconds=WHOLE, noise="distributed", dropouts=1), [False]

    def takes(name: str, frame: Frame) -> float | None:
        fell[0] |= frame.kind is Kind.BROADCAST
        return None if fell[0] and name in ("cedar", "elm") else honest(frame)

    with opened(plan, tmp_path, 5) as (world, sites):
        network = Clocked({name: site.receive for name, site in sites.items()}, takes)
        tell_time(network, monkeypatch)
        state = begin(plan, bytes(range(16)), start(plan))
        receipts = [receipt for _, receipt in rounds_of(world, network, state)]
        rest = ("ash", "birch", "dogwood")
        assert [receipt.survivors for receipt in receipts] == [(), rest, rest]
        lost = receipts[0]
        assert lost.lost is not None
        assert {site for site, why in lost.lost.items() if why == "silent"} == {"cedar", "elm"}
        assert len(lost.void) == 3, (
            "the same question is asked again, on the same charge, before a number is lost"
        )
        begun = {name: site.journal.rounds_begun(state.run.hex()) for name, site in sites.items()}
        assert begun == dict.fromkeys(rest, 3) | {"cedar": 0, "elm": 0}


def test_a_run_that_no_other_cohort_can_save_ends_and_says_who_was_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(rounds=3, deadline_seconds=WHOLE, dropouts=1)

    def takes(name: str, frame: Frame) -> float | None:
        gone = name in ("birch", "cedar", "elm") and network.now > 1
        return None if gone else honest(frame)

    with opened(plan, tmp_path, 5) as (world, sites):
        network = Clocked({name: site.receive for name, site in sites.items()}, takes)
        tell_time(network, monkeypatch)
        with pytest.raises(TooFewSurvivors, match=r"birch \(silent\), cedar \(silent\), elm \(silent\)"):
            list(rounds_of(world, network, begin(plan, bytes(range(16)), start(plan))))


SAMPLED: dict[str, Plan] = {
    "by rate": plan_of(rounds=6, size=None, **{"cohort.sample_rate": 0.9}, dropouts=1, noise="distributed"),
    "by size": plan_of(rounds=6, size=4, dropouts=1, noise="distributed"),
}


@pytest.mark.parametrize("how", SAMPLED)
def test_a_sampled_cohort_stays_as_it_was_drawn_but_for_who_is_away(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = SAMPLED[how]
    with opened(plan, tmp_path, 5) as (world, sites):
        _, receipts, _ = play(world, sites, asleep("cedar", Kind.INVITE), monkeypatch)
        for receipt in receipts[2:]:
            drawn = {member.site for member in sample(plan, world.members, receipt.round)} - {"cedar"}
            if how == "by size":
                assert drawn <= set(receipt.cohort)
                assert len(receipt.cohort) == 4
            elif len(drawn) >= plan.cohort.minimum:
                assert drawn == set(receipt.cohort)
            assert receipt.survivors == receipt.cohort
