"""Plans that train nothing: what they take for granted, and what they refuse."""

from __future__ import annotations

import math

import pytest

from federation.errors import InputError
from federation.kinds.tallies import Tallies
from federation.plan.plan import Plan, parse
from privacy.errors import UnsafeParameters

STATISTICS = """
[federation]
name = "first look"
seed = 7
[task]
kind = "table-statistics"
bins = 4
[task.features]
age = { low = 0, high = 80 }
seen = { date = "%Y-%m-%d", since = "2000-01-01", until = "2020-12-31" }
sex = { values = ["F", "M"] }
[cohort]
size = "all"
minimum = 3
[privacy]
unit = "record"
noise = "distributed"
epsilon = 1.0
delta = 1e-5
[secure_aggregation]
colluders = 1
dropouts = 1
"""


def test_one_round_of_one_release_is_all_that_is_charged() -> None:
    plan = parse(STATISTICS)
    assert isinstance(plan.kind, Tallies)
    assert (plan.kind.releases, plan.kind.sample_rate, len(plan.charges)) == (1, 1.0, 1)
    assert plan.privacy.clipping_norm == math.sqrt(3)


def test_every_column_has_a_place_for_what_is_missing_and_values_one_for_others() -> None:
    widths = [len(feature.parts) for feature in parse(STATISTICS).task.features]  # type: ignore[union-attr]
    assert widths == [4 + 1, 4 + 1, 2 + 1 + 1]


def test_what_follows_stands_in_the_plan_and_so_in_its_digest() -> None:
    plan = parse(STATISTICS)
    assert Plan.from_canonical(plan.canonical()).digest == plan.digest
    assert parse(plan.to_toml()).digest == plan.digest
    assert parse(STATISTICS.replace("bins = 4", "bins = 5")).digest != plan.digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seed = 7", "seed = 7\nrounds = 2"),
        ("bins = 4", 'bins = 4\ntarget = "sex"'),
        ("bins = 4", 'bins = 4\nmodel = "my.code:model"'),
        ("bins = 4", "bins = 20000"),
        ("delta = 1e-5", "delta = 1e-5\nclipping_norm = 1.0"),
        ("high = 80", "high = 80, knots = 4"),
        ('unit = "record"', 'unit = "client"'),
        ("minimum = 3", 'minimum = 3\nweights = "declared"'),
        ("dropouts = 1", 'dropouts = 1\ngroups = 2\n[server]\ncombine = "mean"'),
        ("dropouts = 1", "dropouts = 1\n[evaluation]\nepsilon = 1.0"),
        ("dropouts = 1", "dropouts = 1\n[training]\nsample_rate = 0.5"),
    ],
    ids=["rounds", "target", "model", "bins", "clip", "knots", "client", "weights", "groups", "evaluation", "rate"],
)  # fmt: skip
def test_what_would_make_another_figure_of_the_sum_is_refused(old: str, new: str) -> None:
    with pytest.raises((InputError, UnsafeParameters)):
        parse(STATISTICS.replace(old, new))


def test_without_noise_exact_counts_of_people_would_be_published() -> None:
    text = STATISTICS.replace('"distributed"', '"none"').replace("epsilon = 1.0\ndelta = 1e-5\n", "")
    with pytest.raises(UnsafeParameters, match="exact counts"):
        parse(text)


def test_bins_are_of_statistics_only() -> None:
    text = STATISTICS.replace(
        'kind = "table-statistics"\nbins = 4', 'kind = "survival-curves"\nbins = [1, 2]'
    )
    text = text.replace("[task.features]", 'target = "t"\nevent = "e"\n[task.features]')
    with pytest.raises(InputError):
        parse(text)
