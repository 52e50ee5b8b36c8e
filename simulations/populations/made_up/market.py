"""Four brokers and the books of their clients: what a book returns tomorrow. A panel that is made up, and says how.

A row is a trading day of an account: `market`, the public return of the market that day in percent; `flow`, what
the client bought less what was sold, against what is usual; `book`, what the client's book returned that day. What
is predicted is `book` of the next day. Nothing of any market is in here. With e for what is the account's own:

    market[t+1] = MOMENTUM * market[t] + shock                     the same for everybody on a day
    book[t+1]   = beta * market[t+1] + e[t+1]                      beta: the account's own, in no column
    e[t+1]      = REVERSAL * e[t] + IMPACT * flow[t] + chance      what went up comes down, orders push

So the best that can be said of tomorrow by whoever knows beta is

    beta * MOMENTUM * market[t] + REVERSAL * (book[t] - beta * market[t]) + IMPACT * flow[t]

of which `best` tells the R2, by these constants alone. It is not linear in the columns: beta shows in how a book
has moved with the market over a whole window, and is negative where a client bets on a fall. A straight line
through all columns of a window comes less far.

Days are shared: on one day everybody has the same shock. A model that was trained on other accounts' books of a day
may remember that shock, by the days before it, and would seem to foresee it in a test on the same days. So the test
is of other accounts, and of days that all come after those of the training. And what is learned rests on as many
shocks as there are days, however many accounts share them: an account is seen for 45 days of four years.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simulations.populations.drawing import Draws, Floats
from simulations.populations.made_up.dealing import TEST_SHARE, decimal, write_sites

SITES = ("ashdown", "bexley", "corran", "dunmore")
ACCOUNTS = 2400
DAYS = 45  # of an account, one after the other
LAST = 1000  # day of the training, from 1: four years
FIRST_TESTED = 1051  # day of the test, which is as long
MOMENTUM, REVERSAL, IMPACT = 0.6, -0.3, 0.5
BETA, BETAS = 0.3, 1.0  # mean of beta, and its deviation: many books are short
CHANCE = 0.8  # deviation of what nobody can know of an account
_SHARES = [0.35, 0.3, 0.2, 0.15]


def market(directory: Path, seed: int = 0) -> Path:
    """Write `directory`/BROKER/train.csv and test.csv for four brokers; returns `directory`."""
    draws = Draws("market", seed)
    home = draws.choices(_SHARES, ACCOUNTS)
    tested = draws.uniform(ACCOUNTS) < TEST_SHARE
    starts = np.floor(draws.uniform(ACCOUNTS) * (LAST - DAYS + 1)).astype(np.int64)
    first = np.where(tested, FIRST_TESTED, 1) + starts
    days = first[:, None] + np.arange(DAYS)
    returns = _market(draws, int(days.max()) + 1)[days]
    flows, books = _accounts(draws, returns)
    account = np.repeat(np.arange(ACCOUNTS), DAYS)
    columns = {
        "account": [f"A{each:04}" for each in (account + 1).tolist()],
        "day": [str(day) for day in days.ravel().tolist()],
        "market": decimal(returns.ravel(), 2),
        "flow": decimal(flows.ravel(), 2),
        "book": decimal(books.ravel(), 2),
    }
    return write_sites(directory, SITES, columns, home[account], tested[account])


def best() -> float:
    """R2 of the best prediction by whoever knows each account's beta."""
    return 1 - _unknown() / _variance()


def _variance() -> float:
    """Of a book's return; that of the market is 1."""
    own = (IMPACT**2 + CHANCE**2) / (1 - REVERSAL**2)
    return BETA**2 + BETAS**2 + own


def _unknown() -> float:
    """Of tomorrow's return, what nobody can know today: the market's shock, and chance."""
    return (BETA**2 + BETAS**2) * (1 - MOMENTUM**2) + CHANCE**2


def _market(draws: Draws, days: int) -> Floats:
    """The market's return on each day; its deviation is 1."""
    found = draws.normal(days)
    for day in range(1, days):
        found[day] = MOMENTUM * found[day - 1] + np.sqrt(1 - MOMENTUM**2) * found[day]
    return found


def _accounts(draws: Draws, returns: Floats) -> tuple[Floats, Floats]:
    """Flow and return of each account on each of its days, (accounts, days)."""
    flows = draws.normal(ACCOUNTS, DAYS)
    betas = BETA + BETAS * draws.normal(ACCOUNTS)
    own = draws.normal(ACCOUNTS, DAYS)
    own[:, 0] *= np.sqrt((IMPACT**2 + CHANCE**2) / (1 - REVERSAL**2))
    for day in range(1, DAYS):
        own[:, day] = REVERSAL * own[:, day - 1] + IMPACT * flows[:, day - 1] + CHANCE * own[:, day]
    books: Floats = betas[:, None] * returns + own
    return flows, books
