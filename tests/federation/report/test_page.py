"""The report: what is written for programs, and a page that is whole, quiet, escaped and honest."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from federation.report import wording
from federation.report.page import finite, octets, render, spread, write_report

HOSTILE = "<script>alert('x')</script>&\"$\\frac{$_{"
METRICS = ("accuracy", "balanced_accuracy", "auc", "f1", "recall")
PROMISED = [
    "schema",
    "plan_digest",
    "engine",
    "simulated",
    "seed",
    "privacy",
    "sites",
    "rounds",
    "evaluation",
]
PROMISED += ["timing"]
PROMISED_OF_PRIVACY = {
    "unit",
    "noise",
    "epsilon",
    "delta",
    "noise_multiplier",
    "accountant",
    "cross_check",
    "private",
}
LOADS = {"src", "href", "xlink:href", "data", "action", "poster", "srcset", "background", "formaction"}
VOID = {"meta", "br", "img", "link", "input", "hr"}


def a_report(
    *, private: bool = True, noise: str = "distributed", name: str = "hospitals", metric: str = "accuracy"
) -> dict[str, Any]:
    pooled = dict.fromkeys((metric, *METRICS[1:]), 0.9)
    epsilon = 2.991 if private else math.inf
    return {
        "timing": {"total_seconds": 3.14, "training_seconds": 1.2, "client_rounds_per_second": math.inf},
        "schema": "federation.report/1",
        "plan_digest": "sha256:" + "ab" * 32,
        "engine": "protocol",
        "simulated": True,
        "seed": 7,
        "name": name,
        "privacy": {
            "unit": "record",
            "noise": noise if private else "none",
            "epsilon": epsilon,
            "delta": 1e-5 if private else None,
            "noise_multiplier": 2.178 if private else None,
            "accountant": "pld",
            "cross_check": {"rdp": 3.4 if private else math.inf},
            "private": private,
        },
        "sites": [
            {
                "id": site,
                "epsilon": epsilon,
                "steps": 200,
                "bytes_up": 1234,
                "bytes_down": 5_000_000,
                "records": 87,
            }
            for site in ("harbor", name)
        ],
        "rounds": [{"round": r, "cohort": 5, "survivors": 5 - r % 2, "seconds": 0.01} for r in (1, 2, 3)],
        "history": [{"round": r, "epsilon": epsilon * r / 3, "metrics": pooled} for r in (1, 2, 3)],
        "evaluation": {
            "pooled": pooled,
            "sites": {"harbor": {metric: 0.8, "auc": None}, name: pooled},
            "baselines": {"majority": {metric: 0.54}, "without_privacy": {metric: 0.91}},
        },
    }


class Page(HTMLParser):
    """Which elements a page has, what it would load, what it says; and whether its elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for key, value in attrs:
            self.loads += [value or ""] if key in LOADS else []
            self.handlers += [key] if key.startswith("on") else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page(report: Mapping[str, Any]) -> Page:
    return Page(render(finite(report)))


@pytest.mark.parametrize("private", [True, False])
def test_the_page_loads_nothing_and_runs_nothing(private: bool) -> None:
    found, text = page(a_report(private=private)), render(finite(a_report(private=private)))
    assert all(target.startswith("#") for target in found.loads)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & set(found.tags)
    assert not found.handlers
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    # The names of XML's own vocabularies are the only addresses in it, and nothing ever fetches those.
    assert set(re.findall(r"https?://[^\"'<> ]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert found.open == []


def test_names_from_users_are_text_and_never_markup() -> None:
    found = page(a_report(name=HOSTILE, metric=HOSTILE))
    assert "script" not in found.tags
    assert (
        found.text.count("<script>alert('x')</script>") >= 6
    )  # title, heading, two tables, two column heads, legend


def test_a_private_run_leads_with_its_epsilon_rounded_up_and_its_unit() -> None:
    text = page(a_report()).text
    assert "ε 3.00" in text
    assert "δ 1e-5, for one record" in text
    assert "NOT PRIVATE" not in text
    assert "simulated" in text
    assert "4 to 5" in text


def test_a_run_without_noise_says_not_private_and_claims_no_epsilon() -> None:
    text = page(a_report(private=False)).text
    assert "NOT PRIVATE" in text
    assert "There is no guarantee" in text
    assert "ε" not in text
    assert "epsilon spent so far" not in text


def test_the_run_stands_beside_both_baselines_and_missing_figures_are_na() -> None:
    text = page(a_report()).text
    assert "this run 0.900" in text
    assert "the same training without privacy 0.910 n/a" in text
    assert "always the majority class 0.540 n/a" in text


def test_both_curves_are_drawn_and_neither_without_a_history() -> None:
    assert page(a_report()).tags.count("svg") == 2
    report = a_report()
    del report["history"], report["name"], report["evaluation"]["baselines"]
    assert page(report).tags.count("svg") == 0


def test_the_same_report_gives_the_same_bytes() -> None:
    assert render(finite(a_report())) == render(finite(a_report()))


def test_report_json_has_the_promised_keys_in_the_promised_order(tmp_path: Path) -> None:
    write_report(tmp_path, a_report())
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [key for key in written if key in PROMISED] == PROMISED
    assert set(written["privacy"]) == PROMISED_OF_PRIVACY
    assert written["privacy"]["epsilon"] == 2.991
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_numbers_that_are_not_finite_are_written_as_null(tmp_path: Path) -> None:
    write_report(tmp_path, a_report(private=False))
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    assert not re.search(r"\b(NaN|Infinity)\b", text)
    written = json.loads(text)
    assert written["privacy"]["epsilon"] is None
    assert written["privacy"]["private"] is False
    assert written["timing"]["client_rounds_per_second"] is None


def test_the_page_says_whom_each_kind_of_noise_trusts() -> None:
    said = {
        noise: " ".join(wording.assumptions(a_report(noise=noise)))
        for noise in ("distributed", "site", "central")
    }
    assert "trusted to add the noise" in said["central"]
    assert "not the server" in said["site"]
    assert "No more sites than the plan allows may work together with the server" in said["distributed"]
    known = {**a_report(), "secure_aggregation": {"colluders": 1, "dropouts": 1}}
    assert "At most one site may work together with the server" in " ".join(wording.assumptions(known))


def test_the_vectorized_engine_does_not_claim_masks() -> None:
    assert "without masking" in " ".join(wording.departures({**a_report(), "engine": "vectorized"}))
    assert "without masking" not in " ".join(wording.departures(a_report()))


def test_the_worst_case_bet_is_that_of_epsilon() -> None:
    # Even odds become at most e^eps to 1: for ln 3, three to one.
    privacy = {**a_report()["privacy"], "epsilon": math.log(3)}
    assert "at most 75.0% sure" in wording.meaning(privacy)


@pytest.mark.parametrize(
    ("epsilon", "shown"), [(2.991, "3.00"), (2.99, "2.99"), (0.001, "0.01"), (0.0, "0.00")]
)
def test_an_epsilon_is_never_rounded_down(epsilon: float, shown: str) -> None:
    assert wording.upward(epsilon) == shown


def test_bytes_read_in_the_unit_that_fits() -> None:
    assert [octets(n) for n in (0, 999, 1000, 1_250_000, 5 * 10**12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.2 MB",
        "5000.0 GB",
    ]


def test_a_run_without_rounds_has_no_spread() -> None:
    assert spread({"rounds": []}, "cohort") == "n/a"
