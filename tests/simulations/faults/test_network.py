"""The network of a story: who hears what, and what the clock says."""

from __future__ import annotations

from federation.round.messages import Frame, Kind
from federation.round.transport import Arrival, Deadline, Outgoing
from simulations.faults.network import Network
from simulations.faults.rules import Faults
from simulations.faults.story import Fate, Story

SITES = tuple(f"site{number:02d}" for number in range(40))


def frame(kind: Kind, number: int = 1) -> bytes:
    return Frame(kind, bytes(16), number, 1).to_bytes()


class World:
    """A network of one story whose sites write down what they heard."""

    def __init__(self, **faults: float) -> None:
        self.story = Story.about(Faults(seed=1, **faults), SITES, 5)  # type: ignore[arg-type]
        self.heard: list[tuple[str, Kind]] = []
        self.network = Network(self.story, {site: self._site(site) for site in SITES})
        self.network.begins(1)

    def _site(self, name: str):  # type: ignore[no-untyped-def]
        def receive(data: bytes) -> bytes:
            self.heard.append((name, Frame.header(data).kind))
            return data

        return receive

    def one(self, fate: Fate, number: int = 1) -> str:
        return next(site for site in SITES if self.story.fate(site, number) is fate)

    def ask(self, site: str, kind: Kind, timeout: float = 0.0) -> Arrival | Deadline:
        self.network.send([Outgoing(site, frame(kind))])
        return self.network.next(timeout)


def test_a_site_that_drops_out_has_heard_the_params_and_nothing_after() -> None:
    world = World(dropouts=0.3)
    site = world.one(Fate.DROPPED)
    assert isinstance(world.ask(site, Kind.INVITE), Arrival)
    assert isinstance(world.ask(site, Kind.BROADCAST, 10), Deadline)
    assert isinstance(world.ask(site, Kind.CERTIFICATE, 10), Deadline)
    assert [kind for name, kind in world.heard if name == site] == [Kind.INVITE, Kind.BROADCAST]
    assert world.network.reached == {site}
    assert world.network.clock() == 20


def test_a_site_that_is_lost_after_its_vote_has_answered_the_params() -> None:
    world = World(after_vote=0.3, training_seconds=2.0)
    site = world.one(Fate.VOTED)
    assert isinstance(world.ask(site, Kind.BROADCAST, 10), Arrival)
    assert world.network.clock() == 2
    assert isinstance(world.ask(site, Kind.CERTIFICATE, 10), Deadline)
    assert isinstance(world.ask(site, Kind.SURVIVORS, 10), Deadline)


def test_a_site_that_is_silent_answers_the_newest_greeting_when_the_round_is_over() -> None:
    world = World(dropouts=0.3)
    site = next(
        name for name in SITES if [world.story.fate(name, at) for at in (1, 2)] == [Fate.DROPPED, Fate.FINE]
    )
    world.ask(site, Kind.BROADCAST)
    for _ in range(2):
        world.ask(site, Kind.HELLO)
    assert (site, Kind.HELLO) not in world.heard
    world.network.begins(2)
    answer = world.network.next(0)
    assert isinstance(answer, Arrival) and answer.sender == site
    assert world.heard.count((site, Kind.HELLO)) == 1
    assert isinstance(world.network.next(0), Deadline)


def test_a_straggler_answers_nothing_before_it_has_trained() -> None:
    world = World(stragglers=0.5, delay_seconds=30, training_seconds=1.0)
    site = next(name for name in SITES if world.story.delay(name, 1) > 10)
    late = 1 + world.story.delay(site, 1)
    world.network.send([Outgoing(site, frame(Kind.BROADCAST))])
    world.network.send([Outgoing(site, frame(Kind.HELLO))])
    assert isinstance(world.network.next(5), Deadline)
    assert world.network.clock() == 5
    answers = [world.network.next(100) for _ in range(2)]
    assert [Frame.header(each.data).kind for each in answers if isinstance(each, Arrival)] == [
        Kind.BROADCAST,
        Kind.HELLO,
    ]
    assert world.network.clock() == late


def test_answers_come_in_the_order_of_the_clock_and_no_time_passes_for_nothing() -> None:
    world = World(stragglers=1.0, delay_seconds=30)
    world.network.send([Outgoing(site, frame(Kind.BROADCAST)) for site in SITES])
    senders, last = [], 0.0
    while isinstance(answer := world.network.next(100), Arrival):
        senders.append(answer.sender)
        assert world.network.clock() >= last
        last = world.network.clock()
    assert sorted(senders, key=lambda site: world.story.delay(site, 1)) == senders
    assert world.network.clock() == last, "all have answered: there is nothing to wait for"


def test_after_a_wait_all_who_have_joined_are_there() -> None:
    world = World(dropouts=0.4, restarts=0.3, away_rounds=4, late=0.5, late_rounds=3)
    world.network.begins(2)
    assert len(world.network.addresses()) < len(SITES)
    world.network.begins(2, 30.0)
    joined = [site for site in SITES if world.story.has_joined(site, 2)]
    assert list(world.network.addresses()) == joined
    assert world.network.clock() == 30
    for site in joined:
        assert isinstance(world.ask(site, Kind.BROADCAST, 10), Arrival)


def test_whoever_is_away_or_late_is_out_of_reach() -> None:
    world = World(restarts=0.3, away_rounds=2, late=0.3, late_rounds=3)
    for number in range(1, 7):
        world.network.begins(number)
        there = [site for site in SITES if world.story.fate(site, number) is not Fate.AWAY]
        assert list(world.network.addresses()) == there
    assert len(there) == len(SITES)
