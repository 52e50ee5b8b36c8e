"""Who may take part, with verify keys: a roster as a TOML file that people can read and sign.

    serial = 3
    coordinator = "..."
    [[site]]
    id = "cleveland"
    organization = "Cleveland Clinic"
    size = 300
    key = "..."
    node = "..."
    [[signature]]
    key = "..."
    signature = "..."

Every change raises the serial and drops the signatures: a changed roster is a new statement. What is signed is
not this text but its canonical bytes (`privacy.roster`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field

from federation.config.schema import Table, validate
from federation.config.toml import read
from federation.errors import InputError, RosterError
from federation.files import replace_file
from federation.identity.keys import NodeKey, PublicFile, Row, toml
from federation.identity.roles import CoordinatorFile, NodeFile
from federation.words import many
from privacy.errors import MalformedMessage
from privacy.roster import Entry, Roster, SignedRoster
from privacy.signing import public_identity
from privacy.suite import BROKEN, OLDER, SUITE

NAME_IT = (
    "make a key: federation keys new DIR --id coordinator --coordinator; then: federation roster add ROSTER "
    "DIR/coordinator.pub, and have it signed"
)


class _Signature(Table):
    key: str = Field(pattern=r"^[0-9a-f]{64}$", examples=['"64 hexadecimal digits"'])
    signature: str = Field(pattern=r"^[0-9a-f]{128}$", examples=['"128 hexadecimal digits"'])


class _Site(Row):
    node: NodeKey | None = None

    @property
    def entry(self) -> Entry:
        return replace(super().entry, node=bytes.fromhex(self.node or ""))


class _RosterFile(Table):
    serial: int = Field(ge=0, lt=1 << 53, examples=["1"])
    coordinator: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{64}$", examples=['"64 hexadecimal digits"']
    )
    site: list[_Site] = Field(default=[], examples=["[[site]]"])
    signature: list[_Signature] = Field(default=[], examples=["[[signature]]"])


def load_roster(path: Path) -> SignedRoster:
    """The roster in a file, signed as far as it is. InputError if it is none."""
    content = validate(_RosterFile, read(path))
    entries = [site.entry for site in content.site]
    roster = _roster(path, content.serial, entries, bytes.fromhex(content.coordinator or ""))
    signatures = {bytes.fromhex(one.key): bytes.fromhex(one.signature) for one in content.signature}
    return SignedRoster(roster.to_bytes(), signatures)


def add_to_roster(
    path: Path, *public: PublicFile | CoordinatorFile | NodeFile, keeps_keys: bool = False
) -> Roster:
    """Add sites, or replace those of their ids; name the coordinator; or name the key of a site's node.

    The roster is stored once, unsigned, under the next serial; not at all if one of them does not fit,
    or if it changes a key where the roster `keeps_keys`: then it is about to be signed.
    """
    before = roster_in(path)
    entries, coordinator = dict(before.by_site), before.coordinator
    for one in sorted(public, key=lambda file: isinstance(file, NodeFile)):  # a node goes with a site
        if isinstance(one, CoordinatorFile):
            coordinator = bytes.fromhex(one.key)
        elif isinstance(one, PublicFile):
            entries[one.id] = _entry(one, entries.get(one.id))
        elif one.id in entries:
            entries[one.id] = replace(entries[one.id], node=bytes.fromhex(one.key))
        else:
            hint = f"add the site first: federation roster add {quote(str(path))} {one.id}.pub"
            raise InputError(f"the roster holds no site {one.id}", hint=hint, path=path)
    if keeps_keys and (changed := _rekeyed(before, entries, coordinator) | _doubled(public)):
        hint = "run `roster add` without --sign, compare the keys over another channel, then `roster sign`"
        raise InputError(
            f"another key takes the place of one: {', '.join(sorted(changed))}", hint=hint, path=path
        )
    return _store(path, before, entries.values(), coordinator)


def _rekeyed(before: Roster, entries: Mapping[str, Entry], coordinator: bytes) -> set[str]:
    """Who is on the roster already, and would be known by another key to sign with, or to connect with."""
    changed = {
        name
        for name, known in before.by_site.items()
        if (known.key, known.node) != (entries[name].key, entries[name].node)
    }
    return changed | ({"the coordinator"} if before.coordinator not in (b"", coordinator) else set())


def _doubled(public: Sequence[PublicFile | CoordinatorFile | NodeFile]) -> set[str]:
    """Of whom there are several files with different keys: the last would count, and nobody chose it."""
    keys: dict[tuple[type, str], set[tuple[str, str | None]]] = {}
    for one in public:
        name = "the coordinator" if isinstance(one, CoordinatorFile) else one.id
        known = keys.setdefault((type(one), name), set())
        known.add((one.key, one.node if isinstance(one, PublicFile) else None))
    return {name for (_, name), known in keys.items() if len(known) > 1}


def changes(before: Roster, after: Roster) -> list[str]:
    """What became of a roster by an addition, a line for each site, for whoever signs it.

    A file says itself which site it is of: one that was sent by another takes a site's place, so keys are named.
    """
    told: list[str] = []
    if after.coordinator not in (b"", before.coordinator):
        old = f", and was {before.coordinator.hex()}" if before.coordinator else ""
        told.append(f"the coordinator's key is {after.coordinator.hex()}{old}")
    for entry in after.entries:
        old_entry = before.by_site.get(entry.site)
        if old_entry is None:
            told.append(
                f"{entry.site}: added, of {entry.organization}, {many(entry.size, 'record')}, key {entry.key.hex()}"
            )
        elif entry != old_entry:
            parts = (
                ("key", entry.key.hex(), old_entry.key.hex()),
                ("node", entry.node.hex(), old_entry.node.hex()),
                ("organization", entry.organization, old_entry.organization),
                ("size", str(entry.size), str(old_entry.size)),
            )
            changed = "; ".join(
                f"{name} is {now}, and was {was or 'none'}" for name, now, was in parts if now != was
            )
            told.append(f"{entry.site}: REPLACED: {changed}")
    return told


def _entry(site: PublicFile, known: Entry | None) -> Entry:
    """A site's row. A node's key that the roster names for it stays, unless the site's file names another."""
    entry = site.entry
    return replace(entry, node=known.node) if known is not None and not entry.node else entry


