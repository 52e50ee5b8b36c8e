"""An attack from a run folder to a verdict: it succeeds where it should, and whom it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import pytest

from federation.errors import InputError, OtherRun
from simulations.attacking import attack as attacking
from simulations.attacking.attack import RELEASED, RETRAINED, Attacked, attack
from simulations.attacking.models import Models, trained
from simulations.attacking.page import render
from simulations.attacking.proven import proven_of
from tests.federation.report.pages import check_quiet
from tests.plans import plan_of
from tests.simulations.attacking.chance import stream
from tests.simulations.attacking.runs import BY_HEART, PRIVATE, run_of, write_sites


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return run_of(tmp_path_factory.mktemp("by-heart"), BY_HEART)


@pytest.fixture(scope="module")
def noised(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return run_of(tmp_path_factory.mktemp("private"), PRIVATE)


def attacked(learned: tuple[Path, Path], cache: dict[str, Models], patch: pytest.MonkeyPatch) -> Attacked:
    """With the same models each time."""
    if not cache:
        patch.setattr(attacking, "trained", lambda *asked: cache.setdefault("models", trained(*asked)))
    else:
        patch.setattr(attacking, "trained", lambda *_: cache["models"])
    return attack(*learned, 16, secret=stream(1))


@pytest.fixture(scope="module")
def cache() -> dict[str, Models]:
    return {}


def test_a_model_that_knows_its_records_by_heart_is_found_out(
    learned: tuple[Path, Path], cache: dict[str, Models], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: without it, an attack that fails might just be a poor one."""
    found = attacked(learned, cache, monkeypatch)
    for target in found.targets.values():
        assert (target.found["lira"].auc.low or 0) > 0.6
        assert (target.found["loss"].auc.low or 0) > 0.55
    assert (found.targets[RETRAINED].found["lira"].hits[0.01].share.low or 0) > 0.011, (
        "more than one of a hundred"
    )
    assert (found.proven, found.exceeds) == (None, False), "nothing was promised"


def test_what_is_found_without_noise_exceeds_what_a_plan_with_noise_proves(
    learned: tuple[Path, Path], cache: dict[str, Models], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a plan had claimed epsilon 1, and its noise had been lost."""
    plan = plan_of(PRIVATE, epsilon=0.3)
    monkeypatch.setattr(attacking, "proven_of", lambda _, people: proven_of(plan, people))
    exceeded = attacked(learned, cache, monkeypatch)
    assert exceeded.targets[RETRAINED].exceeds
    assert "EXCEEDED" in render(exceeded) and "is a false alarm in 1 %" in render(exceeded)


def test_noise_hides_them(noised: tuple[Path, Path]) -> None:
    told = attack(*noised, 4)
    assert told.proven is not None and not told.exceeds
    assert told.targets[RELEASED].counts or told.targets[RELEASED].why
    proven = told.proven.to_json()
    assert proven["tpr_at_fpr"]["0.01"] >= 0.01 and 0.5 < proven["auc"] < 0.65
    assert told.proven.tpr(0.01) == pytest.approx(proven["tpr_at_fpr"]["0.01"], rel=0.02)
    page = render(told)
    check_quiet(page)
    assert "not evidence of epsilon" in page and page.count("<svg") == 2


def test_a_plan_that_allows_nearly_everything_gets_no_verdict(
    learned: tuple[Path, Path], cache: dict[str, Models], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(PRIVATE, epsilon=60.0, sample_rate=1.0)
    monkeypatch.setattr(attacking, "proven_of", lambda _, people: proven_of(plan, people))
    told = attacked(learned, cache, monkeypatch)
    assert not told.targets[RETRAINED].counts and told.targets[RETRAINED].why and not told.exceeds


def test_a_run_of_real_sites_is_refused(noised: tuple[Path, Path], tmp_path: Path) -> None:
    run = copytree(noised[0], tmp_path / "run")
    report = json.loads((run / "report.json").read_text())
    (run / "report.json").write_text(json.dumps({**report, "simulated": False}))
    with pytest.raises(InputError, match="real sites") as refused:
        attack(run, noised[1])
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("change", ["another site", "another row", "a row less"])
def test_other_data_are_refused(noised: tuple[Path, Path], tmp_path: Path, change: str) -> None:
    sites = copytree(noised[1], tmp_path / "sites")
    if change == "another site":
        copytree(write_sites(tmp_path / "new"), sites, dirs_exist_ok=True)
        (sites / "s9.csv").write_text((sites / "s0.csv").read_text())
    else:
        lines = (sites / "s1.csv").read_text().splitlines()
        lines = lines[:-8] if change == "a row less" else [lines[0], *(_turned(line) for line in lines[1:])]
        (sites / "s1.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(OtherRun, match=r"does not hold|are not those"):
        attack(noised[0], sites)


def _turned(line: str) -> str:
    """The other label."""
    return line.removesuffix("yes") + "no" if line.endswith("yes") else line.removesuffix("no") + "yes"


def test_a_site_with_a_ledger_of_its_own_is_refused(noised: tuple[Path, Path], tmp_path: Path) -> None:
    sites = tmp_path / "sites"
    for place in sorted(noised[1].glob("*.csv")):
        (sites / place.stem).mkdir(parents=True)
        (sites / place.stem / "train.csv").write_text(place.read_text())
    (sites / "s0" / "site.toml").write_text("[site]\n")
    with pytest.raises(InputError, match="ledger of its own"):
        attack(noised[0], sites)


@pytest.mark.parametrize("count", [0, 3, 5, 2000])
def test_a_number_of_models_that_makes_no_attack_is_refused(noised: tuple[Path, Path], count: int) -> None:
    with pytest.raises(InputError, match="models"):
        attack(*noised, count)
