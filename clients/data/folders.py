"""The sites of a folder: which entries are a site's data, which are not, and which may be and cannot be read.

What is plainly no data (a README, hidden files) is passed over, and a note says so. What may be a site's data and
cannot be read is refused by name: a site that is missing from a run must not go unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from clients.data.notes import Note
from clients.data.sources.opened import format_of
from clients.policy import SITE_ID, load_site
from clients.rules.form import NAME as READING
from clients.rules.form import Reading, load_reading
from clients.rules.origin import TABLES, Origin, Place
from federation.errors import DataError, InputError
from federation.plan.made_up.mock import README
from federation.words import printable, some

_ENDINGS = f"remove it, or name it by what it is: {', '.join(TABLES)}"
_SYSTEM = frozenset({"thumbs.db", "desktop.ini", "__pycache__", "__macosx", "lost+found"})
_TEXTS = ("readme", "license", "licence", "copying", "notice", "changelog", "citation", "authors", "makefile")
_PAPERS = (
    ".md",
    ".rst",
    ".toml",
    ".py",
    ".pyc",
    ".ipynb",
    ".sh",
    ".log",
    ".tmp",
    ".bak",
    ".swp",
    ".lock",
    ".part",
)
_PAPERS_OF_TABLES = (
    ".txt",
    ".pdf",
    ".doc",
    ".docx",
    ".odt",
    ".html",
    ".htm",
    ".png",
    ".jpg",
    ".jpeg",
    ".svg",
    ".yaml",
)
_PACKED = (".gz", ".zip", ".zst", ".bz2", ".xz", ".7z", ".tar", ".tgz", ".rar")


@dataclass(frozen=True)
class SiteFiles:
    """The files of one site in a folder of sites. In data of a user's own task, `train` may be a folder."""

    name: str
    train: Path
    test: Path | None = None
    site_file: Path | None = None
    reading: Path | None = None

    def places(self) -> tuple[Place, Place | None]:
        """The records, and those to evaluate on, read as the site's own site.toml says, or else a reading.toml.

        SiteFileError if that cannot be read.
        """
        if self.site_file is None and self.reading is not None:
            form, folder = load_reading(self.reading), self.reading.parent
            test = None if self.test is None else form.origin(self.test, folder)
            return form.origin(self.train, folder), test
        if self.site_file is None:
            return self.train, self.test
        data = load_site(self.site_file).data
        train = data.origin(self.train.name, self.train.parent, sheet=data.sheet)
        if self.test is None:
            return train, None
        return train, data.origin(self.test.name, self.test.parent, sheet=data.test_sheet or data.sheet)

    @property
    def person(self) -> str | None:
        """The column that says whose each record is, if the site's own site.toml names one."""
        return None if self.site_file is None else load_site(self.site_file).data.person


def place_of(file: Path) -> Origin:
    """A file, read as a reading.toml beside it says, if there is one. SiteFileError if that is no such file."""
    beside = file.parent / READING
    return load_reading(beside).origin(file, file.parent) if beside.is_file() else Origin.of(file)


@contextmanager
def named_for(site: SiteFiles) -> Iterator[None]:
    """Errors about a site without a site.toml name the keys of a reading.toml, which says how files are read."""
    if site.site_file is not None:
        yield
        return
    with by_reading():
        yield


@contextmanager
def by_reading() -> Iterator[None]:
    """Errors about files of nobody's site name the keys of a reading.toml beside them."""
    try:
        yield
    except InputError as error:
        error.message, error.hint = (_by_reading(text) for text in (error.message, error.hint))
        raise


def _by_reading(text: str) -> str:
    """What is said of keys in site.toml, said of those in reading.toml.

    >>> print(_by_reading('set data.separator = ";" in site.toml (and data.decimal), or save it'))
    set separator = ";" in reading.toml (and decimal), or save it
    >>> print(_by_reading("check data.source in site.toml"))
    check data.source in site.toml
    """
    changed = re.sub(rf"\bdata\.({'|'.join(Reading.model_fields)})\b", r"\1", text)
    return changed.replace("site.toml", READING) if changed != text else text


@dataclass(frozen=True)
class SitesFolder:
    """The sites of a folder, by name, and what the people there should know about it."""

    sites: tuple[SiteFiles, ...]
    notes: tuple[Note, ...]


def find_sites(directory: Path, *, any_format: bool = False) -> SitesFolder:
    """The sites of a folder: NAME.csv, or NAME/ with train.csv (and test.csv, site.toml).

    A reading.toml says how text is read, for all sites or in NAME/ for one.
    `any_format`, for a user's own task: NAME.* of any suffix, or NAME/ with train.* (and test.*), or else the
    folder NAME/ itself.
    """
    if not directory.is_dir():
        found = "is a file" if directory.is_file() else "there is no such folder"
        raise DataError(f"{directory}: {found}", hint="name a folder with a CSV file per site")
    entries = sorted(directory.iterdir())
    passed = [entry for entry in entries if _is_aside(entry, any_format)]
    sites = [_read(_site(entry, any_format), directory) for entry in entries if entry not in set(passed)]
    if not sites:
        raise DataError(f"{directory}: holds no sites", hint="add NAME.csv or NAME/train.csv for each site")
    _refuse_twins(directory, sites)
    notes = (*_passed_over(directory, passed), *_left_aside(directory, [] if any_format else entries))
    return SitesFolder(tuple(sorted(sites, key=lambda site: site.name)), notes)


def _refuse_twins(directory: Path, sites: Sequence[SiteFiles]) -> None:
    """Two entries of one name, in other capitals too: where files are kept they may be one."""
    seen: dict[str, str] = {}
    for site in sites:
        entry = site.train.relative_to(directory).parts[0]
        if (other := seen.setdefault(site.name.lower(), entry)) != entry:
            message = f"{directory}: {site.name} is there twice, in {other} and {entry}"
            raise DataError(message, hint="remove or rename one")


