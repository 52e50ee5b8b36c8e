"""`policy.plans`: a digest is one run, or a table says how many."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.policy import load_site
from federation.errors import SiteFileError
from tests.clients.test_join import SITE

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
TASKS = 'tasks = ["tabular-classification"]'


def written(folder: Path, plans: str) -> Path:
    path = folder / "site.toml"
    path.write_text(SITE.replace(TASKS, f"plans = {plans}"))
    return path


@pytest.mark.parametrize(
    ("plans", "runs"),
    [
        (f'["{ONE}"]', (1, None)),
        (f'["{ONE}", {{ digest = "{TWO}", runs = 3 }}]', (1, 3)),
        (f'[{{ digest = "{ONE}" }}]', (1, None)),
    ],
)
def test_a_plan_is_approved_for_one_run_or_for_as_many_as_it_says(
    plans: str, runs: tuple[int | None, int | None], tmp_path: Path
) -> None:
    policy = load_site(written(tmp_path, plans)).policy
    assert (policy.runs_of(ONE), policy.runs_of(TWO)) == runs


@pytest.mark.parametrize(
    ("plans", "words"),
    [
        ('["sha256:1"]', "must be digests; copy"),
        ("[7]", "must be digests"),
        (f'["{ONE}", "{ONE}"]', "name a plan twice; say how often"),
        (f'[{{ digest = "{ONE}", runs = 0 }}]', "runs"),
        (f'[{{ digest = "{ONE}", runs = true }}]', "runs"),
        (f'[{{ digest = "{ONE}", times = 2 }}]', "times"),
        (f'"{ONE}"', "plans"),
    ],
)
def test_what_approves_nothing_is_one_line(plans: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SiteFileError) as refused:
        load_site(written(tmp_path, plans))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
