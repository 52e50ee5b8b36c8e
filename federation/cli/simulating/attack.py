"""`federation attack`: membership inference against a simulated run, beside what its plan proves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import AsJson, Debug
from federation.cli.streams import print_json
from federation.errors import AuditFailure

if TYPE_CHECKING:
    from simulations.attacking.attack import Attacked


def attack(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a simulated run that is over")],
    data: Annotated[Path, typer.Option(metavar="DIR", help="the folder of sites that it was simulated on")],
    models: Annotated[
        int | None,
        typer.Option(metavar="N", help="models of the attacker's own; as many as a minute allows, up to 32"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="a page with the curves; none is replaced")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Ask a simulated run's model who was in its data: two membership attacks, beside what the plan proves.

    Trains other models by the same plan on random halves of the records, and attacks the run's params and them.
    Exit code 5 if an attack finds more than is proven. A pass is not evidence of epsilon. A run of real sites is
    refused: an attack would be on the people in their data.
    """
    from federation.cli.progress import show_progress
    from federation.files import refuse_existing, write_new
    from simulations.attacking.attack import attack as attacked

    if out is not None:
        refuse_existing(out)
    with show_progress() as shown:
        shown.stage("opening the run")

        def told(done: int, total: int) -> None:
            if done < 2 or done % max(1, total // 10) == 0 or done == total:
                shown.trials("models", done, total, "then the attacks" if done < total else "attacking")

        found = attacked(run, data, models, shown.stage, told)
        if out is not None:
            from simulations.attacking.page import render

            shown.stage("drawing the page")
            write_new(out, render(found))
    if as_json:
        print_json(told_of(found))
    else:
        _print(found, out)
    if found.exceeds:
        raise AuditFailure(
            "an attack found more than the plan proves to be possible",
            hint="attack again: chance does this once in a hundred; if it stays, report it and train no real data",
        )


def told_of(found: Attacked) -> dict[str, Any]:
    """As JSON."""
    from simulations.attacking.verdict import FALSE_ALARM
    from simulations.attacking.wording import CAVEAT, EXACT

    people = found.people
    return {
        "plan_digest": found.plan.digest,
        "simulated": True,
        "exact": True,
        "unit": people.unit,
        "units": people.size,
        "models": found.models,
        "proven": None if found.proven is None else found.proven.to_json(),
        "targets": {name: target.to_json() for name, target in found.targets.items()},
        "exceeds": found.exceeds if found.held else None,
        "false_alarm": FALSE_ALARM,
        "caveat": CAVEAT,
        "note": EXACT,
    }


def _print(found: Attacked, out: Path | None) -> None:
    from federation.cli.screen import show, styled, titled
    from simulations.attacking import wording

    word, said = wording.verdict(found)
    show(styled((word, "bold"), f": {said}"), wording.meaning(found))
    for name, target in found.targets.items():
        title = f"{wording.TITLES[name]}: {wording.counted(target, found.people.unit)}"
        table = titled(title, "attack", "hits at 1% false alarms", "at 0.1%", "advantage", "AUC")
        for row in wording.rows(found, name):
            table.add_row(*row)
        show(table)
    show(*wording.ATTACKS.values(), *wording.notes(found), styled((wording.CAVEAT, "bold")))
    if out is not None:
        show(f"page     {out}")
