"""The `federation` command, one of two composition roots: this folder and the front door (federation/__init__.py).

Only these two see every package. Each command imports what it needs, so that `--help` and a mistake in a plan
answer at once. An error is one line on stderr and an exit code; `--debug` shows where it came from.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from click import Abort, ClickException
from click.exceptions import Exit

from federation.cli.checking import budget, doctor
from federation.cli.drafting import mock, plan_commands, site_commands, split, write_population
from federation.cli.identities import invite, keys, roster
from federation.cli.joining import join, leave
from federation.cli.ledger import ledger
from federation.cli.process import fail
from federation.cli.serving import forget, serve, status
from federation.cli.streams import print_json
from federation.cli.studying import advise_to_resume, free_folder, named, tradeoff
from federation.errors import AuditFailure, InputError
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
app.add_typer(plan_commands, name="plan")
app.add_typer(site_commands, name="site")
app.add_typer(ledger, name="ledger")

PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="plan.toml, as approved by every site")]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON on stdout")]
Debug = Annotated[bool, typer.Option("--debug", help="on an error, show the traceback")]
Seed = Annotated[
    int | None, typer.Option(help="replaces federation.seed: holdout, params, cohorts; never noise")
]
Out = Annotated[
    Path | None, typer.Option(metavar="RUN", help="run folder; resumed if it holds a run already")
]


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


class PopulationName(StrEnum):
    """Bundled data to try things on."""

    HOSPITALS = "hospitals"
    DIGITS = "digits"
    BANK = "bank"


class EngineName(StrEnum):
    """What carries a simulation."""

    VECTORIZED = "vectorized"
    PROTOCOL = "protocol"
    FLOWER = "flower"


if TYPE_CHECKING:
    from simulations.simulate import Engine


class DeviceName(StrEnum):
    """Where the vectorized engine trains."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


@app.command(epilog="Example: [bold]federation demo hospitals[/bold]")
def demo(
    population: Annotated[
        PopulationName, typer.Argument(help="which bundled data")
    ] = PopulationName.HOSPITALS,
    out: Out = None,
    files: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="write the sites and their plan there, and train nothing"),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train on bundled data, end to end: secure aggregation, differential privacy, a report.

    hospitals: 569 real biopsies in five hospitals

    digits: 1,797 real images of digits from six scanners

    bank: a made-up credit portfolio in eight branches; a customer is protected, with all loans
    """
    from tempfile import TemporaryDirectory

    from simulations.populations.registry import population_for

    found = population_for(population)
    if files is not None:
        write_population(found, files, out, as_json=as_json)
        return
    out = out or free_folder(f"demo-{population}")
    with TemporaryDirectory(prefix="federation-") as folder:
        sites = found.write(Path(folder), 0)
        _simulate(found.scenario, sites, out, EngineName.PROTOCOL.value, None, as_json, public=True)


@app.command(epilog="Example: [bold]federation simulate plan.toml --sites hospitals/ --out runs/first[/bold]")
def simulate(
    plan: PlanFile,
    sites: Annotated[
        Path, typer.Option(metavar="DIR", help="NAME.csv, or NAME/train.csv [+ test.csv], per site")
    ],
    out: Out = None,
    seed: Seed = None,
    engine: Annotated[EngineName, typer.Option(help="what carries the messages")] = EngineName.VECTORIZED,
    ray: Annotated[bool, typer.Option("--ray", help="with --engine flower: on a Ray cluster")] = False,
    baseline: Annotated[
        bool, typer.Option("--baseline/--no-baseline", help="compare with the same training without privacy")
    ] = True,
    device: Annotated[DeviceName, typer.Option(help="where the vectorized engine trains")] = DeviceName.AUTO,
    all_metrics: Annotated[
        bool, typer.Option("--all-metrics", help="measure after every round, not after ever fewer")
    ] = False,
    faults: Annotated[
        str | None,
        typer.Option(metavar="FILE|SPEC", help='sites lost by a seed, such as "dropouts=0.05, seed=7"'),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(metavar="K", help="cross-validation: K trainings, each tested on a K-th")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Run the whole federation in one process, on your own files."""
    if ray and engine is not EngineName.FLOWER:
        raise typer.BadParameter("goes with --engine flower", param_hint="--ray")
    how = {"baseline": baseline, "device": device.value, "all_metrics": all_metrics, "faults": faults}
    if ray and folds is not None:
        raise typer.BadParameter("goes without --folds", param_hint="--ray")
    name: Engine = "flower-ray" if ray else engine.value
    if folds is not None:
        _cross_validate(plan, sites, out, folds, name, seed, as_json, how)
    else:
        _simulate(plan, sites, out, name, seed, as_json, how)


