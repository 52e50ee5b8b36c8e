"""How a site stands, in words: what a terminal and a page both show, so that they say the same."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from clients.board.snapshot import RunSeen, Standing, Trouble
from federation.report.numbers import spent

LETTERS: Final = 8  # of a run's id, as other commands take it
LATELY: Final = 600.0  # seconds for which a trouble is news
MOST: Final = 5  # of them at once


def rows(standing: Standing) -> list[tuple[str, str]]:
    """A name and words for each thing that can be told of a site now."""
    found = [("site", standing.site), ("connection", _connection(standing))]
    run = standing.present
    if run is None:
        found.append(("run", "none yet"))
    else:
        found += [("run", _run(run)), ("round", _round(run)), ("state", run.state)]
        if run.epsilon is not None:
            found.append(("this run", f"epsilon {spent(run.epsilon)} for its rounds so far"))
    found += [("budget", words) for words in _budget(standing)]
    found.append(("refusals", str(standing.refusals)))
    return found


def lately(standing: Standing) -> list[tuple[str, str]]:
    """What somebody should look at, of the last minutes: when, and what. The newest last."""
    since = standing.now - LATELY
    over = ("connection_lost",) if standing.is_between_runs else ()
    news = [trouble for trouble in standing.troubles if trouble.at >= since and trouble.event not in over]
    return [(clock(trouble.at), _told(trouble)) for trouble in news[-MOST:]]


def as_json(standing: Standing) -> dict[str, Any]:
    """Everything for a page: the facts, and the words."""
    facts = standing.to_json()
    facts["rows"] = [{"name": name, "words": words} for name, words in rows(standing)]
    facts["lately"] = [{"at": at, "words": words} for at, words in lately(standing)]
    return facts


def clock(moment: float) -> str:
    """Time of day, in UTC as in the log."""
    return f"{datetime.fromtimestamp(moment, UTC):%H:%M:%S}Z"


def ago(seconds: float) -> str:
    """How long ago, roughly.

    >>> ago(0.4), ago(75), ago(4000), ago(200_000)
    ('now', '1 min ago', '66 min ago', '55 h ago')
    """
    if seconds < 1:
        return "now"
    if seconds < 60:
        return f"{seconds:.0f} s ago"
    return f"{seconds // 60:.0f} min ago" if seconds < 7200 else f"{seconds // 3600:.0f} h ago"


def _connection(standing: Standing) -> str:
    to = standing.server or "the coordinator"
    contact = (
        "no contact yet"
        if standing.last_contact is None
        else f"last contact {ago(standing.now - standing.last_contact)}"
    )
    tail = f"{contact}, {standing.exchanges} exchanges"
    since = "" if standing.connection_since is None else f" since {clock(standing.connection_since)}"
    match standing.connection:
        case "connected":
            return f"connected to {to}{since}; {tail}"
        case "lost" if standing.is_between_runs:
            return f"the coordinator has ended; waiting for the next run; {tail}"
        case "lost":
            return f"lost{since}, trying again: {standing.why}; {tail}"
        case "connecting":
            return f"connecting to {to}"
    return f"by the local socket; {tail}"


def _run(run: RunSeen) -> str:
    name = f'"{run.name}" ' if run.name else ""
    return f"{name}{run.run[:LETTERS]}" + (f" of {run.sites} sites" if run.sites else "")


def _round(run: RunSeen) -> str:
    return f"{run.round} of {run.rounds}" if run.rounds else str(run.round)


def _budget(standing: Standing) -> Iterator[str]:
    for pool in standing.pools:
        left = pool.left
        if left is None or pool.epsilon_max is None:
            yield f"per {pool.unit}: not bounded"
        else:
            kept = math.floor(left * 1000) / 1000  # what is left is rounded down, what is spent up
            limit = f"{pool.epsilon_max:g} at delta {pool.delta:g}" if pool.delta else f"{pool.epsilon_max:g}"
            yield f"per {pool.unit}: epsilon {spent(pool.epsilon)} of {limit} charged, {kept:.3f} left"


def _told(trouble: Trouble) -> str:
    round_ = "" if trouble.round is None else f"round {trouble.round}: "
    return f"{trouble.event.replace('_', ' ')}: {round_}{trouble.detail}"
