"""A site file drafted for the people of a site: it consents to one plan and to nothing else, line by line.

A draft never weakens what a site demands by default. Where a plan asks for less safety than that, somebody has to
say so, limit by limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from clients.drafting.invitation import Invitation
from clients.drafting.sources import Reading, path_in
from clients.endpoint import Consortium
from clients.policy import Policy, consent
from federation.config.schema import validate
from federation.config.tables import SMALLEST
from federation.config.toml import Document, inline, write
from federation.errors import InputError, UnusableFile
from federation.files import refuse_existing, taken_back, write_new
from federation.identity.keys import load_passphrase, load_public
from federation.identity.roles import make_identity
from federation.plan.plan import Plan
from privacy.errors import PolicyViolation

SITE_FILE = "site.toml"
PLAN_FILE = "plan.toml"
CERTIFICATE_FILE = "ca.crt"


@dataclass(frozen=True)
class Limits:
    """What the people of a site demand; None for what the plan asks, or what a site demands by default."""

    epsilon_max: float | None = None
    colluders_minimum: int | None = None
    survivors_minimum: int | None = None
    cohort_minimum: int | None = None


@dataclass(frozen=True)
class Draft:
    """Everything that a site file says. Files are seen from where the command was given."""

    id: str
    folder: Path
    organization: str
    plan: Plan
    data: Reading
    pool: str
    size: int
    policy: Policy
    consortium: Consortium
    address: str | None = None
    certificate: Path | None = None
    passphrase_file: Path | None = None
    invitation: str | None = None  # the fingerprint of the one that it follows

    @property
    def path(self) -> Path:
        """The site file."""
        return self.folder / SITE_FILE

    @property
    def keys(self) -> Path:
        """The folder of the site's keys."""
        return self.folder / "keys"

    @property
    def public(self) -> Path:
        """What is sent to the consortium."""
        return self.keys / f"{self.id}.pub"

    @property
    def text(self) -> str:
        """The text of the site file."""
        return "\n".join([*_head(self), *_data(self), *_policy(self), *_others(self)]) + "\n"


def policy_for(plan: Plan, limits: Limits) -> Policy:
    """The policy that allows this plan, once. PolicyViolation if the plan is less safe than a site demands."""
    if not plan.is_private and limits.epsilon_max != math.inf:
        hint = "agree on another plan, or accept that: --epsilon-max inf"
        raise PolicyViolation(
            "policy.noise: the plan adds no noise, so nothing bounds what a run reveals", hint=hint
        )
    least = Policy.for_plan(plan)
    changes: dict[str, object] = {
        "colluders_minimum": limits.colluders_minimum,
        "survivors_minimum": limits.survivors_minimum,
        "foreseen": None,  # a pool of people outlives this plan
        # Rounds of two are agreed to in so many words, and follow from no plan.
        "cohort_minimum": limits.cohort_minimum or max(SMALLEST + 1, least.cohort_minimum),
    }
    if limits.epsilon_max is not None and plan.privacy.unit == "record":
        changes["epsilon_max"] = limits.epsilon_max
    elif limits.epsilon_max is not None and plan.is_private:
        table = least.patient or least.client
        assert table is not None  # noqa: S101  # of a plan for patients, or for clients
        changes[plan.privacy.unit] = table.model_copy(update={"epsilon_max": limits.epsilon_max})
    content = least.model_copy(update=changes).model_dump(mode="python", exclude_none=True)
    policy = validate(Policy, Document("", content))
    consent(plan, policy)
    return policy


def declared_size(folder: Path, name: str) -> int | None:
    """The size in the public file of a site's keys, if they are there."""
    public = folder / "keys" / f"{name}.pub"
    return load_public(public).size if public.exists() else None


@contextmanager
def made(draft: Draft) -> Iterator[bool]:
    """The site file, and the keys if there are none; whether these were made. All is taken back if the body fails.

    UnusableFile if a site file is there already.
    """
    refuse_existing(draft.path)
    known = declared_size(draft.folder, draft.id)
    if known is not None and known != draft.size:
        message = f"declares {known} records, and not {draft.size}"
        raise InputError(message, hint=f"give --size {known}, or make other keys", path=draft.public)
    if known is None and (draft.keys / f"{draft.id}.key").exists():
        hint = "put the public file beside the key, or name another folder"
        raise UnusableFile("is missing beside its private key", hint=hint, path=draft.public)
    written: list[Path] = []
    _own_folder(draft.folder)
    try:
        if known is None:
            sealed = None if draft.passphrase_file is None else load_passphrase(draft.passphrase_file)
            written += make_identity("site", draft.keys, draft.id, draft.organization, draft.size, sealed)
        write_new(draft.path, draft.text, is_secret=True)
        written.append(draft.path)
        yield known is None
    except BaseException:
        for file in written:  # made a moment ago, and known to nobody
            with suppress(OSError):
                file.unlink()
        raise


