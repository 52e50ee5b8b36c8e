"""The rounds of a run with faults, in which sums are computed and nothing is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from torch import Tensor

from federation.plan.plan import Plan
from federation.report.receipt import Receipt
from federation.round.messages import Frame, Kind
from federation.round.parts import Sum
from federation.round.terms import Terms
from federation.round.transport import Arrival, Outgoing
from federation.sums.state import ServerState
from privacy.roster import Roster
from server.evaluation import Evaluated
from server.memory.heads import Heads
from server.playing import Members
from server.run import ServerNoise
from server.sessions import too_few
from server.voice import Voice
from simulations.faults.guests import Guests, kind_of
from simulations.faults.network import Network
from simulations.faults.playing import Rounds
from simulations.faults.sketch import Greetings, Sketched, Stage
from simulations.faults.story import Story

Charge = Callable[
    [Terms, Tensor, frozenset[str]], None
]  # a round, its params, and who of its cohort got them


class SumOver(Protocol):
    """Computes a sum."""

    def __call__(
        self, terms: Terms, params: Tensor, survivors: tuple[str, ...], charged: frozenset[str]
    ) -> Sum:
        """The sum over `survivors` of a cohort, of which `charged` got the params."""


@dataclass(frozen=True)
class _Quiet:
    """What a `Voice` would speak for; it says nothing."""

    plan: Plan
    run: bytes
    sites: Roster
    key: Ed25519PrivateKey = field(repr=False)


class Computed:
    """What is left of a run from a state on. `charge` is told of an attempt that has no sum."""

    def __init__(
        self,
        plan: Plan,
        state: ServerState,
        members: Members,
        roster: Roster,
        story: Story,
        sum_over: SumOver,
        charge: Charge,
        stream: ServerNoise,
    ) -> None:
        self._plan, self._members, self._roster, self._done = plan, members, roster, state.round
        self._sum_over, self._charge = sum_over, charge
        self._key = Ed25519PrivateKey.generate()
        self._guests = Guests(plan)
        answers = {member.site: partial(self._guests.answer, member.site) for member in members}
        self._network = Network(story, answers, kind_of)
        self._rounds = Rounds(self._network, self._opens, stream, state, again=True)

    def __iter__(self) -> Iterator[tuple[ServerState, Receipt]]:
        """Like `run_vectorized`."""
        for state, receipt in self._rounds:
            nothing: dict[str, int] = {}  # no message is sent: there are no bytes to count, not even zero
            yield state, receipt.model_copy(update={"bytes_up": nothing, "bytes_down": nothing})

    def evaluate(self) -> Evaluated:
        """Like `evaluate_vectorized`."""
        return self._rounds.evaluate()

    def _opens(self, state: ServerState, network: Network) -> Sketched:
        reach = frozenset(network.addresses())
        answered = self._greeted(network, reach, state)
        here = tuple(member for member in self._members if member.site in answered)
        if len(here) < self._plan.cohort.minimum:
            raise too_few(self._plan, len(here), [])
        voice = cast(Voice, _Quiet(self._plan, state.run, self._roster, self._key))
        addresses = {site: site for site in sorted(answered)}
        lines = Greetings(network, addresses, voice, Heads(self._roster), network.clock)
        lines.greeted = reach
        return Sketched(state, here, lines, stage=Stage(lines, self._guests, self._sum, self._void))

    def _greeted(self, network: Network, reach: frozenset[str], state: ServerState) -> frozenset[str]:
        """Whoever within reach answers a greeting in time, as in `open_lines`."""
        hello = Frame(Kind.HELLO, state.run, state.round, state.attempt).to_bytes()
        network.send(Outgoing(site, hello) for site in sorted(reach))
        waiting, ends = set(reach), network.clock() + self._plan.cohort.deadline_seconds
        while waiting:
            arrival = network.next(max(0.0, ends - network.clock()))
            if not isinstance(arrival, Arrival):
                break
            waiting.discard(arrival.sender)
        return reach - waiting

    def _sum(self, terms: Terms, survivors: tuple[str, ...]) -> Sum:
        return self._sum_over(terms, self._params(terms), survivors, frozenset(self._network.reached))

    def _void(self, terms: Terms) -> None:
        if terms.round > self._done and self._network.reached:
            self._charge(terms, self._params(terms), frozenset(self._network.reached))

    def _params(self, terms: Terms) -> Tensor:
        """What sites are sent: what they train on, or to be evaluated the model that the run ends with."""
        state = self._rounds.state
        return state.model if terms.is_evaluation else state.sent
