"""The frontier as a table for programs: a row for each point and metric."""

from __future__ import annotations

import csv
import io

from simulations.tradeoff.kept import Json

HEAD = (
    *("noise", "epsilon", "delta", "spent", "advantage", "right", "metric"),
    *("mean", "low", "high", "seeds", "refused"),
)


def csv_of(found: Json) -> str:
    """CSV with a header; a refused point has one row without figures."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEAD)
    for point in found["points"]:
        risk = point["risk"] or {"advantage": None, "right": None}
        head = [
            point["noise"],
            point["epsilon"],
            point["delta"],
            point["spent"],
            risk["advantage"],
            risk["right"],
        ]
        if point["refused"]:
            writer.writerow([*head, "", "", "", "", "", point["refused"]])
            continue
        for metric, of in point["metrics"].items():
            writer.writerow([*head, metric, of["mean"], of["low"], of["high"], of["n"], ""])
    return file.getvalue()
