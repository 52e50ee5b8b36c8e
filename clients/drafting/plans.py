"""A plan proposed from a public or made-up table: everything in it is a guess that says so, for people to decide.

Ranges, values and classes are read from the rows and stand in the plan, which all parties see. So the table must
not be anybody's private records (`federation plan new` asks), and nothing here may run inside a site.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from clients.data.sources.table import Table
from clients.drafting.columns import Judged, judged
from clients.drafting.courses import Course, course_of, courses_in, looks_like
from clients.drafting.pictures import images_in
from clients.drafting.several import as_one
from clients.drafting.targets import Predicted, predicted, until
from federation.config.toml import inline, key_of
from federation.errors import DataError, InputError
from federation.plan.columns.features import Categorical, Feature, Numeric
from federation.plan.identifiers import MAX_DIGITS, cleaned
from federation.plan.plan import Plan, parse
from federation.plan.settings import Settings, settings_for
from federation.words import printable, some

MOST_COLUMNS = 1000  # in a plan that people are to read
_NAMED = 40  # columns that are left out, in a comment

CLASSES = "the order of the classes: of two, the second is the positive one of AUC, F1 and recall"
DECISIONS = (
    "every range: from what is possible, not from what is in one file; values beyond it are clipped",
    "every list of values: a site with another value is refused, so list what any site may have, or other = true",
    'what is missing: refused, unless the line says missing = "indicator" (numbers, dates) or "category"',
    "whether these rows are like those of all sites, gaps and codes, too: a site with others is refused. Several "
    "tables make one plan (plan new A.csv B.csv); federation check PLAN --sites DIR tries it on all of them",
    CLASSES,
    "privacy: the unit (is a patient in several rows?), epsilon, delta",
    "cohort.minimum, colluders and dropouts: how many sites there are, and how many may fail or collude",
    "rounds, sample_rate, clip and learning rate: proposed by a rule for the records of all sites (--records) "
    "and epsilon; try others on public data, never on private ones",
)
"""What a person has to decide, whatever the table."""


@dataclass(frozen=True)
class Proposal:
    """A plan, the text of its file, and what became of each column but the target."""

    plan: Plan
    text: str
    columns: tuple[Judged, ...]
    target: str
    predicted: Predicted
    course: Course | None = None  # what looks like series, and nobody said so

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the target; none where it is a number."""
        return self.predicted.classes

    @property
    def decisions(self) -> tuple[str, ...]:
        """What people have to decide of this plan: the order of its classes only where it has some."""
        return tuple(line for line in DECISIONS if self.classes or line != CLASSES)

    @property
    def used(self) -> tuple[Judged, ...]:
        """The columns that the plan has."""
        return tuple(column for column in self.columns if column.feature is not None)

    @property
    def left_out(self) -> tuple[Judged, ...]:
        """The columns that it has not."""
        return tuple(column for column in self.columns if column.feature is None)


def targets_of(table: Table) -> tuple[str, ...]:
    """The columns that a plan could predict: those of a few different values."""
    names = dict.fromkeys(name for name in table.header[:MOST_COLUMNS] if table.header.count(name) == 1)
    found = (_judged(table, name) for name in names)
    return tuple(column.name for column in found if isinstance(column.feature, Categorical))


@dataclass(frozen=True)
class Wanted:
    """What a plan is to suit: an epsilon, and the records of all sites, or as many as the table has."""

    epsilon: float = 3.0
    records: int | None = None
    event: str | None = None  # the column that says what a time until an event ended in
    patient: str | None = None  # the column that says whose a row is
    time: str | None = None  # the one that orders the rows of each


AS_THE_TABLE = Wanted()


