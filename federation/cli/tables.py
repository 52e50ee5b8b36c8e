"""Prints results as tables on a terminal.

A plan's budget needs nothing of a report, so what a report is made of is imported where one is shown.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from federation.cli.process import command_line
from federation.cli.screen import folds_table, show, styled, titled, told_folds
from federation.cli.telling.risk import HITS, hits, risk_lines
from federation.report.numbers import MISSING, figure, held_out, short, spent, spread, upward
from federation.report.risks.words import hits_of
from federation.words import many, printable, some

if TYPE_CHECKING:
    from federation.report.report import PrivacyClaim, Report
    from simulations.folds.result import CrossValidation, Spread
    from simulations.populations.split import Split

_ROUNDING = 1e-9
_MOST_SHOWN = 50  # sites
_SPENT = (
    "epsilon",
    "epsilon_after_this_plan",
    "epsilon_of_this_run_alone",
    "accountants",
    "patient_at_sites",
)
_NOT_MEASURED = "Metrics of held-out records are not measured at a real run."


def print_report(report: Report, folder: Path) -> None:
    """Print a run: the guarantee, the sites, the metrics beside their baselines, the paths of the files."""
    from federation.cli.showing.fairness import fairness_lines
    from federation.report import wording

    lines: tuple[Text | str | Table, ...] = (
        *_claim(report.privacy),
        *wording.risk_lead(report.privacy),
        *_excess(report.privacy.to_json()),
        *wording.tried(report.privacy),
        *wording.faults(report),
        *wording.of_two(report),
    )
    show(*lines, _sites(report))
    if report.tables is not None:
        from federation.cli.showing.tabled import table_lines

        show(*table_lines(report.tables), *_files(folder))
        return
    if report.folds is not None:
        show(folds_table(report.folds))
    elif report.simulated:
        show(_metrics(report))
    if not report.simulated:
        show(_NOT_MEASURED)
    show(*filter(None, [wording.model(report), wording.clipping(report)]))
    show(*fairness_lines(report))
    if report.evaluation.baselines.get("without_privacy"):
        show(f"without privacy: {wording.SAME_SETTINGS}")
    show(*_files(folder))


def _files(folder: Path) -> tuple[str, str]:
    from federation.report.files import PAGE

    page = folder / PAGE if (folder / PAGE).exists() else MISSING
    return f"report   {page}", f"params   {folder / 'params.safetensors'}"


def print_folds(found: CrossValidation, folder: Path) -> None:
    """Print a cross-validation: folds, mean and deviation, the same of the baselines, what it would cost."""
    from federation.report import wording
    from simulations.folds.result import said

    metrics = list(found.metrics)
    heads = [name.replace("_", " ") for name in metrics]
    table = titled(f"Cross-validation over {len(found.folds)} folds", "tested on", "records", *heads)
    for line in found.folds:
        counted = MISSING if (count := line.pooled.get("n")) is None else str(count)
        table.add_row(f"fold {line.fold}", counted, *(figure(line.pooled.get(name)) for name in metrics))
    rows = {"mean ± deviation": found.metrics}
    rows |= {name.replace("_", " "): spreads for name, spreads in found.baselines.items()}
    for name, spreads in rows.items():
        table.add_row(name, "", *(_spread(spreads.get(metric)) for metric in metrics))
    delta = None if found.cost is None else found.cost.delta
    show(table, said(found), *([] if found.tried is None else wording.tries(found.tried, delta)))
    show(f"folds    {folder / 'folds.json'}")


def _spread(found: Spread | None) -> str:
    if found is None or found.mean is None:
        return MISSING
    return f"{found.mean:.3f}{spread(found.deviation)}"


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print facts, a line each; a site's limits, unit by unit, as a table below."""
    site = dict(facts.get("site") or {})
    units = site.pop("units", {})
    told = {name: value for name, value in facts.items() if name not in ("hints", "risk", "purpose")}
    show(*_lines(_led({**told, "site": site} if site else told)), *risk_lines(facts), *_excess(facts))
    if purpose := facts.get("purpose"):
        show(
            "What the plan says that it is for:", *(f"  {title}: {words}" for title, words in purpose.items())
        )
    show(*(styled(("hint: ", "cyan"), hint) for hint in facts.get("hints", ())))
    if units:
        show(_limits(units))
        show(_room_left(units))


