"""Checks the exact figures of a simulation: those of a site, of all sites pooled, and of the majority class.

No file holds the records, so no figure can be made anew. But the figures are of the same records: a pooled share is
the sum of what the sites have right over the sum of their records, and a figure that follows from others must.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from federation.audit.findings import Findings
from federation.audit.receipts import Receipts
from federation.audit.report import check_same, differs, is_same
from federation.log import printable
from federation.report.report import PAID

_MEANS = ("accuracy", "loss", "brier", "calibration", "mae", "bias", "deviance")
_ADDS_UP = {**dict.fromkeys(_MEANS, "n"), "recall": "positives"}  # a mean over so many: the name of the count
_ANY, _POSITIVE = (-math.inf, math.inf), (0, math.inf)
_OTHERS = {  # no shares
    "brier": (0, 2),
    "calibration": (-1, 1),
    "gini": (-1, 1),
    "bias": _ANY,
    "r2": _ANY,
    **dict.fromkeys(("loss", "mae", "rmse", "deviance", "calibration_by_tenth", "mean_brier"), _POSITIVE),
}
_WHOLE = 1e-6  # by how much a share times its count may miss a whole number
_ANSWER = 0.5  # the AUC of one answer for everybody


def check_exact(report: Mapping[str, Any], receipts: Receipts, found: Findings) -> None:
    """Exact figures about held-out records exist in simulations only; a real run has only what it published."""
    evaluation, lines = report.get("evaluation"), list(receipts.rounds.values())
    told = dict(evaluation) if isinstance(evaluation, Mapping) else {}
    if report.get("simulated") is not True:
        told = {name: value for name, value in told.items() if name not in PAID}
        if any(told.values()) or any(line.metrics for line in lines) or _has_counts(report):
            detail = "report or receipts hold exact figures about held-out records, which nobody paid for"
            found.add("evaluation-unplanned", detail)
        return
    if lines and lines[-1].metrics:
        check_same(lines[-1].metrics, told.get("pooled"), "evaluation.pooled", found)
    _check_counts(told, found)
    _check_means(told, found)
    check_sums(told, found)
    check_majority(told, found)
    found.skip(
        "report.json: figures of single sites beyond what the pooled ones and their means allow, and those of the "
        "training without privacy: no other file holds them, and nobody can verify them"
    )


def _has_counts(report: Mapping[str, Any]) -> bool:
    """Whether a report tells how many records a site has, a metric after a round, or what its computing took."""
    rows = [report.get(name) for name in ("sites", "history")]
    each = [row for part in rows if isinstance(part, list) for row in part if isinstance(row, Mapping)]
    counted = any(row.get(name) for row in each for name in ("records", "lines", "metrics"))
    timing = report.get("timing")
    return counted or (isinstance(timing, Mapping) and timing.get("energy") is not None)


def _check_counts(told: Mapping[str, Any], found: Findings) -> None:
    """The counts beside the pooled figures are the sums over the sites."""
    pooled, sites = told.get("pooled"), told.get("sites")
    if not isinstance(pooled, Mapping) or not isinstance(sites, Mapping):
        return
    for name in ("n", "positives"):
        counts = [site.get(name) if isinstance(site, Mapping) else None for site in sites.values()]
        known = [count for count in counts if type(count) is int]
        whole = sum(known) if known and len(known) == len(counts) else None
        if pooled.get(name) != whole:
            differs(f"evaluation.pooled.{name} is not the sum over the sites", found)


def _check_means(told: Mapping[str, Any], found: Findings) -> None:
    """A mean of sites is over the sites that have the figure, and says how many those are."""
    sites = told.get("sites")
    rows = [row for row in (sites.values() if isinstance(sites, Mapping) else ()) if isinstance(row, Mapping)]
    means, over = told.get("mean_of_sites"), told.get("mean_of_sites_n")
    for name, claimed in means.items() if isinstance(means, Mapping) else ():
        values = [row[name] for row in rows if type(row.get(name)) in (int, float)]
        mean = math.fsum(values) / len(values) if values else None
        counted = over.get(name) if isinstance(over, Mapping) and over else len(values)  # an earlier version
        if not is_same(mean, claimed) or counted != len(values):
            differs(f"evaluation.mean_of_sites of {printable(str(name))} is not what its sites say", found)


def check_sums(told: Mapping[str, Any], found: Findings) -> None:
    """Every figure can be one, and the pooled ones are what those of the sites add up to, by their counts."""
    pooled, sites = told.get("pooled"), told.get("sites")
    if not isinstance(pooled, Mapping) or not isinstance(sites, Mapping):
        return
    rows = {str(name): row for name, row in sites.items() if isinstance(row, Mapping)}
    if any("n" not in row for row in rows.values()):
        return  # an earlier version told no counts
    for name, row in rows.items():
        if not _is_possible(row):
            differs(
                f"evaluation.sites of {printable(name)} cannot be: its figures contradict each other", found
            )
    for name, weight in _ADDS_UP.items():
        if name in pooled and not _adds_up(name, weight, pooled, list(rows.values())):
            differs(f"evaluation.pooled.{name} is not what its sites add up to", found)


def _adds_up(name: str, weight: str, pooled: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a pooled mean is the mean of the sites' means. Unknown counts, of many classes, say nothing."""
    parts = [(row.get(name), row.get(weight)) for row in rows]
    if not all(type(count) is int for _, count in parts):
        return True
    known = [(value, count) for value, count in parts if count]
    if not all(_is_number(value) for value, _ in known):
        return pooled[name] is None  # one site's figures failed, and so did those of all
    whole = sum(count for _, count in known)
    mean = math.fsum(value * count for value, count in known) / whole if whole else None
    return is_same(mean, pooled[name])


