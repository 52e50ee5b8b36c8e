"""Documents of a run: in the forms of others, with every blank marked, and only of a run that an audit passed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from federation.audit.examine import audit
from federation.audit.findings import Finding
from federation.config.purpose import Purpose
from federation.errors import AuditFailure
from federation.papers.card import NAMESPACE, model_card
from federation.papers.dpia import impact_assessment
from federation.papers.facts import BLANK, SIMULATED, Facts, facts_of
from federation.papers.nist import nist_answers
from federation.papers.registry import registry_entry
from federation.papers.writing import PAPERS, write_papers
from tests.federation.audit.audited import TEXT, finished, served
from tests.federation.command import Command
from tests.federation.papers.forms import CARD, FACTS, METRIC, REGISTRY

HOSTILE = 'a <b>&amp; "quoted": - # | x [link](http://x) `code` *star*'
PURPOSE = f"\n[purpose]\nuse = {HOSTILE!r}\ncontrollers = ['One: joint', 'Two: joint']\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has a purpose with every character that has a meaning somewhere."""
    text = TEXT.partition("\n[purpose]")[0] + PURPOSE
    return finished(tmp_path_factory.mktemp("papers"), "vectorized", text)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture(scope="module")
def facts(folder: Path) -> Facts:
    return facts_of(folder, audit(folder))


