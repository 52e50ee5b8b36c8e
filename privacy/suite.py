"""The suite: which version of the protocol this is, in every label and in the first byte of every message.

A label names the suite, so a key, signature or digest of one suite is never valid in another, and no server can
talk a site into an older one. Suite 2 derived the key that seals shares from a secret that is shared. A hostile
server could open the seals of a site that it called lost, and read its vector; so suite 2 is refused by name. See
docs/decisions/0009. Suite 3 mended that. It is refused as older: its traffic opens to a quantum computer, and a
wrong share proves nothing against who dealt it. See docs/decisions/0017.
"""

from __future__ import annotations

from privacy.errors import MalformedMessage

SUITE = 4
OLDER = 3
BROKEN = 2
_REASONS = {BROKEN: "it lets a hostile server read single updates", OLDER: "it is older"}


def label(use: str, suite: int = SUITE) -> str:
    """What a hash, key or signature is for: `label("vote")` is "secagg/4/vote"."""
    return f"secagg/{suite}/{use}"


def require_suite(version: int, what: str) -> None:
    """MalformedMessage unless `what`, say "a message", opens with this suite's number."""
    if version == SUITE:
        return
    raise MalformedMessage(
        f"{what} of secagg/{version} is refused, as {_REASONS.get(version, 'it is unknown here')}; "
        f"this side speaks secagg/{SUITE}",
        hint="install the newer version of private-federation on both sides",
    )
