"""Why a site refuses, as it may be told over the network: one reason from a fixed list."""

from __future__ import annotations

from clients.participant import ShareDoesNotOpen
from federation.errors import CodeError, TaskError, TrainingDiverged
from federation.round.messages import Reason
from privacy.errors import (
    BudgetExceeded,
    FaultyServer,
    JournalMisuse,
    LedgerRefusal,
    PolicyViolation,
    ProtocolError,
    RunLeft,
)


def asked_to_exit() -> TaskError:
    """What a task's code that calls exit is told as."""
    return TaskError("the task's code asked to exit", hint="let it raise an error of another kind")


class UnknownRun(FaultyServer):
    """A message of a run that this process knows nothing of: the server may greet it again."""


def reason_of(error: Exception) -> Reason:
    """The reason from the fixed list that is sent for an error, in place of its text."""
    kinds: tuple[tuple[type[Exception], Reason], ...] = (
        (BudgetExceeded, Reason.BUDGET),
        (PolicyViolation, Reason.POLICY),
        (RunLeft, Reason.LEFT),
        (LedgerRefusal, Reason.POLICY),
        (JournalMisuse, Reason.POLICY),
        (UnknownRun, Reason.UNKNOWN_RUN),
        (ShareDoesNotOpen, Reason.SHARE),
        (ProtocolError, Reason.PROTOCOL),
        (TrainingDiverged, Reason.DIVERGED),
        (CodeError, Reason.CODE),
    )
    return next((reason for kind, reason in kinds if isinstance(error, kind)), Reason.FAILED)
