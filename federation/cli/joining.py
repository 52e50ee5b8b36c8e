"""`federation join`: what would be wrong, what would leave, one question; then the site, and how it stands."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from clients.data.notes import printable
from federation.cli.screen import styled
from federation.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from clients.board.board import Board
    from clients.policy import SiteFile
    from clients.preflight.before import Seen

_STYLES: Final = {"ok": "green", "warning": "yellow", "error": "bold red"}
_PER_SECOND: Final = 2


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
    debug: Annotated[bool, typer.Option("--debug", help="on an error, show the traceback")] = False,
) -> None:
    """Be a site: connect to the coordinator of [server], and answer it until stopped. The log is stderr.

    First everything is looked at that can be looked at before, and what will leave this site is said. Then one
    question, and nothing is sent before the answer.
    """
    from clients.board.board import Board
    from clients.board.past import remind
    from clients.join import attend
    from clients.policy import load_site
    from federation.log import heard_by, to_stderr

    to_stderr(as_json=json_log, debug=debug)
    if status is not None:
        from federation.live.page import local_address

        local_address(status)
    rules = load_site(site)
    is_watched = sys.stderr.isatty() and not json_log
    _consented(rules, site, plan or [], yes=yes, is_watched=is_watched, by_socket=socket is not None)
    board = Board(rules.id)
    remind(board, rules.journal)
    with ExitStack() as running:
        running.enter_context(heard_by(board.hear))
        if status is not None:
            running.enter_context(_page(board, status))
        if is_watched and not plain and "NO_COLOR" not in os.environ:
            running.enter_context(live_table(board))
        attend(site, socket, _aloud if is_watched else _untold, same_user=same_user, board=board)
    _tell_of_open_run(board, site)


def _aloud(line: str) -> None:
    """What the files hold is for a person who looks on, and no part of a log."""
    typer.echo(line, err=True)


def _untold(_: str) -> None:
    """Where nobody looks on."""


def _consented(
    rules: SiteFile, site: Path, plans: Sequence[Path], *, yes: bool, is_watched: bool, by_socket: bool
) -> None:
    """Look at everything, show it, and ask. Raises what is wrong; InputError without a yes. Nothing is sent."""
    from clients.preflight.before import look
    from clients.preflight.finding import require

    if is_watched:
        with _console().status("looking at this site ..."):
            seen = look(rules, site, plans, by_socket=by_socket, is_patient=yes)
        _show(seen)
    else:
        seen = look(rules, site, plans, by_socket=by_socket, is_patient=yes)
        seen.note()
    require(seen.findings)
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(
            "nobody is here to be asked whether to join", hint="give --yes to join without a question"
        )
    if not typer.confirm("join?", err=True):
        raise InputError("nothing was sent", hint="answer y to join")


def _show(seen: Seen) -> None:
    console = _console()
    width = max((len(finding.name) for finding in seen.findings), default=0)
    for finding in seen.findings:
        told = "see below" if finding.level == "error" else finding.detail
        console.print(_line(finding.name, width, finding.level, told), soft_wrap=True)
        if finding.cure and finding.level == "warning":
            console.print(f"{'':{width}}           {printable(finding.cure)}", style="dim", soft_wrap=True)
    for plan in seen.plans:
        console.print()
        console.print(_line(f'What leaves this site under "{plan.name}"', 0, None, ""), soft_wrap=True)
        wide = max(len(name) for name, _ in plan.leaves)
        for name, words in plan.leaves:
            console.print(_line(name, wide, None, words), soft_wrap=True)
    console.print()


def _console() -> Console:
    """Stderr. No line that is printed there is broken: paths and commands are copied from it."""
    from rich.console import Console

    return Console(file=sys.stderr, markup=False, highlight=False, emoji=False)


def _line(name: str, width: int, level: str | None, words: str) -> RenderableType:
    mark = () if level is None else ((f"{level:7}", _STYLES[level]), "  ")
    return styled((f"{name:{width}}", "bold"), "  ", *mark, words)


@contextmanager
def live_table(board: Board) -> Iterator[None]:
    """A table of how the site stands, on the terminal, until the context ends. Log lines scroll above it."""
    from rich.live import Live

    console, before = _console(), sys.stderr
    shown = Live(
        get_renderable=lambda: table_of(board, console.width),
        console=console,
        refresh_per_second=_PER_SECOND,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with shown:
        sys.stderr = _Above(console)
        try:
            yield
        finally:
            sys.stderr = before


class _Above(io.TextIOBase):
    """Takes whole lines and prints them above the table, none of them broken."""

    def __init__(self, console: Console) -> None:
        self._console, self._begun = console, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._console.print(printable(line), soft_wrap=True)
        return len(text)


def table_of(board: Board, width: int) -> RenderableType:
    """The table at this moment."""
    from rich.table import Table

    from clients.board.words import lately, rows

    standing = board.standing()
    table = Table(
        show_header=False, title="federation join: Ctrl-C stops this site", title_justify="left", width=width
    )
    table.add_column(style="bold", no_wrap=True)
    table.add_column(ratio=1)
    bad = standing.connection == "lost"
    for name, words in rows(standing):
        style = "red" if (name == "connection" and bad) or words.startswith("refused") else ""
        table.add_row(name, styled((words, style)))
    for at, words in lately(standing):
        table.add_row(at, styled((words, "yellow")))
    return table


@contextmanager
def _page(board: Board, status: str) -> Iterator[None]:
    from clients.board.page import html
    from clients.board.words import as_json
    from federation.live.page import serve_page
    from federation.log import note

    with serve_page(status, html(), lambda: as_json(board.standing())) as url:
        note("status_page", detail=url)
        yield


def _tell_of_open_run(board: Board, site: Path) -> None:
    """What becomes of a run that was not over when the process was told to stop."""
    from federation.cli.process import command_line
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
