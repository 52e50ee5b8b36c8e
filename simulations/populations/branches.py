"""The branches of the made-up bank, and what it lends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

YEARS = (2019, 2020, 2021, 2022, 2023)


@dataclass(frozen=True)
class Product:
    """A usual `amount` as a share of the yearly income, the `term` in years, and the `risk` in log-odds."""

    amount: float
    term: float
    risk: float


PRODUCTS: Mapping[str, Product] = {
    "card": Product(0.12, 1, 0.45),
    "personal": Product(0.3, 3, 0.3),
    "car": Product(0.45, 5, 0.0),
    "mortgage": Product(3.2, 22, -0.7),
}


@dataclass(frozen=True)
class Branch:
    """Its share of the customers, their usual age and income, the weight of each product, unemployment in percent
    in each year, and what else makes its region better or worse, in log-odds: no column says it.
    """

    share: float
    age: float
    income: float
    products: tuple[float, float, float, float]
    unemployment: tuple[float, float, float, float, float]
    hidden: float


BRANCHES: Mapping[str, Branch] = {
    "campus": Branch(0.10, 27, 27_000, (0.6, 0.2, 0.15, 0.05), (5.0, 6.5, 5.8, 5.0, 4.8), 0.0),
    "central": Branch(0.26, 45, 44_000, (0.3, 0.2, 0.2, 0.3), (4.5, 5.5, 5.0, 4.2, 4.0), -0.3),
    # a mill closes in 2022
    "forge": Branch(0.13, 47, 33_000, (0.3, 0.3, 0.3, 0.1), (7.5, 8.5, 9.0, 12.5, 13.0), 0.35),
    "garden": Branch(0.09, 52, 58_000, (0.2, 0.1, 0.2, 0.5), (3.2, 4.0, 3.6, 3.0, 2.9), -0.5),
    "market": Branch(0.16, 42, 35_000, (0.35, 0.25, 0.25, 0.15), (5.5, 6.5, 6.0, 5.2, 5.0), 0.0),
    "orchard": Branch(0.08, 50, 31_000, (0.2, 0.3, 0.35, 0.15), (6.0, 6.5, 6.2, 5.8, 5.5), -0.1),
    # no guests in 2020
    "pier": Branch(0.11, 40, 30_000, (0.4, 0.3, 0.2, 0.1), (6.5, 14.0, 10.5, 7.0, 6.5), 0.25),
    "terminal": Branch(0.07, 36, 29_000, (0.45, 0.35, 0.15, 0.05), (8.0, 9.5, 8.8, 8.2, 8.0), 0.5),
}
