"""`federation plan new` and `site new`: files that people begin with."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import (
    AsJson,
    Columns,
    Debug,
    Decimal,
    Encoding,
    PasswordFile,
    Query,
    Separator,
    Sheet,
)
from federation.cli.process import command_line
from federation.cli.screen import show
from federation.cli.streams import print_json
from federation.errors import InputError
from federation.words import many, printable, some

if TYPE_CHECKING:
    from clients.data.sources.table import Table
    from clients.drafting.plans import Proposal, Wanted
    from clients.drafting.sites import Draft


site_commands = typer.Typer(help="Sites.", no_args_is_help=True)
plan_commands = typer.Typer(help="Plans.", no_args_is_help=True)


@plan_commands.command(
    "new", epilog="Example: [bold]federation plan new public.csv --target num --public[/bold]"
)
def new_plan(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA...",
            help="a table that is public or made up, or its folder, or several of the same columns",
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help="the column to predict")] = None,
    event: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="--target is a time: what it ended in, such as died")
    ] = None,
    patient: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="whose a row is: all rows of one are protected together"),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="what orders the rows of each --patient: a time series"),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--from", metavar="RUN", help="what a run's statistics published, not DATA")
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="PLAN", help="where the plan goes; it is never replaced")
    ] = Path("plan.toml"),
    feature: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="learn from these alone; may be repeated")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="the name of the federation; the file's, if left out")
    ] = None,
    epsilon: Annotated[
        float,
        typer.Option(min=0.01, max=100, help="what a run may tell of one unit; settings follow from it"),
    ] = 3.0,
    records: Annotated[
        int | None,
        typer.Option(min=10, max=1_000_000_000, help="of all sites together; as in DATA, if left out"),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="the table holds nobody's private records")
    ] = False,
    query: Query = None,
    sheet: Sheet = None,
    separator: Separator = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    columns: Columns = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Propose a plan from a public or made-up table, and say what was guessed and what people have to decide."""
    from clients.data.sources.reading import read
    from clients.drafting.plans import Wanted, propose
    from clients.drafting.several import as_one
    from clients.drafting.sources import Reading, by_options, in_folder
    from federation.files import refuse_existing, write_new

    refuse_existing(out)
    if run is not None:
        if data or event is not None or patient is not None or time is not None:
            others = "DATA, --event, --patient and --time"
            raise InputError(f"--from contradicts {others}", hint="name a table, or a run")
        found = _from_run(run, target, name, feature or (), Wanted(epsilon, records))
        write_new(out, found.text)
        _told(found, out, as_json=as_json)
        return
    if not data:
        raise InputError("DATA is missing: a table that is public or made up", hint="or --from RUN")
    _confirm_public(some(data), public)
    ways = (query, sheet, None, separator, decimal, encoding, columns)
    with by_options("DATA"):
        tables = [read(Reading(in_folder(source), *ways).origin()) for source in data]
        table = as_one(tables)
    wanted, title = Wanted(epsilon, records, event, patient, time), name or Path(data[0]).stem
    found = propose(tables, target or _asked_target(table), title, feature or (), wanted)
    write_new(out, found.text)
    _told(found, out, as_json=as_json)


def _from_run(
    run: Path, target: str | None, name: str | None, only: Sequence[str], wanted: Wanted
) -> Proposal:
    """What the pooled, noised table of a run says: nobody's records are read."""
    from clients.drafting.pooled import propose_from, published

    told = published(run)
    if target is None:
        raise InputError("--target is missing: it names the column to predict", hint=some(list(told.columns)))
    return propose_from(told, target, name or told.plan.federation.name, only, wanted)


def _told(found: Proposal, out: Path, *, as_json: bool) -> None:
    if as_json:
        named = {column.name: column.why for column in found.left_out}
        features = [column.name for column in found.used]
        print_json(
            {"plan": str(out), "plan_digest": found.plan.digest, "features": features, "left_out": named}
        )
        return
    _tell_proposal(found, out)


