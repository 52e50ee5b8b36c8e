"""Who is shown the plan of a run that has begun: whoever comes into reach, and again whoever did not join then.

Between two rounds everybody in reach is asked for consent if one of them is due. A site that was silent may have
died with the question, and one that refused may have got other rules; so both are asked again, after ever more
rounds: whoever comes and goes, or answers nothing, cannot hold up every round.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass


@dataclass
class _Asked:
    times: int
    after: int  # rounds that were done
    was_away: bool = False


class Newcomers:
    """The addresses of a run that have not joined it."""

    def __init__(self) -> None:
        self._asked: dict[str, _Asked] = {}

    def asked(self, addresses: AbstractSet[str], joined: AbstractSet[str], done: int) -> None:
        """All these were asked when so many rounds were done, and some of them joined."""
        for address in joined:
            self._asked.pop(address, None)
        for address in addresses - joined:
            known = self._asked.get(address)
            self._asked[address] = _Asked(1 if known is None else known.times + 1, done)

    def are_due(self, reach: AbstractSet[str], done: int) -> bool:
        """Whether somebody within reach, who has not joined, is to be asked after so many rounds."""
        for address, known in self._asked.items():
            known.was_away |= address not in reach
        return any(self._is_due(self._asked.get(address), done) for address in reach)

    def _is_due(self, known: _Asked | None, done: int) -> bool:
        if known is None:
            return True
        pause = (1 << known.times) - 1 if known.was_away else 1 << 2 * known.times
        return done - known.after >= pause
