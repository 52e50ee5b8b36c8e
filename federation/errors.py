"""FederationError and its children: every reason to stop a round, a run or a call. The number is the exit code.

    FederationError      4  this round stops; the run may go on
    |- InputError        2  an option, key or approval; `path`, `line`, `key`, `value` say where
    |  |- UnusableFile   2  a file is missing, in the way, unreadable, or not of its format
    |  |- PlanError      2  plan.toml asks for what cannot be done
    |  |- SiteFileError  2  site.toml asks for what cannot be done
    |  |- TaskError      2  the user's own code
    |  |  |- OtherEncoder 2 what reads texts is not what the plan pins, or cannot be run
    |  |  |- OtherBase   2  its model's frozen part is not the base that the plan pins
    |  |  `- CodeError   2  it is not installed, or is not the code that the plan pins
    |  |     `- NoMock   2  it makes no records to be tried on
    |  `- DataError      2  a site's data
    |- ShadowedPackage   2  the installation
    |- RosterError       4  who takes part
    |- TooFewSurvivors   4  `got`, `needed`, `left`
    |- SumRefused        4  `round`, `check`, `ratio`
    |- TransportError    4
    |  `- RunOver        4  the SuperLink does not know the run any more
    |- SiteRunning       4  another process is this site
    |- CheckpointError   4
    |  `- OtherRun       2  the folder that was named holds another run
    |- TrainingDiverged  4
    `- AuditFailure      5

A message is one line, says what to do, and never shows a value of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from federation.words import many
from privacy.errors import Hinted


class FederationError(Hinted):
    """The federation could not go on."""

    exit_code = 4


class InputError(FederationError):
    """The user's input cannot be used: an option, a file, a line of it. Nothing was begun; correct it.

    `value` is how the file writes the key's value; leave it out where it may be a secret or is long.
    """

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        path: Path | None = None,
        line: int | None = None,
        key: str = "",
        value: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.path, self.line, self.key, self.value = path, line, key, value

    def __str__(self) -> str:
        place = located(self.path, self.line, self.key, self.value)
        return f"{place}: {super().__str__()}" if place else super().__str__()


def located(path: Path | None, line: int | None, key: str, value: str) -> str:
    """`FILE:LINE key = value`, without the parts that are not known.

    >>> located(Path("plan.toml"), 7, "privacy.delta", "2"), located(None, 7, "", "")
    ('plan.toml:7 privacy.delta = 2', 'line 7')
    """
    file = str(path or "")
    if line:
        file = f"{file}:{line}" if file else f"line {line}"
    return " ".join(part for part in (file, f"{key} = {value}" if key and value else key) if part)


class UnusableFile(InputError):
    """A file is missing, exists already, cannot be read or written, or is not of its format (TOML, a key)."""


class PlanError(InputError):
    """A plan is TOML, and asks at some line and key for what cannot be done."""


class SiteFileError(InputError):
    """A site file is TOML, and asks at some line and key for what cannot be done."""


class TaskError(InputError):
    """The task (the user's own code, or a built-in one) does not fit the plan."""


class OtherEncoder(TaskError):
    """No encoder of the plan's digest is on this machine, or it cannot be run. No record was read."""


class OtherBase(TaskError):
    """What is frozen in the model is not the base that the plan pins, or not pinned."""


class CodeError(TaskError):
    """The user's own code is not there, cannot be imported, or is not what the plan pins. It has seen no data."""


class NoMock(CodeError):
    """The task makes no mock records, so it cannot be tried without data."""


class DataError(InputError):
    """A site's data is missing or does not fit the plan. Names file, row and column, never a value."""


class ShadowedPackage(FederationError):
    """A package of ours is missing, or another module hides it."""

    exit_code = 2


class RosterError(FederationError):
    """Fewer sites than the plan's minimum, or sites that cannot be told apart."""


class TooFewSurvivors(FederationError):
    """Too many sites left mid-round: their sum stays hidden and the round is void. `left` says why, by site.

    `is_free`: nobody can have charged it, so to play it again costs nothing.
    """

    is_free = False

    def __init__(
        self,
        got: int,
        needed: int,
        *,
        stage: str = "replies",
        left: Mapping[str, str] | None = None,
        round_number: int | None = None,
    ) -> None:
        reasons = ", ".join(f"{site} ({reason})" for site, reason in sorted((left or {}).items()))
        cure = "; lower training.learning_rate or training.local_steps" if "(diverged)" in reasons else ""
        which = "" if round_number is None else f"round {round_number}: "
        super().__init__(
            f"{which}{many(got, 'site')} sent {stage}, {needed} are needed: the round is void",
            hint=f"sites that left: {reasons}{cure}" if reasons else "run again when the sites are back",
        )
        self.got, self.needed, self.left = got, needed, dict(left or {})


class SumRefused(FederationError):
    """The opened sum of a round is one that honest sites do not make, and the plan refuses it: the run is over.

    `check` is "coordinate" or "norm"; `ratio` is how many times what the terms allow it is. No site is named: only
    the sum is known. What the site sent, or what a fault of its software made, nobody can tell.
    """

    def __init__(self, round_number: int, check: str, ratio: float) -> None:
        what = {"coordinate": "a coordinate of the sum", "norm": "the L2 norm of the sum"}[check]
        super().__init__(
            f"round {round_number}: {what} is {_times(ratio)} what honest sites can send: the sum is refused",
            hint="the run ends before this round; a site is faulty or hostile, and a sum does not say which",
        )
        self.round, self.check, self.ratio = round_number, check, ratio
        self.transcript: str | None = None  # the digest of the file that shows this sum


def _times(ratio: float) -> str:
    return f"{ratio:.3g} times" if ratio >= 1.01 else "just over"


class TransportError(FederationError):
    """Messages cannot be carried: no socket, no answer, or Flower refuses them."""


class SiteRunning(FederationError):
    """Another process works with this site's journal: two would charge the same rounds by turns."""


class CheckpointError(FederationError):
    """The run folder cannot be written, or holds what this run cannot be resumed from."""


class OtherRun(CheckpointError):
    """A folder was named that holds another run than the call asks for, or none: the call is wrong."""

    exit_code = 2


class TrainingDiverged(FederationError):
    """An update is not finite, or leaves the range that the ring can carry."""

    @classmethod
    def beyond(cls, place: str) -> TrainingDiverged:
        """Of an update that is too long to be sent: by its own rate, or as the params went too far before."""
        hint = (
            "lower training.learning_rate or training.local_steps, after round 1 also server.learning_rate, by "
            "which params may have gone too far; what was charged stays charged"
        )
        return cls(f"{place} left the range of the ring", hint=hint)


class AuditFailure(FederationError):
    """A run or a ledger does not verify from its files."""

    exit_code = 5