def print_budget(budget: Mapping[str, Any]) -> None:
    """Print a budget: its figures, epsilon for each unit, epsilon after every tenth of its rounds."""
    aside = ("rounds", "units", "filter", "risk")
    show(*_lines(_led({name: value for name, value in budget.items() if name not in aside})))
    show(*risk_lines(budget))
    show(_exposure(budget["units"]), *_parts(budget["units"]))
    show(*_excess(budget), _rounds(budget["rounds"]))
    show(_room(budget["filter"], "together" in budget))


def _excess(facts: Mapping[str, Any]) -> list[Table]:
    """How much more noise there is than epsilon needs, and what other choices would give; else nothing."""
    of = facts.get("noise_excess_of")
    if of is None:
        return []
    title = f"Noise in a sum over {of['sites']} sites, when all stay"
    table = titled(title, "the plan", "dropouts", "colluders", "times what epsilon needs")
    for place, choice in enumerate(of["choices"]):
        counts = (str(choice[name]) for name in ("dropouts", "colluders"))
        table.add_row("otherwise" if place else "as it is", *counts, f"{choice['noise_excess']:.2f}")
    return [table, *_levels(of.get("levels", ()))]


def _levels(levels: Sequence[Mapping[str, Any]]) -> list[Table]:
    """What is left of the noise once what a sum does not need is taken out."""
    if not levels:
        return []
    table = titled("Noise left in a sum", "sites lost", "times what is needed")
    for level, before in zip(levels, (None, *levels), strict=False):
        most, least = level["lost"], 0 if before is None else before["lost"] + 1
        lost = str(most) if most == least else f"{least} to {most}"
        table.add_row(lost, f"{'' if most == least else 'up to '}{level['noise_excess']:.2f}")
    return [table]


