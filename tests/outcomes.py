"""Plans of every outcome but classes, by the name of their kind: changes for `tests.plans.plan_of`."""

from __future__ import annotations

from tests.plans import Changes

_FEATURES = {"age": {"low": 20, "high": 90}, "cp": {"values": ["1", "2", "3", "4"]}}
_USUAL = {"evaluation.metrics": None}


def _task(kind: str, model: str, **keys: object) -> Changes:
    return {"task": {"kind": kind, "model": model, "features": _FEATURES} | keys, **_USUAL}


REGRESSION = _task("tabular-regression", "linear", target="cost", target_range={"low": 0, "high": 350})
SURVIVAL = _task("survival", "logistic", target="days", event="died", bins=[30, 90, 180])
COUNTS = _task("tabular-counts", "linear", target="visits", most=12)
EXPOSED = _task("tabular-counts", "linear", target="visits", most=12, exposure="months")
KINDS = {"regression": REGRESSION, "survival": SURVIVAL, "counts": COUNTS, "exposure": EXPOSED}
_WINDOWS = {"patient": "who", "time": "hour", "window": 4, "stride": 2, "horizon": 1, "features": _FEATURES}
WARDS: Changes = {
    **_task("series-classification", "gru", target="num", classes=["0", "1"], **_WINDOWS),
    "privacy.unit": "patient",
}
PANEL: Changes = {
    **_task("series-regression", "gru", target="cost", target_range={"low": 0, "high": 350}, **_WINDOWS),
    "privacy.unit": "patient",
}
"""Series: records are windows of four rows of one patient."""
SERIES = {"wards": WARDS, "panel": PANEL}


def but(of: Changes, /, **keys: object) -> Changes:
    """The plan of a kind with other keys of its `[task]`; None leaves one out."""
    task = of["task"]
    assert isinstance(task, dict)
    return {**of, "task": {key: value for key, value in {**task, **keys}.items() if value is not None}}
