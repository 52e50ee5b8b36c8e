"""The chain: an append-only, hash-chained, signed list of entries; `append` and `follow` are pure.

Each entry's hash covers its content, in canonical JSON (RFC 8785), and the hash before it; its signature (Ed25519,
RFC 8032) covers the hash. So without the site's key no entry can be changed, removed, reordered or inserted. With
the key, every hash after the change changes, too, and anyone who remembers one of them can tell
(`privacy.ledger.heads`).

What an entry says:
    genesis   site, pool, ledger, key, approvers, simulated, salt, withdrawals   the site, its people, who signs
    roster    serial, root                          who may take part, as last accepted; never an older one after
    budget    unit, epsilon, delta, filter, records, sites, reason, approvals    the limit of a unit from here on
    reserve   run, plan, charge, rounds, by         a whole plan is charged, before its first round
    begin     run, round, question, at              the round's data may now be read, to answer this
    release   run, round, commitment, withdrawn     the bytes that this commits to may now leave
    mask      run, round, attempt, suite, bytes     so many masked bytes of this attempt may now leave
    reveal    run, round, survivors                 the sum over these sites may now be opened
    witness   heads                                 where the ledgers of peers ended, signed by them
    close     run, params                           no further round; rounds never begun are returned
    refuse    run, plan, charge, unit               asked for, and more than the budget of this unit holds
    rotate    key, proof, approvals                 entries are signed by another key from here on
    restore   salt, made, approvals                 the ledger goes on from a backup; its end may be lost

A commitment is a hash of the bytes and of 32 random bytes, which the site keeps only as long as the bytes. Without
them no guess can be tried on it, so a ledger can be handed to anyone. Earlier versions wrote `payload` instead, a
hash of the bytes alone, which gives away a payload that can be guessed. They wrote no `suite`: it was 2. They wrote
no `withdrawn`, which commits to the list of people whose records were left out (`privacy.ledger.withdrawals`), and
no `at` and `bytes`. `at` is the site's clock in whole minutes, before any record of the round is read; it is for
people who read the ledger, and nothing depends on it.

A restore leaps to the next multiple of 2^32, past every number that an entry of the lost end can have. So a head
tells which of the two ends it is of, and two restores of one backup, which differ in their salts, contradict each
other.

A key is rotated by an entry that the old key signs. If the old key is lost, the new one signs, with two approvals.
A key that was replaced signs nothing any more, and never comes back. `privacy.ledger.state` says which entry may
follow which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.canonical import JSON, MAX_WHOLE, Fields, canonical, settled
from privacy.errors import Damage, LedgerCorrupt, LedgerRefusal
from privacy.ledger.approvals import Replacement, approvals_from_json, is_approved
from privacy.signing import IDENTITY_BYTES, SIGNATURE_BYTES, is_identity, is_signed, public_identity, sign
from privacy.wire import digest

KINDS = (
    "genesis", "roster", "budget", "reserve", "begin", "release",
    "mask", "reveal", "witness", "close", "refuse", "rotate", "restore",
)  # fmt: skip
HASH_BYTES = 32
LEAP = 1 << 32  # a restore's number is a multiple of it
_BEFORE_GENESIS = bytes(HASH_BYTES)
_ENTRY, _PROOF = "privacy/ledger/entry/1", "privacy/ledger/rotate/1"


@dataclass(frozen=True)
class Entry:
    """One line of a ledger. `hash` covers all fields but the signature, which covers the hash."""

    seq: int
    kind: str
    body: Mapping[str, JSON]
    previous: bytes
    hash: bytes
    signature: bytes


@dataclass(frozen=True)
class Genesis:
    """What the first entry settles for good. `ledger` is the pool's tag, `key` the first that signs.

    `salt`, 32 random bytes, makes every hash of the chain unguessable without the ledger: a head is shown to all,
    and the pool's name and the limits behind it could be tried out. Earlier ledgers have none. `withdrawals`: every
    release says who withdrew (`privacy.ledger.withdrawals`); earlier ledgers, and simulated ones, do not say so.
    """

    site: str
    pool: str
    ledger: bytes
    key: bytes
    approvers: tuple[bytes, ...]
    simulated: bool
    salt: bytes = b""
    withdrawals: bool = False

    def to_json(self) -> dict[str, JSON]:
        """The body of a genesis entry."""
        return {
            "site": self.site,
            "pool": self.pool,
            "ledger": self.ledger.hex(),
            "key": self.key.hex(),
            "approvers": [key.hex() for key in self.approvers],
            "simulated": self.simulated,
            **({"salt": self.salt.hex()} if self.salt else {}),
            **({"withdrawals": True} if self.withdrawals else {}),
        }


@dataclass(frozen=True)
class Tip:
    """Where a verified chain ends. `keys`: all that ever signed, in order; only the last still may."""

    genesis: Genesis
    first: Entry
    last: Entry
    keys: tuple[bytes, ...]

    @property
    def key(self) -> bytes:
        """The public key that signs the next entry."""
        return self.keys[-1]

    def replacement(self, new: bytes) -> Replacement:
        """What approvers sign so that `new` takes the place of a lost key."""
        return Replacement(self.genesis.site, self.first.hash, self.key, new)

    def require_key(self, public: bytes) -> None:
        """LedgerRefusal for a key that was replaced, LedgerCorrupt for one that never signed this ledger."""
        if public in self.keys[:-1]:
            raise LedgerRefusal("this key was replaced and signs no more", hint="use the site's present key")
        if public != self.key:
            raise LedgerCorrupt(
                "the journal is signed by another key than the site's",
                "foreign",
                hint="check the site's key; a lost one is replaced by two approvals",
            )

    def require_new(self, public: bytes) -> None:
        """LedgerRefusal for a key that cannot be the site's next one."""
        if public in (*self.keys, *self.genesis.approvers):
            raise LedgerRefusal("that key signed here before, or is an approver's", hint="make a new one")


