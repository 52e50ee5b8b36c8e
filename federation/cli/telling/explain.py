"""`federation explain`: what the model of a run says, by the names of its features."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import AsJson, Debug
from federation.cli.streams import print_json
from federation.errors import InputError

if TYPE_CHECKING:
    from clients.predicting.importance import Importance
    from federation.report.said.attributions import Attributions
    from federation.report.said.finished import Finished
    from federation.report.said.model import Said

_MOST = 200  # lines on a terminal; --json has all
_MIDDLE = (
    "There are no curves of this model: only a linear or an additive one of numbers and values is a sum over its "
    "features, and one of a hinge loss has no log-odds. Inputs of a text or an image mean nothing one by one and "
    "have no line. In the middle "
    "of the public ranges {what} by so much with each input, which is scaled as the plan says:"
)
_WHOLES = (
    "All features of this model are texts or images: what one of their inputs means nobody can say, so there is "
    "nothing to list. --data DIR tells, on records, how much worse the model does without each feature."
)
_OWN = "The plan brings its own task: what its inputs mean, only its code says. Its params, by name:"
_EXACT = "Exact figures of the records in DIR: for this terminal only, and covered by no epsilon."


def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run that is over")],
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="permutation importance on records: a file, or a folder of sites"),
    ] = None,
    scorecard: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write a points table there, as CSV; none is replaced")
    ] = None,
    base_score: Annotated[float, typer.Option(help="of the points table: points at the base odds")] = 600.0,
    base_odds: Annotated[float, typer.Option(help="the first class against the second")] = 50.0,
    doubling: Annotated[float, typer.Option(help="points that double the odds")] = 20.0,
    decimals: Annotated[int, typer.Option(min=0, max=6, help="of the points")] = 0,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what a run's model makes of each feature: coefficients, curves, and how large the noise in them is.

    All of it follows from the params, which were released. Importance on records (--data) does not: it is shown on
    the terminal, and of a real run in no JSON.
    """
    from federation.report.said.attributions import attributions
    from federation.report.said.finished import open_model, require_whole
    from federation.report.said.model import said, slopes

    finished = open_model(run)
    require_whole(finished)
    if data is not None and as_json and not finished.simulated:
        hint = "leave --json out: figures of people's records stay on the terminal"
        raise InputError("importance on records of a real run is written nowhere", hint=hint)
    told = said(finished)
    around = slopes(finished) if told is None else None
    added = attributions(finished) if told is None else None
    if scorecard is not None:
        _write_scorecard(finished, told, scorecard, (base_score, base_odds, doubling), decimals)
    found = None if data is None else _importance(finished, data)
    if as_json:
        print_json(_json(finished, told, around, found, added))
        return
    from federation.cli.screen import show

    show(*_parts(finished, told, around, found, added))
    if scorecard is not None:
        show(f"points   {scorecard}")


def _write_scorecard(
    run: Finished, told: Said | None, path: Path, scaling: tuple[float, float, float], decimals: int
) -> None:
    from federation.files import write_new
    from federation.report.said.scorecard import Scaling, lines, table

    if told is None or run.table is None or not told.is_of_classes:
        raise InputError(
            "a points table is of two classes, by a model that is a sum over its features", hint="see --json"
        )
    write_new(path, table(lines(told, run.table.features, Scaling(*scaling), decimals), decimals))


def _importance(run: Finished, data: Path) -> Importance:
    from clients.data.folders import by_reading, find_sites, place_of
    from clients.predicting.importance import importance
    from federation.cli.progress import show_progress

    sites = find_sites(data).sites if data.is_dir() else ()
    places = [site.places()[0] for site in sites] or [place_of(data)]
    with show_progress() as shown, by_reading():
        return importance(run, places, lambda done, total: shown.stage("dealing anew", done, total))