def _confirm_public(data: str, public: bool) -> None:
    """Ranges and values that are read from private records would be published by the plan, outside any budget."""
    typer.echo(
        f"WARNING: ranges, values and classes are read from the rows of {printable(data)} and will stand in "
        "the plan, which every party sees. From private records, that would publish the least and the greatest "
        "of people, and no budget would count it. Use a public or made-up table only.",
        err=True,
    )
    if public:
        return
    if not sys.stdin.isatty():
        raise InputError(
            f"{data}: nobody has said that it is public", hint="give --public, if it is public or made up"
        )
    if not typer.confirm("is this table public or made up?", err=True):
        raise InputError("nothing was read", hint="write the ranges by hand, from what is possible")


def _asked_target(table: Table) -> str:
    """The column to predict, which nobody guesses."""
    from clients.drafting.plans import targets_of

    few = targets_of(table)
    if not sys.stdin.isatty():
        said = f"of few values: {some(few)}" if few else "no column has few values"
        raise InputError("--target is missing: it names the column to predict", hint=said)
    chosen: str = typer.prompt(f"which column is to be predicted? ({some(few)})", err=True)
    return chosen


def _tell_proposal(found: Proposal, out: Path) -> None:
    from clients.drafting.courses import looks_like
    from clients.drafting.plans import line_of

    show(f"{found.target}: predicted, {found.predicted.words}")
    show(*(f"{line_of(c.feature)}  {c.why}" for c in found.used if c.feature is not None))
    show(*(f"left out: {column.name}: {column.why}" for column in found.left_out))
    if found.course is not None:
        show(looks_like(found.course))
    for column in found.columns:
        if column.names_people and (found.course is None or found.course.patient != column.name):
            show(f'is "{column.name}" whose a row is? then add --patient {command_line([column.name])}')
    show("", "People decide, and all of it is a guess so far:", *(f"  {line}" for line in found.decisions))
    show("", f"{out}: {many(len(found.used), 'feature')}, {found.plan.digest}")
    name = command_line([str(out)])
    show(f"next: read it; federation check {name}; federation mock {name} --out mock/")


