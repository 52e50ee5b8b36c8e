"""Eight branches of a bank: a credit portfolio that is made up from beginning to end, and says how.

A row is a loan in a year: what the bank knows at its beginning, and whether the loan defaults within it
(`default`, 1 or 0). A loan is there for one to four years, until it is repaid or defaults. A customer has one to
three loans, so a customer has several rows: `customer` is the column that says whose a row is. Some have a loan at
a second branch and are the same customer there: privacy has to hold for both together.

What decides a default, in log-odds (`_log_odds`), is the sum of

    the economy     unemployment in the branch's region that year, and what nobody writes down of that region
    the customer    delinquencies, utilisation, the burden of the instalment, income, years with the bank
    the product     a card defaults more often than a mortgage
    what is hidden  a customer's prudence, which shows in delinquencies and utilisation alone

About one loan in sixteen defaults in a year. Amounts have a heavy tail: a Pareto tail of index 1.5 on one in
fifty. Branches differ in size, age, income, products and economy, and two of them have a bad year of their own.

`sex` is the protected attribute. It moves income and the choice of product, as it does in many portfolios, and
nothing else: neither a default nor prudence asks for it. So default rates differ between the sexes, and among
customers whose other columns are equal they do not. The plan does not hand it to the model; it is there to be
measured by.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulations.populations.branches import BRANCHES, PRODUCTS, YEARS
from simulations.populations.drawing import Draws, Floats, Places
from simulations.populations.writing import write_table

CUSTOMERS = 10_000
COLUMNS = (
    "customer",
    "loan",
    "year",
    "age",
    "sex",
    "income",
    "tenure",
    "product",
    "amount",
    "burden",
    "utilisation",
    "delinquencies",
    "unemployment",
    "default",
)
SEXES = ("female", "male")
TEST_SHARE = 0.2  # of the customers, all of their rows
ACROSS = 0.3  # of the customers with several loans, those who took the later ones at another branch
INCOME_GAP = 0.78  # what a woman earns, of what a man of her age and branch does

_LOANS = [0.5, 0.32, 0.18]  # one, two, three
_AMOUNTS = np.array([each.amount for each in PRODUCTS.values()])
_TERMS = np.array([each.term for each in PRODUCTS.values()])
_RISKS = np.array([each.risk for each in PRODUCTS.values()])
_WEIGHTS = np.array([branch.products for branch in BRANCHES.values()])
_UNEMPLOYMENT = np.array([branch.unemployment for branch in BRANCHES.values()])
_HIDDEN = np.array([branch.hidden for branch in BRANCHES.values()])

Truths = NDArray[np.bool_]


@dataclass(frozen=True)
class Customers:
    """Who they are when the first year begins, an entry each."""

    branch: Places
    is_female: Truths
    age: Floats
    income: Floats
    tenure: Floats
    prudence: Floats


@dataclass(frozen=True)
class Loans:
    """What they borrowed, an entry each, the loans of a customer one after the other."""

    customer: Places
    branch: Places
    product: Places
    amount: Floats
    first: Places  # year, from 0
    years: Places


def bank(directory: Path, seed: int = 0) -> Path:
    """Write `directory`/BRANCH/train.csv and test.csv for eight branches; returns `directory`.

    A customer is in the test at every branch, or in the training at every branch.
    """
    draws = Draws("bank", seed)
    customers = _customers(draws)
    loans = _loans(draws, customers)
    tested = draws.uniform(CUSTOMERS) < TEST_SHARE
    rows: dict[tuple[str, str], list[list[str]]] = {
        (branch, part): [] for branch in BRANCHES for part in ("train", "test")
    }
    names = tuple(BRANCHES)
    for loan, row in _observed(draws, customers, loans):
        part = "test" if tested[loans.customer[loan]] else "train"
        rows[names[loans.branch[loan]], part].append(row)
    for (branch, part), found in rows.items():
        write_table(directory / branch / f"{part}.csv", COLUMNS, sorted(found))
    return directory


def _customers(draws: Draws) -> Customers:
    branches = list(BRANCHES.values())
    branch = draws.choices([each.share for each in branches], CUSTOMERS)
    is_female = draws.uniform(CUSTOMERS) < 0.5
    age = np.clip(np.array([each.age for each in branches])[branch] + 13 * draws.normal(CUSTOMERS), 19, 84)
    career = 0.55 + 0.45 * np.clip((age - 18) / 20, 0, 1) - 0.25 * np.clip((age - 63) / 8, 0, 1)
    usual = np.array([each.income for each in branches])[branch] * career
    income = usual * np.where(is_female, INCOME_GAP, 1.0) * np.exp(0.42 * draws.normal(CUSTOMERS))
    tenure = np.minimum(-7 * np.log(draws.uniform(CUSTOMERS)), age - 18)
    return Customers(branch, is_female, age, income, tenure, draws.normal(CUSTOMERS))


def _loans(draws: Draws, customers: Customers) -> Loans:
    counts = 1 + draws.choices(_LOANS, CUSTOMERS)
    customer = np.repeat(np.arange(CUSTOMERS), counts)
    number = np.arange(len(customer)) - np.repeat(np.cumsum(counts) - counts, counts)
    goes = draws.uniform(CUSTOMERS) < ACROSS
    other = (customers.branch + 1 + draws.choices([1.0] * (len(BRANCHES) - 1), CUSTOMERS)) % len(BRANCHES)
    branch = np.where((number > 0) & goes[customer], other[customer], customers.branch[customer])
    product = _products(draws, customers, customer, branch)
    heavy = draws.uniform(len(customer)) < 0.02
    tail = np.where(heavy, draws.uniform(len(customer)) ** (-1 / 1.5), 1.0)
    spread = np.exp(0.5 * draws.normal(len(customer)))
    amount = np.maximum(300, customers.income[customer] * _AMOUNTS[product] * spread * tail)
    first = draws.choices([1.0] * len(YEARS), len(customer))
    years = np.minimum(1 + draws.choices([0.25] * 4, len(customer)), len(YEARS) - first)
    return Loans(customer, branch, product, amount, first, years)


def _products(draws: Draws, customers: Customers, customer: Places, branch: Places) -> Places:
    """What each loan is: by the branch, more mortgages where income is high, fewer car loans for women."""
    weights = _WEIGHTS[branch].copy()
    places = {name: place for place, name in enumerate(PRODUCTS)}
    weights[:, places["mortgage"]] *= np.clip(customers.income[customer] / 36_000, 0.2, 3)
    weights[:, places["car"]] *= np.where(customers.is_female[customer], 0.7, 1.0)
    ends = np.cumsum(weights, axis=1)
    found = (ends < draws.uniform(len(customer), 1) * ends[:, -1:]).sum(axis=1)
    chosen: Places = np.minimum(found, len(PRODUCTS) - 1)
    return chosen


def _observed(draws: Draws, customers: Customers, loans: Loans) -> list[tuple[int, list[str]]]:
    """Each loan in each year in which it is there, with the loan's number: year by year, as a bank sees them."""
    open_, rows = np.ones(len(loans.customer), dtype=bool), []
    income = customers.income.copy()
    for year in range(len(YEARS)):
        income *= np.exp(0.015 + 0.06 * draws.normal(CUSTOMERS))
        there = (loans.first <= year) & (year < loans.first + loans.years)
        seen = np.flatnonzero(there & open_)
        fields = _fields(draws, customers, loans, seen, income, year)
        defaulted = draws.is_true(1 / (1 + np.exp(-_log_odds(fields, customers, loans, seen))))
        open_[seen[defaulted]] = False
        rows += list(
            zip(seen.tolist(), _written(fields, customers, loans, seen, year, defaulted), strict=True)
        )
    return rows


