"""How a site stands at one moment, as a table or a page shows it: names, counts, times, epsilon, and no data.

Everything here is frozen, so whoever holds a `Standing` reads one moment, whatever happens meanwhile.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Connection = Literal["none", "connecting", "connected", "lost"]


@dataclass(frozen=True)
class Pool:
    """What is charged to one `unit` of the site's pool, and its limit; None where nothing bounds it."""

    unit: str
    epsilon: float | None
    epsilon_max: float | None
    delta: float | None = None

    @property
    def left(self) -> float | None:
        """Epsilon up to the limit. What a filter still admits may be less."""
        if self.epsilon is None or self.epsilon_max is None:
            return None
        return max(0.0, self.epsilon_max - self.epsilon)


@dataclass(frozen=True)
class RoundSeen:
    """A round that this site helped to open. `epsilon`: of all its rounds of the run so far, for one unit."""

    run: str
    round: int
    at: float
    survivors: int
    lost: tuple[str, ...]
    seconds: float
    epsilon: float | None
    is_evaluation: bool


@dataclass(frozen=True)
class RunSeen:
    """A run that this site takes part in, or took part in. `state` is one or two plain words, or "refused: why"."""

    run: str
    plan: str
    name: str = ""
    unit: str = ""
    rounds: int = 0
    round: int = 0
    attempt: int = 0
    sites: int = 0
    state: str = "joined"
    epsilon: float | None = None
    begun_at: float | None = None
    ended_at: float | None = None


@dataclass(frozen=True)
class Trouble:
    """What somebody at the site should look at: a refusal, a lost connection, a warning."""

    at: float
    event: str
    detail: str
    run: str = ""
    round: int | None = None


@dataclass(frozen=True)
class Standing:
    """A site at one moment. Times are seconds since 1970; `last_contact` is the coordinator's last answer.

    `is_gone`: where it was reached, nobody listens any more.
    """

    site: str
    since: float
    now: float
    server: str = ""
    connection: Connection = "none"
    why: str = ""
    is_gone: bool = False
    connection_since: float | None = None
    last_contact: float | None = None
    exchanges: int = 0
    pools: tuple[Pool, ...] = ()
    runs: tuple[RunSeen, ...] = ()
    rounds: tuple[RoundSeen, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    refusals: int = 0

    @property
    def present(self) -> RunSeen | None:
        """The run that goes on, or the last one."""
        return self.runs[-1] if self.runs else None

    @property
    def is_between_runs(self) -> bool:
        """Whether the connection is lost because the run is over and its coordinator went home."""
        run = self.present
        return self.connection == "lost" and self.is_gone and run is not None and run.state == "finished"

    @property
    def open_run(self) -> RunSeen | None:
        """The newest run that is not over."""
        return next((run for run in reversed(self.runs) if run.state not in ("finished", "left")), None)

    def to_json(self) -> dict[str, Any]:
        """Plain data, with what is left of each pool."""
        facts = asdict(self)
        for told, pool in zip(facts["pools"], self.pools, strict=True):
            told["left"] = pool.left
        return facts
