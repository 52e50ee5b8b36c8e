"""Whether a site's data files can be read at all, asked when a site starts: before any plan, server or ledger.

What a plan asks of the columns nobody knows yet. But a file that is no table, or may lose rows, fails for every
plan of tables, and its people had better know while they sit in front of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from clients.data.sources.opened import SOURCE, format_of
from clients.data.sources.postgresql import require_query as require_answer_of_server
from clients.data.sources.reading import read
from clients.data.sources.sqlite import require_query
from clients.rules.origin import Origin, Place
from federation.errors import DataError

_ASKED = {"postgresql": require_answer_of_server, "sqlite": require_query}
_OWN = "if it is for your own task and no table, give it another suffix than .csv"


def require_readable(places: Iterable[Place | None], *, is_for_own_code: bool) -> None:
    """DataError for a source that is missing, cannot be opened or asked, or is called a table and is none.

    `is_for_own_code`: the site approves a task of its own, whose files may be anything.
    """
    for place in (Origin.of(each) for each in places if each is not None):
        if place.kind in _ASKED:
            _ASKED[place.kind](place)
            continue
        for path in place.files or (place.file,):
            if not path.exists():
                raise DataError(f"{place}: cannot be read: there is no such file", hint=SOURCE)
            if not path.is_file():
                raise DataError(f"{path}: is no regular file", hint=f"it has to be the file itself: {SOURCE}")
        if is_for_own_code or place.kind == "own":
            format_of(place)  # DataError if it cannot be opened; whatever it holds is its task's business
            continue
        try:
            read(place)
        except DataError as error:
            hint = "; ".join(filter(None, (error.hint, _OWN))) if place.kind == "csv" else error.hint
            raise DataError(error.message, hint=hint) from None
