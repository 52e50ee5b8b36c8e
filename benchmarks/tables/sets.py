"""The public tables: their files as published, their sites, and what people decide after `federation plan new`.

Nothing is changed in a file but where its rows lie: rows are dealt to sites, and a share of rows (of people, where
a person has several) is kept for the test. What people decide is a change of the proposed plan, listed on the page.
"""

from __future__ import annotations

import csv
import hashlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients.data.sources.reading import read
from clients.data.sources.table import Table
from clients.drafting.plans import propose
from clients.drafting.sources import Reading

_TESTED = 0.25
_SITES = 4

_CENSUS = (
    "age,workclass,fnlwgt,education,education-num,marital-status,occupation,relationship,race,sex,capital-gain,"
    "capital-loss,hours-per-week,native-country,income"
)
_HEART = "age,sex,cp,trestbps,chol,fbs,restecg,thalach,exang,oldpeak,slope,ca,thal,num"
_CREDIT = ",".join([*(f"a{place}" for place in range(1, 21)), "risk"])


@dataclass(frozen=True)
class Set:
    """A table. `task` and `features` are what people change in the proposal; a feature of None is left out."""

    name: str
    files: tuple[str, ...]
    target: str
    separator: str | None = None
    columns: str | None = None
    task: Mapping[str, Any] = field(default_factory=dict)
    features: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    patient: str | None = None

    def there(self, folder: Path) -> bool:
        """Whether the folder has all its files."""
        return all((folder / file).is_file() for file in self.files)

    def tables(self, folder: Path) -> list[Table]:
        """The files as they are read: one site each, or one file for all sites."""
        more = {"separator": self.separator, "columns": self.columns}
        return [read(Reading(str(folder / file), **more).origin()) for file in self.files]


@dataclass(frozen=True)
class Dealt:
    """The sites' files of one seed, and the plan that was proposed and decided, as its tables."""

    sites: Path
    plan: Mapping[str, Any]
    records: int


def deal(each: Set, folder: Path, out: Path, seed: int) -> Dealt:
    """Write the files of every site, and the plan. The same seed gives the same files everywhere."""
    tables = each.tables(folder)
    header = tables[0].header
    rows = [(place, row) for place, one in enumerate(tables) for row in one.rows(range(len(header)))]
    person = header.index(each.patient) if each.patient else None
    lots = [_lot(seed, number if person is None else row[person]) for number, (_, row) in enumerate(rows)]
    parts: dict[tuple[str, str], list[Sequence[str]]] = {}
    for number, (place, row) in enumerate(rows):
        part = "test" if lots[number] < _TESTED else "train"
        site = place if len(tables) > 1 else int(_lot(1, f"site {_key(rows, person, number)}") * _SITES)
        parts.setdefault((f"site-{site}", part), []).append(row)
    for (name, part), found in parts.items():
        _write(out / name / f"{part}.csv", header, found)
    _write(out.parent / f"{out.name}-all.csv", header, [row for _, row in rows])
    trained = sum(len(found) for (_, part), found in parts.items() if part == "train")
    return Dealt(out, _plan(each, out.parent / f"{out.name}-all.csv"), trained)


def _plan(each: Set, whole: Path) -> dict[str, Any]:
    """What `federation plan new` proposes for all rows, and what people decide after it."""
    plan = tomllib.loads(propose(read(Reading(str(whole)).origin()), each.target, each.name).text)
    features = {**plan["task"].pop("features"), **each.features}
    if "kind" in each.task:
        plan["task"] = {"target": plan["task"]["target"]}
    plan["task"] |= dict(each.task)
    told = {each.patient, *(value for key, value in each.task.items() if key == "event")}
    plan["task"]["features"] = {name: one for name, one in features.items() if one and name not in told}
    if each.patient:
        plan["task"]["patient"] = each.patient
        plan["privacy"]["unit"] = "patient"
    return plan


def _key(rows: Sequence[tuple[int, Sequence[str]]], person: int | None, number: int) -> str:
    return str(number) if person is None else rows[number][1][person]


def _lot(seed: int, key: object) -> float:
    return int.from_bytes(hashlib.sha256(f"tables/{seed}/{key}".encode()).digest()[:8], "big") / 2**64


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def _log(low: float, high: float) -> dict[str, Any]:
    return {"low": low, "high": high, "scale": "log"}


def sets() -> Iterator[Set]:
    """All of them."""
    parties = tuple(
        f"credit-default/default_credit_homo_{name}.csv" for name in ("guest", "host_1", "host_2")
    )
    yield Set("card default, FATE's three parties", parties, "y")
    yield Set(
        "card default, as published", ("credit-default/UCI_Credit_Card.csv",), "default.payment.next.month"
    )
    yield Set(
        "census income",
        ("census/adult.data",),
        "income",
        columns=_CENSUS,
        features={
            "fnlwgt": None,
            "capital-gain": _log(1000, 100000),
            "capital-loss": _log(1000, 5000),
        },
    )
    yield Set(
        "bank marketing",
        ("bank/bank-additional-full.csv",),
        "y",
        separator=";",
        features={"duration": None},
    )
    yield Set(
        "diabetes 130-US, by patient",
        ("diabetes/diabetic_data.csv",),
        "readmitted",
        task={"classes": ["later or never", "<30"], "grouped": {"later or never": ["NO", ">30"]}},
        features={
            name: {"hash": 16, "missing": "category"}
            for name in ("diag_1", "diag_2", "diag_3", "medical_specialty")
        },
        patient="patient_nbr",
    )
    yield Set(
        "German credit",
        ("german-credit/german.data",),
        "risk",
        separator="tab",
        columns=_CREDIT,
        features={"a5": _log(250, 20000)},
    )
    yield Set(
        "heart disease, four hospitals",
        tuple(
            f"heart-disease/processed.{name}.data" for name in ("cleveland", "hungarian", "switzerland", "va")
        ),
        "num",
        columns=_HEART,
        task={"classes": ["0", "disease"], "grouped": {"disease": ["1", "2", "3", "4"]}},
    )
    survival = {"kind": "survival", "model": "logistic"}
    yield Set(
        "serum light chains (flchain)",
        ("survival/flchain.csv",),
        "futime",
        task={
            **survival,
            "event": "death",
            "events": ["alive", "dead"],
            "bins": [365, 730, 1095, 1460, 1825, 2555, 3285, 4015, 4745],
        },
        features={
            "chapter": None,
            "sample.yr": None,
            **dict.fromkeys(("kappa", "lambda"), _log(0.1, 30)),
        },
    )
    yield Set(
        "German breast cancer study (GBSG2)",
        ("survival/gbsg2.csv",),
        "time",
        task={
            **survival,
            "event": "cens",
            "events": ["0", "1"],
            "bins": [180, 365, 545, 730, 1095, 1460, 1825, 2190],
        },
    )
