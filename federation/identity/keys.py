"""Identities on disk: a private key in a file that stays with its owner, a public one in a file to hand around.

The private key is PKCS #8 in PEM, readable by its owner only. The public file is TOML: a site's row of a roster,
before anyone has signed it.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import Field, field_validator

from federation.config.schema import Mistake, Table, validate
from federation.config.toml import parse, read, write
from federation.errors import UnusableFile
from privacy.roster import NAME_BYTES, Entry
from privacy.signing import public_identity

_MAKE_ONE = "make one: federation keys new DIR --id ID"


class PublicFile(Table):
    """The content of `ID.pub`."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", examples=['"cleveland"'])
    organization: str = Field(min_length=1, examples=['"Cleveland Clinic"'])
    size: int = Field(ge=1, lt=1 << 53, examples=["300"])
    key: str = Field(pattern=r"^[0-9a-f]{64}$", examples=['"64 hexadecimal digits"'])

    @field_validator("organization")
    @classmethod
    def _fits(cls, name: str) -> str:
        if len(name.encode()) > NAME_BYTES:
            raise Mistake("is too long a name", f"use at most {NAME_BYTES} bytes")
        return name

    @property
    def entry(self) -> Entry:
        """As a line of a roster."""
        return Entry(self.id, self.organization, bytes.fromhex(self.key), self.size)


def create(folder: Path, name: str, organization: str, size: int) -> tuple[Path, Path]:
    """Write a new key pair to `folder`/NAME.key and NAME.pub; returns both paths.

    InputError if a value does not fit a roster; UnusableFile if a file exists already (a key is never replaced) or
    cannot be written.
    """
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    key = Ed25519PrivateKey.generate()
    text = write({"id": name, "organization": organization, "size": size, "key": public_identity(key).hex()})
    validate(PublicFile, parse(text))  # before a file is named after it
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(private, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(private_pem(key))
        public.write_text(text, "utf-8")
    except FileExistsError as error:
        hint = "a key is never replaced; choose another id or folder"
        raise UnusableFile("exists already", hint=hint, path=Path(error.filename)) from None
    except OSError as error:
        reason = f"cannot be written ({error.strerror})"
        raise UnusableFile(reason, hint="check the folder", path=private) from None
    return private, public


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """The content of `ID.key`."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def toml(value: str | int) -> str:
    """A value as TOML writes it."""
    return json.dumps(value, ensure_ascii=False)


def load_private(path: Path) -> Ed25519PrivateKey:
    """The key in a file. UnusableFile, which shows nothing of the content, if the file has no Ed25519 key."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise UnusableFile("there is no such key", hint=_MAKE_ONE, path=path) from None
    except (OSError, ValueError, TypeError):
        raise UnusableFile("is no private key that can be read", hint="check the file", path=path) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UnusableFile("is a key of another kind", hint=_MAKE_ONE, path=path)
    return key


def exposure_of(path: Path) -> str:
    """A warning, in one line, if not only its owner may read or write a private key; empty if so."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return ""  # whoever loads the key says what is wrong with it
    if not mode & 0o077:
        return ""
    cure = f"chmod 600 {shlex.quote(str(path))}"
    return f"{path}: others on this machine can open this private key (mode {mode:04o}); {cure}"


def load_public(path: Path) -> PublicFile:
    """The content of a public file. UnusableFile if it is not TOML, InputError if a value does not fit."""
    return validate(PublicFile, read(path))