@site_commands.command(
    "new",
    epilog="Example: [bold]federation site new --invite invite.toml --id cleveland --data heart.csv[/bold]",
)
def new_site(
    name: Annotated[str | None, typer.Option("--id", help="the site's id")] = None,
    invite: Annotated[
        Path | None, typer.Option(metavar="FILE", help="an invitation: plan, consortium and coordinator")
    ] = None,
    fingerprint: Annotated[
        str | None, typer.Option(metavar="sha256:...", help="refuse any other invitation than this")
    ] = None,
    plan: Annotated[Path | None, typer.Option(metavar="PLAN", help="the plan to consent to")] = None,
    consortium: Annotated[
        list[Path] | None, typer.Option(metavar="FILE.pub", help="who signs the roster; may be repeated")
    ] = None,
    quorum: Annotated[
        int | None, typer.Option(help="how many of them have to sign; all, if left out")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="FILE", help="the site's records: a file, or a database's URL")
    ] = None,
    query: Query = None,
    sheet: Sheet = None,
    test: Annotated[str | None, typer.Option(metavar="FILE", help="records to evaluate on")] = None,
    separator: Separator = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    columns: Columns = None,
    password_file: PasswordFile = None,
    pool: Annotated[str | None, typer.Option(help="a name for these people; the id, if left out")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="about how many records; public")] = None,
    organization: Annotated[str | None, typer.Option(help="who owns the site; the id, if left out")] = None,
    address: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="where the coordinator is")] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the authority to pin for it")
    ] = None,
    epsilon_max: Annotated[float | None, typer.Option(help="the plan's, if left out")] = None,
    colluders_minimum: Annotated[int | None, typer.Option(help="accept a plan that counts so few")] = None,
    survivors_minimum: Annotated[int | None, typer.Option(help="accept sums of so few sites")] = None,
    cohort_minimum: Annotated[
        int | None,
        typer.Option(help="the plan's, if left out; 2 only if you agree that the other sees your part"),
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="seal the private key by the passphrase in it")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="the site's folder; no file is replaced")] = Path(),
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Draft the site file of a site, and its keys; check its records against the plan; say what to send to whom.

    On a terminal, what is left out is asked for. The file consents to one run of this plan and to nothing else.
    """
    from clients.drafting.answers import Given, drafted
    from clients.drafting.sites import SITE_FILE, Limits, nothing_left
    from clients.drafting.sources import Reading, by_options
    from federation.files import refuse_existing

    refuse_existing(out / SITE_FILE)
    said = {"query": query, "sheet": sheet, "test": test, "separator": separator, "decimal": decimal}
    said |= {"encoding": encoding, "columns": columns, "password_file": password_file}
    reading = None if data is None else Reading(data, **said)
    given = Given(
        id=name,
        invite=invite,
        fingerprint=fingerprint,
        plan=plan,
        consortium=tuple(consortium or ()),
        quorum=quorum,
        data=reading,
        pool=pool,
        size=size,
        organization=organization,
        address=address,
        certificate=certificate,
        passphrase_file=passphrase_file,
        folder=out,
        limits=Limits(epsilon_max, colluders_minimum, survivors_minimum, cohort_minimum),
    )
    with by_options("--data"), nothing_left(out):
        draft = drafted(given, _ask if sys.stdin.isatty() and not as_json else None)
        facts = _checked(draft, as_json, is_compared=fingerprint is not None)
    if as_json:
        print_json(facts)


def _ask(question: str, otherwise: str) -> str:
    answer: str = typer.prompt(question, default=otherwise or None, err=True)
    return answer.strip()


def _checked(draft: Draft, as_json: bool, *, is_compared: bool) -> dict[str, Any]:
    """Write keys and site file, check all that `check --site` checks, and say what comes next."""
    from clients.drafting.sites import made
    from clients.policy import load_site
    from clients.preflight.own import authorities
    from federation.cli.checking import checked_site, show_look
    from federation.identity.keys import load_public

    with made(draft) as new_keys:
        checked_site(draft.plan, draft.path, is_shown=not as_json)
    for finding in authorities(load_site(draft.path), draft.path):
        typer.echo(f"WARNING: {finding.detail}; {finding.cure}", err=True)
    key = load_public(draft.public).key
    if not as_json:
        show_look(draft.plan, draft.path)
        _tell_next(draft, key, new_keys, is_compared=is_compared)
    return {
        "id": draft.id,
        "site_file": str(draft.path),
        "public": str(draft.public),
        "key": key,
        "keys_made": new_keys,
        "plan_digest": draft.plan.digest,
        "invitation": draft.invitation,
        "pool": draft.pool,
        "size": draft.size,
    }


def _tell_next(draft: Draft, key: str, new_keys: bool, *, is_compared: bool) -> None:
    """What was written, and the two commands that are left."""
    most = draft.policy.epsilon_max
    epsilon = "no limit" if math.isinf(most) else f"epsilon {most:g} a record"
    show("", f'{draft.path}: consents to one run of "{draft.plan.federation.name}", {epsilon}; read it')
    show(f"{draft.keys}: {'keys made' if new_keys else 'keys found'}; they stay here, back them up")
    show("next:")
    if draft.invitation is not None and not is_compared:
        show(f"  ask whoever invited you whether theirs has this fingerprint: {draft.invitation}")
    show(
        f"  send {draft.public} to whoever signs the roster, and tell them its key over another channel: {key}"
    )
    later = "" if draft.address else ", when the coordinator has told [server]"
    show("  " + command_line(["federation", "join", str(draft.path)]) + later)
