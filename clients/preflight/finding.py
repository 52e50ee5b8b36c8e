"""A finding: one line of a check before joining, or of `federation doctor`. A refusal becomes one with its cure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from federation.errors import FederationError, InputError, located
from privacy.errors import PrivacyError

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and what to do about it. `error` is what a command that needs it ends with."""

    name: str
    level: Level
    detail: str
    cure: str = ""
    error: FederationError | PrivacyError | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """For a program."""
        return {"name": self.name, "level": self.level, "detail": self.detail, "cure": self.cure}


def fine(name: str, detail: str) -> Finding:
    """Nothing is wrong with it."""
    return Finding(name, "ok", detail)


def odd(name: str, detail: str, cure: str = "") -> Finding:
    """It may be meant, or may go wrong."""
    return Finding(name, "warning", detail, cure)


def wrong(name: str, error: FederationError | PrivacyError) -> Finding:
    """It has to be put right first: what an error says, and its hint."""
    place = located(error.path, error.line, error.key, error.value) if isinstance(error, InputError) else ""
    detail = f"{place}: {error.message}" if place else error.message
    return Finding(name, "error", detail, error.hint, error)


def looked(name: str, look: Callable[[], str | Finding]) -> Finding:
    """What `look` finds: words if all is well, or a finding. Our own errors become findings; others are bugs."""
    try:
        found = look()
    except (FederationError, PrivacyError) as error:
        return wrong(name, error)
    return fine(name, found) if isinstance(found, str) else found


def errors_of(findings: Iterable[Finding]) -> Iterator[FederationError | PrivacyError]:
    """The errors among findings, each once: two looks may meet the same."""
    told: set[str] = set()
    for finding in findings:
        if finding.error is not None and str(finding.error) not in told:
            told.add(str(finding.error))
            yield finding.error


def require(findings: Iterable[Finding]) -> None:
    """Raise the errors among findings, together if there are several."""
    errors: list[Exception] = list(errors_of(findings))
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ExceptionGroup("before joining", errors)
