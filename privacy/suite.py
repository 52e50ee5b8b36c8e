"""The suite: which version of the protocol this is, in every label and in the first byte of every message.

A label names the suite, so a key, signature or digest of one suite is never valid in another, and no server can
talk a site into an older one. Suite 2 derived the key that seals shares from a secret that is shared. A hostile
server could open the seals of a site that it called lost, and read its vector; so suite 2 is refused by name. See
docs/decisions/0009.
"""

from __future__ import annotations

from privacy.errors import MalformedMessage

SUITE = 3
BROKEN = 2


def label(use: str, suite: int = SUITE) -> str:
    """What a hash, key or signature is for: `label("vote")` is "secagg/3/vote"."""
    return f"secagg/{suite}/{use}"


def require_suite(version: int, what: str) -> None:
    """MalformedMessage unless `what`, say "a message", opens with this suite's number."""
    if version == SUITE:
        return
    reason = "it lets a hostile server read single updates" if version == BROKEN else "it is unknown here"
    raise MalformedMessage(
        f"{what} of secagg/{version} is refused, as {reason}; this side speaks secagg/{SUITE}",
        hint="install the newer version of private-federation on both sides",
    )