def _is_possible(row: Mapping[str, Any]) -> bool:
    """Whether the figures of a site are shares of its counts, and agree where one follows from others."""
    count, positives = row.get("n"), row.get("positives")
    others = ("n", "positives", *_OTHERS, *(name for name in row if name.startswith("brier_at_")))
    shares = {name: value for name, value in row.items() if name not in others}
    if type(count) is not int or count < 0 or not all(_is_share(value) for value in shares.values()):
        return False
    for name, (least, most) in _OTHERS.items():
        value = row.get(name)
        if value is not None and not (_is_number(value) and least <= value <= most):
            return False
    if not _is_whole(row.get("accuracy"), count):
        return False
    if positives is None:
        return True
    if (
        type(positives) is not int
        or not 0 <= positives <= count
        or not _is_whole(row.get("recall"), positives)
    ):
        return False
    return all(value is None or is_same(known, value) for known, value in _derived(row, count, positives))


def _derived(row: Mapping[str, Any], count: int, positives: int) -> list[tuple[float, Any]]:
    """What accuracy and recall of two classes make of other figures, each beside what is told."""
    accuracy, recall, negatives = row.get("accuracy"), row.get("recall"), count - positives
    if accuracy is None or recall is None or not positives:
        return []
    hits = round(recall * positives)
    alarms = negatives - (round(accuracy * count) - hits)
    made = [((negatives - alarms) / negatives, row.get("specificity"))] if negatives else []
    made += [(2 * hits / (hits + alarms + positives), row.get("f1"))]
    if hits + alarms:
        made.append((hits / (hits + alarms), row.get("precision")))
    if negatives:
        made.append((recall / 2 + (negatives - alarms) / negatives / 2, row.get("balanced_accuracy")))
    return made


def check_majority(told: Mapping[str, Any], found: Findings) -> None:
    """One answer for all: right for the records of one of two classes, and neither better nor worse by AUC."""
    pooled, baselines = told.get("pooled"), told.get("baselines")
    row = baselines.get("majority") if isinstance(baselines, Mapping) else None
    if not isinstance(row, Mapping) or not isinstance(pooled, Mapping):
        return
    count, positives = pooled.get("n"), pooled.get("positives")
    if type(count) is not int or type(positives) is not int or not 0 < positives < count:
        return
    if not any(value is not None for value in row.values()):
        return  # it could not be made
    rights = [(positives, 1.0), (count - positives, 0.0)]  # of those who have it, and of those who do not
    expected = {"auc": _ANSWER, "balanced_accuracy": _ANSWER}
    same = any(
        is_same(right / count, row.get("accuracy", right / count))
        and is_same(recall, row.get("recall", recall))
        for right, recall in rights
    )
    if not same or any(name in row and not is_same(value, row[name]) for name, value in expected.items()):
        differs("evaluation.baselines.majority is not what one answer for all records gives", found)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_share(value: Any) -> bool:
    return value is None or (_is_number(value) and 0 <= value <= 1)


def _is_whole(share: Any, count: int) -> bool:
    """Whether a share of so many is a whole number of them."""
    if share is None:
        return True
    return bool(abs(share * count - round(share * count)) <= _WHOLE)
