"""A report to try things on, and what a page holds, loads and says."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from typing import Any

from federation.report.report import Report

METRICS = ("accuracy", "balanced_accuracy", "auc", "f1", "recall")
LOADS = {"src", "href", "xlink:href", "data", "action", "poster", "srcset", "background", "formaction"}
VOID = {"meta", "br", "img", "link", "input", "hr"}


def a_report(
    *, private: bool = True, noise: str = "distributed", name: str = "hospitals", metric: str = "accuracy"
) -> dict[str, Any]:
    """report.json, but for numbers that JSON has not."""
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
                "rounds": 3,
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


def typed(**changes: Any) -> Report:
    """The same as a `Report`, with other fields; without exact figures where it is of a real run."""
    made = {**a_report(), **changes}
    if made.get("simulated") is False:
        made |= {"evaluation": {"pooled": {}, "sites": {}}, "history": []}
        made["sites"] = [
            {name: told for name, told in site.items() if name != "records"} for site in made["sites"]
        ]
    return Report.from_json(made)


class Page(HTMLParser):
    """Which elements a page has, what it would load, what it says; and whether its elements nest.

    `unnamed` counts the cells that, on a narrow screen, would stand without the name of their column.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.unnamed = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.unnamed += tag == "td" and not {"data-label", "class"} & dict(attrs).keys()
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


def check_quiet(text: str) -> Page:
    """The page, which loads nothing and runs nothing."""
    found = Page(text)
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
    assert found.unnamed == 0, "a narrow screen shows a row as a block: each figure needs its column's name"
    return found
