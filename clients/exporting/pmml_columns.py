"""The columns of a model's input as PMML derives them from a column of a table: one `DerivedField` each."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from federation.plan.columns.features import MISSING, OTHER, Categorical, Feature, Numeric
from federation.plan.columns.numeric import scale_of
from federation.plan.columns.scales import corners

DOUBLE: Final = {"optype": "continuous", "dataType": "double"}


def name_of(at: int, part: str) -> str:
    """What a column is called: by its place, since a table may have any names."""
    return f"column {at + 1}: {part}"


def text_of(number: float) -> str:
    """A number so that it is read as the same float."""
    return repr(float(number))


def derived(found: Element, feature: Feature, at: int) -> None:
    """Add the columns of a feature; the first one is the column `at` of the input."""
    if isinstance(feature, Categorical):
        _of_values(found, feature, at)
    elif isinstance(feature, Numeric):
        _of_number(found, feature, at)


def _column(found: Element, feature: Feature, at: int, place: int) -> Element:
    name = name_of(at + place, f"{feature.name} {feature.parts[place]}".strip())
    return SubElement(found, "DerivedField", {"name": name, **DOUBLE})


def _of_values(found: Element, feature: Categorical, at: int) -> None:
    for place, part in enumerate(feature.parts):
        field = _column(found, feature, at, place)
        if place < len(feature.values):
            about = {"field": feature.name, "value": feature.values[place], "mapMissingTo": "0"}
            SubElement(field, "NormDiscrete", about)
        elif part == MISSING:
            _mark(field, feature.name)
        elif part == OTHER:
            outer = _apply(field, "if")
            _ref(_apply(outer, "isMissing"), feature.name)
            _constant(outer, 0)
            inner = _apply(outer, "if")
            listed = _apply(inner, "isIn")
            _ref(listed, feature.name)
            for value in feature.values:
                SubElement(listed, "Constant", {"dataType": "string"}).text = value
            _constant(inner, 0)
            _constant(inner, 1)


def _of_number(found: Element, feature: Numeric, at: int) -> None:
    source = feature.name if feature.scale is None else _on_scale(found, feature)
    low, high = scale_of(feature, feature.low), scale_of(feature, feature.high)
    if feature.hats is None:
        _line(_column(found, feature, at, 0), source, feature, [(low, -1.0), (high, 1.0)])
    else:
        listed = corners(feature)
        places = np.linspace(-1.0, 1.0, feature.hats) if listed is None else listed
        knots = [float(low + (place + 1) / 2 * (high - low)) for place in places]
        for place in range(len(knots)):
            around = [
                (knots[other], float(other == place))
                for other in (place - 1, place, place + 1)
                if 0 <= other < len(knots)
            ]
            _line(_column(found, feature, at, place), source, feature, around)
    if feature.missing == "indicator":
        _mark(_column(found, feature, at, len(feature.parts) - 1), feature.name)


def _line(field: Element, source: str, feature: Numeric, points: list[tuple[float, float]]) -> None:
    """Straight lines between points; beyond the first and the last it goes on level, as a number is clipped."""
    about = {"field": source, "outliers": "asExtremeValues"}
    if feature.missing == "indicator":
        about["mapMissingTo"] = "0"
    line = SubElement(field, "NormContinuous", about)
    for where, value in points:
        SubElement(line, "LinearNorm", {"orig": text_of(where), "norm": text_of(value)})


def _on_scale(found: Element, feature: Numeric) -> str:
    """A field with the number on its scale, and missing where the number is: functions differ on what is missing.

    A logarithm is of what is clipped, since there is none of 0.
    """
    name = f"{feature.scale} of {feature.name}"
    known = _apply(SubElement(found, "DerivedField", {"name": name, **DOUBLE}), "if")
    _ref(_apply(known, "isNotMissing"), feature.name)
    if feature.scale == "log":
        clipped = _apply(_apply(known, "ln"), "max")
        _ref(clipped, feature.name)
        _constant(clipped, feature.low)
        return name
    whole = _apply(known, "if")
    below = _apply(whole, "lessThan")
    _ref(below, feature.name)
    _constant(below, 0)
    for sign in (-1, 1):
        side = _apply(whole, "*")
        _constant(side, sign)
        size = _apply(_apply(side, "ln"), "+")
        _constant(size, 1)
        _ref(_apply(size, "abs"), feature.name)
    return name


def _mark(field: Element, name: str) -> None:
    whole = _apply(field, "if")
    _ref(_apply(whole, "isMissing"), name)
    _constant(whole, 1)
    _constant(whole, 0)


def _apply(parent: Element, function: str) -> Element:
    return SubElement(parent, "Apply", {"function": function})


def _ref(parent: Element, name: str) -> None:
    SubElement(parent, "FieldRef", {"field": name})


def _constant(parent: Element, number: float) -> None:
    SubElement(parent, "Constant", {"dataType": "double"}).text = text_of(number)