@app.command(epilog="Example: [bold]federation check plan.toml --site site.toml[/bold]")
def check(
    plan: PlanFile,
    site: Annotated[
        Path | None, typer.Option(metavar="SITE", help="a site.toml: policy, data and budget too")
    ] = None,
    sites: Annotated[
        Path | None, typer.Option(metavar="DIR", help="every site of a simulation: data, policies, cohort")
    ] = None,
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
    show = print_json if as_json else None
    if site is not None:
        check_site(load(plan), site, show)
    elif sites is not None:
        check_sites(load(plan), sites, show)
    else:
        check_plan(load(plan), show)


_SWEEP = "--sweep rounds=50,100,200 --sweep epsilon=1,3"
app.command(epilog=f"Example: [bold]federation budget plan.toml {_SWEEP}[/bold]")(budget)
_TRADEOFF = "federation tradeoff plan.toml --sites mock/ --epsilon 0.5,1,2,4,8 --out runs/frontier"
app.command(epilog=f"Example: [bold]{_TRADEOFF}[/bold]")(tradeoff)

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


@app.command(epilog="Example: [bold]federation audit runs/first --ledger cleveland.jsonl[/bold]")
def audit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder")],
    ledger_file: Annotated[
        list[Path] | None,
        typer.Option("--ledger", metavar="FILE", help="a site's ledger: exported .jsonl, or .sqlite"),
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE.html", help="a page for people")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Verify a run from its files alone: signatures, chains, a recount of epsilon, steps planned and made.

    Exit code 5 if anything is wrong. A pass proves no more than that nothing was found.
    """
    from federation.audit.examine import audit as examine
    from federation.audit.page import audit_lines, write_audit_page
    from federation.cli.progress import working

    with working("recounting"):
        found = examine(run, ledger_file or [])
    if as_json:
        print_json(found.to_json())
    else:
        typer.echo("\n".join(audit_lines(found)))
    trouble: Exception | None = None  # the verdict stands, whatever becomes of the page
    try:
        if report is not None:
            write_audit_page(found, report)
    except Exception as error:
        trouble = error
    if found.verdict == "pass" and trouble is not None:
        raise trouble
    if trouble is not None:
        typer.echo(f"warning: {report}: n/a ({type(trouble).__name__})", err=True)
    if found.verdict != "pass":
        raise AuditFailure("the audit found something", hint="read the findings above")


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


def _simulate(
    path: Path,
    sites: Path,
    out: Path | None,
    engine: Engine,
    seed: int | None,
    as_json: bool,
    how: Mapping[str, Any] = MappingProxyType({}),
    *,
    public: bool = False,
) -> None:
    from federation.cli.progress import show_progress
    from federation.cli.tables import print_report
    from federation.plan.plan import load

    with show_progress() as shown:
        shown.stage("reading the plan")
        plan = load(path).federation
        name, is_named = plan.name, out is not None
        out = out or free_folder(named(name))
        advise_to_resume(out, "plan.toml", "checkpoint", is_named=is_named)
        from simulations.simulate import simulate as run_simulation

        report = run_simulation(
            path,
            sites,
            out,
            engine=engine,
            seed=seed,
            **how,
            progress=lambda done, seen: shown.rounds(name, done.round, plan.rounds, seen),
            stage=shown.stage,
            warn=lambda note: typer.echo(f"warning: {note}", err=True),
            notice=lambda line: typer.echo(line, err=True),
            public=public,
        )
        from federation.audit.page import write_verdict

        shown.stage("auditing the run")
        write_verdict(out, report)
    if as_json:
        print_json(report.to_json())
    else:
        print_report(report, out)


def _cross_validate(
    path: Path,
    sites: Path,
    out: Path | None,
    folds: int,
    engine: Engine,
    seed: int | None,
    as_json: bool,
    how: Mapping[str, Any],
) -> None:
    from federation.cli.progress import show_progress
    from federation.cli.tables import print_folds
    from federation.plan.plan import load

    with show_progress() as shown:
        shown.stage("reading the plan")
        plan = load(path).federation
        out, is_named = out or free_folder(named(plan.name)), out is not None
        advise_to_resume(out, "plan.toml", "checkpoint", is_named=is_named)
        from federation.audit.page import write_verdict
        from simulations.folds.crossing import cross_validate

        found = cross_validate(
            path,
            sites,
            out,
            folds=folds,
            engine=engine,
            seed=seed,
            **how,
            progress=lambda fold, done, seen: shown.rounds(
                f"{plan.name}, fold {fold} of {folds}", done.round, plan.rounds, seen
            ),
            stage=shown.stage,
            warn=lambda note: typer.echo(f"warning: {note}", err=True),
            notice=lambda line: typer.echo(line, err=True),
            ended=write_verdict,
        )
    if as_json:
        print_json(found.to_json())
    else:
        print_folds(found, out)