def append(
    last: Entry | None, kind: str, body: Mapping[str, JSON], key: Ed25519PrivateKey, *, beyond: int = 0
) -> Entry:
    """The entry that follows `last`; a genesis follows None. A restore leaps past entry number `beyond`, too.

    ValueError for a kind out of place, and for a body that is not the same once written and read.
    """
    if kind not in KINDS or (kind == "genesis") != (last is None):
        raise ValueError(f"an entry of kind {kind!r} cannot stand here")
    seq = _place(last)[0]
    if kind == "restore":
        seq = (max(seq, beyond) // LEAP + 1) * LEAP
    return _sealed(last, seq, Statement.of(kind, body), key)


@dataclass(frozen=True)
class Statement:
    """What an entry says, with its canonical text: the same may stand in many ledgers."""

    kind: str
    body: Mapping[str, JSON]
    text: str

    @classmethod
    def of(cls, kind: str, body: Mapping[str, JSON]) -> Statement:
        """ValueError for a kind that there is not, and for a body that is not the same once written and read."""
        if kind not in KINDS:
            raise ValueError(f"there is no entry of kind {kind!r}")
        content = settled(body)
        return cls(kind, content, canonical(content))

    def after(self, last: Entry | None, key: Ed25519PrivateKey) -> Entry:
        """The entry that says this after `last`: what `append` makes of it, but for a restore."""
        if (self.kind == "genesis") != (last is None) or self.kind == "restore":
            raise ValueError(f"an entry of kind {self.kind!r} cannot stand here")
        return _sealed(last, _place(last)[0], self, key)


def _sealed(last: Entry | None, seq: int, said: Statement, key: Ed25519PrivateKey) -> Entry:
    previous = _place(last)[1]
    hash_ = _hash_of(seq, said.kind, said.text, previous)
    return Entry(seq, said.kind, said.body, previous, hash_, sign(key, _ENTRY, hash_))


def rotation(tip: Tip, new: Ed25519PrivateKey) -> dict[str, JSON]:
    """The body, still without approvals, of an entry that hands over to `new`, which proves to be held."""
    proof = sign(new, _PROOF, tip.first.hash, tip.key)
    return {"key": public_identity(new).hex(), "proof": proof.hex(), "approvals": []}


def follow(tip: Tip | None, entries: Sequence[Entry]) -> Tip:
    """Where the chain ends after `entries`; after None they are all of it, from the genesis on.

    LedgerCorrupt unless they continue the chain whole, in order and signed, and if a whole chain has no entries.
    """
    for entry in entries:
        last = None if tip is None else tip.last
        placed = entry.kind in KINDS and (entry.kind == "genesis") == (last is None)
        if not placed or not _follows(last, entry) or not is_sealed(entry):
            raise LedgerCorrupt(
                f"entry {_place(last)[0]} of the ledger does not verify: "
                "entries were changed, removed, added or reordered",
                "chain",
            )
        try:
            tip = _signed(tip, entry)
        except ValueError as error:
            raise corrupt(entry, str(error)) from None
    if tip is None:
        raise LedgerCorrupt("the ledger has no entries", "chain")
    return tip


def corrupt(entry: Entry, reason: str, kind: Damage = "history") -> LedgerCorrupt:
    """The refusal of a ledger because of one entry of it."""
    return LedgerCorrupt(f"entry {entry.seq} of the ledger ({entry.kind}) {reason}", kind)


def genesis_from_json(body: object) -> Genesis:
    """What the body of a genesis says. ValueError for any other body."""
    fields = Fields(body)
    site, pool, tag = fields.text("site"), fields.text("pool"), fields.octets("ledger", HASH_BYTES)
    key, rows = fields.octets("key", IDENTITY_BYTES), fields.rows("approvers")
    approvers = tuple(Fields({"approver": row}).octets("approver", IDENTITY_BYTES) for row in rows)
    salt = fields.octets("salt", HASH_BYTES) if fields.has("salt") else b""
    says = fields.has("withdrawals")
    if says and not fields.flag("withdrawals"):
        raise ValueError("says that nobody can withdraw, which is said by nothing")
    genesis = Genesis(site, pool, tag, key, approvers, fields.flag("simulated"), salt, says)
    fields.finish()
    people = (key, *approvers)  # the site's own key approves nothing
    if not site or len(set(people)) != len(people) or not all(map(is_identity, people)):
        raise ValueError("names a key twice, or one that is none")
    return genesis


def _signed(tip: Tip | None, entry: Entry) -> Tip:
    """The chain with this entry as its last; LedgerCorrupt or ValueError unless the right key signed it."""
    if tip is None:
        genesis = genesis_from_json(entry.body)
        tip, signer = Tip(genesis, entry, entry, (genesis.key,)), genesis.key
    elif entry.kind == "rotate":
        new, signer = _handed_over(tip, entry)
        tip = replace(tip, last=entry, keys=(*tip.keys, new))
    else:
        tip, signer = replace(tip, last=entry), tip.key
    size = len(entry.signature) if isinstance(entry.signature, bytes) else 0
    if size != SIGNATURE_BYTES or not is_signed(signer, entry.signature, _ENTRY, entry.hash):
        raise corrupt(entry, "is not signed by the site's key", "chain")
    return tip


def _handed_over(tip: Tip, entry: Entry) -> tuple[bytes, bytes]:
    """The new key of a rotate entry, and the key that has to sign the entry."""
    fields = Fields(entry.body)
    new, proof = fields.octets("key", IDENTITY_BYTES), fields.octets("proof", SIGNATURE_BYTES)
    approvals = approvals_from_json(fields.rows("approvals"))
    fields.finish()
    if not is_identity(new) or new in (*tip.keys, *tip.genesis.approvers):
        raise ValueError("hands over to a key that cannot be the site's next")
    if not is_signed(new, proof, _PROOF, tip.first.hash, tip.key):
        raise ValueError("hands over to a key that nobody has proven to hold")
    if not approvals:
        return new, tip.key
    if not is_approved(tip.replacement(new), approvals, tip.genesis.approvers):
        raise ValueError("replaces a lost key without two approvals")
    return new, new


def _place(last: Entry | None) -> tuple[int, bytes]:
    return (0, _BEFORE_GENESIS) if last is None else (last.seq + 1, last.hash)


def _follows(last: Entry | None, entry: Entry) -> bool:
    seq, previous = _place(last)
    if entry.kind == "restore":
        leapt = type(entry.seq) is int and entry.seq >= seq and entry.seq % LEAP == 0
        return leapt and entry.previous == previous
    return (entry.seq, entry.previous) == (seq, previous)


def is_sealed(entry: Entry) -> bool:
    """Whether an entry's hash is that of its content."""
    try:
        return entry.hash == _hash(entry.seq, entry.kind, entry.body, entry.previous)
    except ValueError:  # no canonical form, so no entry of ours
        return False


def _hash(seq: int, kind: str, body: Mapping[str, JSON], previous: bytes) -> bytes:
    return _hash_of(seq, kind, canonical(body), previous)


def _hash_of(seq: int, kind: str, body: str, previous: bytes) -> bytes:
    """Of the canonical text of an entry's content: its keys in order, around that of its body."""
    if type(seq) is not int or not 0 <= seq <= MAX_WHOLE or kind not in KINDS:
        raise ValueError("is no entry")
    text = f'{{"body":{body},"kind":"{kind}","previous":"{previous.hex()}","seq":{seq}}}'
    return digest("privacy/ledger/2", text.encode())
