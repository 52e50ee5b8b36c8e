"""An invitation: one public file with all that a site needs to join, for `federation site new --invite`.

It holds the plan, the keys that may sign the roster, and where the coordinator is, with the certificate to pin.
Nothing in it is secret, and nothing proves who wrote it: a site believes the consortium keys that it finds there.
So both sides compare its fingerprint over another channel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from clients.endpoint import Consortium, check_address, check_certificate
from federation.config.schema import Table, validate
from federation.config.toml import Document, inline, read, write
from federation.errors import InputError, UnusableFile
from federation.identity.keys import PublicFile
from federation.identity.roles import CoordinatorFile, NodeFile, load_any_public
from federation.plan.plan import Plan
from federation.plan.plan import parse as parse_plan
from privacy.canonical import canonical
from privacy.errors import PrivacyError

_VERSION = "federation.invitation/1"
_HEAD = """\
# An invitation to take part in a federation. Nothing in it is secret, and nothing in it proves who wrote it. So
# compare its fingerprint with whoever sent it, over another channel than this file came by.
# To take part: federation site new --invite {name} --id ID --data FILE
"""


class _Server(Table):
    """Where the coordinator is, and the certificate of the authority that signed its own, as PEM."""

    address: Annotated[str, AfterValidator(check_address)] = Field(examples=['"fed.example.org:8443"'])
    certificate: str = Field(examples=['"-----BEGIN CERTIFICATE-----..."'])


class _Plan(Table):
    toml: str = Field(examples=["the text of plan.toml"])


class Invitation(Table):
    """The content of an invitation."""

    version: Literal["federation.invitation/1"] = Field(examples=[f'"{_VERSION}"'])
    consortium: Consortium = Field(examples=["[consortium]"])
    server: _Server | None = Field(default=None, examples=["[server]"])
    plan: _Plan = Field(examples=["[plan]"])

    def parsed_plan(self) -> Plan:
        """The plan. InputError or PrivacyError if it is none."""
        return parse_plan(self.plan.toml)

    @property
    def fingerprint(self) -> str:
        """A digest of what the invitation says, however its file is laid out."""
        facts = {
            "version": self.version,
            "plan": self.parsed_plan().digest,
            "consortium": {**self.consortium.model_dump(mode="json"), "keys": sorted(self.consortium.keys)},
            "server": None if self.server is None else self.server.model_dump(mode="json"),
        }
        return "sha256:" + hashlib.sha256(canonical(facts).encode()).hexdigest()

    def to_toml(self, name: str) -> str:
        """The text of its file."""
        lines = [_HEAD.format(name=name), f"version = {inline(self.version)}"]
        lines += ["", "# who signs the list of sites", "[consortium]"]
        lines += [write(self.consortium.model_dump(mode="json")).rstrip()]
        if self.server is not None:
            lines += ["", "# the coordinator", "[server]", f"address = {inline(self.server.address)}"]
            lines += [f"certificate = {_block(self.server.certificate)}"]
        lines += ["", "# what all sites agree on", "[plan]", f"toml = {_block(self.plan.toml)}"]
        return "\n".join(lines) + "\n"


def invite(
    plan: Path, signers: Sequence[Path], quorum: int | None, address: str | None, certificate: Path | None
) -> Invitation:
    """An invitation from its parts; everything in them is checked. InputError names the file at fault."""
    if (address is None) != (certificate is None):
        hint = "give both --address and --certificate, or none of them"
        raise InputError("an address goes with the certificate that is pinned for it", hint=hint)
    document, content = read(plan), dict[str, Any]()
    parse_plan(document.text, plan)
    content["version"], content["plan"] = _VERSION, {"toml": document.text}
    content["consortium"] = consortium_of(signers, quorum).model_dump()
    if certificate is not None:
        content["server"] = {"address": address, "certificate": _pem(certificate)}
    return validate(Invitation, Document("", content))


def require_address(address: str) -> None:
    """InputError unless this is HOST:PORT."""
    validate(_Server, Document("", {"address": address, "certificate": ""}))


def load_invitation(path: Path) -> Invitation:
    """The invitation in a file. InputError names the file, and what is wrong with it."""
    found = validate(Invitation, read(path))
    try:
        found.parsed_plan()
    except (InputError, PrivacyError) as error:
        raise UnusableFile(f"the plan in it is none: {error}", hint="ask for another", path=path) from None
    return found


def consortium_of(files: Sequence[Path], quorum: int | None) -> Consortium:
    """The keys in public files of a consortium, of which `quorum` have to sign; all of them if it is None."""
    keys = [_signer(file) for file in files]
    asked = len(keys) if quorum is None else quorum
    return validate(Consortium, Document("", {"keys": keys, "quorum": asked}))


def _signer(path: Path) -> str:
    public = load_any_public(path)
    what = {CoordinatorFile: "the coordinator", NodeFile: "a node"}.get(type(public))
    if isinstance(public, PublicFile) and public.node is None:
        return public.key
    hint = "name the .pub of the key that signs rosters: federation keys new DIR --id consortium --consortium"
    raise InputError(f"is the key of {what or 'a site'}", hint=hint, path=path)


def _pem(path: Path) -> str:
    """The text of a certificate that can be pinned: what was checked, and nothing that stands after it."""
    try:
        text = check_certificate(path.name, path).decode()
    except UnicodeDecodeError:
        hint = "take out what is around the certificate, or save it as UTF-8"
        raise UnusableFile("is not UTF-8 text", hint=hint, path=path) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _block(text: str) -> str:
    """A text of several lines as people can read it, if TOML can hold it so."""
    is_plain = "'''" not in text and all(c.isprintable() or c in "\n\t" for c in text)
    return f"'''\n{text}'''" if is_plain else inline(text)