def remove_site(path: Path, site: str) -> Roster:
    """Take a site off the roster, and store it unsigned under the next serial. InputError if it is not on it."""
    before = load_roster(path).read()
    if site not in before.by_site:
        known = ", ".join(before.by_site) or "none"
        raise InputError(f"the roster holds no site {site} ({known})", hint="name one it has", path=path)
    return _store(path, before, [entry for entry in before.entries if entry.site != site])


def require_coordinator(roster: Roster, path: Path) -> None:
    """RosterError if nobody has named the coordinator whose word the sites take."""
    if not roster.coordinator:
        raise RosterError(f"{path} names no coordinator's key", hint=NAME_IT)


def roster_in(path: Path) -> Roster:
    """The roster in a file, signed or not; one without sites if there is no file yet."""
    return load_roster(path).read() if path.exists() else Roster(0, ())


def _store(path: Path, before: Roster, entries: Iterable[Entry], coordinator: bytes = b"") -> Roster:
    ordered = sorted(entries, key=lambda entry: entry.site)
    after = _roster(path, before.serial + 1, ordered, coordinator or before.coordinator)
    replace_file(path, _text(after, {}).encode())
    return after


def sign_roster(path: Path, key: Ed25519PrivateKey) -> SignedRoster:
    """Add a consortium key's signature to the roster in a file.

    A roster that was signed for an older suite only is signed under the next serial, and its old signatures go.
    """
    signed = load_roster(path)
    roster = signed.read()
    if not roster.entries:
        raise RosterError("a roster without sites is not signed", hint="federation roster add ROSTER ID.pub")
    own = next((entry.site for entry in roster.entries if entry.key == public_identity(key)), None)
    if own is not None:  # whoever decides who takes part is nobody's data, and a slip of the shell adds *.pub
        hint = f"take it off: federation roster remove {quote(str(path))} {own}; or sign by a consortium's own key"
        raise RosterError(f"{path} lists the key that signs it as site {own}", hint=hint)
    if roster_of(signed)[0].suite != SUITE:
        roster = replace(roster, serial=roster.serial + 1)  # sites know this serial by another root
        signed = SignedRoster(roster.to_bytes(), {})
    both = SignedRoster(signed.roster, {**signed.signatures, public_identity(key): roster.sign(key)})
    replace_file(path, _text(roster, both.signatures).encode())
    return both


def roster_of(signed: SignedRoster) -> tuple[Roster, SignedRoster]:
    """A roster as its signers saw it: of an older suite, if their signatures fit that one and not the present."""
    roster = signed.read()
    if not _is_signed(signed):
        for suite in (OLDER, BROKEN):
            before = replace(roster, suite=suite)
            older = SignedRoster(before.to_bytes(), signed.signatures)
            if _is_signed(older):
                return before, older
    return roster, signed


def _is_signed(signed: SignedRoster) -> bool:
    return any(signed.is_signed_by(key) for key in signed.signatures)


def write_roster(path: Path, roster: SignedRoster) -> None:
    """Store a roster as it travels."""
    replace_file(path, _text(roster.read(), roster.signatures).encode())


def _roster(path: Path, serial: int, entries: list[Entry], coordinator: bytes) -> Roster:
    try:
        return Roster(serial, tuple(entries), coordinator=coordinator)
    except MalformedMessage as error:
        raise InputError(error.message, hint="add sites with: federation roster add", path=path) from None


def _text(roster: Roster, signatures: Any) -> str:
    lines = [f"serial = {roster.serial}"]
    lines += [f'coordinator = "{roster.coordinator.hex()}"'] * bool(roster.coordinator)
    for entry in roster.entries:
        lines += [
            "",
            "[[site]]",
            f"id = {toml(entry.site)}",
            f"organization = {toml(entry.organization)}",
        ]
        lines += [f"size = {entry.size}", f'key = "{entry.key.hex()}"']
        lines += [f'node = "{entry.node.hex()}"'] * bool(entry.node)
    for key in sorted(signatures):
        lines += ["", "[[signature]]", f'key = "{key.hex()}"', f'signature = "{signatures[key].hex()}"']
    return "\n".join(lines) + "\n"
