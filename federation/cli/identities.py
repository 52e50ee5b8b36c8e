"""`federation keys`, `federation roster` and `federation invite`: who is who, and under whose word."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.cli.options import AsJson, Debug
from federation.cli.screen import show
from federation.cli.streams import print_json
from federation.errors import InputError
from federation.words import many

if TYPE_CHECKING:
    from privacy.roster import Roster

keys = typer.Typer(help="Identities.", no_args_is_help=True)
roster = typer.Typer(help="Who may take part.", no_args_is_help=True)


@keys.command("new", epilog="Example: [bold]federation keys new keys/ --id cleveland --size 300[/bold]")
def new_keys(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="where the key files go")],
    name: Annotated[str, typer.Option("--id", help="the site's id, or a name for a consortium key")],
    organization: Annotated[str, typer.Option(help="who owns it; the id, if left out")] = "",
    size: Annotated[int, typer.Option(min=1, help="how many records the site declares in public")] = 1,
    coordinator: Annotated[
        bool, typer.Option("--coordinator", help="a key that signs what a server asks the sites")
    ] = False,
    node: Annotated[bool, typer.Option("--node", help="the key of the site's Flower node alone")] = False,
    consortium: Annotated[
        bool, typer.Option("--consortium", help="a key that signs rosters, or approves: no site")
    ] = False,
    passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="seal the private key by the passphrase in it")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make an identity: ID.key stays with its owner, ID.pub goes to the consortium.

    A site gets two keys, ID.key to sign with and ID.node.key to connect with; ID.pub names both.
    """
    from federation.identity.keys import load_passphrase
    from federation.identity.roles import Role, make_identity

    passphrase = None if passphrase_file is None else load_passphrase(passphrase_file)
    told: dict[Role, bool] = {"coordinator": coordinator, "node": node, "consortium": consortium}
    asked = [role for role, is_asked in told.items() if is_asked]
    if len(asked) > 1:
        raise typer.BadParameter(f"--{asked[0]} and --{asked[1]} are two keys: make one after the other")
    role: Role = asked[0] if asked else "site"
    private, public, *others = make_identity(role, folder, name, organization or name, size, passphrase)
    files = {"private": private, "public": public} | ({"node": others[0]} if others else {})
    if as_json:
        print_json({"id": name, **{what: str(file) for what, file in files.items()}})
    else:
        typer.echo("\n".join(f"{what:<8} {file}" for what, file in files.items()))


