"""Identities beside those of sites: the coordinator, which signs what it asks, and the nodes that Flower knows.

A coordinator's key is an Ed25519 key as a site's is; its public file says `role = "coordinator"`. A node's is a key
of the curve P-384 in OpenSSH's form, since Flower reads no other: `ID.node.key`, for `federation join` or for
flower-supernode. A site's `ID.pub` names it, signed by the site. A key of a node that is made alone comes with
`ID.node.pub`, which both `flwr supernode register` and `federation roster add` read.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Literal, TypeAlias

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP384R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_key,
)
from pydantic import Field

from federation.config.schema import Table, validate
from federation.config.toml import parse, read, write
from federation.errors import InputError, UnusableFile
from federation.files import refuse_existing
from federation.identity.keys import (
    ID,
    NEVER_REPLACED,
    NodeKey,
    PublicFile,
    create,
    load_private,
    private_pem,
    read_secret,
    store_pair,
    store_secret,
)
from privacy.signing import public_identity

COORDINATOR_KEY = "coordinator.key"
"""The coordinator's key file, beside the roster, unless the call names another."""
Role: TypeAlias = Literal["site", "coordinator", "node", "consortium"]
_SSH = "ecdsa-sha2-nistp384 "
_LARGEST = 1 << 16


class CoordinatorFile(Table):
    """The content of a coordinator's `ID.pub`."""

    id: str = Field(pattern=ID, examples=['"coordinator"'])
    role: Literal["coordinator"] = Field(examples=['"coordinator"'])
    key: str = Field(pattern=r"^[0-9a-f]{64}$", examples=['"64 hexadecimal digits"'])


class NodeFile(Table):
    """The content of `ID.node.pub`: a site's id, and its node's key as a compressed point."""

    id: str = Field(pattern=ID, examples=['"cleveland"'])
    key: NodeKey


def create_coordinator(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a coordinator's key pair to `folder`/NAME.key and NAME.pub; returns both paths. Never replaces one."""
    key = Ed25519PrivateKey.generate()
    text = write({"id": name, "role": "coordinator", "key": public_identity(key).hex()})
    validate(CoordinatorFile, parse(text))
    return store_pair(folder / f"{name}.key", private_pem(key), folder / f"{name}.pub", text)


def create_node(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a Flower node's key pair to `folder`/NAME.node.key and NAME.node.pub; returns both paths."""
    require_id(name)
    key = generate_private_key(SECP384R1())
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return store_pair(
        folder / f"{name}.node.key", _node_pem(key), folder / f"{name}.node.pub", f"{line} {name}\n"
    )


def create_site(
    folder: Path, name: str, organization: str, size: int, passphrase: bytes | None = None
) -> tuple[Path, Path, Path]:
    """Write both keys of a site, its identity and its node's, and the one public file that names both.

    Returns the paths of the identity, of NAME.pub, and of NAME.node.key. Neither key replaces another. The node's
    is not sealed: it opens the door of the coordinator and no message.
    """
    require_id(name)
    place = folder / f"{name}.node.key"
    refuse_existing(place, NEVER_REPLACED)
    key = generate_private_key(SECP384R1())
    private, public = create(folder, name, organization, size, passphrase, node_point(key.public_key()))
    store_secret(place, _node_pem(key))
    return private, public, place


def require_id(name: str) -> None:
    """InputError for what cannot be a site's id."""
    if not re.match(ID, name):
        raise InputError(f"{name!r} is no site's id", hint="use letters, digits, dots, - and _, up to 64")


def node_point(key: EllipticCurvePublicKey) -> bytes:
    """A node's public key as rosters have it."""
    return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def load_node(path: Path) -> EllipticCurvePrivateKey:
    """The key of a site's node. UnusableFile, which shows nothing of the content, if the file has none."""
    site = path.name.removesuffix(".node.key")
    folder = shlex.quote(str(path.parent))
    make = f"make one: federation keys new {folder} --id {site} --node; then send {site}.node.pub"
    data = read_secret(path, "node key", make, b"PRIVATE KEY-----")
    try:
        key = load_ssh_private_key(data, None) if b"OPENSSH" in data else load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
        raise UnusableFile("is no node key that can be read", hint="check the file", path=path) from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP384R1):
        raise UnusableFile("is a key of another kind", hint=make, path=path)
    return key


def _node_pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def make_identity(
    role: Role,
    folder: Path,
    name: str,
    organization: str,
    size: int,
    passphrase: bytes | None,
) -> tuple[Path, ...]:
    """A new key pair for a role; the paths of both files, and for a site that of its node's key.

    InputError if a passphrase cannot be used for it.
    """
    if role == "site":
        return create_site(folder, name, organization, size, passphrase)
    if role == "consortium":
        return create(folder, name, organization, size, passphrase)
    if passphrase is not None:
        hint = "leave --passphrase-file out, and keep the file where nobody else can read it"
        raise InputError(f"the key of a {role} is read while nobody is there, so it is not sealed", hint=hint)
    return create_coordinator(folder, name) if role == "coordinator" else create_node(folder, name)


def load_any_public(path: Path) -> PublicFile | CoordinatorFile | NodeFile:
    """A public file of a site, a coordinator or a node. UnusableFile or InputError if it is none of them."""
    text = _begin_of(path)
    if text.startswith(_SSH):
        return _node(path, text)
    document = read(path)
    is_coordinator = "role" in document.data
    return validate(CoordinatorFile, document) if is_coordinator else validate(PublicFile, document)


def load_coordinator(named: Path, beside: Path) -> tuple[Path, Ed25519PrivateKey]:
    """The coordinator's key: in the file `named`, or the only one in that folder; else beside the roster.

    UnusableFile, which names the cure, if there is none.
    """
    path = beside.parent / COORDINATOR_KEY if named == Path() else named
    if path.is_dir():
        found = sorted(entry for entry in path.glob("*.key") if not entry.name.endswith(".node.key"))
        if len(found) != 1:
            reason = f"holds {len(found)} keys, so none is the coordinator's"
            raise UnusableFile(reason, hint="name the key file itself", path=path)
        (path,) = found
    if not path.exists():
        folder = shlex.quote(str(path if not path.suffix else path.parent))  # a folder that was named is made
        hint = (
            f"make one: federation keys new {folder} --id coordinator --coordinator; or name another identity"
        )
        raise UnusableFile("the coordinator's key is not there", hint=hint, path=path)
    return path, load_private(path)


def _begin_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST).decode("utf-8", "replace")
    except OSError:
        return ""  # `read` says what is wrong


def _node(path: Path, text: str) -> NodeFile:
    name = text.strip().rpartition(" ")[2]
    try:
        key = load_ssh_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm, InternalError):
        key = None
    if not isinstance(key, EllipticCurvePublicKey) or not re.match(ID, name):
        hint = "make one: federation keys new DIR --id ID --node"
        raise UnusableFile("is no node's public key with the site's id behind it", hint=hint, path=path)
    return NodeFile(id=name, key=node_point(key).hex())
