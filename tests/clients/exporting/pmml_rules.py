"""Evaluates a PMML file by the Data Mining Group's rules, from the XML alone; what it does not know it refuses.

Written from the standard's text (Transformations, Functions, MiningSchema, Regression), beside what the program
writes. By hand the files were also held against JPMML-Evaluator and the XSD of PMML 4.4 (decision 53).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, parse

SPACE = "{http://www.dmg.org/PMML-4_4}"
Cell = float | str | None


class Invalid(Exception):
    """A cell that the model does not take."""


class Evaluator:
    """One model; rows are cells as text, "" for a missing one."""

    def __init__(self, path: Path) -> None:
        self.root = parse(path).getroot()  # noqa: S314  # a file of our own
        self.model = _child(self.root, "RegressionModel")
        self.fields = {one.get("name"): one for one in _child(self.root, "DataDictionary")}

    def scores(self, row: Mapping[str, str]) -> dict[str | None, float]:
        """By class the probability, or by None the number."""
        known: dict[str, Cell] = {}
        for mined in _child(self.model, "MiningSchema"):
            name = mined.get("name", "")
            if mined.get("usageType") != "target":
                known[name] = self._mined(mined, self.fields[name], row[name])
        for field in _child(self.root, "TransformationDictionary"):
            known[field.get("name", "")] = _value(field[0], known)
        sums = {
            table.get("targetCategory"): _sum(table, known)
            for table in self.model
            if table.tag == SPACE + "RegressionTable"
        }
        how = self.model.get("normalizationMethod", "none")
        if how == "softmax":
            highest = max(sums.values())
            parts = {name: math.exp(one - highest) for name, one in sums.items()}
            return {name: part / sum(parts.values()) for name, part in parts.items()}
        return {name: math.exp(one) if how == "exp" else one for name, one in sums.items()}

    @staticmethod
    def _mined(mined: Element, field: Element, text: str) -> Cell:
        if text == "":
            if mined.get("missingValueTreatment") == "returnInvalid":
                raise Invalid(mined.get("name"))
            text = mined.get("missingValueReplacement", "")
        listed = [one.get("value") for one in field if one.tag == SPACE + "Value"]
        if text and listed and text not in listed and mined.get("invalidValueTreatment") != "asIs":
            raise Invalid(mined.get("name"))
        if not text:
            return None
        return float(text) if field.get("dataType") == "double" else text


def _child(parent: Element, name: str) -> Element:
    found = parent.find(SPACE + name)
    assert found is not None, name
    return found


def _value(node: Element, known: Mapping[str, Cell]) -> Any:
    kind = node.tag.removeprefix(SPACE)
    if kind == "FieldRef":
        return known[node.get("field", "")]
    if kind == "Constant":
        text = node.text or ""
        return float(text) if node.get("dataType") == "double" else text
    if kind == "NormDiscrete":
        cell = known[node.get("field", "")]
        return float(node.get("mapMissingTo", "nan")) if cell is None else float(cell == node.get("value"))
    if kind == "NormContinuous":
        return _line(node, known[node.get("field", "")])
    assert kind == "Apply", kind
    return _applied(node, known)


def _line(node: Element, cell: Cell) -> float | None:
    if cell is None:
        return float(node.attrib["mapMissingTo"]) if "mapMissingTo" in node.attrib else None
    assert node.get("outliers") == "asExtremeValues" and isinstance(cell, float)
    points = [(float(one.attrib["orig"]), float(one.attrib["norm"])) for one in node]
    assert points == sorted(points)
    if cell <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in pairwise(points):
        if cell <= right:
            return low + (cell - left) / (right - left) * (high - low)
    return points[-1][1]


def _applied(node: Element, known: Mapping[str, Cell]) -> Any:
    name = node.get("function")
    if name == "if":
        if _value(node[0], known):
            return _value(node[1], known)
        return _value(node[2], known) if len(node) > 2 else None
    values = [_value(one, known) for one in node]
    if name in ("isMissing", "isNotMissing"):
        return (values[0] is None) == (name == "isMissing")
    assert all(value is not None for value in values), f"{name} of what is missing"
    functions: dict[str | None, Any] = {
        "isIn": lambda cell, *listed: cell in listed,
        "ln": math.log,
        "abs": abs,
        "max": max,
        "lessThan": lambda one, other: one < other,
        "*": lambda one, other: one * other,
        "+": lambda one, other: one + other,
    }
    return functions[name](*values)


def _sum(table: Element, known: Mapping[str, Cell]) -> float:
    total = float(table.attrib["intercept"])
    for one in table:
        names = (
            [one.attrib["name"]]
            if one.tag == SPACE + "NumericPredictor"
            else [f.attrib["field"] for f in one]
        )
        values = [known[name] for name in names]
        assert all(isinstance(value, float) for value in values)
        total += float(one.attrib["coefficient"]) * math.prod(values)  # type: ignore[arg-type]
    return total