@roster.command(
    "add",
    epilog="Example: [bold]federation roster add roster.toml cleveland.pub --sign consortium.key[/bold]",
)
def add_to_roster(
    path: Annotated[Path, typer.Argument(metavar="ROSTER", help="roster.toml; made if there is none")],
    public: Annotated[
        list[Path], typer.Argument(metavar="ID.pub...", help="public files of sites, of the coordinator")
    ],
    key: Annotated[
        Path | None, typer.Option("--sign", metavar="KEY", help="then sign it by this consortium key")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Add sites or replace them, name the coordinator, or a site's node. The roster then needs new signatures.

    With --sign no key of a site or coordinator that the roster knows is replaced: people compare it first.
    """
    from federation.identity.keys import load_private
    from federation.identity.roles import load_any_public
    from federation.identity.roster_file import add_to_roster, changes, roster_in, sign_roster

    signer = None if key is None else load_private(key)
    before = roster_in(path)
    roster = add_to_roster(path, *map(load_any_public, public), keeps_keys=signer is not None)
    if not as_json:
        show(*changes(before, roster))
    signatures = 0 if signer is None else len(sign_roster(path, signer).signatures)
    _tell_roster(path, roster, as_json, signatures)


@roster.command("remove", epilog="Example: [bold]federation roster remove roster.toml cleveland[/bold]")
def remove_from_roster(
    path: Annotated[Path, typer.Argument(metavar="ROSTER", help="the roster file")],
    site: Annotated[str, typer.Argument(metavar="ID", help="the site's id")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Revoke a site. The roster then needs new signatures; a site that has seen them accepts no older roster."""
    from federation.identity.roster_file import remove_site

    _tell_roster(path, remove_site(path, site), as_json)


def _tell_roster(path: Path, roster: Roster, as_json: bool, signatures: int = 0) -> None:
    sites = len(roster.entries)
    if as_json:
        named = roster.coordinator.hex() or None
        facts = {"roster": str(path), "serial": roster.serial, "sites": sites, "coordinator": named}
        print_json({**facts, "signatures": signatures})
    else:
        missing = "" if roster.coordinator else ", no coordinator named"
        signed = many(signatures, "signature") if signatures else "not signed yet"
        typer.echo(f"{path}: serial {roster.serial}, {many(sites, 'site')}, {signed}{missing}")


@roster.command(
    "sign", epilog="Example: [bold]federation roster sign roster.toml --key consortium.key[/bold]"
)
def sign_roster_file(
    path: Annotated[Path, typer.Argument(metavar="ROSTER", help="roster.toml")],
    key: Annotated[Path, typer.Option(help="a consortium key that sites have pinned")] = Path(
        "consortium.key"
    ),
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Sign a roster. Read it first: whoever is on it can take part."""
    from federation.identity.keys import load_private
    from federation.identity.roster_file import load_roster, roster_of, sign_roster
    from privacy.suite import SUITE

    is_older = roster_of(load_roster(path))[0].suite != SUITE
    signed = sign_roster(path, load_private(key))
    if as_json:
        print_json({"roster": str(path), "signatures": len(signed.signatures), "older_suite": is_older})
        return
    if is_older:
        typer.echo(
            f"{path}: signed for an older suite before; the serial is raised, and every key signs again"
        )
    typer.echo(f"{path}: {many(len(signed.signatures), 'signature')}")


def invite(
    plan: Annotated[Path, typer.Option(metavar="PLAN", help="what the sites are asked to agree to")],
    roster_key: Annotated[
        list[Path],
        typer.Option("--roster-key", metavar="FILE.pub", help="who signs the roster; may be repeated"),
    ],
    quorum: Annotated[
        int | None, typer.Option(help="how many of them have to sign; all, if left out")
    ] = None,
    address: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="where the coordinator is")] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the authority to pin for it")
    ] = None,
    identity: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="the coordinator's key, beside which serve keeps its own authority"),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="it is never replaced")] = Path("invite.toml"),
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Put all that a site needs to join into one public file: plan, consortium keys, coordinator, certificate."""
    from clients.drafting.invitation import invite as make
    from federation.files import write_new

    if identity is not None and certificate is not None:
        raise InputError("--identity and --certificate are two authorities", hint="sites pin one: name that")
    if identity is not None:
        certificate = _own_authority(identity, address)
    found = make(plan, roster_key, quorum, address, certificate)
    write_new(out, found.to_toml(out.name))
    if as_json:
        digest = found.parsed_plan().digest
        print_json({"invitation": str(out), "fingerprint": found.fingerprint, "plan_digest": digest})
        return
    show(
        f"{out}: public, for every site; its fingerprint, to be told over another channel:", found.fingerprint
    )
    show(f"each site: federation site new --invite {out.name} --id ID --data FILE")


def _own_authority(identity: Path, address: str | None) -> Path:
    """The authority beside a coordinator's key, as `federation serve` would make it; made if there is none."""
    from clients.drafting.invitation import require_address
    from federation.identity.roles import load_coordinator
    from server.link.certificates import own

    if address is None:
        raise InputError("--identity goes with --address", hint="say what sites dial: HOST:PORT")
    require_address(address)
    key, _ = load_coordinator(identity, identity)
    pinned = own(key.parent / "tls", address.rpartition(":")[0].strip("[]")).pinned
    assert pinned is not None  # noqa: S101  # of an authority of our own
    return pinned
