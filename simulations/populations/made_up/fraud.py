"""Four issuers of cards and their payments: which one is a fraud. Made up from beginning to end.

A row is a payment, and a card has several, so `card` is the column that says whose a row is. About one payment in
a hundred and fifty is a fraud, which is as rare as what a private model can still find among so few cards.

What makes a fraud likely, in log-odds (`fraud`): no card present, a merchant in another country, a device that
was never seen, the night, a payment soon after the last one, an amount far above what the card usually pays. Each
is also common among honest payments. Issuers differ in size, in how many of their cards travel, and in how often
they are attacked.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simulations.populations.drawing import Draws, Floats
from simulations.populations.made_up.dealing import TEST_SHARE, decimal, named, odds, whole, write_sites

SITES = ("northpay", "eastcard", "southpay", "westcard")
CARDS = 9000
MERCHANTS = ("food", "fuel", "clothes", "electronics", "travel", "digital", "cash")
ENTRIES = ("chip", "contactless", "online", "stripe")
_SHARES = [0.4, 0.3, 0.2, 0.1]
_ATTACKED = np.array([0.0, 0.35, -0.3, 0.6])
_TRAVELS = np.array([0.04, 0.1, 0.05, 0.16])
_MERCHANTS = [0.35, 0.12, 0.14, 0.09, 0.06, 0.17, 0.07]
_RISKS = np.array([-0.5, -0.3, 0.0, 1.1, 0.5, 0.9, 0.3])
_ENTRIES = np.array([-1.4, -1.0, 1.0, 0.8])


def fraud(directory: Path, seed: int = 0) -> Path:
    """Write `directory`/ISSUER/train.csv and test.csv for four issuers; returns `directory`.

    A card is in the test with all of its payments, or in the training.
    """
    draws = Draws("fraud", seed)
    issuer, usual = draws.choices(_SHARES, CARDS), 3.3 + 0.6 * draws.normal(CARDS)
    travels = draws.uniform(CARDS) < 2.5 * _TRAVELS[issuer]
    counts = 1 + np.floor(-3.5 * np.log(draws.uniform(CARDS))).astype(np.int64)
    card = np.repeat(np.arange(CARDS), np.minimum(counts, 12))
    count = len(card)
    where = issuer[card]
    merchant, entry = draws.choices(_MERCHANTS, count), draws.choices([0.4, 0.3, 0.25, 0.05], count)
    above = np.abs(draws.normal(count)) ** 1.5 * np.sign(draws.uniform(count) - 0.5)
    amount = np.exp(usual[card] + 0.7 * above)
    hours = np.minimum(-40 * np.log(draws.uniform(count)), 720)
    hour = np.floor(np.mod(14 + 4.5 * draws.normal(count), 24))
    abroad = draws.is_true(np.where(travels[card], 0.35, 0.02))
    is_new = draws.is_true(np.where(entry == 2, 0.2, 0.02))
    score: Floats = -6.9 + _ATTACKED[where] + _RISKS[merchant] + _ENTRIES[entry] + 1.7 * abroad + 1.6 * is_new
    score = score + 0.75 * np.maximum(above, 0) + 1.3 * (hours < 1) + 0.9 * (hour < 6)
    columns = {
        "card": [f"K{number:05}" for number in (card + 1).tolist()],
        "amount": decimal(amount, 2),
        "times_usual": decimal(np.exp(0.7 * above), 2),
        "merchant": named(merchant, MERCHANTS),
        "entry": named(entry, ENTRIES),
        "hour": whole(hour),
        "hours_since_last": decimal(hours),
        "abroad": named(abroad.astype(np.int64), ("no", "yes")),
        "new_device": named(is_new.astype(np.int64), ("no", "yes")),
        "fraud": named(draws.is_true(odds(score)).astype(np.int64), ("0", "1")),
    }
    return write_sites(directory, SITES, columns, where, (draws.uniform(CARDS) < TEST_SHARE)[card])
