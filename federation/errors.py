"""FederationError and its children: every reason to stop a round, a run or a call.

    FederationError                   stop this round; the run may go on
    `- PlanError(path, line, key, value, hint)  TaskError  DataError  ShadowedPackage  RosterError
       TooFewSurvivors(got, needed)  TransportError  CheckpointError  AuditFailure(findings)

A message is one line, says what to do, and never shows a value of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class FederationError(Exception):
    """The federation could not go on."""

    exit_code = 4

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class PlanError(FederationError):
    """A plan or site file says something that cannot be done, at a line and a key of it.

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
    """`FILE:LINE key = value`, without the parts that are not known."""
    file = str(path or "")
    if line:
        file = f"{file}:{line}" if file else f"line {line}"
    return " ".join(part for part in (file, f"{key} = {value}" if key and value else key) if part)


class TaskError(FederationError):
    """The task (the user's own code, or a built-in one) does not fit the plan."""

    exit_code = 2


class DataError(FederationError):
    """A site's data does not fit the plan. Names file, row and column, never a value."""

    exit_code = 2


class ShadowedPackage(FederationError):
    """Another module hides one of our packages."""

    exit_code = 2


class RosterError(FederationError):
    """Fewer sites than the plan's minimum, or sites that cannot be told apart."""


class TooFewSurvivors(FederationError):
    """Too many sites left mid-round: their sum stays hidden and the round is void. `left` says why, by site."""

    def __init__(
        self, got: int, needed: int, *, stage: str = "replies", left: Mapping[str, str] | None = None
    ) -> None:
        reasons = ", ".join(f"{site} ({reason})" for site, reason in sorted((left or {}).items()))
        super().__init__(
            f"{got} sites sent {stage}, {needed} are needed: the round is void",
            hint=f"sites that left: {reasons}" if reasons else "run again when the sites are back",
        )
        self.got, self.needed, self.left = got, needed, dict(left or {})


class TransportError(FederationError):
    """Messages cannot be carried."""


class CheckpointError(FederationError):
    """The run folder cannot be resumed from."""


class TrainingDiverged(FederationError):
    """An update left the range that the ring can carry, or is not finite."""


class AuditFailure(FederationError):
    """A run does not verify from its files."""

    exit_code = 5
