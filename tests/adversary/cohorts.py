"""Small cohorts to try everything on: who colludes, and who is lost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A cohort; the first `bad` sites work with the attacker, the last `lost` are lost, or called so."""

    n: int
    colluders: int
    bad: int
    lost: int

    @property
    def gone(self) -> set[int]:
        return set(range(self.n - self.lost, self.n))

    @property
    def corrupt(self) -> set[int]:
        return set(range(self.bad))

    @property
    def honest(self) -> set[int]:
        return set(range(self.bad, self.n))

    @property
    def others(self) -> set[int]:
        """Those in the sum who collude with nobody."""
        return self.honest - self.gone