def _json(
    run: Finished,
    told: Said | None,
    around: list[tuple[str, float]] | None,
    found: Importance | None,
    added: Attributions | None,
) -> dict[str, Any]:
    model = run.table.model if run.table is not None else run.plan.code
    content: dict[str, Any] = {"plan_digest": run.plan.digest, "simulated": run.simulated, "model": model}
    content |= {"params": len(run.params), "noise_deviation": run.deviation}
    content |= {} if told is None else told.to_json()
    if around is not None:
        content["slopes_in_the_middle"] = dict(around)
    if added is not None:
        content["integrated_gradients"] = added.to_json()
    if found is not None:
        features = [
            {"feature": name, "loss_grows": mean, "deviation": sd} for name, mean, sd in found.features
        ]
        content["importance"] = {"exact": True, "records": found.records, "loss": found.loss}
        content["importance"] |= {"features": features, "note": _EXACT}
    return content


def _parts(
    run: Finished,
    told: Said | None,
    around: list[tuple[str, float]] | None,
    found: Importance | None,
    added: Attributions | None,
) -> Iterable[Any]:
    from federation.cli.screen import titled

    if told is not None:
        yield from _told(run, told)
    elif around is not None:
        if around:
            yield _MIDDLE.format(what=_moving(run))
            table = titled("", "input", "slope")
            for name, slope in sorted(around, key=lambda one: -abs(one[1]))[:_MOST]:
                table.add_row(_plain(name), f"{slope:+.3f}")
            yield table
        else:
            yield _WHOLES
        if added is not None:
            yield from _added(added)
    else:
        from federation.model.params import Layout

        yield _OWN
        layout = Layout.of(run.task.model())
        yield from (f"  {name}  {shape}" for name, shape in zip(layout.names, layout.shapes, strict=True))
    if found is not None:
        yield from ("", _EXACT)
        table = titled(
            f"mean loss {found.loss:.4f} on {found.records:,} records",
            "dealt anew",
            "loss grows by",
            "deviation",
        )
        for name, mean, deviation in found.features:
            table.add_row(_plain(name), f"{mean:+.4f}", f"{deviation:.4f}")
        yield table


def _added(added: Attributions) -> Iterable[Any]:
    from federation.cli.screen import titled

    yield added.words
    table = titled("integrated gradients", "feature", "moves by, in the mean", "mean")
    for one in added.features[:_MOST]:
        table.add_row(_plain(one.feature), f"{one.size:.3f}", f"{one.mean:+.3f}")
    yield table


def _told(run: Finished, told: Said) -> Iterable[Any]:
    from federation.cli.screen import titled
    from federation.report.said.model import BAND, CENTERED

    if run.table is not None and run.table.model in ("logistic", "linear"):
        table = titled("weights of the inputs, as the model has them", "input", "of", "weight", "noise")
        for one in told.coefficients[:_MOST]:
            table.add_row(_plain(one.name), _plain(one.outcome), f"{one.weight:+.3f}", _noise(one.noise))
        yield table
    table = titled(f"what a feature adds to {_plain(told.adds_to)}", "feature", "at", "of", "adds", "noise")
    shown = 0
    for curve in told.curves:
        for at, (label, effect) in enumerate(zip(curve.labels, curve.effect, strict=True)):
            noise = None if curve.noise is None else curve.noise[at]
            shown += 1
            if shown <= _MOST:
                words = map(_plain, (curve.feature, label, curve.outcome))
                table.add_row(*words, f"{effect:+.3f}", _noise(noise))
    yield table
    if shown > _MOST or len(told.coefficients) > _MOST:
        yield "more lines are in --json"
    for name, value in told.intercepts.items():
        yield f"intercept of {name}: {value:+.3f}"
    yield from (CENTERED, "noise: the standard deviation that the noise of privacy makes. " + BAND)


def _moving(run: Finished) -> str:
    from federation.plan.outcomes import Counts, Range, Survival

    outcome = run.task.predicts
    if isinstance(outcome, Range):
        return "the predicted number moves, in its own unit,"
    if isinstance(outcome, Survival):
        return "the log-odds of the hazard move"
    if run.table is not None and not run.table.learns_chances:
        return "the score of a class moves"
    return "the logarithm of the rate moves" if isinstance(outcome, Counts) else "the log-odds move"


def _noise(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f}"


def _plain(text: str) -> str:
    from federation.words import printable

    return printable(text)
