"""The frontier as a table for programs: a row for each point and metric."""

from __future__ import annotations

import csv
import io

from simulations.tradeoff.kept import Json

HEAD = (
    *("noise", "epsilon", "delta", "spent", "advantage", "right", "metric"),
    *("mean", "low", "high", "seeds", "refused"),
    *("tpr_at_fpr_0.01", "tpr_at_fpr_0.001"),
)


def csv_of(found: Json) -> str:
    """CSV with a header; a refused point has one row without figures."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEAD)
    for point in found["points"]:
        risk = point["risk"] or {"advantage": None, "right": None}
        hits = [risk.get("tpr_at_fpr", {}).get(rate) for rate in ("0.01", "0.001")]
        head = [
            point["noise"],
            point["epsilon"],
            point["delta"],
            point["spent"],
            risk["advantage"],
            risk["right"],
        ]
        if point["refused"]:
            writer.writerow([*head, "", "", "", "", "", point["refused"], *hits])
            continue
        for metric, of in point["metrics"].items():
            writer.writerow([*head, metric, of["mean"], of["low"], of["high"], of["n"], "", *hits])
    return file.getvalue()
