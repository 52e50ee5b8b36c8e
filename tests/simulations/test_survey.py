"""Every site of a folder against a plan: all errors at once, none that a simulation would not have, none less."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from federation.errors import FederationError
from federation.plan.plan import parse
from federation.report.planned import plan_facts
from federation.round.excess import noise_excess
from privacy.errors import PrivacyError
from simulations.simulate import simulate
from simulations.survey import survey
from tests.worlds import plan_of, rows_of, write_csv, write_sites

PRIVATE: dict[str, Any] = {"noise": "distributed"}


def said(found: Any) -> list[str]:
    return [str(error) for error in found.errors]


def test_ordinary_sites_are_looked_at_and_nothing_is_refused(tmp_path: Path) -> None:
    found = survey(plan_of(), write_sites(tmp_path / "sites"))
    assert [site.name for site in found.sites] == ["ash", "birch", "cedar"]
    assert [site.look.files[0].records for site in found.sites if site.look] == [40, 48, 56]
    assert (found.errors, found.doubts) == ((), ())
    found.require()


@pytest.mark.parametrize(
    ("cohort", "usual"),
    [({"size": "all"}, 5), ({"size": 4}, 4), ({"size": None, "sample_rate": 0.8}, 4)],
    ids=str,
)
def test_figures_are_about_the_sites_that_are_there_and_not_about_the_fewest_that_a_plan_allows(
    tmp_path: Path, cohort: dict[str, Any], usual: int
) -> None:
    plan = plan_of(**PRIVATE, sample_rate=0.5, dropouts=1, colluders=1)
    plan = parse(plan.model_copy(update={"cohort": plan.cohort.model_copy(update=cohort)}).to_toml())
    facts = survey(plan, write_sites(tmp_path / "sites", 5)).to_json()
    alone = plan_facts(plan, 1)
    assert (
        facts["cohort"]["sites"]
        == facts["transcripts"]["sites"]
        == facts["noise_excess_of"]["sites"]
        == usual
    )
    assert facts["noise_excess"] == pytest.approx(noise_excess(plan, usual))
    assert (facts["smallest_cohort"], "cohort" in alone) == (alone["smallest_cohort"], False)
    if cohort == {"size": "all"}:
        assert facts["noise_excess"] != alone["noise_excess"]
        assert facts["transcripts"]["bytes"] > alone["transcripts"]["bytes"]


def spoil(folder: Path, what: str) -> None:
    """One thing that a simulation refuses."""
    ash = folder / "ash.csv"
    match what:
        case "a cell":
            ash.write_text(ash.read_text().replace(",a,", ",z,"))
        case "a column":
            ash.write_text(ash.read_text().replace("dose", "dosis"))
        case "an empty file":
            ash.write_text("")
        case "a site file of another site" | "a site file that is none":
            (folder / "ash").mkdir()
            ash.rename(folder / "ash" / "train.csv")
            (folder / "ash" / "site.toml").write_text("[site]\n" if "none" in what else OTHER)
        case "a test file":
            write_csv(folder / "elm" / "train.csv", rows_of(4, 20))
            write_csv(folder / "elm" / "test.csv", [["20", "high", "a", "no"]])
        case "too few sites":
            ash.unlink()


OTHER = """
[site]
id = "oak"
keys = "keys"
journal = "journal.sqlite"
[data]
source = "train.csv"
pool = "trees"
[policy]
epsilon_max = inf
delta_max = 1e-5
cohort_minimum = 3
noise = ["none"]
tasks = ["tabular-classification"]
"""


@pytest.mark.parametrize(
    "what",
    [
        "a cell",
        "a column",
        "an empty file",
        "a site file of another site",
        "a site file that is none",
        "a test file",
        "too few sites",
    ],
)
def test_what_a_simulation_refuses_is_among_the_errors(tmp_path: Path, what: str) -> None:
    folder = write_sites(tmp_path / "sites")
    spoil(folder, what)
    with pytest.raises(FederationError) as refused:
        simulate(plan_of(), folder, tmp_path / "run")
    assert said(survey(plan_of(), folder)) == [str(refused.value)]


@pytest.mark.parametrize(
    "changes",
    [
        {**PRIVATE, "delta": 0.05},
        {**PRIVATE, "unit": "client", "delta": 0.4},
        {"holdout": 0.0},
        {"cohort.size": 4},
    ],
    ids=["delta", "delta of clients", "nothing held out", "a cohort of four"],
)
def test_what_a_simulation_refuses_of_the_plan_is_among_the_errors(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    folder, plan = write_sites(tmp_path / "sites"), plan_of(**changes)
    with pytest.raises((FederationError, PrivacyError)) as refused:
        simulate(plan, folder, tmp_path / "run")
    assert str(refused.value) in said(survey(plan, folder))


def test_all_errors_of_all_sites_are_kept(tmp_path: Path) -> None:
    folder = write_sites(tmp_path / "sites")
    for name, old, new in (("ash", ",a,", ",z,"), ("birch", "dose", "dosis"), ("cedar", ",b,", ",,")):
        path = folder / f"{name}.csv"
        path.write_text(path.read_text().replace(old, new))
    write_csv(folder / "elm" / "train.csv", [["20", "high", "a", "no"]])
    write_csv(folder / "elm" / "test.csv", [["old", "0", "a", "no"]])
    found = survey(plan_of(), folder)
    lines = said(found)
    assert len(lines) == 5
    for line, words in zip(
        lines, ["ash.csv", "birch.csv", "cedar.csv", "elm/train.csv", "elm/test.csv"], strict=True
    ):
        assert words in line
    with pytest.raises(ExceptionGroup) as raised:
        found.require()
    assert len(raised.value.exceptions) == 5
    assert [site.look is None for site in found.sites] == [
        False,
        True,
        False,
        False,
    ]  # what can be read is shown


def test_a_copy_at_two_sites_and_sizes_far_apart(tmp_path: Path) -> None:
    folder = write_sites(tmp_path / "sites")
    shutil.copy(folder / "ash.csv", folder / "copy.csv")
    write_csv(folder / "elm.csv", [*rows_of(4, 400), *rows_of(2, 40)])
    site_noise = plan_of(**PRIVATE, **{"privacy.noise": "site"})
    doubts = survey(site_noise, folder).doubts
    assert len(doubts) == 3
    assert "ash and copy hold the same records" in doubts[0]
    assert "cedar and elm share" in doubts[1]
    assert "sites declare 30 to 330" in doubts[2]
    for other in (plan_of(**PRIVATE), plan_of(**PRIVATE, **{"privacy.noise": "site", "weights": "declared"})):
        assert not [line for line in survey(other, folder).doubts if "declare" in line]


def test_a_hold_out_of_one_site_that_another_trains_on(tmp_path: Path) -> None:
    folder = write_sites(tmp_path / "sites")
    write_csv(folder / "elm" / "train.csv", rows_of(4, 40))
    write_csv(folder / "elm" / "test.csv", rows_of(0, 40)[:10])
    mixed, line = survey(plan_of(), folder).doubts
    assert "hold no test file" in mixed
    assert "ash and elm share 10 different records" in line


def test_people_at_more_sites_than_the_plan_has_them_at(tmp_path: Path) -> None:
    for name, first in (("ash", 0), ("elm", 30), ("oak", 60)):
        path = tmp_path / "sites" / f"{name}.csv"
        write_csv(path, rows_of(first, 40))
        lines = path.read_text().splitlines()
        people = ["mrn", *(f"patient {first + number}" for number in range(40))]
        path.write_text("\n".join(f"{line},{who}" for line, who in zip(lines, people, strict=True)))

    def doubts(**more: Any) -> list[str]:
        plan = plan_of(**PRIVATE, **{"task.patient": "mrn", "privacy.unit": "patient"}, **more)
        return [line for line in survey(plan, tmp_path / "sites").doubts if "patients at more" in line]

    (told,) = doubts()
    assert told.startswith("20 patients at more sites than 1, up to 2: say so by privacy.sites_per_patient")
    assert doubts(**{"privacy.sites_per_patient": 2}) == []


def test_the_json_tells_of_a_site_only_whether_it_can_be_read(tmp_path: Path) -> None:
    folder = write_sites(tmp_path / "sites")
    (folder / "birch.csv").write_text("")
    found = survey(plan_of(), folder).to_json()
    assert found["sites"] == [
        {"id": "ash", "readable": True},
        {"id": "birch", "readable": False},
        {"id": "cedar", "readable": True},
    ]
    write_csv(folder / "ash.csv", [["20", "-9", "a", "no"]] * 77)
    (folder / "birch.csv").write_text("nothing")
    assert survey(plan_of(), folder).to_json() == found
    assert json.loads(json.dumps(found)) == found


def test_no_repr_shows_a_figure(tmp_path: Path) -> None:
    found = survey(plan_of(), write_sites(tmp_path / "sites"))
    for thing in (found, *found.sites, *(site.look for site in found.sites)):
        assert "at 0x" in repr(thing)