def propose(
    tables: Table | Sequence[Table],
    target: str,
    name: str,
    only: Sequence[str] = (),
    wanted: Wanted = AS_THE_TABLE,
) -> Proposal:
    """A plan that predicts `target` from the other columns, or from those in `only`, of all rows of the tables.

    DataError for a target that is neither classes nor a number, and where no column is left to learn from.
    """
    parts = [tables] if isinstance(tables, Table) else tables
    table = as_one(parts)
    table.require(named for named in (target, wanted.event, wanted.patient, wanted.time) if named is not None)
    found = predicted(table, target) if wanted.event is None else until(table, target, wanted.event)
    if wanted.time is not None:
        found = found.of_windows(course_of(table, _whose(wanted), wanted.time))
    told = {cleaned(column) for column in (target, wanted.event, wanted.patient) if column is not None}
    names = [chosen for column in only if (chosen := cleaned(column)) not in told] or [
        column for column in dict.fromkeys(table.header) if column not in told
    ]
    if len(names) > MOST_COLUMNS:
        hint = "name those that matter: --feature COLUMN, once for each"
        raise DataError(f"{table.path}: has {len(names)} columns, too many for people to approve", hint=hint)
    images = images_in(parts)
    columns = tuple(images.get(column) or _judged(table, column, wanted.records) for column in names)
    if all(column.feature is None for column in columns):
        reasons = some([f'"{printable(column.name)}": {printable(column.why)}' for column in columns])
        raise DataError(
            f"{table.path}: no column is left to learn from: {reasons}",
            hint="see what a plan can hold: docs/data.md",
        )
    course = courses_in(table, columns) if wanted.patient is None else None
    found, text = _text(table, name, found, columns, wanted, course)
    return Proposal(parse(text, Path("plan.toml")), text, columns, cleaned(target), found, course)


def _whose(wanted: Wanted) -> str:
    if wanted.event is not None:
        raise InputError("--time is of a series, and --event of a time until an event", hint="leave out one")
    if wanted.patient is None:
        hint = "add --patient COLUMN: whose a row is; all rows of one are protected together"
        raise InputError("--time is of a series", hint=hint)
    return wanted.patient


def _judged(table: Table, name: str, records: int | None = None) -> Judged:
    if table.header.count(name) > 1:
        return Judged(name, None, "is there twice")
    return judged(name, table.column(name), table.numerals(name), records)


def _text(
    table: Table,
    name: str,
    found: Predicted,
    columns: Sequence[Judged],
    wanted: Wanted,
    course: Course | None,
) -> tuple[Predicted, str]:
    features = tuple(column.feature for column in columns if column.feature is not None)
    found, settings, delta = settled(found, features, Wanted(wanted.epsilon, wanted.records or len(table)))
    lines = [
        *_head(table),
        "[federation]",
        f"name = {inline(_title(name))}  # for people",
        f"rounds = {settings.rounds}  # by rule: each one costs time, and a fixed epsilon is spread over all",
        "seed = 7  # public: cohorts, held-out rows and first params follow from it; noise and keys never do",
        "",
        "[task]",
        *found.lines[:-1],
        *_patients(columns, course, wanted),
        found.lines[-1],
        "",
        "# GUESS, each line: write what is possible, not what is in one file. A number beyond its range is",
        "# clipped; a text that is not in its list is refused, unless other = true; so is a cell that says",
        "# nothing, unless the line says missing. The order of lines is the layout of the input.",
        "[task.features]",
        *(line_of(column.feature, column.why) for column in columns if column.feature is not None),
        *without(columns),
        "",
        *rules(settings, wanted, delta, found.metrics, "record" if wanted.patient is None else "patient"),
    ]
    return found, "\n".join(lines) + "\n"


def _head(table: Table) -> Iterator[str]:
    source = printable(PurePath(str(table.path)).name)
    yield f"# A plan proposed by `federation plan new` from {source}. Read each line: GUESS is what a program"
    yield "# took for likely, DECIDE what only people know. All sites see this file, and approve it by"
    yield "# its digest (federation check). To try it on made-up records: federation mock plan.toml --out mock/"
    yield ""


def _title(name: str) -> str:
    return printable(name).strip()[:100] or "federation"


def _patients(columns: Sequence[Judged], course: Course | None, wanted: Wanted) -> Iterator[str]:
    """The column that says whose a row is decides what is protected, so it is never set by a guess."""
    if wanted.patient is not None:
        told = [] if wanted.time is not None else [f"patient = {inline(wanted.patient)}  # whose a row is"]
        yield from told
        return
    if course is not None:
        yield f"# {looks_like(course)}"
    for column in columns:
        if column.names_people:
            yield f"# patient = {inline(column.name)}  # DECIDE: is it whose a row is? then unit is patient"


