"""The `federation` command, one of two composition roots: this folder and the front door (federation/__init__.py).

Only these two see every package. Each command imports what it needs, so that `--help` and a mistake in a plan
answer at once. An error is one line on stderr and an exit code; `--debug` shows where it came from.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from click import Abort, ClickException
from click.exceptions import Exit

from federation.cli.checking import budget, doctor
from federation.cli.drafting import plan_commands, site_commands
from federation.cli.identities import invite, keys, roster
from federation.cli.joining import join, leave
from federation.cli.ledger import ledger
from federation.cli.options import AsJson, Debug
from federation.cli.process import fail
from federation.cli.serving import forget, serve, status
from federation.cli.simulating.attack import attack
from federation.cli.simulating.files import mock, split
from federation.cli.simulating.run import demo, simulate
from federation.cli.simulating.tradeoff import tradeoff
from federation.cli.streams import print_json
from federation.cli.telling.auditing import audit
from federation.cli.telling.encoder import encoder
from federation.cli.telling.explain import explain
from federation.cli.telling.export import export
from federation.cli.telling.personal import personal
from federation.cli.telling.predict import predict
from federation.cli.telling.rehearse import rehearse
from federation.cli.telling.track import track
from federation.errors import InputError
from federation.log import warnings_to_stderr
from federation.origins import check_origins
from federation.quiet import quiet_flower

app = typer.Typer(
    help="Federated learning that shows nobody your data, and proves afterwards what was spent.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

app.add_typer(keys, name="keys")
app.add_typer(roster, name="roster")
plan_commands.command("encoder", epilog="Example: [bold]federation plan encoder encoders/minilm[/bold]")(
    encoder
)
app.add_typer(plan_commands, name="plan")
app.add_typer(site_commands, name="site")
app.add_typer(ledger, name="ledger")

PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="plan.toml, as approved by every site")]


def _told_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version
        from platform import python_version

        parts = [
            f"{name} {version(name)}" for name in ("private-federation", "flwr", "torch", "cryptography")
        ]
        typer.echo("\n".join([*parts, f"python {python_version()}"]))
        raise Exit(0)


@app.callback()
def front(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_told_version, help="versions, and exit")
    ] = False,
) -> None:
    """What stands before every command."""


app.command(epilog="Example: [bold]federation demo hospitals[/bold]")(demo)
_SIMULATE = "federation simulate plan.toml --sites hospitals/ --out runs/first"
app.command(epilog=f"Example: [bold]{_SIMULATE}[/bold]")(simulate)


@app.command(epilog="Example: [bold]federation check plan.toml --site site.toml[/bold]")
def check(
    plan: PlanFile,
    site: Annotated[
        Path | None, typer.Option(metavar="SITE", help="a site.toml: policy, data and budget too")
    ] = None,
    sites: Annotated[
        Path | None, typer.Option(metavar="DIR", help="every site of a simulation: data, policies, cohort")
    ] = None,
    rehearse: Annotated[
        bool,
        typer.Option("--rehearse", help="with --site: measure what is installed, as federation rehearse"),
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check everything that can be checked before any data moves.

    What the files hold is shown on the terminal: the share of each column that is clipped, classes, and what looks
    wrong. No figure of it is in the JSON or decides the exit code.
    """
    from federation.cli.checking import check_plan, check_site, check_sites
    from federation.plan.plan import load

    if site is not None and sites is not None:
        raise InputError("--site and --sites are two questions", hint="ask for one of them")
    if rehearse and site is None:
        raise InputError("--rehearse goes with --site", hint="without a site: federation rehearse PLAN")
    show = print_json if as_json else None
    if site is not None:
        check_site(load(plan), site, show, rehearsed=rehearse)
    elif sites is not None:
        check_sites(load(plan), sites, show)
    else:
        check_plan(load(plan), show)


_SWEEP = "--sweep rounds=50,100,200 --sweep epsilon=1,3"
app.command(epilog=f"Example: [bold]federation budget plan.toml {_SWEEP}[/bold]")(budget)
_TRADEOFF = "federation tradeoff plan.toml --sites mock/ --epsilon 0.5,1,2,4,8 --out runs/frontier"
app.command(epilog=f"Example: [bold]{_TRADEOFF}[/bold]")(tradeoff)

_ATTACK = "federation attack runs/first --data hospitals/ --out attack.html"
app.command(epilog=f"Example: [bold]{_ATTACK}[/bold]")(attack)

app.command(epilog="Example: [bold]federation join site.toml[/bold]")(join)
app.command(epilog="Example: [bold]federation doctor site.toml[/bold]")(doctor)


app.command(epilog="Example: [bold]federation mock plan.toml --rows 500 --out mock/[/bold]")(mock)
_SPLIT = "federation split census.csv --dirichlet 0.3 --sites 20 --label income --out sites/"
app.command(epilog=f"Example: [bold]{_SPLIT}[/bold]")(split)
app.command(epilog="Example: [bold]federation invite --plan plan.toml --roster-key consortium.pub[/bold]")(
    invite
)
app.command(epilog="Example: [bold]federation leave site.toml 3f2a91c0[/bold]")(leave)
app.command(epilog="Example: [bold]federation forget runs/first[/bold]")(forget)

_SERVE = "federation serve plan.toml --roster roster.toml --state runs/first --address fed.example.org:8443"
app.command(epilog=f"Example: [bold]{_SERVE}[/bold]")(serve)
app.command(epilog="Example: [bold]federation status runs/first[/bold]")(status)


app.command(epilog="Example: [bold]federation rehearse plan.toml --site site.toml[/bold]")(rehearse)


app.command(epilog="Example: [bold]federation explain runs/first --scorecard points.csv[/bold]")(explain)
_PREDICT = "federation predict runs/first patients.csv --out scores.csv --reasons 3"
app.command(epilog=f"Example: [bold]{_PREDICT}[/bold]")(predict)
app.command(epilog="Example: [bold]federation export runs/first --to onnx --out model.onnx[/bold]")(export)


_PERSONAL = "federation personal runs/first site.toml --out ours.safetensors"
app.command(epilog=f"Example: [bold]{_PERSONAL}[/bold]")(personal)


app.command(epilog="Example: [bold]federation audit runs/first --ledger cleveland.jsonl[/bold]")(audit)
app.command(epilog="Example: [bold]federation track runs/first --mlflow tracking/[/bold]")(track)


def dispatch() -> int:
    """Do what the command line asks; 0, or 2 for a call that cannot be understood. Other errors are raised.

    Typer's own main is not used: it turns signals, broken pipes and errors into statuses of its own.
    """
    quiet_flower()
    warnings_to_stderr()
    if sys.argv[1:2] != ["doctor"]:  # which says it among the other things
        check_origins()
    command = typer.main.get_command(app)
    try:
        with command.make_context("federation", sys.argv[1:]) as context, _remembering():
            command.invoke(context)
    except Exit as end:
        return end.exit_code
    except Abort:
        raise KeyboardInterrupt from None
    except ClickException as error:
        message = error.format_message()
        return fail(message, 2) if message else 2  # a call without words was answered with the help
    return 0


def _remembering() -> AbstractContextManager[None]:
    """An audit counts everything itself."""
    if sys.argv[1:2] == ["audit"]:
        return nullcontext()
    from federation.remembering import calibrations_remembered

    return calibrations_remembered()
