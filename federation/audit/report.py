"""Checks report.json field by field against plan, receipts and ledgers, and recounts every epsilon in it.

An audit asks two questions about an epsilon. Is it what our accountant says, so that nobody edited it? And is it at
least what another accountant proves (`privacy.accounting.bounds`), so that it is true?

An audit compares the JSON itself, not a `Report`: a strict reader refuses the whole file for one false field and
passes over fields that it does not know, and an audit has to name both.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from federation.audit.claims import recounted, recounted_charge, told_units
from federation.audit.clipping import told_clipping
from federation.audit.findings import Findings
from federation.audit.ledgers.sites import Booked, Setting
from federation.audit.receipts import Receipts
from federation.audit.recounting import bounds, planned_releases, releases_in_a_round, told_excess
from federation.audit.untrusted import text_of
from federation.config.purpose import TITLES
from federation.plan.columns.encoder import encoders_of
from federation.plan.personal import kept_of
from federation.plan.plan import Plan
from federation.report.page import render
from federation.report.report import Report
from federation.report.said.section import Section, says_something, section_of
from federation.report.stated import fields, read_stated, words
from federation.sums.engines import ADDS_UP, ENGINES
from privacy.accounting.bounds import Bounds
from privacy.accounting.events import MAX_EPSILON, GaussianEvent
from privacy.accounting.pld import accountant, epsilon, rdp_epsilon
from privacy.accounting.units import UNITS, Patient
from privacy.errors import PrivacyError

_OF_MODEL = re.compile('<section class="model">.*?</section>', re.DOTALL)
_TOLERANCE = 1e-4  # relative: versions of a library may round differently
_SLACK = 0.05  # an upper bound on epsilon by another accountant may be this much above ours
_OLDER_SLACK = 0.3  # an earlier version counted a unit that is replaced by up to 21 % higher
_KEYS = ("unit", "records", "sites")
# Checked by a function of their own.
_SEEN = (
    "engine", "simulated", "history", "evaluation", "privacy.units", "privacy.risk", "privacy.together.risk",
    "privacy.cross_check.prv",
    "faults.rules", "made.finished", "made.version", "made.signers", "timing.total_seconds", "sites[].lines",
    "fold", "folds", "tables",
)  # fmt: skip


def check_report(
    report: Mapping[str, Any],
    setting: Setting,
    booked: Mapping[str, Booked],
    sizes: Mapping[str, int],
    simulated: set[bool],
    found: Findings,
) -> None:
    """Add a finding for each field of `report` that plan, receipts or ledgers contradict.

    `booked`: by site, what its ledger says. `sizes`: how many records a simulated site declared. `simulated`: what
    the ledgers say about themselves.
    """
    if setting.evaluation is not None and _tells_training_only(report, setting.plan):
        detail = (
            "report.json and its page are of an earlier version, which told epsilon of the training alone"
        )
        found.add("report-older", f"{detail}; this audit tells what both cost together")
        setting = replace(setting, evaluation=None)
    plan, receipts = setting.plan, setting.receipts
    if report.get("simulated") is not True and True in simulated:
        found.add("simulated-claim", "the report claims a real run, and a ledger says that it was simulated")
    # A server counts the rounds it invited a site to; only a simulation can look into the ledgers.
    counted = booked if report.get("simulated") is True else {}
    population = _population(report, setting)
    names = [] if population else _named(report, setting, booked)
    expected = _expected(setting, counted, names)
    _expect_charges(report, expected["sites"], counted, plan)
    if "made" in report:  # an earlier version did not say it
        expected["made"] = {"run": receipts.run}
    expected |= _repeated(plan, report)
    if "transcripts" in report:
        expected["transcripts"] = {"kept": _transcripts(receipts), "left_out": setting.sums.left_out or None}
    if "faults" in report:
        expected["faults"] = _faults(receipts)
    told = report.get("privacy")
    if isinstance(told, Mapping) and "noise_excess" in told:  # an earlier version did not say it
        with suppress(PrivacyError):  # so small a cohort is a finding by itself
            cohorts = [len(line.cohort) for line in receipts.rounds.values()]
            expected["privacy"] |= told_excess(plan, min(cohorts, default=plan.cohort.minimum), told)
    if True in simulated:
        expected["simulated"] = True
    for row in expected["sites"]:
        if row["id"] in sizes and plan.privacy.unit != "patient":
            row["records"] = sizes[row["id"]]
    check_same(expected, report, "", found)
    _check_engine(report, found)
    _check_privacy(report, setting, population or len(expected["sites"]), found)
    _check_tried(report.get("privacy"), setting, found)
    for name in _extra(expected, report):
        if name not in _SEEN:
            found.skip(f"report.json: {name}")
    found.skip("metrics of the rounds: they are the server's own word, the same in receipts and report")


def _repeated(plan: Plan, report: Mapping[str, Any]) -> dict[str, Any]:
    """What a report repeats of a plan where the plan says it, and may not say where it does not."""
    purpose = None if plan.purpose is None else {**dict.fromkeys(TITLES), **plan.purpose.to_json()}
    encoders = [one.to_json() for one in encoders_of(plan.task)] or None
    base = None if plan.base is None else plan.base.model_dump()
    kept = kept_of(plan)
    said = {
        "iterate_average": plan.server.iterate_average,
        "purpose": purpose,
        "encoders": encoders,
        "base": base,
        "kept": None if kept is None else {"layers": list(kept[0]), "numbers": kept[1]},
    }
    return {name: value for name, value in said.items() if value is not None or name in report}


def _faults(receipts: Receipts) -> dict[str, Any]:
    """What came of the faults of a simulation by its receipts."""
    lines = receipts.rounds.values()
    asked = [({site for cohort in line.cohorts for site in cohort}, line.survivors) for line in lines]
    missed = Counter(site for invited, survivors in asked for site in invited - set(survivors))
    seconds = sum(line.simulated_seconds or 0.0 for line in lines)
    return {"missed": dict(sorted(missed.items())), "simulated_seconds": round(seconds, 3)}


def _population(report: Mapping[str, Any], setting: Setting) -> int:
    """How many virtual sites a simulation was of, none of which its roster or its report lists; else 0."""
    count, roster = report.get("population"), setting.roster
    is_virtual = roster is not None and not roster.entries and report.get("simulated") is True
    return count if is_virtual and type(count) is int and count > 0 else 0


def _transcripts(receipts: Receipts) -> int:
    """How many rounds, and evaluations, have a transcript by their receipts."""
    evaluation = receipts.evaluation is not None and receipts.evaluation.transcript is not None
    return sum(line.transcript is not None for line in receipts.rounds.values()) + evaluation


def _tells_training_only(report: Mapping[str, Any], plan: Plan) -> bool:
    """Whether the report has the form from before an evaluation's epsilon was told in it.

    Such a run is of a plan that says its tau, or said it by default then: a later digest gives a later run away.
    """
    privacy = report.get("privacy")
    units = rows_of(privacy.get("units")) if isinstance(privacy, Mapping) else []
    parts = [privacy, *units, *rows_of(report.get("sites"))]
    told = any(
        name in part for part in parts if isinstance(part, Mapping) for name in ("evaluation", "together")
    )
    return plan.server.tau is not None and "made" not in report and not told


def _expect_charges(
    report: Mapping[str, Any], expected: list[dict[str, Any]], booked: Mapping[str, Booked], plan: Plan
) -> None:
    """Add what each ledger holds charged, where the report tells it of any site: an earlier version did not."""
    told = any("charged" in row for row in rows_of(report.get("sites")) if isinstance(row, Mapping))
    if not told or not plan.is_private or plan.privacy.delta is None:
        return
    for row in expected:
        charges = booked[row["id"]].charged if row["id"] in booked else None
        if charges is not None:
            row["charged"] = {"epsilon": epsilon([each.event for each in charges], plan.privacy.delta)}


def _named(report: Mapping[str, Any], setting: Setting, executed: Mapping[str, Booked]) -> list[str]:
    """The sites that the report has to name: every site that was invited. It may name others that joined."""
    rows = [row.get("id") for row in rows_of(report.get("sites")) if isinstance(row, Mapping)]
    invited = {site for part in (*setting.beside, setting.receipts) for site in part.sites}
    return sorted({*invited, *(site for site in executed if site in rows)})


def _expected(setting: Setting, booked: Mapping[str, Booked], sites: Sequence[str]) -> dict[str, Any]:
    plan, receipts = setting.plan, setting.receipts
    lines = receipts.rounds.values()
    seconds, client_rounds = sum(line.seconds for line in lines), sum(len(line.cohort) for line in lines)
    rounds = [
        {
            "round": number,
            "cohort": len(line.cohort),
            "survivors": len(line.survivors),
            "seconds": line.seconds,
            **({} if line.excess_left is None else {"excess_left": len(line.excess_left)}),
            **({"lost": line.voids[-1].reasons} if line.is_lost and line.voids else {}),
            **({} if line.simulated_seconds is None else {"simulated_seconds": line.simulated_seconds}),
            **({} if line.clipping_norm is None else {"clipping_norm": line.clipping_norm}),
            "unlikely": line.unlikely,
        }
        for number, line in receipts.rounds.items()
    ]
    return {
        "schema": "federation.report/1",
        "plan_digest": plan.digest,
        "seed": plan.federation.seed,
        "name": plan.federation.name,
        "secure_aggregation": plan.secure_aggregation.tolerance,
        "privacy": _privacy(setting),
        "sites": [_site(site, setting, booked.get(site)) for site in sites],
        "rounds": rounds,
        "timing": {
            "training_seconds": seconds,
            "client_rounds_per_second": client_rounds / seconds if seconds else None,
        },
    }


def _privacy(setting: Setting) -> dict[str, Any]:
    plan, charge = setting.plan, setting.training
    said = {"unit": plan.privacy.unit, "noise": plan.privacy.noise, "private": plan.is_private}
    if plan.privacy.delta is None or not isinstance(charge.event, GaussianEvent):
        return {**said, "epsilon": None, "delta": None, "noise_multiplier": None}
    return {
        **said,
        **_spent(setting, setting.place.rounds, is_tested=True),
        "delta": plan.privacy.delta,
        "noise_multiplier": charge.event.noise_multiplier,
        "clipping_norm": plan.privacy.clipping_norm,
        **told_clipping(plan, setting.receipts),
        "accountant": accountant([charge.event], plan.privacy.delta),
        "cross_check": {"rdp": rdp_epsilon([charge.event], plan.privacy.delta)},
    }


def _site(site: str, setting: Setting, booked: Booked | None) -> dict[str, Any]:
    lines, everything = setting.receipts.rounds.values(), (*setting.beside, setting.receipts)
    charged = (line.charged for part in everything for line in part.rounds.values())
    rounds = sum(site in sites for sites in charged) if booked is None else booked.rounds
    tested = None if booked is None else booked.tested
    if tested is None:
        told = [part.evaluation for part in everything if part.evaluation is not None]
        tested = not told or any(site in line.cohort for line in told)
    return {
        "id": site,
        **_spent(setting, rounds, tested),
        "rounds": rounds,
        "steps": rounds * setting.plan.training.local_steps,
        "bytes_up": _total([line.bytes_up for line in lines], site),
        "bytes_down": _total([line.bytes_down for line in lines], site),
    }


def _total(counts: Sequence[Mapping[str, Any]], site: str) -> int | None:
    values = [count[site] for count in counts if site in count]  # none in a run without messages
    return sum(values) if values and all(type(value) is int for value in values) else None


def _spent(setting: Setting, rounds: int, is_tested: bool) -> dict[str, Any]:
    """Epsilon of so many rounds; with an evaluation also its own, and that of both composed."""
    plan, event = setting.plan, setting.training.event
    if plan.privacy.delta is None or not isinstance(event, GaussianEvent):
        return {"epsilon": None}
    trained = replace(event, count=min(rounds * releases_in_a_round(plan), planned_releases(plan)))
    spent: dict[str, Any] = {"epsilon": epsilon([trained], plan.privacy.delta)}
    if setting.evaluation is None:
        return spent
    second = [setting.evaluation.event] if is_tested else []
    for name, events in (("evaluation", second), ("together", [trained, *second])):
        spent[name] = {"epsilon": epsilon(events, plan.privacy.delta)}
    return spent


def _check_engine(report: Mapping[str, Any], found: Findings) -> None:
    engine, simulated = report.get("engine"), report.get("simulated")
    if engine not in ENGINES or not isinstance(simulated, bool):
        differs("engine is none of ours, or simulated neither true nor false", found)
    elif engine in ADDS_UP and not simulated:
        differs("this engine exists in simulations only", found)


def _check_privacy(report: Mapping[str, Any], setting: Setting, sites: int, found: Findings) -> None:
    """Check what depends on another accountant, or on what a person may hold: it must lie between our bounds."""
    plan, privacy = setting.plan, report.get("privacy")
    slack = _SLACK if "made" in report else _OLDER_SLACK
    if not isinstance(privacy, Mapping) or plan.privacy.delta is None:
        return
    checks = privacy.get("cross_check")
    prv = checks.get("prv") if isinstance(checks, Mapping) else None
    if prv is not None and not is_near(prv, recounted_charge(setting.training, plan)):
        differs("privacy.cross_check.prv is not an epsilon of this plan", found)
    rows = rows_of(privacy.get("units"))
    told = [tuple(row.get(key) for key in _KEYS) for row in rows if isinstance(row, Mapping)]
    if told != told_units(plan, sites):
        differs("privacy.units is not about the units that it has to be about", found)
    for place, row in enumerate(rows):
        if not _is_cost(row, setting, plan.privacy.delta, slack):
            differs(f"privacy.units[{place}] is not what the plan costs", found)


def _is_cost(row: Any, setting: Setting, delta: float, slack: float) -> bool:
    """Whether the epsilons of a row, of training, evaluation and both together, are those of its unit."""
    parts = {"epsilon": [setting.training]}
    if setting.evaluation is not None:
        parts |= {"evaluation": [setting.evaluation], "together": [setting.training, setting.evaluation]}
    try:
        unit = next(unit for unit in UNITS if unit == row["unit"])
        for name, charges in parts.items():
            patient = Patient(row["records"], row["sites"])
            spent = bounds(charges, unit, patient, delta)
            value = row["epsilon"] if name == "epsilon" else row[name]["epsilon"]
            if value is None:
                held = spent.upper * (1 + slack) + _SLACK > MAX_EPSILON
            elif math.isinf(spent.lower):
                held = False
            else:
                events = [charge.to(unit, patient) for charge in charges]
                held = is_near(value, spent, slack) or is_same(epsilon(events, delta), value)
            if not held:
                return False
    except (StopIteration, TypeError, KeyError, AttributeError, PrivacyError):
        return False
    return True


def check_page(run: Path, report: Mapping[str, Any] | None, found: Findings) -> None:
    """Check that report.html states the epsilons of report.json, each of them, and no other."""
    path = run / "report.html"
    if report is None or not path.exists():
        return
    try:
        stored = Report.from_json(report)
        wanted, is_private = fields(stored), stored.privacy.private
        page = text_of(path)
        told = read_stated(page)
    except (OSError, ValueError):
        found.add(
            "page-mismatch", "report.html or report.json is not as we write it: they cannot be compared"
        )
        return
    if is_private and not told:
        found.add("page-unmarked", "report.html does not mark its epsilons, so they were not compared")
        return
    if not is_private and "NOT PRIVATE" not in page:
        found.add("page-mismatch", "report.html does not say that the run is not private")
    false = [each.field for each in told if each.field not in wanted or not each.is_of(wanted[each.field])]
    for field in false:
        found.add("page-mismatch", f"report.html states another {field} than report.json")
    missing = wanted.keys() - {each.field for each in told}
    for field in missing:
        found.add("page-mismatch", f"report.html leaves out {field}")
    if (made := stored.made) is None or made.version != version("private-federation"):
        found.skip("the words of report.html around its epsilons: another version wrote them")
    elif (
        not false
        and not missing
        and _told_by(page, section := section_of(run), run) != _words_of(stored, section)
    ):
        found.add("page-differs", "report.html says something else than this version makes of report.json")
    found.skip("the curves of report.html")


def _told_by(page: str, section: Section | None, run: Path) -> list[str]:
    """What a page says. Where the params cannot be used, which is found elsewhere, without what it says of them."""
    if section is None and says_something(run):
        page = _OF_MODEL.sub("", page)
    return words(page)


def _words_of(report: Report, section: Section | None) -> list[str]:
    """What a page of this report says; nothing where there can be none: a false report may lack anything."""
    try:
        return words(render(report, curves=False, section=section))
    except Exception:
        return []


def _check_tried(privacy: object, setting: Setting, found: Findings) -> None:
    """What the machine remembers of other runs is in no file of this one; here it has to agree with itself."""
    plan, told = setting.plan, privacy.get("tried") if isinstance(privacy, Mapping) else None
    if not isinstance(told, Mapping) or (told.get("runs") is None and told.get("reason")):
        return
    runs, bare, spent, exact = (told.get(key) for key in ("runs", "without_privacy", "epsilon", "exact"))
    private = runs - bare if type(runs) is int and type(bare) is int and 0 <= bare <= runs else -1
    agrees = private >= int(plan.is_private) and (exact is True) == (private == 1 and spent is not None)
    if plan.is_private and spent is not None:
        parts = [setting.training] if setting.evaluation is None else [setting.training, setting.evaluation]
        once = recounted(parts, plan)
        least = (
            agrees
            and isinstance(spent, int | float)
            and once is not None
            and spent >= once.lower * (1 - 1e-9)
        )
        agrees = least and (private > 1 or is_near(spent, once))
    if not agrees:
        differs("privacy.tried does not agree with itself and the plan", found)


def is_near(value: object, spent: Bounds | None, slack: float = _SLACK) -> bool:
    """Whether a value lies between two bounds, or little above: as an upper bound of ours may."""
    if spent is None or not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return spent.lower * (1 - 1e-9) <= value <= spent.upper * (1 + slack) + _SLACK


def rows_of(value: object) -> list[Any]:
    """The rows of a list; none of anything else."""
    return value if isinstance(value, list) else []


def differs(what: str, found: Findings) -> None:
    """Add the finding that report.json is wrong: `what` names the field and says how."""
    found.add("report-mismatch", f"report.json: {what}")


def check_same(expected: Any, got: Any, where: str, found: Findings) -> None:
    """Check that `got` has every field of `expected`, and that every list has the same length.

    Numbers may differ by a relative 1e-4. `where` is the dotted place of `got` in the report, "" for the whole.
    """
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        for key, value in expected.items():
            check_same(value, got.get(key), f"{where}.{key}" if where else key, found)
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for index, value in enumerate(expected):
            check_same(value, got[index], f"{where}[{index}]", found)
    elif not is_same(expected, got):
        differs(f"{where} is not what plan, receipts and ledgers make of it", found)


def is_same(expected: Any, got: Any) -> bool:
    """Whether both are one value; numbers to a relative 1e-4."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in (expected, got)):
        return math.isclose(expected, got, rel_tol=_TOLERANCE, abs_tol=1e-9)
    if expected == math.inf:
        return got is None
    return type(expected) is type(got) and bool(expected == got)


def _extra(expected: Any, got: Any, where: str = "") -> list[str]:
    """Dotted names of the fields in `got` that are not in `expected`; rows of a list count once.

    >>> _extra({"seed": 7, "sites": [{"id": "ash"}]}, {"seed": 7, "name": "x", "sites": [{"id": "ash", "x": 1}]})
    ['name', 'sites[].x']
    """
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        names = []
        for key, value in got.items():
            place = f"{where}.{key}" if where else str(key)
            names += _extra(expected[key], value, place) if key in expected else [place]
        return names
    if isinstance(expected, list) and isinstance(got, list) and expected and got:
        return _extra(expected[0], got[0], f"{where}[]")
    return []