def _led(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts, led by what a run costs in all; what stands in a table of its own is left out."""
    rest = {name: value for name, value in facts.items() if name != "noise_excess_of"}
    if told := rest.get("folds"):
        rest["folds"] = told_folds(told, rest.get("unit", "unit"))
    if "together" not in rest:
        return rest
    together, evaluation = rest.pop("together"), rest.pop("evaluation")
    training = rest.pop("epsilon")
    composed = f"training {spent(training)} and evaluation {spent(evaluation['epsilon'])}, composed"
    people = {"patient_at_sites": together["patient_at_sites"]} if "patient_at_sites" in together else {}
    return {"epsilon": f"{spent(together['epsilon'])} ({composed})", **rest, **people}


def _claim(privacy: PrivacyClaim) -> list[Text]:
    from federation.report.report import whole

    if not privacy.private:
        said = ': the plan says noise = "none"; no epsilon holds for these params'
        return [styled(("NOT PRIVATE", "bold red"), said)]
    claim = styled(
        (f"epsilon {spent(whole(privacy))}", "bold"),
        f" at delta {privacy.delta:g} for one {privacy.unit}; "
        f"noise {privacy.noise}, multiplier {figure(privacy.noise_multiplier)}",
    )
    if privacy.evaluation is None:
        return [claim]
    parts = f"training {spent(privacy.epsilon)} and evaluation {spent(privacy.evaluation.epsilon)}, composed"
    return [claim, styled(parts)]


def _sites(report: Report) -> Table:
    from federation.report.report import whole

    are_tables = any(site.lines is not None for site in report.sites)
    known = ["lines read"] * are_tables + ["records"] * report.simulated
    ledgers = ["epsilon charged"] * any(site.charged is not None for site in report.sites)
    table = titled("Sites", "site", *known, "rounds", "epsilon of its rounds", *ledgers, "KiB up", "KiB down")
    for site in report.sites[:_MOST_SHOWN]:
        lines = [MISSING if site.lines is None else str(site.lines)] * are_tables
        records = [*lines, *[str(site.records)] * report.simulated]
        sizes = (_kib(size) for size in (site.bytes_up, site.bytes_down))
        charged = [spent(site.charged.epsilon if site.charged else None)] * len(ledgers)
        table.add_row(site.id, *records, str(site.rounds), spent(whole(site)), *charged, *sizes)
    if (left := len(report.sites) - _MOST_SHOWN) > 0:
        table.caption = f"and {many(left, 'site')} more, in the report"
    return table


def _kib(size: int | None) -> str:
    """Bytes of one line; n/a in a run without messages."""
    return MISSING if size is None else f"{size / 1024:.1f}"


def _metrics(report: Report) -> Table:
    """Pooled, the mean of the sites at which the metric exists with their number, then the baselines."""
    from federation.report.fairness.words import UNUSED
    from federation.report.report import metrics_of

    evaluation = report.evaluation
    ours = "this run" if report.kept is None else UNUSED
    baselines = [name.replace("_", " ") for name in evaluation.baselines]
    table = titled("Held-out records", "metric", ours, "mean of sites", *baselines)
    counted = held_out(evaluation.pooled)
    if counted:
        table.caption = f"{counted}; in brackets how many of {len(evaluation.sites)} sites have the figure"
        table.caption_justify = "left"
    for metric, value in metrics_of(evaluation.pooled).items():
        known = evaluation.mean_of_sites_n.get(metric)
        mean = figure(evaluation.mean_of_sites.get(metric)) + ("" if known is None else f" ({known})")
        others = (
            figure(values.get(metric), evaluation.why(f"baselines.{name}"))
            for name, values in evaluation.baselines.items()
        )
        table.add_row(metric.replace("_", " "), figure(value, evaluation.why("pooled")), mean, *others)
    return table


def _lines(facts: Mapping[str, Any]) -> list[str]:
    """A fact on each line, its name before it."""
    width = max(map(len, facts), default=0)
    return [f"{name.replace('_', ' '):{width}}  {_fact(value, name)}" for name, value in facts.items()]


def _limits(units: Mapping[str, Mapping[str, Any]]) -> Table:
    """What is charged to each limit now, and what would be."""
    risks = [f"then {HITS}"] * any("risk_after" in told for told in units.values())
    table = titled("Epsilon at this site", "of one", "charged", "with this plan", "limit", "delta", *risks)
    for unit, told in units.items():
        epsilons = (spent(told[key]) for key in ("epsilon_before", "epsilon_after"))
        found = [hits_of(told.get("risk_after"))] * len(risks)
        table.add_row(unit, *epsilons, figure(told["epsilon_max"]), f"{told['delta']:g}", *found)
    return table


def _room_left(units: Mapping[str, Mapping[str, Any]]) -> str:
    """Which training fits the limits after this plan, so that none is planned that will be refused."""
    room = min(told["room_for_foreseen"] for told in units.values())
    training = "the training that policy.foreseen names, or one of 200 steps at a sample_rate of 0.1,"
    if room == 0:
        return f"After this plan {training} no longer fits the limits, whatever its epsilon."
    return f"After this plan {training} still fits up to epsilon {figure(math.floor(room * 1000) / 1000)}."


def _exposure(units: Sequence[Mapping[str, Any]]) -> Table:
    parts = ["training", "evaluation"] if any("together" in line for line in units) else []
    risks = [HITS] * any("risk" in line for line in units)
    table = titled(
        "What the whole plan costs", "one", "records at a site", "sites", "epsilon", *parts, *risks
    )
    for line in units:
        records = "all" if line["unit"] == "client" else str(line["records"])
        costs = [line["together"], line, line["evaluation"]] if parts else [line]
        found = [hits(line)] * len(risks)
        table.add_row(
            line["unit"], records, str(line["sites"]), *(spent(each["epsilon"]) for each in costs), *found
        )
    return table


def _parts(units: Sequence[Mapping[str, Any]]) -> list[str]:
    from federation.plan.guarantee import told_of_parts

    told = told_of_parts((line["unit"], line.get("together", line)["epsilon"]) for line in units)
    return [told] if told else []


def _rounds(rounds: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="Epsilon by round", title_justify="left")
    table.add_column("round", justify="right")
    table.add_column("epsilon", justify="right")
    # The last one, about every tenth before it, and the first.
    tenths = list(rounds[:0:-1])[:: max(1, len(rounds) // 10)]
    for entry in (*rounds[:1], *reversed(tenths)):
        table.add_row(str(entry["round"]), spent(entry["epsilon"]))
    return table


def _room(rule: Mapping[str, Any], is_evaluated: bool) -> str:
    """What a site could still admit after this plan, if its limit is exactly the plan's epsilon."""
    how = "GDP" if rule["type"] == "gdp" else f"RDP of order {rule['order']}"
    if rule["load"] is not None and rule["load"] <= 1 + _ROUNDING:
        share = f"{upward(min(100.0, 100 * rule['load']), 1)}%"
        return f"A site whose limit is this epsilon has {share} of it used by this plan ({how})."
    if rule["room_from"] is None:
        enough = "No limit this small leaves room for more."
    else:
        enough = f"With a limit above {upward(rule['room_from'], 3)} there is room for more."
    if is_evaluated:
        return (
            "A site whose limit is this epsilon refuses this plan: its evaluation follows its training, and what "
            f"follows from results is weighed more strictly ({how}). {enough}"
        )
    return (
        f"A site whose limit is this epsilon admits this plan as the first on its data, and nothing after it: "
        f"plans that may follow from results are weighed more strictly ({how}). {enough}"
    )


def _fact(value: object, name: str) -> str:
    """A fact in words. What is spent is rounded up, so `name`, or what it lies in, tells whether it is that."""
    if isinstance(value, float):
        return spent(value) if name in _SPENT else short(value)
    if isinstance(value, Mapping):
        within = (name if name in _SPENT else key for key in value)
        return ", ".join(f"{key}: {_fact(value[key], by)}" for key, by in zip(value, within, strict=True))
    if isinstance(value, list | tuple):
        return ", ".join(_fact(item, name) for item in value)
    return MISSING if value is None else str(value)


def print_findings(findings: Sequence[Mapping[str, Any]], summary: str) -> None:
    """Print what was found of a task, and what to do about it; the summary alone if nothing is to be shown."""
    if not findings:
        show(summary)
        return
    table = Table(title=summary, title_justify="left")
    for column in ("asked", "", "found"):
        table.add_column(column)
    for one in findings:
        table.add_row(one["check"], one["outcome"], printable(one["detail"]))
    show(table, *(f"{one['check']}: {one['hint']}" for one in findings if one["hint"]))


def print_rehearsal(found: Mapping[str, Any]) -> None:
    """Print what came of a rehearsal: who took part, how long each stage took, and what was odd."""
    head = styled(
        ("REHEARSAL", "bold"), " on made-up records: no budget was charged, and no params were written"
    )
    stages = list(dict.fromkeys(stage for site in found["sites"] for stage in site["seconds"]))
    table = titled("Sites: seconds, the longest of each", "site", "", "rounds", *stages, "KiB up", "KiB down")
    for site in found["sites"]:
        state = site["state"] + (f" ({site['reason']})" if site["reason"] else "")
        seconds = [
            f"{site['seconds'][stage]:.2f}" if stage in site["seconds"] else MISSING for stage in stages
        ]
        sizes = (_kib(site[name]) for name in ("bytes_up", "bytes_down"))
        table.add_row(site["id"], state, str(site["rounds"]), *seconds, *sizes)
    show(head, table, *_oddities(found))


def _oddities(found: Mapping[str, Any]) -> list[str]:
    """A line for each thing that somebody should look at, and how long a run would take."""
    lines = [f"{site['id']}: {site['detail']}" for site in found["sites"] if site["detail"]]
    for other in found["unnamed"]:
        detail = f": {other['detail']}" if other["detail"] else ""
        lines.append(f"somebody at {other['address']} refused ({other['reason']}){detail}")
    lines += [f"warning: {warning}" for warning in found["warnings"]]
    if found["failure"]:
        lines.append(f"it ended early: {found['failure']}")
    if found["seconds_a_round"] is not None:
        rounds, seconds = found["planned_rounds"], found["seconds_a_round"]
        lines.append(f"a round takes {seconds:.2f} s here; {rounds} rounds about {short(rounds * seconds)} s")
    return lines


_OF_A_SWEEP = (
    "multiplier: noise over the most that one unit adds; spends: epsilon of the training, rounded up",
    "excess: times the noise that epsilon needs, when nobody drops out",
    "of sum, of mean: standard deviation of a coordinate, in clipping norms; of a mean at a learning rate of 1",
)
_PROVED = "bound: proved to be enough, and hardly above what the plan itself would have; --exact has that"


def print_sweep(found: Mapping[str, Any]) -> None:
    """Print a line for each plan of a sweep: its figures, or why there is no such plan."""
    points, names = found["points"], list(found["sweep"])
    figures = ("multiplier", "spends", "excess", "of sum", "of mean", "by")
    table = titled(
        f"{many(len(points), 'plan')} by budget alone: no data was read", names[0], *names[1:], *figures
    )
    for point in points:
        table.add_row(*map(_value, point["swept"].values()), *_felt(point["figures"]))
    is_proved = any(point["figures"] and point["figures"]["by"] == "bound" for point in points)
    show(table, *_OF_A_SWEEP, *[_PROVED] * is_proved, *_refused(points))


def _felt(figures: Mapping[str, Any] | None) -> list[str]:
    if figures is None:
        return ["-", "-", "-", "-", "-", "refused"]
    noise = (short(figures[name]) for name in ("noise_excess", "noise_of_sum", "noise_of_mean"))
    return [f"{figures['noise_multiplier']:g}", spent(figures["epsilon"]), *noise, figures["by"]]


def _refused(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each reason once, with the first plan that it is told of."""
    lines = []
    for reason in dict.fromkeys(point["refused"] for point in points if point["refused"]):
        first, *more = (point["swept"] for point in points if point["refused"] == reason)
        told = ", ".join(f"{name} {_value(value)}" for name, value in first.items())
        lines.append(f"refused: {told}{f' and {len(more)} more' if more else ''}: {reason}")
    return lines


def sweep_csv(found: Mapping[str, Any]) -> str:
    """A sweep for a spreadsheet: exact numbers, empty where there is none."""
    names = list(found["sweep"])
    figures = next((list(point["figures"]) for point in found["points"] if point["figures"]), [])
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*(f"plan_{name}" if name in figures else name for name in names), *figures, "refused"])
    for point in found["points"]:
        known = point["figures"] or {}
        rows.writerow([*point["swept"].values(), *(known.get(name) for name in figures), point["refused"]])
    return text.getvalue()


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else MISSING if value is None else str(value)


def print_split(found: Split, *, is_said: bool) -> None:
    """Print a table that was dealt: the sites, the first of many, and what to do with them.

    `is_said`: somebody named the label, and nobody has to be told which column it is.
    """
    heads = ["rows", *["for the test"] * found.has_tests, *["people"] * (found.people_across is not None)]
    if found.label is not None:
        heads.append("classes" if found.positive is None else f"{found.label} = {found.positive}")
    table = titled("Sites", "site", *map(printable, heads))
    for site in found.sites[:_MOST_SHOWN]:
        cells = [site.rows, *[site.test_rows] * found.has_tests, site.people, site.classes, site.share]
        table.add_row(site.name, *(str(cell) for cell in cells if cell is not None))
    show(table)
    if (left := len(found.sites) - _MOST_SHOWN) > 0:
        show(f"and {many(left, 'site')} more")
    if len(found.sites) > found.rows / 2:
        show(
            styled(
                ("warning: ", "yellow"), "most sites have a single row: does the column name rows, or sites?"
            )
        )
    if found.label is not None and not is_said:
        show(f'"{found.label}", the last column, is taken for the label; --label names another')
    if found.tries > 1:
        show(f"shares were drawn {found.tries} times, until every site had enough rows (--minimum)")
    if found.people_across:
        who = many(found.people_across, "person is", "people are")
        show(
            f"{who} at several sites: the plan needs privacy.sites_per_patient = {found.most_sites}, or more"
        )
    if found.aside:
        show(f"left out, as they hold no cells: {some(found.aside)}")
    show(f"{found.folder}: {many(found.rows, 'row')} at {many(len(found.sites), 'site')}, each row once")
    words = command_line(["--sites", str(found.folder)])
    show(f"next: federation check PLAN {words}; federation simulate PLAN {words}")
