"""Classes that join several values of the target: `grouped` in a plan's `[task]`, public and in its digest.

Which values belong together is the field's to say, as the classes are. Nothing is counted, and no value is taken
for "the rest": a value that no class names is refused, so that a new code at a site is no outcome unseen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from pydantic import Strict

from federation.config.schema import Mistake, Texts, nearest
from federation.plan.columns.features import told_apart

Grouped = Annotated[Mapping[str, Texts], Strict(False)]
_KEY: Final = "grouped"
_HINT: Final = 'write for example { ill = ["1", "2"] }, or remove it'


def check_grouped(grouped: Mapping[str, Sequence[str]] | None, classes: Sequence[str]) -> None:
    """Mistake for a group that is no class, for one of nothing, and for a value that stands for two classes."""
    if grouped is None:
        return
    if not grouped:
        raise Mistake("joins nothing", _HINT, (_KEY,))
    for name, values in grouped.items():
        if name not in classes:
            raise Mistake("is no class of the plan", nearest(name, classes), (_KEY, name))
        if not values:
            raise Mistake("has no values", _HINT, (_KEY, name))
        for other in set(values) & set(classes) - {name}:
            hint = f'remove "{other}" from the classes, or from this list'
            raise Mistake("holds a value that is a class of its own", hint, (_KEY, name))
    try:
        told_apart(values_of(grouped, classes)[0], least=2)
    except Mistake as mistake:
        raise mistake.under(_KEY) from None


def values_of(
    grouped: Mapping[str, Sequence[str]] | None, classes: Sequence[str]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Every value that a cell of the target may have, and the position of its class. A class alone is its value.

    >>> values_of({"ill": ["1", "2"]}, ["0", "ill"])
    (('0', '1', '2'), (0, 1, 1))
    """
    pairs = [
        (value, place) for place, name in enumerate(classes) for value in (grouped or {}).get(name, (name,))
    ]
    return tuple(value for value, _ in pairs), tuple(place for _, place in pairs)
