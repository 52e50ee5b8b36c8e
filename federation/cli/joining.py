"""`federation join`: what is wrong, what would leave, one question; then the site, and how it stands.

`federation leave`: a site leaves a run on purpose.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from federation.cli.options import AsJson, Debug
from federation.cli.process import command_line, end_by
from federation.cli.progress import working
from federation.cli.screen import labelled, styled
from federation.cli.streams import print_json
from federation.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from clients.board.board import Board
    from clients.preflight.before import Seen

_FRAME: Final = 4  # lines of the table around its rows, and the cursor's
_Rows: TypeAlias = list[tuple[str, str]]


def join(
    site: Annotated[Path, typer.Argument(metavar="SITE", help="site.toml: identity, data, policy")],
    socket: Annotated[
        Path | None,
        typer.Option(help="be no node: listen there for the ClientApp of a flower-supernode"),
    ] = None,
    same_user: Annotated[
        bool,
        typer.Option(
            "--same-user", help="with --socket: let Flower run as this user, who can read data and keys"
        ),
    ] = False,
    plan: Annotated[
        list[Path] | None,
        typer.Option("--plan", metavar="FILE", help="look at this plan first; approves nothing"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="join without being asked")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="lines for a service, no table")] = False,
    status: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="a page about this site, on this machine only: 127.0.0.1:8480"
        ),
    ] = None,
    json_log: Annotated[bool, typer.Option("--json-log", help="one JSON object per line")] = False,
    debug: Debug = False,
) -> None:
    """Be a site: connect to the coordinator that site.toml names, and answer it until stopped. The log is stderr.

    First everything is looked at that can be looked at before, and what will leave this site is said. Then one
    question, and nothing is sent before the answer.
    """
    from clients.board.board import Board
    from clients.board.past import remind
    from clients.join import attend, untold
    from clients.policy import load_site
    from clients.preflight.before import look
    from federation.live.terminal import live_view
    from federation.log import heard_by, tell_end, to_stderr

    to_stderr(as_json=json_log, debug=debug)
    end_by(tell_end)
    rules = load_site(site)
    board, is_watched = Board(rules.id), sys.stderr.isatty() and not json_log
    is_plain = plain or not is_watched or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    look_at = partial(look, rules, site, plan or [], by_socket=socket is not None, is_patient=yes)
    with ExitStack() as running:
        running.enter_context(heard_by(board.hear))
        if status is not None:  # before all else, as its address may be taken
            running.enter_context(_page(board, status))
        if is_watched:
            _show(look_at, is_plain=is_plain)
        else:
            _note(look_at())
        if not yes:
            _ask()
        if socket is None and rules.server is not None:
            board.connecting(rules.server.address)
        remind(board, rules.journal)
        if not is_plain:
            running.enter_context(live_view(partial(table_of, board)))
        attend(site, socket, _aloud if is_watched else untold, same_user=same_user, board=board)
    _tell_of_open_run(board, site)


def _aloud(line: str) -> None:
    """What the files hold is for a person who looks on, and no part of a log."""
    typer.echo(line, err=True)


def _note(seen: Seen) -> None:
    """For a service. What is wrong is raised, and then nothing else is said."""
    from clients.preflight.finding import require

    require(seen.findings)
    seen.note()


def _show(look_at: Callable[[], Seen], *, is_plain: bool) -> None:
    """Look at everything, and show it. What is wrong is raised."""
    from clients.preflight.finding import require

    console = _console(is_plain=is_plain)
    with nullcontext() if is_plain else working("looking at this site"):
        seen = look_at()
    width = max((len(finding.name) for finding in seen.findings), default=0)
    for finding in seen.findings:
        told = "see below" if finding.level == "error" else finding.detail
        _line(console, finding.name, width, finding.level, told)
        if finding.cure and finding.level == "warning":
            _line(console, "", width, "", finding.cure)
    for plan in seen.plans:
        _listed(console, f'What "{plan.name}" is for, as its plan says', plan.purpose)
        _listed(console, f'What leaves this site under "{plan.name}"', plan.leaves)
    _line(console)
    require(seen.findings)


def _listed(console: Console, title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Names and words under a title; nothing at all where there are none."""
    if not rows:
        return
    _line(console)
    _line(console, title)
    wide = max(len(name) for name, _ in rows)
    for name, words in rows:
        _line(console, name, wide, None, words)