def nothing_left(folder: Path) -> AbstractContextManager[None]:
    """If the body fails, the parts of an invitation go, and folders without content, as far as it made them."""
    parts = (folder / PLAN_FILE, folder / CERTIFICATE_FILE, folder / "keys")
    return taken_back(folder, (*parts, *folder.parents))


def unpack(invitation: Invitation, folder: Path) -> tuple[Path, Path | None]:
    """Write plan and certificate of an invitation to the site's folder, where they are not yet; their paths."""
    plan, certificate = folder / PLAN_FILE, folder / CERTIFICATE_FILE
    _own_folder(folder)
    _keep(plan, invitation.plan.toml)
    if invitation.server is None:
        return plan, None
    _keep(certificate, invitation.server.certificate)
    return plan, certificate


def _own_folder(folder: Path) -> None:
    """A folder for its owner alone, if there is none yet."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = f"cannot be made ({error.strerror or type(error).__name__})"
        raise UnusableFile(reason, hint="name another folder", path=folder) from None


def _keep(path: Path, text: str) -> None:
    """Write a file, or find it there with the same content."""
    with suppress(OSError, UnicodeDecodeError):
        if path.read_text("utf-8") == text:
            return
    write_new(path, text)


def _head(draft: Draft) -> Iterator[str]:
    yield f"# The site file of {draft.id}, drafted by `federation site new`. It stays here: nothing of it is sent."
    yield "# Paths are seen from this file's folder. An unknown key is told with those that are valid."
    yield ""
    yield "[site]"
    yield f"id = {inline(draft.id)}"
    yield f'keys = "keys/"  # {draft.id}.key signs, {draft.id}.node.key connects; {draft.id}.pub is sent'
    yield 'journal = "journal.sqlite"  # the ledger of what was spent; made by join. Never copy it back by hand'
    if draft.passphrase_file is not None:
        yield f"passphrase_file = {path_in(draft.folder, draft.passphrase_file)}  # opens the key"
    yield ""


def _data(draft: Draft) -> Iterator[str]:
    yield "[data]"
    yield from draft.data.lines(draft.folder)
    yield f"pool = {inline(draft.pool)}  # a name for these people: what any plan spends on them counts under it"
    yield f"size = {draft.size}  # about how many records; public, as in {draft.id}.pub"
    yield f"{_person(draft.plan.patient_column)}  # whose each record is: by it people can withdraw"
    yield ""


def _person(column: str | None) -> str:
    """The column that names people, where the plan does; or how to name it."""
    return '# person = "mrn"' if column is None else f"person = {inline(column)}"


def _policy(draft: Draft) -> Iterator[str]:
    """The tables of the policy, each line with what it means."""
    content = draft.policy.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    content["plans"] = [plan.digest for plan in draft.policy.plans]
    tables = {name: content.pop(name) for name in ("patient", "client") if name in content}
    yield "[policy]  # what this site consents to, whatever a server says"
    for name, value in content.items():
        yield f"{name} = {_number(value)}{_meaning(draft, name)}"
    for name, table in tables.items():
        yield f"[policy.{name}]  # the same for a {name}"
        yield from (f"{key} = {_number(value)}" for key, value in table.items())
    yield "# [policy.foreseen]  # the training that the budget is kept for, if statistics or the like come first"
    yield "# sample_rate = 0.1  # it fixes how the ledger adds plans up; 1.0 only if nothing will ever be sampled"
    yield "# steps = 200"
    yield ""


def _meaning(draft: Draft, name: str) -> str:
    title = draft.plan.federation.name
    said = {
        "plan_files": "where join looks at the plan before it connects",
        "plans": f'one run of "{title}"; {{ digest = "sha256:...", runs = 3 }} would approve three',
        "epsilon_max": "of a record, over all plans together and for ever",
        "delta_max": "the same for delta",
        "cohort_minimum": "no sum of fewer sites"
        if draft.policy.cohort_minimum > SMALLEST
        else "of two sites the other sees this one's part of each sum: this site's own noise protects it",
        "noise": "the only kind of noise that is accepted",
        "colluders_minimum": "against so many sites on the server's side; fewer than a site demands by default",
        "survivors_minimum": "so many sites are in every sum that is opened",
    }
    return f"  # {said[name]}" if name in said else ""


def _number(value: object) -> str:
    return "inf" if value == math.inf else inline(value)


def _others(draft: Draft) -> Iterator[str]:
    yield "[consortium]  # whose word counts on who takes part; compare the keys with their owners"
    yield write(draft.consortium.model_dump(mode="json", exclude_defaults=True)).rstrip()
    yield ""
    if draft.address is None or draft.certificate is None:
        yield "# [server]  # the coordinator will tell; join needs it"
        yield '# address = "fed.example.org:8443"'
        yield '# certificate = "ca.crt"'
        return
    yield "[server]  # the coordinator; the connection begins here, so no port is opened to this machine"
    yield f"address = {inline(draft.address)}"
    yield f"certificate = {path_in(draft.folder, draft.certificate)}  # the only authority that is believed"
