"""A frontier, from a plan and files to its page: what is there, what is refused, and what a kill leaves."""

from __future__ import annotations

import csv
import io
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pytest

from federation.errors import CheckpointError, InputError, TrainingDiverged
from federation.plan.plan import load, parse
from federation.report.report import Report
from privacy.errors import UnsafeParameters
from simulations.comparing.alone import Alone
from simulations.tradeoff import trials
from simulations.tradeoff.frontier import tradeoff
from simulations.tradeoff.kept import Folder
from simulations.tradeoff.page import render
from tests.federation.report.pages import check_quiet
from tests.worlds import NAMES, rows_of, text_of, write_csv, write_sites

# More local steps than one: distributed noise refuses that, and site noise does not.
TEXT = text_of(noise="site", local_steps=2, sample_rate=0.5, epsilon=2.0, name="<b>trees</b>", seed=5)
EPSILONS = (1.0, 4.0)
SITES = NAMES[:4]


class Killed(BaseException):
    """As if the process had been."""


def asked(sites: Path, out: Path, text: str = TEXT, **changes: Any) -> dict[str, Any]:
    wanted = {"epsilons": EPSILONS, "noises": ("distributed", "site"), "seeds": 2, **changes}
    plan = out.parent / f"{out.name}.toml"
    plan.write_text(text)
    return tradeoff(plan, sites, out, **wanted)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sites(tmp_path_factory.mktemp("frontier") / "sites", 4)


@pytest.fixture(scope="module")
def made(sites: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("made") / "out"
    return out, asked(sites, out)


def runs_of(out: Path) -> dict[str, Report]:
    return {
        folder.name: Report.from_json(json.loads((folder / "report.json").read_text()))
        for folder in sorted((out / "runs").iterdir())
    }


def test_each_figure_is_the_mean_of_the_runs_of_its_point(made: tuple[Path, dict[str, Any]]) -> None:
    out, found = made
    runs = runs_of(out)
    assert list(runs) == [f"epsilon-{e}-site-seed-{s}" for e in (1, 4) for s in (5, 6)]
    assert json.loads((out / "frontier.json").read_text()) == found
    for point in found["points"][2:]:
        ours = [runs[f"epsilon-{point['epsilon']:g}-site-seed-{seed}"] for seed in (5, 6)]
        for metric in ("accuracy", "auc"):
            values = [report.evaluation.pooled[metric] for report in ours]
            assert point["metrics"][metric]["values"] == values
            assert point["metrics"][metric]["mean"] == pytest.approx(sum(values) / 2)  # type: ignore[arg-type]
        assert point["spent"] == ours[0].privacy.epsilon <= point["epsilon"]
        assert point["refused"] is None
        assert [report.seed for report in ours] == found["seeds"]


def test_a_refused_point_says_why_and_stops_nothing(made: tuple[Path, dict[str, Any]]) -> None:
    _, found = made
    for point in found["points"][:2]:
        assert "local_steps" in point["refused"]
        assert (point["metrics"], point["plan"], point["risk"]) == ({}, None, None)
    assert all(point["metrics"] for point in found["points"][2:])


def test_gains_are_paired_with_what_the_site_has_by_itself(made: tuple[Path, dict[str, Any]]) -> None:
    out, found = made
    runs, point = runs_of(out), found["points"][3]
    alone = [comparison(out, f"seed-{seed}-alone") for seed in (5, 6)]
    same = [comparison(out, f"seed-{seed}-alone-4") for seed in (5, 6)]
    for name in SITES:
        ours = [runs[f"epsilon-4-site-seed-{seed}"].evaluation.sites[name]["accuracy"] for seed in (5, 6)]
        for key, theirs in (("gain", alone), ("gain_at_same_epsilon", same)):
            wanted = [
                mine - Alone.from_json(one).own[name]["accuracy"]
                for mine, one in zip(ours, theirs, strict=True)
            ]  # type: ignore[operator]
            assert point["sites"][name][key]["accuracy"]["values"] == pytest.approx(wanted)


def comparison(out: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "comparisons" / f"{name}.json").read_text())
    return found


