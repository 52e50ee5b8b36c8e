"""A PMML file of a model that adds up: raw cells in, the plan's rules as transformations, equations for outputs.

A rule engine of a bank reads it without Python. Each column of the model's input is a `DerivedField` of a column of
the table: clipped to the public range, scaled, shared by knots, or 1 where a cell is a value. What PMML has no
words for (hashes, dates, texts, rows of length 1, times until an event) is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
from torch import nn

from clients.exporting.forms import Exported
from clients.exporting.pmml_columns import DOUBLE, derived, name_of, text_of
from clients.exporting.stated import KEY, Stated
from federation.errors import InputError
from federation.plan.columns.features import Categorical, Feature, Numeric
from federation.plan.columns.maps import slices
from federation.plan.outcomes import Classes, Counts, Range
from federation.plan.tabular import TabularTask
from federation.plan.tasks import Classification

_NAMESPACE: Final = "http://www.dmg.org/PMML-4_4"
_HINT = "write it as onnx"


def pmml_bytes(model: Exported) -> bytes:
    """The file. InputError for a model that is no equation over a table of numbers and values."""
    table, layer = _fitting(model)
    root = Element("PMML", {"xmlns": _NAMESPACE, "version": "4.4"})
    _header(root, model.stated)
    _dictionary(root, table)
    transformations, places = SubElement(root, "TransformationDictionary"), slices(table.features)
    for feature in table.features:
        derived(transformations, feature, places[feature.name].start)
    _equations(root, table, layer)
    indent(root)
    written: bytes = tostring(root, "utf-8", xml_declaration=True)
    return written


def _fitting(model: Exported) -> tuple[TabularTask, nn.Linear]:
    table = model.run.table
    if table is None:
        raise InputError("PMML is for a logistic, linear or additive model of a table", hint=_HINT)
    outcome = table.outcome
    if not isinstance(outcome, Classes | Range | Counts) or (
        isinstance(outcome, Counts) and outcome.has_exposure
    ):
        raise InputError("PMML is written of classes, numbers, and counts without exposure", hint=_HINT)
    if not isinstance(model.module, nn.Linear) or model.module.bias is None:
        raise InputError("PMML is for a logistic, linear or additive model of a table", hint=_HINT)
    if table.steps > 1:
        raise InputError("PMML is of tables, and a record here is several rows", hint=_HINT)
    if table.rows is not None:
        raise InputError("PMML has no rows that are divided by their length", hint=_HINT)
    for feature in table.features:
        if not isinstance(feature, Numeric | Categorical):
            raise InputError(f"PMML is of numbers and values, and {feature.name} is neither", hint=_HINT)
    if not table.learns_chances:
        raise InputError("PMML is written of probabilities, and a hinge loss learns none", hint=_HINT)
    return table, model.module


def _header(root: Element, stated: Stated) -> None:
    header = SubElement(root, "Header", {"description": stated.sentence})
    SubElement(header, "Extension", {"name": KEY, "value": stated.texts[KEY]})
    SubElement(header, "Application", {"name": "private-federation"})


def _dictionary(root: Element, table: TabularTask) -> None:
    found = SubElement(root, "DataDictionary", {"numberOfFields": str(len(table.features) + 1)})
    for feature in table.features:
        if isinstance(feature, Categorical):
            _values(found, feature.name, feature.values)
        else:
            SubElement(found, "DataField", {"name": feature.name, **DOUBLE})
    if isinstance(table, Classification):
        _values(found, table.target, table.classes)
    else:
        SubElement(found, "DataField", {"name": table.target, **DOUBLE})


def _values(found: Element, name: str, values: Sequence[str]) -> None:
    field = SubElement(found, "DataField", {"name": name, "optype": "categorical", "dataType": "string"})
    for value in values:
        SubElement(field, "Value", {"value": value})


def _equations(root: Element, table: TabularTask, layer: nn.Linear) -> None:
    weights = layer.weight.detach().double().numpy()
    biases = layer.bias.detach().double().numpy()
    outcome, how = table.outcome, {"functionName": "regression"}
    names: Sequence[str | None] = [None]
    if isinstance(table, Classification):
        how, names = {"functionName": "classification", "normalizationMethod": "softmax"}, table.classes
    elif isinstance(outcome, Range):
        half = outcome.high / 2 - outcome.low / 2
        weights, biases = half * weights, outcome.low + half * (biases + 1)
    else:
        how["normalizationMethod"] = "exp"
    model = SubElement(root, "RegressionModel", {"modelName": "model", **how})
    _mined(model, table)
    if isinstance(table, Classification):
        output = SubElement(model, "Output")
        for known in table.classes:
            about = {"name": f"probability {known}", "feature": "probability", "value": known}
            SubElement(output, "OutputField", {**about, **DOUBLE})
    for name, own, bias in zip(names, weights, biases, strict=True):
        about = {"intercept": text_of(bias)} | ({} if name is None else {"targetCategory": name})
        _equation(SubElement(model, "RegressionTable", about), table, own)


def _equation(
    found: Element, table: TabularTask, weights: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> None:
    names = [name_of(at, part) for at, part in enumerate(_parts(table.features))]
    for column, weight in zip(names, weights, strict=False):
        SubElement(found, "NumericPredictor", {"name": column, "coefficient": text_of(weight)})
    places, at = slices(table.features), len(names)
    for first, second in table.cross or ():
        for one in names[places[first]]:
            for other in names[places[second]]:
                term = SubElement(found, "PredictorTerm", {"coefficient": text_of(weights[at])})
                for field in (one, other):
                    SubElement(term, "FieldRef", {"field": field})
                at += 1


def _parts(features: Sequence[Feature]) -> list[str]:
    return [f"{one.name} {part}".strip() for one in features for part in one.parts]


def _mined(model: Element, table: TabularTask) -> None:
    """Which cells the model takes: what the plan refuses is no valid cell, and what it fills in is filled in."""
    found = SubElement(model, "MiningSchema")
    for feature in table.features:
        rule = {"name": feature.name, "invalidValueTreatment": "returnInvalid"}
        if isinstance(feature, Numeric) or (isinstance(feature, Categorical) and feature.other):
            rule["invalidValueTreatment"] = "asIs"
        if feature.missing is None:
            rule["missingValueTreatment"] = "returnInvalid"
        elif feature.missing not in ("indicator", "category"):
            rule |= {"missingValueReplacement": str(feature.missing), "missingValueTreatment": "asValue"}
        SubElement(found, "MiningField", rule)
    SubElement(found, "MiningField", {"name": table.target, "usageType": "target"})