def _fields(
    draws: Draws, customers: Customers, loans: Loans, seen: Places, income: Floats, year: int
) -> dict[str, Floats]:
    """What the bank knows of these loans when a year begins, each column an array."""
    who, product = loans.customer[seen], loans.product[seen]
    instalment = loans.amount[seen] / _TERMS[product] * 1.12
    burden = np.minimum(instalment / income[who], 3.0)
    prudence = customers.prudence[who]
    strain = 0.35 + 0.35 * np.minimum(burden, 1) - 0.16 * prudence + 0.16 * draws.normal(len(seen))
    rate = np.exp(-1.5 - 0.75 * prudence + 0.5 * np.minimum(burden, 1))
    late = draws.uniform(len(seen))
    poisson = [np.exp(-rate) * sum(rate**i / _FACTORIALS[i] for i in range(k + 1)) for k in range(6)]
    return {
        "age": np.floor(customers.age[who] + year),
        "income": np.round(income[who], -2),
        "tenure": np.floor(customers.tenure[who] + year),
        "amount": np.round(loans.amount[seen], -1),
        "burden": np.round(burden, 3),
        "utilisation": np.round(np.clip(strain, 0, 1.2), 2),
        "delinquencies": np.sum([late > each for each in poisson], axis=0).astype(np.float64),
        "unemployment": _UNEMPLOYMENT[loans.branch[seen], year],
    }


_FACTORIALS = (1, 1, 2, 6, 24, 120)


def _log_odds(fields: dict[str, Floats], customers: Customers, loans: Loans, seen: Places) -> Floats:
    """Of a default within the year. Neither sex nor the place in the folder has a part in it."""
    found: Floats = (
        -3.7
        + 0.16 * (fields["unemployment"] - 6)
        + _HIDDEN[loans.branch[seen]]
        + 0.62 * np.minimum(fields["delinquencies"], 4)
        + 1.9 * (fields["utilisation"] - 0.4)
        + 1.1 * np.minimum(fields["burden"], 1)
        - 0.55 * np.log(fields["income"] / 36_000)
        - 0.035 * np.minimum(fields["tenure"], 25)
        + _RISKS[loans.product[seen]]
        - 0.25 * customers.prudence[loans.customer[seen]]
    )
    return found


def _written(
    fields: dict[str, Floats], customers: Customers, loans: Loans, seen: Places, year: int, defaulted: Truths
) -> list[list[str]]:
    """Rows as cells."""
    whole = ("age", "income", "tenure", "amount", "delinquencies")
    cells = {
        name: [str(int(v)) if name in whole else f"{v:g}" for v in fields[name].tolist()] for name in fields
    }
    products = tuple(PRODUCTS)
    who = loans.customer[seen]
    cells["customer"] = [f"C{number:05}" for number in (who + 1).tolist()]
    cells["loan"] = [f"L{number:06}" for number in (seen + 1).tolist()]
    cells["year"] = [str(YEARS[year])] * len(seen)
    cells["sex"] = [SEXES[1 - female] for female in customers.is_female[who].astype(int).tolist()]
    cells["product"] = [products[place] for place in loans.product[seen].tolist()]
    cells["default"] = [str(int(is_true)) for is_true in defaulted.tolist()]
    return list(map(list, zip(*(cells[name] for name in COLUMNS), strict=True)))
