"""Whether transcripts are kept, and how large they are, follows from public numbers, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.errors import PlanError
from federation.model.params import Layout
from federation.model.task import build_task
from federation.plan.plan import parse
from federation.sums.transcript.record import transcripts_of
from federation.sums.transcript.sizes import CENTRAL, facts, left_out, room
from privacy.errors import UnsafeParameters
from privacy.secagg.ring import packed_size
from tests.federation.sums.kept import LOST
from tests.worlds import plan_of, text_of

SIZES = [100] * 10


def told(**changes: object) -> str:
    return left_out(plan_of(noise="distributed", **changes), SIZES, 1000)


def test_the_files_of_a_run_are_no_larger_than_was_said(kept: Path) -> None:
    plan = parse(LOST)
    dimension = Layout.of(build_task(plan).model()).dimension
    said = room(plan, [64] * 4, dimension)
    files = [path.stat().st_size for path in transcripts_of(kept)]
    assert max(files) <= said.each
    assert sum(files[:3]) <= said.whole < 4 * sum(files)


def test_room_grows_with_sites_rounds_and_params_and_vectors_are_most_of_it() -> None:
    plan = plan_of(noise="distributed", rounds=10)
    small, large = room(plan, SIZES, 50_000), room(plan, SIZES, 100_000)
    assert 1.9 < large.each / small.each < 2.1
    assert 10 * packed_size(50_000, 16) < small.each < 11 * packed_size(50_000, 32) + 10**6
    assert small.whole == 10 * small.each + 200_000
    assert room(plan, SIZES * 2, 50_000).each > 1.9 * small.each


def test_a_cohort_of_a_fixed_size_counts_and_not_everybody_on_the_roster() -> None:
    plan = plan_of(noise="distributed", size=4)
    assert room(plan, SIZES, 10).sites == 4


@pytest.mark.parametrize("noise", ["site", "distributed", "none"])
def test_they_are_kept_by_default(noise: str) -> None:
    assert left_out(plan_of(noise=noise), SIZES, 1000) == ""


def test_they_are_left_out_where_the_sum_is_bare_the_plan_says_so_or_there_is_no_room() -> None:
    assert left_out(plan_of(noise="central"), SIZES, 1000) == CENTRAL
    assert told(**{"secure_aggregation.transcripts": False}) == "the plan says transcripts = false"
    assert told(**{"secure_aggregation.transcripts": True}) == ""
    assert "transcripts_max is 1e-06" in told(**{"secure_aggregation.transcripts_max": 1e-6})
    million = plan_of(noise="distributed", rounds=1000)
    assert "transcripts_max is 10" in left_out(million, SIZES, 1_000_000)
    more = plan_of(noise="distributed", rounds=1000, **{"secure_aggregation.transcripts_max": 100})
    assert left_out(more, SIZES, 1_000_000) == ""


def test_check_says_how_much_room_they_take() -> None:
    said = facts(plan_of(noise="distributed"), 3, 1000)
    assert said["kept"] == "yes"
    assert said["bytes"] == room(plan_of(noise="distributed"), [1] * 3, 1000).whole
    assert str(facts(plan_of(noise="central"), 3, 1000)["kept"]).startswith("no: ")


def test_a_plan_without_these_keys_has_the_digest_that_it_had() -> None:
    assert b"transcripts" not in plan_of(noise="distributed").canonical()
    other = plan_of(noise="distributed", **{"secure_aggregation.transcripts": False})
    assert other.digest != plan_of(noise="distributed").digest


def test_a_plan_that_asks_for_transcripts_of_sums_without_noise_is_refused() -> None:
    with pytest.raises(UnsafeParameters, match="has no noise in it"):
        plan_of(noise="central", **{"secure_aggregation.transcripts": True})
    plan_of(noise="central", **{"secure_aggregation.transcripts": False})


@pytest.mark.parametrize(
    ("key", "value"), [("transcripts", 1), ("transcripts_max", 0), ("transcripts_max", "10")]
)
def test_a_value_of_another_kind_is_a_mistake_in_one_line(key: str, value: object) -> None:
    with pytest.raises(PlanError) as caught:
        parse(text_of(noise="distributed", **{f"secure_aggregation.{key}": value}))
    assert f"secure_aggregation.{key}" in str(caught.value)
