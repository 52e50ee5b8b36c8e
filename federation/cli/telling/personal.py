"""`federation personal`: the model that a site makes of a released one for itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import AsJson, Debug
from federation.cli.streams import print_json

if TYPE_CHECKING:
    from clients.personal import Personal
    from federation.report.said.finished import Finished

_HERE_ONLY = "These figures are exact: they are shown here only, and nothing of them is stored or sent."


def personal(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run that is over")],
    site: Annotated[Path, typer.Argument(metavar="SITE", help="site.toml: whose records to train on")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="a new .safetensors file; none is replaced")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train a run's model further on a site's own records, by the plan's table "personal", for this site alone.

    The file is made of the records without any noise, so it is as sensitive as they are: it is readable by you
    alone, and nothing sends it. Nothing is released, so nothing is charged. What it gains on the records that the
    site holds out is shown on the terminal only.
    """
    from clients.personal import AS_RECORDS, personal_model, write_personal
    from federation.cli.progress import show_progress
    from federation.files import refuse_existing
    from federation.report.said.finished import open_model

    with show_progress() as shown:
        shown.stage("opening the run")
        refuse_existing(out)
        finished = open_model(run)
        shown.stage("training")
        made = personal_model(finished, site)
        write_personal(finished, made.site, made.params, out)
    typer.echo(f"warning: {AS_RECORDS}", err=True)
    if as_json:
        print_json({"out": str(out), "plan_digest": finished.plan.digest, "note": AS_RECORDS})
        return
    from federation.cli.screen import show

    show(f"{out}: the personal model", *_gain(finished, made))


def _gain(run: Finished, made: Personal) -> list[Any]:
    """What the personal model gains on held-out records, in lines."""
    from clients.personal import with_personal_params
    from clients.predicting.scores import model_of
    from federation.report.numbers import figure
    from federation.words import many
    from simulations.fairness.paired import gained
    from simulations.outcomes.judging import judge_of

    held, rules = made.held_out, run.plan.evaluation
    if held is None or len(held) == 0:
        return ["No records are held out at this site, so nothing tells whether it is better."]
    judge, outcome = judge_of(run.task.predicts), run.task.predicts
    ours = with_personal_params(run, made.params)
    said = [judge.predict(model_of(one), held.features) for one in (run, ours)]
    shared, own = (judge.measured(one, held.labels, rules.metrics, rules.threshold) for one in said)
    if run.plan.kept:
        alone = (
            "The released model is not whole without the layers that your site kept: there is none beside it."
        )
        figures = [f"{name.replace('_', ' ')}: personal {figure(own[name])}" for name in rules.metrics]
        return [*figures, alone, _HERE_ONLY]
    lines = [
        f"{name.replace('_', ' ')}: released {figure(shared[name])}, personal {figure(own[name])}"
        for name in rules.metrics
    ]
    gain = gained(run.plan, outcome, held, said[1], said[0])
    spread = "" if gain.low is None else f", from {figure(gain.low)} to {figure(gain.high)}"
    on = f"on {many(len(held), 'record')}"
    told = f"gain in {rules.metrics[0].replace('_', ' ')}: {figure(gain.gain)}{spread}, {on}"
    return [*lines, told, _HERE_ONLY]
