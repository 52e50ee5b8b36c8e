"""`federation ledger withdraw`: people whose records later rounds leave out. Ids come from standard input alone."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import AsJson, Debug
from federation.cli.streams import print_json
from federation.errors import AuditFailure, InputError
from federation.words import many, spans
from privacy.errors import RecordsUnavailable

if TYPE_CHECKING:
    from clients.people.asking import Told
    from clients.people.descent import Gone

_MOST_BYTES = 1 << 24


def withdraw(
    site: Annotated[Path, typer.Argument(metavar="SITE", help="site.toml; its process may be running")],
    undo: Annotated[
        bool,
        typer.Option("--undo", help="they have consented anew; nothing is refunded. Stop the site first"),
    ] = False,
    show_list: Annotated[
        bool, typer.Option("--list", help="how many withdrew, and which list each release was made with")
    ] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="the list was lost: begin another, with everybody's ids")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """A person withdraws: later rounds leave their records out, and nobody outside can tell.

    The ids, one a line, come from standard input, so that no history of commands and no list of processes has them.
    What was charged stays charged.
    """
    from datetime import UTC, datetime

    from clients.people import asking

    if sum((undo, show_list, anew)) > 1:
        raise InputError("--undo, --list and --anew are three things", hint="give one of them")
    if show_list:
        _print_list(asking.listed(site), as_json)
        return
    ids = _ids()
    told = asking.withdraw(site, ids, datetime.now(UTC).date().isoformat(), undo=undo, anew=anew)
    if as_json:
        print_json(_changed(told))
        return
    _print_change(told, undo)


def withdrawn_of(site: Path) -> dict[str, Any] | None:
    """For `ledger show`: who withdrew from the pool of a site file, and what was released before; else None.

    A list that is lost hides no ledger: a warning says so. No round begins without it.
    """
    from clients.people import asking

    try:
        told = asking.listed(site) if site.suffix == ".toml" else None
    except RecordsUnavailable as error:
        typer.echo(f"warning: who withdrew is not known: {error}", err=True)
        return None
    return None if told is None or not told.gone else {"people": len(told.gone), "groups": _groups(told.gone)}


def print_withdrawn(facts: Mapping[str, Any]) -> None:
    """The same in words."""
    first, *rest = withdrawn_lines(facts)
    typer.echo("\n  ".join([first, *rest]))


def withdrawn_lines(facts: Mapping[str, Any]) -> list[str]:
    """The same as lines."""
    lines = [f"{many(facts['people'], 'person', 'people')} withdrew:"]
    for group in facts["groups"]:
        days = " to ".join(dict.fromkeys((group["from"], group["until"])))
        who = f"{days}: {many(group['people'], 'person', 'people')}"
        lines.append(f"{who}; released before, from data that may hold their records: {_held(group['held'])}")
    lines.append(
        "Params of these rounds, and all later params of the same runs, descend from such data. That stays so; "
        "how much of a person can be in them, the epsilon of these runs bounds."
    )
    return lines


def _ids() -> list[str]:
    if sys.stdin.isatty():
        typer.echo("the id of each person who withdraws, one a line; Ctrl-D ends", err=True)
    data = sys.stdin.buffer.read(_MOST_BYTES + 1)
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError("standard input is no UTF-8", hint="one id a line, as in your data") from None
    if len(data) > _MOST_BYTES:
        raise InputError("standard input is longer than 16 MiB", hint="one id a line, and nothing else")
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _changed(told: Told) -> dict[str, Any]:
    seen = told.seen
    return {
        "new": told.new,
        "already": told.already,
        "withdrawn": len(told.known.marks()),
        "rows": None if seen is None else seen.rows,
        "people_without_rows": None if seen is None else seen.absent,
        "rows_in_other_spellings": None if seen is None else seen.alike,
        "released_before": _groups(told.alone),
    }


def _print_change(told: Told, undo: bool) -> None:
    _warn(told)
    done = "consented anew" if undo else "withdrew"
    beside = f"; {told.already} had before" if told.already else ""
    typer.echo(f"{many(told.new, 'person', 'people')} {done}{beside}. On the list: {len(told.known.marks())}")
    if undo:
        typer.echo("Their records take part again once the site is started. Nothing is refunded.")
        return
    rows = "" if told.seen is None else f" ({many(told.seen.rows, 'row')} of the data as they are now)"
    typer.echo(
        f"Their records{rows} are left out of every round that this site begins to compute from now on; one "
        "that it computes at this moment may still hold them. What was charged stays charged."
    )
    for group in _groups(told.alone):
        typer.echo(f"Released before, from data that may hold their records: {_held(group['held'])}")


def _warn(told: Told) -> None:
    seen, column = told.seen, told.known.column
    if seen is None:
        typer.echo("warning: the data could not be looked at for these ids", err=True)
        return
    if seen.absent:
        typer.echo(
            f"warning: {seen.absent} of them have no row in the data as they are now: is the id spelled as in "
            f'column "{column}"?',
            err=True,
        )
    if seen.alike:
        typer.echo(
            f"warning: {many(seen.alike, 'row')} with ids that differ in capitals, blanks, leading zeros, .0 or "
            "the width of characters alone stay: if they are the same people's, give those spellings, too",
            err=True,
        )


def _print_list(told: Told | None, as_json: bool) -> None:
    """For the site's people, and an auditor in their house: it opens what the releases commit to."""
    if told is None:
        if as_json:
            print_json({"withdrawn": 0, "lines": [], "releases": []})
        else:
            typer.echo("nobody has withdrawn, and the site has no list yet")
        return
    wrong = [release.entry.seq for release in told.releases if release.is_of_another]
    if wrong:
        raise AuditFailure(
            f"entry {wrong[0]} of the ledger commits to a list that this one never was",
            hint="put the site's own list back",
        )
    if as_json:
        print_json(_opened(told))
        return
    typer.echo(f"{many(len(told.known.marks()), 'person', 'people')} withdrawn")
    for number, line in enumerate(told.known.lines, start=1):
        typer.echo(f"  {number}  {line.made}  {'consented anew' if line.is_back else 'withdrew'}")
    proven = sum(release.lines is not None for release in told.releases)
    typer.echo(f"{proven} of {many(len(told.releases), 'release')} commit to this list as it was then")


