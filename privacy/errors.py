"""PrivacyError and its children: every reason not to release. The number is the exit code.

    PrivacyError              3  nothing was released; stop this site and do not retry
    |- BudgetExceeded         3  what is asked costs more epsilon than is left
    |  `- LimitExceeded       3  in `privacy.ledger.limits`; `unit` says whose limit
    |- PolicyViolation        3  the site's policy, or the plan it agreed to, forbids it
    |- LedgerRefusal          3  what the ledger has on record forbids it
    |  `- RunLeft             3  the site has left this run for good
    |- JournalMisuse          3  calls in an order that only a bug of ours makes
    |- UnsafeParameters       3  no safe protocol or mechanism
    |- CalibrationFailed      3  no noise multiplier
    |- UnsupportedEvent       3  a newer version's ledger
    |- LedgerCorrupt          3  `kind` says what is wrong with the ledger
    |- RecordsUnavailable     4  the disk or its permissions; the only one to retry, once they are put right
    `- ProtocolError          3  a peer or the server; this round ends here for us
       |- MalformedMessage    3  bytes that cannot be parsed
       |- FaultyServer        3  the server, beyond doubt
       |  `- UnknownRun       3  in `clients.greeting.refusals`: the server may greet it again
       |- FaultyClient        3  the named `site`, beyond doubt
       |- SuspectedClient     3  the named `site` or the server
       `- ShareDoesNotOpen    3  in `clients.participant`; `slot` is the dealer's place

A message is one line and never holds vectors, secrets or values of the data. The hint says what to do.
"""

from __future__ import annotations

from typing import Literal

Damage = Literal["unreadable", "chain", "history", "foreign", "cut"]
_RESTORE = "release nothing; restore the newest copy that was whole"


class Hinted(Exception):
    """A message and, in `hint`, what its reader can do now: the form of every error. Never raised itself."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class PrivacyError(Hinted):
    """Something would break, or could break, a privacy guarantee. Nothing was released."""

    exit_code = 3


class BudgetExceeded(PrivacyError):
    """Admitting this release would spend more epsilon than the budget holds."""


class PolicyViolation(PrivacyError):
    """The site's own policy, or the plan it agreed to, does not allow what the server asks."""


class LedgerRefusal(PrivacyError):
    """The ledger forbids it, whatever the policy: another question or noise in a round, an attempt that is over, a
    closed run, an older roster, a replaced key, a missing approval.
    """


class RunLeft(LedgerRefusal):
    """The people at the site have left this run for good."""


class JournalMisuse(PrivacyError):
    """The journal was called in an order that only a bug of ours makes: to release a round that was not begun."""


class UnsafeParameters(PrivacyError):
    """No safe protocol or mechanism exists with these parameters."""


class CalibrationFailed(PrivacyError):
    """No noise multiplier in the supported range reaches the target epsilon."""


class UnsupportedEvent(PrivacyError):
    """The accountant does not know this event, so it cannot bound what it reveals."""


class LedgerCorrupt(PrivacyError):
    """The ledger cannot be believed, or is not this site's.

    `kind` is "unreadable" (no ledger, or a damaged file), "chain" (an entry was changed, removed, added,
    reordered or not signed), "history" (entries verify and tell an impossible story), "foreign" (of another
    site, pool or key) or "cut" (an entry that it once had is gone).
    """

    def __init__(self, message: str, kind: Damage, *, hint: str = _RESTORE) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind


class RecordsUnavailable(PrivacyError):
    """A site's journal or registry of pools, or a vector on disk, cannot be read or written now, so nothing was
    released.

    That is a fault of a disk, and nobody's refusal.
    """

    exit_code = 4


class ProtocolError(PrivacyError):
    """A peer or the server left the protocol; this round ends here for us."""


class MalformedMessage(ProtocolError):
    """Bytes that are no message of ours. The only error a parser raises. Proves nothing about who wrote them."""


class FaultyServer(ProtocolError):
    """The server's own messages contradict the protocol: only the server can have caused this."""


class FaultyClient(ProtocolError):
    """The named site sent something no honest site sends, and the evidence names it beyond doubt."""

    def __init__(self, site: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"site {site}: {message}", hint=hint)
        self.site = site


class SuspectedClient(ProtocolError):
    """Either the named site or the server is at fault; the evidence cannot tell which."""

    def __init__(self, site: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"site {site} or the server: {message}", hint=hint)
        self.site = site