def test_what_a_site_gives_is_what_the_others_lose_without_it(made: tuple[Path, dict[str, Any]]) -> None:
    out, found = made
    told, runs = found["contributions"], runs_of(out)
    # Epsilons 1 and 4 are as far from the plan's own, 2; the first is taken, which costs the people less.
    assert (told["epsilon"], told["noise"], told["trainings"]) == (1.0, "site", 8)
    ours = runs["epsilon-1-site-seed-5"].evaluation.sites
    left = comparison(out, "seed-5-left-out-birch")["sites"]
    assert set(left) == {"ash", "cedar", "dogwood"}
    wanted = sum((ours[name]["accuracy"] or 0) - left[name]["accuracy"] for name in left) / 3
    assert told["sites"]["birch"]["gives"]["accuracy"]["values"][0] == pytest.approx(wanted)
    assert told["sites"]["birch"]["refused"] is None


def test_without_privacy_and_alone_are_the_same_in_every_folder(
    made: tuple[Path, dict[str, Any]], sites: Path, tmp_path: Path
) -> None:
    _, found = made
    again = asked(sites, tmp_path / "again", epsilons=(4.0,), noises=("site",), contributions=False)
    assert again["baselines"] == found["baselines"]
    assert set(found["baselines"]) == {
        *("majority", "without_privacy", "pooled", "local_only", "local_only_elsewhere"),
    }
    assert again["contributions"] is None
    assert not list((tmp_path / "again" / "comparisons").glob("*left-out*"))


def test_every_run_is_counted_and_marked(made: tuple[Path, dict[str, Any]]) -> None:
    out, found = made
    reports = runs_of(out).values()
    assert {report.privacy.tried.study for report in reports if report.privacy.tried} == {4}
    assert found["tried"]["runs"] == 4
    assert found["tried"]["comparisons"] == 2 * (3 + 2 + 4)
    most = max(report.privacy.tried.runs or 0 for report in reports if report.privacy.tried)
    assert found["tried"]["on_these_data"]["runs"] == most >= 4


def test_each_plan_can_be_run_as_it_is(made: tuple[Path, dict[str, Any]]) -> None:
    out, found = made
    for point in found["points"][2:]:
        plan = load(out / point["plan"])
        assert plan.digest == point["plan_digest"]
        assert (plan.privacy.epsilon, plan.privacy.noise) == (point["epsilon"], point["noise"])


def test_the_table_says_the_same(made: tuple[Path, dict[str, Any]]) -> None:
    out, found = made
    rows = list(csv.DictReader(io.StringIO((out / "frontier.csv").read_text())))
    assert len(rows) == 2 + 2 * 2
    assert [row["noise"] for row in rows if row["refused"]] == ["distributed"] * 2
    for row in rows[2:]:
        point = next(
            one for one in found["points"] if one["epsilon"] == float(row["epsilon"]) and one["plan"]
        )
        of = point["metrics"][row["metric"]]
        assert (float(row["mean"]), float(row["low"]), float(row["right"])) == (
            of["mean"], of["low"], point["risk"]["right"],
        )  # fmt: skip


def test_the_page_stands_alone_and_says_it_all(made: tuple[Path, dict[str, Any]]) -> None:
    out, found = made
    text = (out / "tradeoff.html").read_text()
    page = check_quiet(text)
    assert "<b>trees" not in text, "names are escaped"
    assert page.text.count(found["caution"]) >= 2
    for point in found["points"]:
        if point["refused"]:
            assert f"refused: {point['refused']}" in page.text
        else:
            assert point["risk"]["short"].removeprefix("right ") in page.text
            assert point["plan_digest"] in page.text
            assert f"{point['metrics']['accuracy']['mean']:.3f}" in page.text
    for site in SITES:
        assert site in page.text
    assert page.tags.count("pre") == 2
    assert "default-src 'none'" in text
    assert text.count('role="img"') == text.count("aria-label=", text.index("<main>")) - 2, (
        "each drawing has words"
    )


def test_a_page_of_one_seed_claims_no_interval(sites: Path, tmp_path: Path) -> None:
    found = asked(sites, tmp_path / "one", epsilons=(4.0,), noises=("site",), seeds=1, contributions=False)
    assert found["points"][0]["metrics"]["accuracy"]["low"] is None
    page = check_quiet((tmp_path / "one" / "tradeoff.html").read_text())
    assert "One seed: there is no interval" in page.text
    assert "±" not in page.text and "95 %" not in page.text