def _opened(told: Told) -> dict[str, Any]:
    from privacy.ledger import withdrawals

    known = told.known
    return {
        "withdrawn": len(known.marks()),
        "lines": [{"number": number, **line.to_json()} for number, line in enumerate(known.lines, start=1)],
        "releases": [
            {
                "entry": release.entry.seq,
                "run": release.run,
                "round": release.round,
                "lines": release.lines,
                "salt": withdrawals.salt(known.secret, release.entry.previous).hex(),
                "commitment": release.entry.body.get(withdrawals.FIELD),
            }
            for release in told.releases
        ],
    }


def _groups(gone: Sequence[Gone]) -> list[dict[str, Any]]:
    """People with the same rounds before them are told together."""
    found: dict[str, dict[str, Any]] = {}
    for each in gone:
        held = {run: list(rounds) for run, rounds in each.held.items()}
        group = found.setdefault(
            repr(held), {"people": 0, "from": each.made, "until": each.made, "held": held}
        )
        group["people"] += 1
        group["from"], group["until"] = min(group["from"], each.made), max(group["until"], each.made)
    return list(found.values())


def _held(held: Mapping[str, Sequence[int]]) -> str:
    told = [_rounds(run, rounds) for run, rounds in held.items()]
    return "; ".join(told) if told else "nothing"


def _rounds(run: str, rounds: Sequence[int]) -> str:
    base, _, part = run.partition("/")
    if part:
        return f"run {base[:8]}, {part}"
    return f"run {base[:8]}, {'round' if len(rounds) == 1 else 'rounds'} {spans(rounds)}"