def line_of(feature: Feature, why: str = "") -> str:
    """A feature as its line in a plan, with a comment."""
    said = feature.model_dump(mode="json", exclude_none=True, exclude={"name"})
    said |= {key: said.pop(key) for key in ("missing",) if key in said}  # behind what a cell is
    shape = inline({key: _plain(value) for key, value in said.items()})
    return f"{key_of(feature.name)} = {shape}" + f"  # {printable(why)}" * bool(why)


def _plain(value: object) -> object:
    """A whole number without decimals, as people write it."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 10**MAX_DIGITS
    return int(value) if isinstance(value, float) and is_whole else value


def without(columns: Sequence[Judged]) -> Iterator[str]:
    """What was left out, and why, as comments."""
    left = [column for column in columns if column.feature is None]
    if left:
        yield "# Left out, and why. Whoever knows better adds a line above."
    for column in left[:_NAMED]:
        yield f"#   {printable(column.name)}: {printable(column.why)}"
    if len(left) > _NAMED:
        yield f"#   and {len(left) - _NAMED} more"


def settled(found: Predicted, features: Sequence[Feature], wanted: Wanted) -> tuple[Predicted, Settings, str]:
    """The model and the settings that suit these columns and so many records; and a delta for them, as text."""
    records = wanted.records or 1
    delta = f"1e-{max(5, math.ceil(math.log10(records)) + 1)}"

    def of(what: Predicted) -> Settings:
        task = what.task(features)
        params = (task.inputs + 1) * max(1, len(what.classes))
        return settings_for(task, params, records, wanted.epsilon, float(delta))

    if any(isinstance(feature, Numeric) for feature in features):
        curved = of(found.bent)
        if curved.has_room:
            return found.bent, curved, delta
    return found, of(found), delta


def rules(
    settings: Settings, wanted: Wanted, delta: str, metrics: Sequence[str], unit: str = "record"
) -> Iterator[str]:
    """The tables that no cell decides: what a rule proposes, and what people have to."""
    said = {
        "SAMPLE_RATE": f"{settings.sample_rate:g}",
        "EPSILON": f"{float(wanted.epsilon)!r}",
        "DELTA": delta,
        "CLIP": f"{settings.clipping_norm:g}",
        "GRADIENT": f"{settings.gradient:.1f}",
        "RATE": f"{settings.learning_rate:g}",
        "RECORDS": f"{settings.records:,}",
        "METRICS": inline(list(metrics)),
        "UNIT": unit,
    }
    yield from re.sub("[A-Z_]{4,}", lambda found: said.get(found[0], found[0]), _RULES).splitlines()
    yield _PUBLISHED


_RULES = """\
[cohort]
size = "all"  # GUESS: every round asks all sites; or a number of them
minimum = 3  # GUESS: no sum is opened of fewer sites; with 3 sites in all, none may then be missing
weights = "uniform"  # each site counts alike; "declared": by the size in its public file
deadline_seconds = 60  # for each stage of a round; who is later is left out

[training]
optimizer = "sgd"  # the only one that noise = "distributed" covers
learning_rate = 1.0  # the server's optimizer sets the step
local_steps = 1  # noise = "distributed" takes one
sample_rate = SAMPLE_RATE  # by rule, for RECORDS records of all sites: a row's chance in each round

[privacy]
unit = "UNIT"  # DECIDE: "patient" where one person has several rows
noise = "distributed"  # each site adds a share; nobody sees a sum without noise
epsilon = EPSILON  # DECIDE: what the whole run may tell of one unit; smaller is safer, and learns less
delta = DELTA  # DECIDE: has to be well below 1 / rows of the largest site
clipping_norm = CLIP  # by rule: the most that a row may move a sum; first gradients are GRADIENT long

[secure_aggregation]
colluders = 1  # DECIDE: so many sites may conspire with the server and learn nothing more
dropouts = 1  # DECIDE: so many sites may vanish in a round, and it still ends

[server]
optimizer = "adam"  # what is done with a sum costs no privacy
learning_rate = RATE  # by rule, for so many rounds of Adam

[evaluation]
holdout = 0.2  # of a site without a test file
metrics = METRICS
"""
_PUBLISHED = (
    "# epsilon = 0.5  # DECIDE: with it, noised figures over the held-out rows of all sites are published"
)