def test_nothing_in_it_is_a_record(made: tuple[Path, dict[str, Any]]) -> None:
    out, _ = made
    doses = {row[1] for number in range(4) for row in rows_of(number, 64) if len(row[1]) > 4}
    assert doses
    for name in ("tradeoff.html", "frontier.json", "frontier.csv"):
        text = (out / name).read_text()
        assert not [dose for dose in doses if f'"{dose}"' in text or f">{dose}<" in text]
    assert stat.S_IMODE((out / "comparisons").stat().st_mode) == 0o700
    assert not (out / "begun.key").exists(), "what could tell these data from others is gone"
    assert "inputs" not in json.loads((out / "begun.json").read_text())


def test_a_finished_one_is_read_and_its_page_drawn_anew(
    made: tuple[Path, dict[str, Any]], sites: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, found = made
    page = (out / "tradeoff.html").read_bytes()
    (out / "tradeoff.html").write_text("as an earlier version drew it")
    monkeypatch.setattr("simulations.simulate._run", lambda *_: pytest.fail("ran again"))
    monkeypatch.setattr(Folder, "made", _only_kept)
    said: list[str] = []
    assert asked(sites, out, notice=said.append) == found
    assert said[0].startswith("nothing was run") and "on these data" in said[0]
    assert (out / "tradeoff.html").read_bytes() == page


def test_a_finished_one_is_not_shown_for_other_data(
    made: tuple[Path, dict[str, Any]], sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, found = made
    other = Path(copytree(sites, tmp_path / "other"))
    first = sorted(other.iterdir())[0]
    first.write_text("".join(first.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(
        CheckpointError, match=f"data of site {first.stem} changed since the trade-off"
    ) as caught:
        asked(other, out)
    assert caught.value.exit_code == 2
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    said: list[str] = []
    assert asked(other, out, notice=said.append) == found
    assert "only names of sites were compared" in said[0]
    first.unlink()
    with pytest.raises(CheckpointError, match=f"{first.stem} is not there now"):
        asked(other, out)


@pytest.mark.parametrize("are_kept", [True, False], ids=["its runs are kept", "its runs are gone"])
def test_a_frontier_of_a_version_that_told_less_is_told_anew_of_its_runs(
    made: tuple[Path, dict[str, Any]],
    sites: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    are_kept: bool,
) -> None:
    out = Path(copytree(made[0], tmp_path / "old"))
    old = json.loads((out / "frontier.json").read_text())
    del old["points"][0]["risk"], old["interval"]
    (out / "frontier.json").write_text(json.dumps(old))
    (out / "tradeoff.html").write_text("as it was")
    if not are_kept:
        rmtree(out / "comparisons")
    monkeypatch.setattr(Folder, "made", _only_kept)
    said: list[str] = []
    found = asked(sites, out, notice=said.append)
    assert found == json.loads((out / "frontier.json").read_text()) == (made[1] if are_kept else old)
    is_old = (out / "tradeoff.html").read_text() == "as it was"
    assert (is_old, "is left as it was" in said[-1]) == (not are_kept, not are_kept)


def _only_kept(folder: Folder, name: str, _: object) -> Any:
    """Nothing is trained."""
    return json.loads((folder.path / "comparisons" / f"{name}.json").read_text())


@pytest.mark.parametrize("after", [0, 3], ids=lambda runs: f"after {runs} runs")
def test_killed_between_runs_it_goes_on_where_it_was(
    after: int, sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, out, begun = trials.simulate, tmp_path / "out", list[str]()

    def dying(*words: Any, **named: Any) -> Report:
        if len(begun) == after:
            raise Killed
        begun.append(str(words[2]))
        return original(*words, **named)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(trials, "simulate", dying)
        asked(sites, out, noises=("site",), contributions=False)
    kept = runs_of(out) if after else {}
    before = {path: path.read_bytes() for path in (out / "comparisons").iterdir()}
    with pytest.raises(CheckpointError, match="of another plan or seed"):
        asked(sites, out, parse(TEXT).to_toml().replace("rounds = 3", "rounds = 4"), noises=("site",))
    with pytest.raises(CheckpointError, match="with other epsilons"):
        asked(sites, out, noises=("site",), epsilons=(1.0, 2.0), contributions=False)
    with pytest.raises(CheckpointError, match="with other seeds"):
        asked(sites, out, noises=("site",), seeds=3, contributions=False)
    moved = copytree(sites, tmp_path / "moved")
    write_csv(moved / "cedar.csv", rows_of(2, 41))
    with pytest.raises(CheckpointError, match="training data of site cedar changed"):
        asked(moved, out, noises=("site",), contributions=False)
    steps: list[tuple[int, int, str]] = []
    found = asked(
        sites, out, noises=("site",), contributions=False, progress=lambda *step: steps.append(step)
    )
    assert steps[0][:2] == (len(before) + after, 2 * (3 + 2 + 2)), "what is there counts as done"
    assert steps[-1][0] == steps[-1][1]
    assert {path: path.read_bytes() for path in before} == before
    assert {name: of.made for name, of in runs_of(out).items() if name in kept} == {
        name: of.made for name, of in kept.items()
    }
    assert len(found["points"]) == 2


def test_a_run_that_diverges_is_told_and_the_rest_is_there(
    sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = trials.simulate

    def diverging(*words: Any, **named: Any) -> Report:
        if "epsilon-4-site-seed-6" in str(words[2]) or "epsilon-1-" in str(words[2]):
            raise TrainingDiverged("the params are not finite after round 2", hint="lower it")
        return original(*words, **named)

    monkeypatch.setattr(trials, "simulate", diverging)
    found = asked(sites, tmp_path / "out", noises=("site",), contributions=False)
    one, four = found["points"]
    assert "not finite" in one["refused"]
    assert four["refused"] is None
    assert "not finite" in four["refused_seeds"]["6"]
    assert four["metrics"]["accuracy"]["n"] == 1
    page = check_quiet((tmp_path / "out" / "tradeoff.html").read_text())
    assert "1 of 2 runs ended early" in page.text


def test_sites_with_a_budget_of_their_own_are_not_charged_for_it(sites: Path, tmp_path: Path) -> None:
    moved = tmp_path / "sites"
    for name in SITES:
        (moved / name).mkdir(parents=True)
        (moved / name / "train.csv").write_bytes((sites / f"{name}.csv").read_bytes())
    (moved / "ash" / "site.toml").write_text(SITE)
    with pytest.raises(InputError, match="every run of a trade-off would be charged"):
        asked(moved, tmp_path / "out")
    assert not (tmp_path / "out").exists()


SITE = """
[site]
id = "ash"
keys = "keys/"
journal = "journal.sqlite"
[data]
source = "train.csv"
pool = "ash"
size = 40
[policy]
epsilon_max = 3.0
delta_max = 1e-5
cohort_minimum = 3
noise = ["site"]
plans = []
"""


def test_what_cannot_be_a_frontier(sites: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to trade"):
        asked(sites, tmp_path / "a", text_of())
    with pytest.raises(UnsafeParameters, match="every point is refused; epsilon-1-distributed: "):
        asked(sites, tmp_path / "b", noises=("distributed",))
    with pytest.raises(InputError, match=r"every point is refused; epsilon-200.*must be at most 100"):
        asked(sites, tmp_path / "b", epsilons=(200.0,))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "thesis.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="is not empty and holds no trade-off"):
        asked(sites, tmp_path / "c")
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_two_sites_left_cannot_tell_what_the_third_gives(tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = asked(write_sites(tmp_path / "sites", 3), out, epsilons=(4.0,), noises=("site",), seeds=1)
    for of in found["contributions"]["sites"].values():
        assert "in a cohort of 2, fewer than two honest sites" in of["refused"]
    assert (
        "in a cohort of 2, fewer than two honest sites"
        in check_quiet((out / "tradeoff.html").read_text()).text
    )


def test_the_page_is_a_function_of_the_figures(made: tuple[Path, Mapping[str, Any]]) -> None:
    out, found = made
    plans = {p["plan"]: (out / p["plan"]).read_text() for p in found["points"] if p["plan"]}
    assert (
        render(found, plans)
        == render(json.loads(json.dumps(found)), plans)
        == (out / "tradeoff.html").read_text()
    )
