"""Prints what a site's files hold, on the terminal of the people who own them and nowhere else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from clients.describing.described import Column, Description
from clients.describing.doubts import Doubt, percent
from clients.describing.look import Look
from federation.cli.screen import show, styled
from federation.cli.showing.shaped import shape_lines
from federation.words import many, printable, some

_HERE_ONLY = "These figures are exact: they are shown here only, and nothing of them is stored or sent."
_ROWS = 40  # columns in a table
_SITES = 50  # of many, those that cannot be read besides
_CLASSES = 10  # in a line
_TOLD = 4  # doubts of one kind in full
_COUNTED = (("filled", "filled"), ("others", "other"), ("not usable", "unread"))  # shown where there are any
_OTHERWISE = {
    "clipped": "are clipped as much, or less",
    "constant": "hold the same in every record",
    "missing": 'hold numbers that may mean "missing"',
    "thousands": "have points that may part thousands",
    "classes": "lack classes",
}


def print_look(look: Look) -> None:
    """Print the figures of a site's files, then what is doubtful about them."""
    for file in look.files:
        show(_line(file))
        if file.columns:
            show(*_table([file]))
        if file.shapes:
            show("", *shape_lines(file.shapes))
        show(*map(_warning, (*map(str, file.file.notes), *in_brief([("", doubt) for doubt in file.doubts]))))
    told = [look.summary] * bool(look.summary)
    show(*told, *map(_warning, look.doubts), *map(_hint, look.hints), _HERE_ONLY)


def print_sites(sites: Mapping[str, Look | None], doubts: Sequence[str], hints: Sequence[str]) -> None:
    """Print the files of a folder, a table of their columns, then doubts and hints; None is a site not read."""
    shown = [name for place, (name, look) in enumerate(sites.items()) if place < _SITES or look is None]
    for name in shown:
        look = sites[name]
        files = ["cannot be read: see the errors below"] if look is None else map(_line, look.files)
        for line in files:
            show(styled((name, "bold"), f"  {line}"))
    if (left := len(sites) - len(shown)) > 0:
        show(f"and {many(left, 'site')} more, each of which could be read")
    looks = {name: look for name, look in sites.items() if look is not None}
    trained = [look.files[0] for look in looks.values()]
    if trained and trained[0].columns:
        show("", *_table(trained))
    notes = [str(note) for look in looks.values() for file in look.files for note in file.file.notes]
    found = [(name, doubt) for name, look in looks.items() for file in look.files for doubt in file.doubts]
    of_sites = [f"{name}: {doubt}" for name, look in looks.items() for doubt in look.doubts]
    told = (*notes, *in_brief(found), *of_sites, *doubts)
    show("", *map(_warning, told), *map(_hint, hints), _HERE_ONLY)


def in_brief(found: Sequence[tuple[str, Doubt]]) -> Iterator[str]:
    """Doubts, each with the site it is about: a line for a column at all sites, and few lines of one kind."""
    alike: defaultdict[tuple[str, str], list[tuple[str, Doubt]]] = defaultdict(list)
    for site, doubt in found:
        alike[doubt.kind, doubt.column].append((site, doubt))
    kinds: defaultdict[str, list[list[tuple[str, Doubt]]]] = defaultdict(list)
    for (kind, _), group in alike.items():
        kinds[kind].append(sorted(group, key=lambda one: -one[1].share))
    for kind, groups in kinds.items():
        groups.sort(key=lambda group: -group[0][1].share)
        shown = len(groups) if len(groups) == _TOLD + 1 else _TOLD
        yield from map(_together, groups[:shown])
        if left := groups[shown:]:
            names = some([f'"{group[0][1].column}"' for group in left])
            yield f"{len(left)} more columns {_OTHERWISE[kind]}: {names}"


def _together(group: Sequence[tuple[str, Doubt]]) -> str:
    """One doubt at the site where it is strongest, and at which others it is raised, too."""
    (site, doubt), *others = group
    names = list(dict.fromkeys(other for other, _ in others if other != site))
    also = f" (also at {some(names)}: {len(names) + 1} sites)" if names else ""
    return f"{site}: {doubt}{also}" if site else str(doubt)


def _line(file: Description) -> str:
    """A file, how much was read of it, and its classes."""
    people = [] if file.patients is None else [f"{file.patients} patients"]
    inputs = [] if file.inputs is None else [f"{file.inputs} inputs a record"]
    rows = [] if file.rows is None else [f"{file.rows} rows"]
    what = "of class" if file.rows is None else "rows of class"
    labels = [f'{count} {what} "{name}"' for name, count in file.classes[:_CLASSES]]
    more = [f"{len(file.classes) - _CLASSES} more classes"] * (len(file.classes) > _CLASSES)
    return ", ".join([str(file.file), *rows, *people, *inputs, *labels, *more])


def _table(files: Sequence[Description]) -> tuple[Table | str, ...]:
    """The columns of one file, or of one file of each site: where these differ, the least and the most."""
    rows = list(zip(*(file.columns for file in files), strict=True))
    shown = sorted(sorted(range(len(rows)), key=lambda place: _outstanding(rows[place]))[:_ROWS])
    counted = [(name, key) for name, key in _COUNTED if any(getattr(c, key) for row in rows for c in row)]
    table = Table(box=None, pad_edge=False)
    table.add_column("column")
    for name in ("range", "below", "above", "distinct", "missing", *(name for name, _ in counted)):
        table.add_column(name, justify="right")
    for row in (rows[place] for place in shown):
        shares = (_span([column.below for column in row], percent), _span([c.above for c in row], percent))
        counts = [[column.distinct for column in row], [column.missing for column in row]]
        counts += [[getattr(column, key) for column in row] for _, key in counted]
        table.add_row(printable(row[0].name), row[0].public, *shares, *(_span(each, str) for each in counts))
    left = len(rows) - len(shown)
    return (table, f"{left} more columns, of which less is clipped or missing") if left else (table,)


def _outstanding(row: Sequence[Column]) -> tuple[float, ...]:
    """Comes first where most cells are not usable, missing or clipped."""
    clipped = max((column.below or 0.0) + (column.above or 0.0) for column in row)
    return -max(column.unread for column in row), -max(column.missing for column in row), -clipped


def _span(values: Sequence[float | None], shown: Callable[[float], str]) -> str:
    """The least and the most of some figures; one if they are the same."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    ends = [shown(min(known)), shown(max(known))]
    return " to ".join(dict.fromkeys(ends))


def _warning(doubt: str) -> Text:
    return styled(("warning: ", "yellow"), doubt)


def _hint(hint: str) -> Text:
    return styled(("hint: ", "cyan"), hint)
