"""What somebody said of a new site, and what is asked for the rest, until a site file can be drafted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from clients.drafting.invitation import Invitation, consortium_of, load_invitation, require_address
from clients.drafting.sites import Draft, Limits, declared_size, policy_for, unpack
from clients.drafting.sources import Reading
from clients.endpoint import Consortium, check_certificate
from clients.policy import SITE_ID, Policy
from federation.config.toml import read
from federation.errors import InputError
from federation.plan.plan import Plan
from federation.plan.plan import load as load_plan

Ask = Callable[[str, str], str]
"""Puts a question with what an empty answer stands for; "" there if an answer is needed."""


@dataclass(frozen=True)
class Given:
    """What the call says; None or empty for what it leaves out."""

    id: str | None = None
    invite: Path | None = None
    fingerprint: str | None = None
    plan: Path | None = None
    consortium: tuple[Path, ...] = ()
    quorum: int | None = None
    data: Reading | None = None
    pool: str | None = None
    size: int | None = None
    organization: str | None = None
    address: str | None = None
    certificate: Path | None = None
    passphrase_file: Path | None = None
    folder: Path = Path()
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class _Terms:
    """What a site is asked to agree to, and where the coordinator is."""

    plan: Plan
    consortium: Consortium
    address: str | None
    certificate: Path | None
    fingerprint: str | None = None  # of the invitation that said it all
    plan_file: Path | None = None  # where it was named by itself


def drafted(given: Given, ask: Ask | None) -> Draft:
    """The draft of a site. `ask` is None where nobody is there: what is missing is named then, all at once.

    InputError or PolicyViolation for what cannot be; nothing but the parts of an invitation is written.
    """
    _refuse_doubled(given)
    known = (
        declared_size(given.folder, given.id)
        if given.id is not None and SITE_ID.fullmatch(given.id)
        else None
    )
    if ask is None:
        _require_all(given, known)
    name = given.id or _asked(ask, "the site's id, a short name")
    if not SITE_ID.fullmatch(name):
        raise InputError(
            f"{name!r} cannot be a site's id", hint="use letters, digits, dots, - and _, up to 64"
        )
    terms = _terms(given, ask)
    policy = _looked_up(policy_for(terms.plan, given.limits), terms.plan_file, given.folder)
    data = given.data or Reading(_asked(ask, "the file with the records"))
    data.origin()  # refuses a reading that fits no source
    known = known or declared_size(given.folder, name)
    size = given.size or known or _number(_asked(ask, "about how many records, declared in public"))
    return Draft(
        id=name,
        folder=given.folder,
        organization=given.organization
        or (_asked(ask, "who owns the site", name) if ask and not known else name),
        plan=terms.plan,
        data=data,
        pool=given.pool or (_asked(ask, "a name for these people", name) if ask else name),
        size=size,
        policy=policy,
        consortium=terms.consortium,
        address=terms.address,
        certificate=terms.certificate,
        passphrase_file=given.passphrase_file,
        invitation=terms.fingerprint,
    )


def _looked_up(policy: Policy, plan_file: Path | None, folder: Path) -> Policy:
    """The policy that names the file of its plan, where `join` would not find it beside the site file."""
    if plan_file is None or plan_file.resolve().parent == folder.resolve():
        return policy
    return policy.model_copy(update={"plan_files": (str(plan_file.resolve()),)})


def _refuse_doubled(given: Given) -> None:
    """An invitation brings its parts; two of one kind would leave open which counts."""
    parts = {
        "--plan": given.plan,
        "--consortium": given.consortium,
        "--quorum": given.quorum,
        "--address": given.address,
        "--certificate": given.certificate,
    }
    doubled = [flag for flag, value in parts.items() if value]
    if given.invite is not None and doubled:
        raise InputError(f"{', '.join(doubled)}: an invitation brings that", hint="leave out one of the two")
    if (given.address is None) != (given.certificate is None):
        hint = "give both, or none: [server] can be added later"
        raise InputError("--address goes with the --certificate that is pinned for it", hint=hint)


def _require_all(given: Given, known: int | None) -> None:
    needed = {
        "--id": given.id,
        "--invite (or --plan)": given.invite or given.plan,
        "--consortium": given.invite or given.consortium or given.plan is None,
        "--data": given.data,
        "--size": given.size or known,
    }
    missing = [flag for flag, value in needed.items() if not value]
    if missing:
        hint = "give it, or give the command on a terminal: there it asks"
        raise InputError(f"missing: {', '.join(missing)}", hint=hint)


def _terms(given: Given, ask: Ask | None) -> _Terms:
    """Plan, consortium and coordinator, from an invitation or piece by piece."""
    if given.invite is not None:
        return _of(load_invitation(given.invite), given, ask)
    if given.plan is not None:
        return _pieces(given, given.plan, ask)
    return _named(given, Path(_asked(ask, "the invitation, or the plan")), ask)


def _named(given: Given, path: Path, ask: Ask | None) -> _Terms:
    """What a file brings that may be an invitation or a plan."""
    if "version" in read(path).data:
        return _of(load_invitation(path), given, ask)
    return _pieces(given, path, ask)


def _of(invitation: Invitation, given: Given, ask: Ask | None) -> _Terms:
    _require_same(invitation, given.fingerprint, ask)
    _, certificate = unpack(invitation, given.folder)
    server = invitation.server
    return _Terms(
        invitation.parsed_plan(),
        invitation.consortium,
        None if server is None else server.address,
        certificate,
        invitation.fingerprint,
    )


def _require_same(invitation: Invitation, told: str | None, ask: Ask | None) -> None:
    """InputError unless the invitation is the one of which somebody `told` the fingerprint.

    Without that it is taken on trust, unless its plan names code: nothing of a stranger's choice is loaded.
    """
    plan, found = invitation.parsed_plan(), invitation.fingerprint
    compare = "compare it with whoever invited you, over another channel than the file came by"
    if told is not None:
        if told.strip() != found:
            raise InputError(f"the invitation has another fingerprint: {found}", hint=compare)
        return
    if not plan.has_own_code:
        return
    what = f"the plan in it has code of its own, {plan.code}, which would be loaded and run here"
    if ask is None:
        raise InputError(what, hint=f"{compare}: {found}; then give --fingerprint")
    if ask(f"{what}; {compare}: {found}. Is it the same (yes or no)", "no").lower() not in ("y", "yes"):
        raise InputError("nothing was loaded or made", hint=compare)


def _pieces(given: Given, path: Path, ask: Ask | None) -> _Terms:
    if given.fingerprint is not None:
        raise InputError("--fingerprint is of an invitation", hint="leave it out, or name one with --invite")
    plan = load_plan(path)
    signers = given.consortium or (Path(_asked(ask, "the .pub file of whoever signs the roster")),)
    consortium = consortium_of(signers, given.quorum)
    address, certificate = given.address, given.certificate
    if (
        address is None
        and ask is not None
        and (said := ask("the coordinator's HOST:PORT, or - for later", "-")) != "-"
    ):
        address, certificate = said, Path(_asked(ask, "the file of the certificate to pin"))
    if address is not None and certificate is not None:
        require_address(address)
        check_certificate(certificate.name, certificate)
    return _Terms(plan, consortium, address, certificate, plan_file=path)


def _asked(ask: Ask | None, question: str, otherwise: str = "") -> str:
    assert ask is not None, question  # noqa: S101  # what is missing was named before
    return ask(question, otherwise)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise InputError("that is no number of records", hint="write a whole number, such as 300")
    return int(text)