def test_the_registry_s_entry_has_the_form_of_its_schema(facts: Facts) -> None:
    entry = yaml.safe_load(registry_entry(facts))
    check(entry, REGISTRY)
    assert entry["deployment"]["basic"]["intended_use"] == HOSTILE
    assert entry["deployment"]["basic"]["data_curators"] == ["One: joint", "Two: joint"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", entry["deployment"]["basic"]["publication_date"])
    assert re.fullmatch(r"[a-z0-9-]+", entry["url_slug"])
    told = entry["deployment"]["privacy_loss"]["privacy_parameters"]
    assert facts.epsilon is not None
    assert 0 <= told["epsilon"] - facts.epsilon < 2e-4, "rounded up: a claim is never below what was spent"
    assert told["delta"] == facts.delta


def check(value: Any, form: Any, place: str = "") -> None:
    if isinstance(form, Mapping):
        assert list(value) == list(form), place
        for name in form:
            check(value[name], form[name], f"{place}.{name}")
    elif isinstance(form, list):
        assert value, place
        for item in value:
            check(item, form[0], place)
    elif isinstance(form, tuple):
        assert value in form, place
    else:
        assert isinstance(value, form), place


def test_without_privacy_the_registry_s_entry_claims_none(tmp_path: Path) -> None:
    text = TEXT.replace('noise = "distributed"', 'noise = "none"')
    text = re.sub(r"(?m)^(epsilon|delta|clipping_norm) = .*\n", "", text)
    run = finished(tmp_path, "vectorized", text)
    made = facts_of(run, audit(run))
    entry = yaml.safe_load(registry_entry(made))
    assert list(entry["deployment"]) == ["basic", "administrative"]
    for paper in PAPERS.values():
        assert "psilon 0" not in paper(made)
    assert "No privacy is claimed" in impact_assessment(made)


def test_the_card_has_the_elements_of_its_schema_in_their_order(facts: Facts) -> None:
    root = ElementTree.fromstring(model_card(facts))  # noqa: S314  our own text
    assert root.tag == f"{{{NAMESPACE}}}AppliedModelCard"
    told = {plain(part): [plain(inner) for inner in part] for part in root}
    assert told == CARD
    assert list(told) == list(CARD)
    system, _ = root[5]
    assert tuple(plain(part) for part in system) == FACTS
    for metric in root[6]:
        assert tuple(plain(part) for part in metric) == METRIC
        assert all(plain(result) == "MetricResult" for result in metric[1])
        assert len(metric[1]) >= 1
    intended = root.find(f".//{{{NAMESPACE}}}IntendedUseAndWorkflow")
    assert intended is not None
    assert intended.text == HOSTILE


def plain(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


@pytest.mark.parametrize("name", ["dpia", "nist"])
def test_words_of_a_plan_make_no_markup_in_markdown(facts: Facts, name: str) -> None:
    text = PAPERS[name](facts)
    assert "<b>" not in text
    assert "](http" not in text
    for line in text.splitlines():
        if line.startswith("| purpose"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 3, "two cells"


def test_every_point_of_article_35_and_each_question_stands_there_and_blanks_are_marked(facts: Facts) -> None:
    assessment, answers = impact_assessment(facts), nist_answers(facts)
    for point in "abcd":
        assert re.search(rf"(?m)^## {point}\. ", assessment)
    assert f"{BLANK}: legal basis" in assessment
    numbers = [int(number) for number in re.findall(r"(?m)^\*\*(\d+)\. ", answers)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 30
    assert not re.search(r"\*\*\n\n\n", answers), "no question without an answer"
    assert BLANK in answers


def test_each_document_says_what_epsilon_means_in_people(facts: Facts) -> None:
    assert facts.risks[0].startswith("Of 100 people")
    for paper in PAPERS.values():
        plain = paper(facts).replace("\\", "")
        assert facts.risks[0] in plain


def test_each_document_of_a_simulation_says_that_it_is_one(facts: Facts) -> None:
    for paper in PAPERS.values():
        assert SIMULATED in paper(facts)


def test_of_a_real_run_they_hold_no_figure_that_was_not_charged(tmp_path: Path) -> None:
    run = served(tmp_path, TEXT)
    facts = facts_of(run, audit(run))
    assert facts.figures == ()
    for paper in PAPERS.values():
        assert SIMULATED not in paper(facts)
    assert "nothing about accuracy left the sites" in nist_answers(facts)
    assert "they never leave" in impact_assessment(facts)
    assert "simulation" not in "".join(paper(facts) for paper in PAPERS.values())


def test_of_a_simulation_none_says_what_only_institutions_do(facts: Facts) -> None:
    """Where records stayed, who was authenticated, what ledgers limit: shown by no simulation."""
    for paper in PAPERS.values():
        said = paper(facts).replace("\\", "")
        assert "never leave" not in said
        for claim in ("lines are TLS", "against one limit", "limits all runs", "no record leaves"):
            for line in said.splitlines():
                assert claim not in line or "Not shown by a simulation. Of a real run:" in line


def test_no_paper_points_at_what_it_does_not_hold_or_says_a_thing_twice(facts: Facts) -> None:
    for paper in PAPERS.values():
        said = paper(facts).replace("\\", "")
        assert "table above" not in said
        assert "figure above" not in said
        assert "figures above" not in said
    for name in ("dpia", "nist"):
        assert PAPERS[name](facts).count("wrongly finds at most") == 2, "of 100, and of 1,000"


def test_what_the_plan_says_of_one_thing_fills_no_blank_of_another(facts: Facts) -> None:
    """Recipients are no users, retention is no maintenance, an assessment is no justification."""
    told = Purpose(
        recipients=("RR",), retention=("TT",), reference=("AA",), contact=("CC",), controllers=("OO",)
    )
    known = replace(facts, plan=facts.plan.model_copy(update={"purpose": told}))
    root = ElementTree.fromstring(model_card(known))  # noqa: S314  our own text
    for name in ("PrimaryIntendedUsers", "GlobalAvailability", "OngoingMaintenance", "StakeholdersConsulted",
                 "PatientConsentOrDisclosure", "ModelDeveloper"):  # fmt: skip
        found = root.find(f".//{{{NAMESPACE}}}{name}")
        assert found is not None and found.text is not None
        assert found.text.startswith(BLANK)
    entry = yaml.safe_load(registry_entry(known))["deployment"]
    assert entry["implementation"]["justification"] == BLANK
    assert entry["administrative"]["registry_authors"][0].startswith(BLANK)


def test_each_document_says_how_many_ledgers_the_audit_had(facts: Facts) -> None:
    for paper in PAPERS.values():
        assert f"by the ledgers of {facts.ledgers}" in paper(facts)


def test_no_document_is_made_of_a_run_that_does_not_verify(
    facts: Facts, folder: Path, tmp_path: Path
) -> None:
    bad = replace(facts.audit, findings=(Finding("params-mismatch", None, "x"),))
    with pytest.raises(AuditFailure):
        write_papers(folder, bad, {"dpia": tmp_path / "x.md"})
    assert not (tmp_path / "x.md").exists()


def test_the_command_writes_what_it_is_asked_for_and_nothing_after_a_finding(
    command: Command, folder: Path, tmp_path: Path
) -> None:
    places = {f"--{name}": tmp_path / name for name in PAPERS}
    asked = [word for pair in places.items() for word in pair]
    assert command("audit", folder, *asked).code == 0
    assert all(place.read_text() for place in places.values())
    broken = copytree(folder, tmp_path / "broken")
    (broken / "receipts.jsonl").write_text("")
    other = tmp_path / "other.md"
    done = command("audit", broken, "--dpia", other)
    assert done.code == 5
    assert not other.exists()
    assert f"warning: {other}: n/a" in done.err


@pytest.mark.skipif("FEDERATION_SCHEMAS" not in os.environ, reason="needs the public schemas in a folder")
def test_the_public_schemas_themselves_agree(facts: Facts) -> None:
    jsonschema, xmlschema = pytest.importorskip("jsonschema"), pytest.importorskip("xmlschema")
    folder = Path(os.environ["FEDERATION_SCHEMAS"])
    form = yaml.safe_load((folder / "deployments-schema.yaml").read_text())
    jsonschema.Draft7Validator(form).validate(yaml.safe_load(registry_entry(facts)))
    text = (folder / "schema.xsd").read_text()  # the signature's schema would be fetched, and none is there
    text = re.sub(r"<xs:import[^>]*/>|<xs:element ref=\"ds:Signature\"[^>]*/>", "", text)
    xmlschema.XMLSchema(text).validate(model_card(facts))
