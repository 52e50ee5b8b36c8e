"""`federation split`: from one table to a run that passes an audit, and a line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.plan.made_up.mock import mock_table
from federation.plan.plan import load
from tests import plans
from tests.clients.drafting.drafts import FAST
from tests.federation.command import Command, Outcome


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_a_table_of_one_s_own_is_dealt_to_sites_that_can_be_simulated(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def done(*told: object) -> Outcome:
        outcome = command(*told)
        assert outcome.code == 0, outcome.err
        return outcome

    def refused(*told: object) -> str:
        outcome = command(*told)
        assert (outcome.code, outcome.out) == (2, "")
        return outcome.err

    monkeypatch.chdir(tmp_path)
    Path("plan.toml").write_text(plans.text_of(FAST | {"federation.rounds": 1}))
    Path("whole.csv").write_text(mock_table(load(Path("plan.toml")), "a", 120).csv)
    words = ("split", "whole.csv", "--dirichlet", 1, "--sites", 3, "--minimum", 20, "--seed", 4)
    told = done(*words, "--out", "sites")
    assert "site-3" in told.out and "num = 1" in told.out
    assert '"num", the last column, is taken for the label; --label names another' in told.out
    assert told.out.splitlines()[-2] == "sites: 120 rows at 3 sites, each row once"
    next_words = "next: federation check PLAN --sites sites; federation simulate PLAN --sites sites"
    assert told.out.splitlines()[-1] == next_words
    done("simulate", "plan.toml", "--sites", "sites", "--out", "run", "--no-baseline")
    done("audit", "run")
    found = done(*words, "--test", 0.2, "--out", "tested", "--json").json
    assert (found["rows"], found["seed"], found["label"], found["positive"]) == (120, 4, "num", "1")
    assert [site["name"] for site in found["sites"]] == ["site-1", "site-2", "site-3"]
    assert found["sites"][0]["files"] == ["tested/site-1/train.csv", "tested/site-1/test.csv"]
    assert "is there and not empty" in refused(*words, "--out", "sites")
    assert "--dirichlet must be from" in refused(*words, "--dirichlet", "nan", "--out", "other")
    Path("semicolons.csv").write_text("a;b\n1;2\n3;4\n")
    said = refused("split", "semicolons.csv", "--iid", "--sites", 2, "--out", "other")
    assert '--separator ";"' in said and "site.toml" not in said


def test_a_raw_file_without_a_header_and_with_gaps_is_trained_on_as_it_is(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cells = (("39", "A", "0"), (" ?", "B", "1"), ("51", " ?", "0"), ("62.5", "A", "1"))
    rows = [", ".join(cells[number % 4]) for number in range(160)]
    raw = "\n".join(rows) + "\n"
    Path("raw.data").write_text(raw)
    how = ("--columns", "age,ward,num")
    assert command("plan", "new", "raw.data", *how, "--target", "num", "--public").code == 0
    text = Path("plan.toml").read_text()
    assert 'missing = "indicator" }' in text and 'missing = "category" }' in text
    text = text.replace('["A", "B"]', '["A"], other = true').replace("rounds = 100", "rounds = 1")
    Path("plan.toml").write_text(text)
    assert command("split", "raw.data", *how, "--iid", "--sites", 3, "--out", "sites").code == 0
    told = command("check", "plan.toml", "--sites", "sites")
    assert told.code == 0, told.err
    assert "filled" in told.out and "others" in told.out
    assert "filled" not in command("check", "plan.toml", "--sites", "sites", "--json").out
    done = command("simulate", "plan.toml", "--sites", "sites", "--out", "run", "--no-baseline")
    assert done.code == 0, done.err
    assert Path("raw.data").read_text() == raw
