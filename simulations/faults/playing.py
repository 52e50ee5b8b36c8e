"""The rounds of a run with faults: whoever joins late is let in between two rounds, as `federation serve` does.

Both engines play this. One opens real lines and has machines exchange messages; the other opens lines to nobody, on
which the same server loses the same sites (`sketch`), and computes the sums of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from federation.errors import TooFewSurvivors
from federation.report.receipt import Receipt
from federation.sums.state import ServerState
from privacy.ledger.heads import Head
from server.attendance.faults import Faults as Accused
from server.attendance.newcomers import Newcomers
from server.coordinator import SILENT
from server.evaluation import Evaluated
from server.playing import RESERVED, Setting
from server.run import Course, ServerNoise, evaluate, perhaps_charged, run
from server.serve import LEAST, is_worth_it
from server.sessions import open_lines
from server.transcripts import Transcripts
from server.voice import Voice
from simulations.faults.network import Network

_ENDS = (
    "; the simulation ends here, where sites were charged: a real coordinator ends with exit code 4, too, and asks "
    "them for this round again, at the same charge, when it is started again"
)
Opens = Callable[[ServerState, Network], Setting]  # greets everybody in reach: those who consented


def greeting(voice: Voice, kept: Transcripts | None, stated: Callable[[Mapping[str, bytes]], None]) -> Opens:
    """Real lines, whose every message is heard, or lost; `stated` gets what the sites sign."""
    known: list[Head] = []

    def opened(state: ServerState, network: Network) -> Setting:
        at, size = (state.round, state.attempt), state.params.numel()
        lines, members = open_lines(voice, network, known, at, size, clock=network.clock)
        known[:] = lines.heads.all()
        stated(lines.consents)
        return Setting(state, members, lines, kept)

    return opened


@dataclass
class Rounds:
    """What is left of a run from `state` on, over a network with faults. `accused`: what is known of liars.

    `again`: the server meets again what it met in the rounds before `state`, of which nothing is computed. So a run
    that is resumed goes on with the same cohorts.
    """

    network: Network
    opens: Opens
    stream: ServerNoise
    state: ServerState
    accused: Accused = field(default_factory=Accused)
    again: bool = False

    def __post_init__(self) -> None:
        begin = replace(self.state, round=0, attempt=0) if self.again else self.state
        self._newcomers = Newcomers()
        self.network.begins(begin.round + 1)
        self._open(begin)
        for number in range(begin.round, self.state.round):
            at = replace(begin, round=number)
            while not self._meets(at):
                pass
            self._goes_on(replace(at, round=number + 1))

    @property
    def setting(self) -> Setting:
        """The lines that are open, and where the run stands."""
        return replace(self._setting, state=self.state)

    def __iter__(self) -> Iterator[tuple[ServerState, Receipt]]:
        """Every round that is left, with its receipt, which tells the seconds by the clock of the network."""
        began, clock = self.network.clock(), self.network.clock
        while self.state.round < self.setting.plan.rounds:
            try:
                for after, receipt in run(self.setting, self.stream, self._course):
                    self.state = after
                    yield after, receipt.model_copy(update={"simulated_seconds": round(clock() - began, 3)})
                    began = clock()
                    if self._goes_on(after):
                        break
            except TooFewSurvivors as error:
                self.state = self._waited(error, self.state)

    def evaluate(self) -> Evaluated:
        """The evaluation, for which everybody is there."""
        return evaluate(self.setting, self.stream)

    def close(self, params: bytes, seconds: float) -> Mapping[str, Head]:
        """As `Lines.close`, to whoever has joined: the run is over, with these last params (a digest)."""
        lines = self.setting.lines
        return lines.close(self.state.run, params, sorted(lines.joined), seconds)

    def _meets(self, at: ServerState) -> bool:
        """Whether the round after `at` is over, of which nothing is computed; else it is to be met again."""
        try:
            self._course.play(replace(self._setting, state=at))
        except TooFewSurvivors as error:
            self._waited(error, at)
            return False
        return True

    def _waited(self, error: TooFewSurvivors, state: ServerState) -> ServerState:
        """Wait until the sites are back, as `serve` does, for a round that nobody can have charged; else raise.

        Of a round that was charged, too, a coordinator may get a sum when it is started again: who starts it is not
        in this story, so the error says what differs.
        """
        if not is_worth_it(error):
            if SILENT in error.left.values():
                error.hint += _ENDS
            raise error
        deadline = self._setting.plan.cohort.deadline_seconds
        self.network.begins(state.round + 1, max(LEAST, deadline))
        again = replace(state, attempt=state.attempt + RESERVED)
        self._open(again)
        return again

    def _goes_on(self, state: ServerState) -> bool:
        """The next round begins; whether lines were opened anew, for somebody who came into reach."""
        self.network.begins(state.round + 1)
        if not self._newcomers.are_due(self._setting.lines.others, state.round):
            return False
        self._open(state)
        return True

    def _open(self, state: ServerState) -> None:
        self.network.hang_up()
        self._setting = self.opens(state, self.network)
        self._course, lines = Course(perhaps_charged(self._setting)), self._setting.lines
        lines.attendance.faults = self.accused
        self._newcomers.asked(lines.greeted, lines.joined, state.round)
