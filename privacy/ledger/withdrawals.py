"""What a release says of the people who withdrew: a commitment to the list of them, of one form for every list.

    mark       = HMAC-SHA256(secret, "privacy/withdrawn/person/1" || 0 || the person's hash, 8 bytes)
    salt       = HMAC-SHA256(secret, "privacy/withdrawn/salt/1" || 0 || hash of the entry before)
    commitment = H("privacy/withdrawn/1", salt, mark of each person on the list, in order)

It has 32 bytes, also when nobody is on the list. The salt is another one for every entry of every ledger, since the
hash before it is: two rounds with one list have nothing in common, so nobody sees whether the list changed. The
secret is the site's own and in no ledger. Without it no guess at a list can be tried, not even at the empty one.
With the salt of one entry and the marks, which tell no name, an auditor sees that the list was what it was then;
with the secret also whether a person whose id is named was on it.

A ledger that says so once says so in every release after that, and from the first on if its genesis does.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from privacy.canonical import Fields
from privacy.ledger.chain import HASH_BYTES, Entry
from privacy.wire import digest

SECRET_BYTES = MARK_BYTES = 32
PERSON_BYTES = 8
FIELD = "withdrawn"
"""The field of a release entry that holds the commitment."""
_PERSON, _SALT, _LIST = "privacy/withdrawn/person/1", "privacy/withdrawn/salt/1", "privacy/withdrawn/1"


def mark(secret: bytes, person: bytes) -> bytes:
    """What stands for a person on the list: of the person's hash, 8 bytes. Says nothing without the secret."""
    return _keyed(secret, _PERSON, person)


def salt(secret: bytes, previous: bytes) -> bytes:
    """The salt of the entry that follows the one with hash `previous`."""
    return _keyed(secret, _SALT, previous)


def commitment(salt_: bytes, marks: Iterable[bytes]) -> bytes:
    """What an entry with this salt says of this list."""
    return digest(_LIST, salt_, *marks)


@dataclass
class Said:
    """What the releases of a ledger said so far. `is_due`: the next one must say it, too."""

    is_due: bool
    last: Entry | None = None

    def take(self, entry: Entry, fields: Fields) -> None:
        """One more entry of a round. ValueError for a release that has to say who withdrew, and does not."""
        if entry.kind != "release":
            return
        if fields.has(FIELD):
            fields.octets(FIELD, HASH_BYTES)
            self.is_due, self.last = True, entry
        elif self.is_due:
            raise ValueError("does not say who withdrew, and those before it do")


def _keyed(secret: bytes, label: str, content: bytes) -> bytes:
    return hmac.digest(secret, label.encode() + b"\0" + content, "sha256")