def mixed_hold_outs(directory: Path, sites: Sequence[SiteFiles], holdout: float) -> tuple[Note, ...]:
    """A note if only some sites bring a test file: they are evaluated on different terms, or not at all."""
    without = [site.name for site in sites if site.test is None]
    if not without or len(without) == len(sites):
        return ()
    who = f"{some(without)} ({len(without)} of {len(sites)} sites)"
    if holdout == 0:
        said = f"{who} hold no test file and evaluation.holdout is 0: they are not evaluated, the others are"
        return (Note(directory, said, "add test.csv there, or set evaluation.holdout"),)
    said = (
        f"{who} hold no test file: {holdout:g} of their records are held out, the others use their test file"
    )
    return (Note(directory, said, "add test.csv there, or to no site, for figures on equal terms"),)


def _is_aside(entry: Path, any_format: bool) -> bool:
    """Whether an entry is plainly no site's data."""
    name = entry.name.lower()
    if name.startswith((".", "~$")) or name.endswith("~") or name in _SYSTEM:
        return True
    if entry.is_dir():
        return False
    suffix = Path(name).suffix
    is_text = name.split(".")[0] in _TEXTS and _suffix(entry) is None
    return is_text or suffix in _PAPERS or (not any_format and suffix in _PAPERS_OF_TABLES)


def _passed_over(directory: Path, entries: Sequence[Path]) -> tuple[Note, ...]:
    made_up = [entry for entry in entries if entry.name == README]
    entries = [entry for entry in entries if entry not in made_up and entry.name != READING]
    said = "records in this folder were made up by federation mock"
    notes = [Note(path, said, "take no figure of a run with them for a result") for path in made_up]
    if not entries:
        return tuple(notes)
    all_of_them = f" ({len(entries)} in all)" if len(entries) > 3 else ""
    said = f"passed over {some([entry.name for entry in entries])}{all_of_them}: no site's data"
    return (*notes, Note(directory, said, "keep only sites there"))


def _left_aside(directory: Path, entries: Sequence[Path]) -> tuple[Note, ...]:
    """A note if folders of sites hold tables that are neither train.csv nor test.csv, such as "test (1).csv"."""
    folders = [entry for entry in entries if entry.is_dir() and not _is_aside(entry, False)]
    tables = [
        f"{folder.name}/{table.name}"
        for folder in folders
        for table in sorted(folder.iterdir())
        if (suffix := _suffix(table)) and table.name.lower().removesuffix(suffix) not in ("train", "test")
        if not _is_aside(table, False)
    ]
    if not tables:
        return ()
    said = (
        f"{some(tables)} ({len(tables)} in all) are not read: a site's records are in train.csv and test.csv"
    )
    return (Note(directory, said, "rename or remove what is not meant to be left out"),)


def _site(entry: Path, any_format: bool) -> SiteFiles:
    shown = printable(str(entry))
    if not entry.exists():
        raise DataError(f"{shown}: is a link that leads nowhere", hint="mend or remove it")
    if not entry.is_file() and not entry.is_dir():
        raise DataError(f"{shown}: is neither a file nor a folder", hint="remove it")
    suffix = _suffix(entry)
    if entry.is_file() and not any_format and suffix is None:
        raise _no_table(entry)
    is_packed = entry.suffix.lower() in _PACKED
    name = entry.name if entry.is_dir() else Path(entry.stem).stem if is_packed else entry.stem
    if not SITE_ID.fullmatch(name):
        raise DataError(f"{shown}: cannot be a site's name", hint="use up to 64 letters, digits, . - and _")
    if entry.is_file():
        return SiteFiles(name, entry)
    train, test = (_part(entry, part, any_format) for part in ("train", "test"))
    if train is None and not any_format:
        raise DataError(f"{entry}: holds no train.csv", hint="put the site's data there")
    site_file = entry / "site.toml"
    return SiteFiles(name, train or entry, test, site_file if site_file.is_file() else None)


def _read(site: SiteFiles, directory: Path) -> SiteFiles:
    """A site with what says how its files are read: its own word before that of all."""
    folders = (directory / site.name, directory) if site.train.parent != directory else (directory,)
    found = next((place for folder in folders if (place := folder / READING).is_file()), None)
    return replace(site, reading=found)


def _part(folder: Path, part: str, any_format: bool) -> Path | None:
    """The file of a site's folder that holds a part of its records, in capitals or not; None if there is none."""
    entries = (entry for entry in sorted(folder.iterdir()) if not _is_aside(entry, any_format))
    found = [entry for entry in entries if entry.name.lower().split(".")[0] == part]
    usable = [entry for entry in found if any_format or entry.name.lower() == part + (_suffix(entry) or "?")]
    if len(usable) > 1:
        raise DataError(f"{folder}: holds {some([entry.name for entry in usable])}", hint="keep one of them")
    if not usable and found:
        raise _no_table(found[0])
    return usable[0] if usable else None


def _suffix(entry: Path) -> str | None:
    """The suffix of a file that is a table by its name, such as .csv.gz; None for any other."""
    return next((suffix for suffix in TABLES if entry.name.lower().endswith(suffix)), None)


def _no_table(entry: Path) -> DataError:
    shown = printable(str(entry))
    if entry.is_dir():
        return DataError(f"{shown}: is a folder and no CSV file", hint="put the records in a file")
    what, hint = format_of(Origin.of(entry)) or ("is no table by its name", _ENDINGS)
    return DataError(f"{shown}: {what}", hint=hint)