def _ask() -> None:
    """InputError without a yes. Nothing has been sent."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        hint = "give --yes to join without a question"
        raise InputError("nobody is here to be asked whether to join", hint=hint)
    if not typer.confirm("join?", err=True):
        raise InputError("nothing was sent", hint="answer y to join")


def _console(*, is_plain: bool = False) -> Console:
    """Stderr; without any code for a terminal where lines are to be plain."""
    from rich.console import Console

    plain = False if is_plain else None
    return Console(file=sys.stderr, force_terminal=plain, markup=False, highlight=False, emoji=False)


def _line(
    console: Console, name: str = "", width: int = 0, level: str | None = None, words: str = ""
) -> None:
    """One line, however long: paths and commands are copied from it."""
    console.print(labelled(name, width, words, level), soft_wrap=True)


def table_of(board: Board, width: int, height: int = 1000) -> RenderableType:
    """The table at this moment. Where the terminal is too short, the newest event stays and older things go."""
    from rich.table import Table

    from clients.board.words import lately, rows

    standing = board.standing()
    table = Table(
        show_header=False, title="federation join: Ctrl-C stops this site", title_justify="left", width=width
    )
    table.add_column(style="bold", no_wrap=True)
    table.add_column(ratio=1)
    bad = standing.connection == "lost" and not standing.is_between_runs
    known, news = _fitting(rows(standing), lately(standing), width, height - _FRAME)
    for name, words in known:
        style = "red" if (name == "connection" and bad) or words.startswith("refused") else ""
        table.add_row(name, styled((words, style)))
    for at, words in news:
        table.add_row(at, styled((words, "yellow")))
    return table


def _fitting(known: _Rows, news: _Rows, width: int, height: int) -> tuple[_Rows, _Rows]:
    """What fits: older events go first, then what is no part of the run at hand."""
    known, news = list(known), list(news)
    names = max(len(name) for name, _ in (*known, *news))

    def lines() -> int:
        return sum(-(-len(words) // max(1, width - names - 7)) or 1 for _, words in (*known, *news))

    while lines() > height and len(news) > 1:
        del news[0]
    for name in ("site", "refusals", "budget", "this run", "round", "run"):
        if lines() > height:
            known = [row for row in known if row[0] != name]
    return known, news


@contextmanager
def _page(board: Board, status: str) -> Iterator[None]:
    from clients.board.page import html
    from clients.board.words import as_json
    from federation.live.page import serve_page
    from federation.log import note

    with serve_page(status, html(), lambda: as_json(board.standing())) as url:
        note("status_page", url=url)
        yield


def _tell_of_open_run(board: Board, site: Path) -> None:
    """What becomes of a run that was not over when the process was told to stop."""
    from federation.log import note

    run = board.standing().open_run
    if run is not None:
        note(
            "run_open",
            run=run.run,
            round=run.round,
            rounds=run.rounds,
            detail="it goes on when this site joins again; what was charged stays charged",
            command=command_line(["federation", "join", str(site)]),
        )


def leave(
    site: Annotated[Path, typer.Argument(metavar="SITE", help="site.toml; its process may be running")],
    run: Annotated[str, typer.Argument(metavar="RUN", help="its id, or the first 8 letters of it")],
    yes: Annotated[bool, typer.Option("--yes", help="do it without asking")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Leave a run, at once and for good. Says what stays charged, what is given back, and what others see."""
    from clients.leaving import about
    from clients.leaving import leave as go

    found = about(site, run)
    if not as_json:
        typer.echo("\n".join(_story(found.rounds, found.begun, found.returned, found.to_json()["units"])))
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise InputError("leaving cannot be taken back", hint="give --yes to do it without being asked")
        if not typer.confirm(f"leave run {found.run}?", err=True):
            raise InputError("nothing was changed", hint="answer y to leave")
    go(site, found)
    if as_json:
        print_json({**found.to_json(), "left": True})
    else:
        typer.echo(f"{found.site} has left run {found.run}")


def _story(rounds: int, begun: int, returned: int, units: dict[str, dict[str, float | None]]) -> list[str]:
    from federation.report.numbers import spent

    rest = (
        f"the {returned} that never began are given back"
        if returned
        else "nothing is given back"
        + (": the limit admitted the plan as a whole only" if begun < rounds else "")
    )
    return [
        f"{begun} of {rounds} rounds were begun and stay charged; {rest}",
        *(
            f"epsilon charged per {unit}: {spent(told['epsilon_before'])} now, {spent(told['epsilon_after'])} after"
            for unit, told in units.items()
        ),
        "the coordinator sees that this site left, and no reason; sums that are opened keep what it gave to them",
        "a round that is under way goes on without it, and may fail if the plan allows for no dropout",
        "this site cannot join this run again; other runs of its plan it can, as often as policy.plans says",
    ]
