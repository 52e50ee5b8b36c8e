"""Identities on disk: a private key in a file that stays with its owner, a public one in a file to hand around.

The private key is PKCS #8 in PEM, readable by its owner only, and sealed by a passphrase if its owner wants so. The
public file is TOML: a site's row of a roster, before anyone has signed it.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Self
from unicodedata import normalize

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import AfterValidator, Field, field_validator, model_validator

from federation.config.schema import Mistake, Table, validate
from federation.config.toml import parse, read, write
from federation.errors import UnusableFile
from federation.files import write_new, write_output
from privacy.roster import NAME_BYTES, NODE_BYTES, Entry
from privacy.signing import is_identity, is_signed, public_identity, sign

ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_SHORTEST = 12  # bytes of a passphrase
_LARGEST = 1 << 16  # bytes of a key file
_NODE = "federation/node/1"  # what a site signs: that the node of this key is its own
_AGAIN = "have the site send its .pub file again, as federation keys new wrote it"
NEVER_REPLACED = "a key is never replaced; choose another id or folder"
_MAKE_ONE = "make one: federation keys new DIR --id ID"


class Row(Table):
    """What is public of a site: its line of a roster, but for the key of its node."""

    id: str = Field(pattern=ID, examples=['"cleveland"'])
    organization: str = Field(min_length=1, examples=['"Cleveland Clinic"'])
    size: int = Field(ge=1, lt=1 << 53, examples=["300"])
    key: str = Field(pattern=r"^[0-9a-f]{64}$", examples=['"64 hexadecimal digits"'])

    @field_validator("organization")
    @classmethod
    def _fits(cls, name: str) -> str:
        if len(name.encode()) > NAME_BYTES:
            raise Mistake("is too long a name", f"use at most {NAME_BYTES} bytes")
        if not name.isprintable() or name != normalize("NFC", name).strip():
            # People tell by it who is whose, and sites that no two are of one organization: what looks alike is.
            raise Mistake("holds what cannot be seen, or written so", "write the name in plain letters")
        return name

    @property
    def entry(self) -> Entry:
        """As a line of a roster."""
        return Entry(self.id, self.organization, bytes.fromhex(self.key), self.size)


def node_from_point(point: bytes) -> EllipticCurvePublicKey:
    """The public key of a node from its line of a roster. ValueError if it is no point of the curve."""
    return EllipticCurvePublicKey.from_encoded_point(SECP384R1(), point)


def _on_curve(node: str) -> str:
    """A node's key, if it is one: half of what looks like a point is none, and would end the coordinator's link."""
    try:
        node_from_point(bytes.fromhex(node))
    except ValueError:
        raise Mistake("is no point of the curve P-384", _AGAIN) from None
    return node


NodeKey = Annotated[
    str,
    Field(pattern=rf"^0[23][0-9a-f]{{{2 * NODE_BYTES - 2}}}$", examples=['"98 hexadecimal digits"']),
    AfterValidator(_on_curve),
]
"""The key of a node: a compressed point of P-384."""


class PublicFile(Row):
    """The content of `ID.pub`. `node` is the key of the site's own node, if it has one, in the site's own word."""

    node: NodeKey | None = None
    node_signature: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{128}$", examples=['"128 hexadecimal digits"']
    )

    @model_validator(mode="after")
    def _own_node(self) -> Self:
        if (self.node is None) != (self.node_signature is None):
            raise Mistake("and node_signature belong together", _AGAIN, ("node",))
        if self.node is not None and self.node_signature is not None:
            key, node = bytes.fromhex(self.key), bytes.fromhex(self.node)
            if not is_identity(key) or not is_signed(
                key, bytes.fromhex(self.node_signature), _NODE, self.id.encode(), node
            ):
                raise Mistake("was not signed by the key of this file", _AGAIN, ("node",))
        return self

    @property
    def entry(self) -> Entry:
        """As a line of a roster."""
        return replace(super().entry, node=bytes.fromhex(self.node or ""))


def create(
    folder: Path,
    name: str,
    organization: str,
    size: int,
    passphrase: bytes | None = None,
    node: bytes = b"",
) -> tuple[Path, Path]:
    """Write a new key pair to `folder`/NAME.key, sealed if there is a passphrase, and NAME.pub; returns both paths.

    `node`: the key of the site's node, which the new key signs. InputError if a value does not fit a roster;
    UnusableFile if a file exists already (a key is never replaced) or cannot be written.
    """
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    key = Ed25519PrivateKey.generate()
    told: dict[str, str | int] = {"id": name, "organization": organization, "size": size}
    told["key"] = public_identity(key).hex()
    if node:
        told |= {"node": node.hex(), "node_signature": sign(key, _NODE, name.encode(), node).hex()}
    text = write(told)
    validate(PublicFile, parse(text))  # before a file is named after it
    return store_pair(private, private_pem(key, passphrase), public, text)


def store_pair(private: Path, secret: bytes, public: Path, text: str) -> tuple[Path, Path]:
    """Write both files of a key pair; returns their paths. UnusableFile if the private one exists, or for one that
    cannot be written.
    """
    store_secret(private, secret)
    write_output(public, text)
    return private, public


def store_secret(path: Path, secret: bytes) -> None:
    """Write a private key to a file for its owner alone. UnusableFile if it exists or cannot be written."""
    write_new(path, secret, is_secret=True, hint=NEVER_REPLACED)


def private_pem(key: Ed25519PrivateKey, passphrase: bytes | None = None) -> bytes:
    """The content of `ID.key`."""
    sealed = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed)


def toml(value: str | int) -> str:
    """A value as TOML writes it."""
    return json.dumps(value, ensure_ascii=False)


def load_private(path: Path, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """The key in a file. UnusableFile, which shows nothing of the content, if the file has no Ed25519 key.

    As with ssh, a key that others on the machine can open is no key. `passphrase` is for a file that is sealed.
    """
    data = read_secret(path, "private key", _MAKE_ONE, b"PRIVATE KEY-----")
    is_sealed = b"ENCRYPTED" in data
    if is_sealed and passphrase is None:
        hint = "name the file of its passphrase: passphrase_file, in [site] of site.toml"
        raise UnusableFile("is sealed by a passphrase", hint=hint, path=path)
    try:
        key = load_pem_private_key(data, password=passphrase if is_sealed else None)
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        InternalError,
    ):  # the last one: a key of another length
        reason = "does not open with this passphrase" if is_sealed else "is no private key that can be read"
        raise UnusableFile(reason, hint="check the file", path=path) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UnusableFile("is a key of another kind", hint=_MAKE_ONE, path=path)
    return key


def load_passphrase(path: Path) -> bytes:
    """The first line of a file that its owner alone can open, such as a credential of the service manager."""
    line = _first_line(path, "passphrase")
    if len(line) < _SHORTEST:
        reason = f"has no passphrase of {_SHORTEST} bytes or more in its first line"
        raise UnusableFile(reason, hint="try: openssl rand -base64 24", path=path)
    return line


def load_password(path: Path) -> str:
    """The password of a data source: the first line of a file that its owner alone can open."""
    try:
        return _first_line(path, "password").decode()
    except UnicodeDecodeError:
        raise UnusableFile("is no text in UTF-8", hint="write the password to it", path=path) from None


def _first_line(path: Path, what: str) -> bytes:
    return read_secret(path, what, "write it to a file of mode 600").split(b"\n", 1)[0].rstrip(b"\r")


def credential(name: str, folder: Path) -> Path:
    """The file of "credential:NAME", which the service manager put into $CREDENTIALS_DIRECTORY; else a path."""
    kind, _, rest = name.partition(":")
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(given or "/run/credentials") / rest if kind == "credential" and rest else folder / name


def read_secret(path: Path, what: str, make: str, begins: bytes = b"") -> bytes:
    """The content of a file, if nobody else on this machine can open it. Asked of the opened file, not of its name.

    A file of another owner (the service manager hands such in) may be readable by our group, and by no more. A file
    in which nothing `begins` like a secret is told by its reader for what it is.
    """
    try:
        with path.open("rb") as file:
            found, data = os.fstat(file.fileno()), file.read(_LARGEST)
    except FileNotFoundError:
        kind = what.rpartition(" ")[2]
        raise UnusableFile(f"there is no such {kind}", hint=make, path=path) from None
    except OSError:
        raise UnusableFile(f"is no {what} that can be read", hint="check the file", path=path) from None
    mode = stat.S_IMODE(found.st_mode)
    if begins in data and mode & (0o077 if found.st_uid == os.geteuid() else 0o027):
        raise UnusableFile(
            f"others on this machine can open this {what} (mode {mode:04o})",
            hint=f"chmod 600 {shlex.quote(str(path))}; if others have seen it, it is no secret any more",
            path=path,
        )
    return data


def load_public(path: Path) -> PublicFile:
    """The content of a public file. UnusableFile if it is not TOML, InputError if a value does not fit."""
    return validate(PublicFile, read(path))
