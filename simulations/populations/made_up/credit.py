"""Three banks and their credit cards: who will not pay next month. Made up, with a well-known layout.

The columns are those of "default of credit card clients" (Yeh and Lien 2009) for three months: the limit,
schooling, marital status and age, how late each of the last payments was (-2 no use, -1 paid in full, 0 the
minimum, 1 and more: months behind), what was billed and what was paid. Nothing of that table is in here: `credit`
says how each is drawn.

About one in five defaults. Amounts have a heavy tail, bills may be below 0, and what a delay says is no straight
line: one month behind says little, two say nearly all. That is why the plan has a curve for each number. Banks
differ in limits and in how many default. `SEX` is in the files and in no plan.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simulations.populations.drawing import Draws, Floats
from simulations.populations.made_up.dealing import TEST_SHARE, graded, named, odds, whole, write_sites

SITES = ("alder", "birch", "cedar")
CLIENTS = 9000
_SHARES = [0.5, 0.3, 0.2]
_LIMITS = np.array([0.0, 0.35, -0.4])  # in logarithms
_WORSE = np.array([0.0, -0.35, 0.3])  # in log-odds
_MONTHS = 3
_SAYS = np.array([-0.45, -0.1, -0.15, 0.35, 1.75, 1.9, 2.0])  # of a delay of -2 .. 4, in log-odds


def credit(directory: Path, seed: int = 0) -> Path:
    """Write `directory`/BANK/train.csv and test.csv for three banks; returns `directory`."""
    draws, count = Draws("credit", seed), CLIENTS
    where = draws.choices(_SHARES, count)
    age = np.clip(35 + 9 * draws.normal(count), 21, 79)
    schooling = graded(draws, np.zeros(count), (-0.4, 1.0, 2.2))
    strain = draws.normal(count) + 0.2 * _WORSE[where]
    limit = np.exp(11.6 + _LIMITS[where] - 0.35 * strain - 0.2 * schooling + 0.6 * draws.normal(count))
    limit = np.clip(np.round(limit, -4), 10_000, 1_000_000)
    late = [graded(draws, 0.9 * strain, (-1.1, -0.35, 0.9, 1.15, 1.9, 2.4), 0.75) for _ in range(_MONTHS)]
    used = odds(0.9 * strain - 0.6 + 0.7 * draws.normal(count))
    bills, paid = _amounts(draws, limit, used, strain)
    score: Floats = _SAYS[late[0]] + 0.45 * _SAYS[late[1]] + 0.25 * _SAYS[late[2]] - 1.85 + _WORSE[where]
    score = score - 0.35 * np.log(limit / 120_000) - 0.22 * np.log1p(paid[0] / 1000) + 0.1 * strain
    score = score + 0.25 * np.square((age - 38) / 12)
    columns = {
        "LIMIT_BAL": whole(limit),
        "SEX": named(draws.choices([0.4, 0.6], count), ("1", "2")),
        "EDUCATION": named(schooling, ("1", "2", "3", "4")),
        "MARRIAGE": named(graded(draws, (35 - age) / 9, (-0.2, 2.6)), ("1", "2", "3")),
        "AGE": whole(age),
        **{f"PAY_{month + 1}": whole((late[month] - 2).astype(np.float64)) for month in range(_MONTHS)},
        **{f"BILL_AMT{month + 1}": whole(bills[month]) for month in range(_MONTHS)},
        **{f"PAY_AMT{month + 1}": whole(paid[month]) for month in range(_MONTHS)},
        "default": named(draws.is_true(odds(score)).astype(np.int64), ("0", "1")),
    }
    return write_sites(directory, SITES, columns, where, draws.uniform(count) < TEST_SHARE)


def _amounts(draws: Draws, limit: Floats, used: Floats, strain: Floats) -> tuple[list[Floats], list[Floats]]:
    """What was billed in each month, and what was paid: some owe nothing and are paid back, some pay all."""
    bills, paid = list[Floats](), list[Floats]()
    for _ in range(_MONTHS):
        bill = limit * np.clip(used + 0.08 * draws.normal(len(limit)), -0.02, 1.1)
        share = odds(-1.8 - 0.9 * strain + 1.3 * draws.normal(len(limit)))
        bills.append(np.round(bill))
        paid.append(np.round(np.maximum(bill, 0) * share))
    return bills, paid
