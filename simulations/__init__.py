"""Simulations: the same code, with every site in one process.

Nothing is imported from here. `simulate` and `budget_of` are at the front door: `from federation import simulate`.
"""

__all__: list[str] = []
