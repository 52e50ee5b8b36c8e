"""PrivacyError and its children: every reason not to release.

    PrivacyError                      stop this site; do not retry
    |- BudgetExceeded  PolicyViolation  UnsafeParameters  CalibrationFailed  UnsupportedEvent  LedgerCorrupt
    `- ProtocolError: FaultyClient(site) | FaultyServer | SuspectedClient(site) | MalformedMessage

A message is one line and never holds vectors, secrets or values of the data. The hint says what to do.
"""

from __future__ import annotations


class PrivacyError(Exception):
    """Something would break, or could break, a privacy guarantee. Nothing was released."""

    exit_code = 3

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class BudgetExceeded(PrivacyError):
    """Admitting this release would spend more epsilon than the budget holds."""


class PolicyViolation(PrivacyError):
    """The site's own policy does not allow what the plan or the server asks."""


class UnsafeParameters(PrivacyError):
    """No safe protocol or mechanism exists with these parameters."""


class CalibrationFailed(PrivacyError):
    """No noise multiplier in the supported range reaches the target epsilon."""


class UnsupportedEvent(PrivacyError):
    """The accountant does not know this event, so it cannot bound what it reveals."""


class LedgerCorrupt(PrivacyError):
    """The ledger's chain does not verify: an entry was changed, removed, added or reordered."""


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
