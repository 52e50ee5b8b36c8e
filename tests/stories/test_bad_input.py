"""What a tired engineer gets wrong: one line, the right exit code, no traceback, and never a value of the data."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest

from federation.identity.keys import create
from tests.federation.command import Command, Outcome
from tests.worlds import rows_of, text_of, write_csv, write_sites

MARKER = "987654"  # stands in the bad cell; whoever reads the message must not learn it
PRIVATE = text_of(noise="distributed", rounds=50)
HEADER = "age,dose,ward,sick\n"
GOOD = "40,0.5,a,yes\n"

BAD_PLANS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "wrong key": (text_of().replace("local_steps", "local_step"), 2, ("local_step", 'did you mean "local_steps"')),
    "wrong table": (text_of().replace("[training]", "[trainign]"), 2, ("trainign", 'did you mean "training"')),
    "missing key": (text_of().replace("seed = 7\n", ""), 2, ("federation.seed", "is missing")),
    "epsilon 0": (PRIVATE.replace("epsilon = 3.0", "epsilon = 0"), 2, ("privacy.epsilon = 0", "above 0")),
    "epsilon below 0": (PRIVATE.replace("epsilon = 3.0", "epsilon = -1.0"), 2, ("privacy.epsilon",)),
    "epsilon nan": (PRIVATE.replace("epsilon = 3.0", "epsilon = nan"), 2, ("privacy.epsilon",)),
    "delta 1": (PRIVATE.replace("delta = 1e-5", "delta = 1"), 2, ("privacy.delta = 1", "below 1")),
    "no TOML": ("[federation\n", 2, (":1", "is not TOML")),
    "not text": ("\x00\x01", 2, ("is not TOML",)),
    "minimum of one": (text_of(minimum=1), 3, ("cohort.minimum = 1", "cannot hide")),
    "minimum of two": (text_of(minimum=2, noise="distributed"), 3, ("cohort.minimum = 2", 'noise = "site"')),
    "minimum above the sites": (text_of(minimum=5), 4, ("3 sites, cohort.minimum is 5",)),
    "cohort above the sites": (text_of(size=4), 4, ("cohort.size is 4",)),
    "a delta for a handful": (PRIVATE.replace("delta = 1e-5", "delta = 0.1"), 3, ("privacy.delta", "below 1/N")),
    "local steps under one noise": (
        text_of(noise="distributed", local_steps=2),
        3,
        ("training.local_steps = 2", "is not covered"),
    ),
    "unknown metric": (text_of().replace('"auc"', '"acu"'), 2, ('"acu" is unknown', 'did you mean "auc"')),
    "epsilon without noise": (
        text_of().replace('noise = "none"', 'noise = "none"\nepsilon = 1.0'),
        2,
        ("privacy.epsilon = 1.0", 'noise = "none"'),
    ),
}  # fmt: skip

BAD_FILES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "missing column": (f"age,ward,sick\n{MARKER},a,yes\n".encode(), ('has no column "dose"',)),
    "misspelled column": (
        f"age,doze,ward,sick\n40,{MARKER},a,yes\n".encode(),
        ('"dose"', 'did you mean "doze"'),
    ),
    "unknown category": (f"{HEADER}{GOOD}40,0.5,ward-{MARKER},yes\n".encode(), ("row 3", '"ward"')),
    "unknown class": (f"{HEADER}{GOOD}{GOOD}40,0.5,a,{MARKER}\n".encode(), ("row 4", '"sick"')),
    "text in a numeric column": (f"{HEADER}{GOOD}about {MARKER},0.5,a,yes\n".encode(), ("row 3", '"age"')),
    "not finite": (f"{HEADER}{GOOD}nan,{MARKER},a,yes\n".encode(), ("row 3", '"age"')),
    "empty cell": (f"{HEADER}{GOOD},{MARKER},a,yes\n".encode(), ("row 3", '"age"', "is empty")),
    "too many cells": (f"{HEADER}{GOOD}40,0.5,a,yes,{MARKER}\n".encode(), ("row 3", "5 cells")),
    "empty": (b"", ("is empty",)),
    "header only": (HEADER.encode(), ("has a header and no rows",)),
    "no header": (f"{MARKER},0.5,a,yes\n{GOOD}".encode(), ("has no column",)),
    "binary": (b"\x89PNG\r\n\x1a\n\0\0" + MARKER.encode(), ("is a binary file",)),
    "another alphabet": (HEADER.encode() + b"40,0.5,\xff" + MARKER.encode() + b",yes\n", ("row 2", "UTF-8")),
    "a pair of stray quotes": (
        f'note,{HEADER}x,{GOOD}"x,{GOOD}{f"x,{GOOD}" * 30}{MARKER}",{GOOD}'.encode(),
        ("row 3", "a quote opens a cell whose lines look like rows"),
    ),
    "semicolons": (
        (HEADER + GOOD).replace(",", ";").replace("0.5", MARKER + ",5").encode(),
        ("separated by semicolons", "with commas"),
    ),
    "UTF-16": ((HEADER + GOOD + MARKER).encode("utf-16"), ("is UTF-16 text", "UTF-8")),
    "a packed file": (
        gzip.compress((HEADER + GOOD + MARKER).encode(), mtime=0),
        ("is compressed by gzip", "unpack it"),
    ),
    "a workbook": (
        b"PK\x03\x04....[Content_Types].xml" + MARKER.encode(),
        ("is an Excel workbook", "save it as CSV"),
    ),
    "many at once": (
        f"{HEADER}{GOOD}{'?,0.5,a,yes' + chr(10)}{GOOD}".encode()
        + f"?,{MARKER} mg,a,{MARKER}\n".encode() * 59,
        (
            'row 3, column "age"',
            "(60 rows: 3, 5, 6, ...)",
            'row 5, column "dose"',
            "(59 rows:",
            'column "sick"',
        ),
    ),
    "the header twice": (f"{HEADER}{GOOD}\ufeff{HEADER}{GOOD}".encode(), ("row 3", "the header once more")),
    "a stray quote": (f'{HEADER}{GOOD}"40"{MARKER},0.5,a,yes\n'.encode(), ("row 3",)),
}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sites(tmp_path_factory.mktemp("good") / "sites")


@pytest.fixture
def simulate(command: Command, tmp_path: Path) -> Callable[..., Outcome]:
    """`federation simulate` with a plan's text, into a folder of the test's own."""

    def call(text: str, sites: Path, run: str = "run", *more: str) -> Outcome:
        (tmp_path / "plan.toml").write_text(text)
        return command("simulate", tmp_path / "plan.toml", "--sites", sites, "--out", tmp_path / run, *more)

    return call


def check_one_line(done: Outcome, code: int, words: tuple[str, ...]) -> None:
    """What every error owes its reader."""
    assert done.code == code, done.err
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert done.err.endswith("\n")
    assert done.err.count("\n") == 1, done.err
    assert "Traceback" not in done.err
    assert "; " in done.err, "it says what to do"
    assert MARKER not in done.err
    for word in words:
        assert word in done.err


@pytest.mark.parametrize("name", BAD_PLANS)
def test_a_bad_plan_is_one_line_with_file_line_and_key(
    name: str, simulate: Callable[..., Outcome], good: Path, tmp_path: Path
) -> None:
    text, code, words = BAD_PLANS[name]
    check_one_line(simulate(text, good), code, words)
    assert not (tmp_path / "run").exists(), "nothing was begun"


@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("engine", ["vectorized", "protocol"])
def test_a_bad_file_is_one_line_with_file_row_and_column_and_no_value(
    name: str, engine: str, simulate: Callable[..., Outcome], tmp_path: Path
) -> None:
    content, words = BAD_FILES[name]
    sites = write_sites(tmp_path / "sites", 4)
    (sites / "cedar.csv").write_bytes(content)
    check_one_line(simulate(text_of(), sites, "run", "--engine", engine), 2, ("cedar.csv", *words))
    assert not (tmp_path / "run").exists(), "nothing was begun"


def test_a_plan_s_mistake_names_its_line(
    simulate: Callable[..., Outcome], good: Path, tmp_path: Path
) -> None:
    done = simulate(PRIVATE.replace("delta = 1e-5", "delta = 1"), good)
    line = PRIVATE.split("\n").index("delta = 1e-5") + 1
    assert done.err.startswith(f"error: {tmp_path / 'plan.toml'}:{line} privacy.delta = 1: ")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "nowhere", ("there is no such folder",)),
        (lambda folder: folder, ("holds no sites",)),
    ],
    ids=["no folder", "no sites"],
)
def test_a_folder_without_sites_is_one_line(
    make: Callable[[Path], Path], words: tuple[str, ...], simulate: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "sites").mkdir()
    check_one_line(simulate(text_of(), make(tmp_path / "sites")), 2, words)


CODES = text_of().replace('["a", "b", "c"]', '["39733011000001106", "250.0", "1234", "100", "7"]')


@pytest.mark.parametrize("code", ["39733011000001104", "250.00", "250", "01234", "1E2", "7.0"])
def test_a_code_is_not_another_that_is_equal_as_a_number(
    code: str, simulate: Callable[..., Outcome], tmp_path: Path
) -> None:
    sites = write_sites(tmp_path / "sites", 4)
    for path in sites.iterdir():
        text = path.read_text()
        for letter, value in zip("abc", ("39733011000001106", "250.0", "1234"), strict=True):
            text = text.replace(f",{letter},", f",{value},")
        path.write_text(text)
    assert simulate(CODES, sites, "good").code == 0
    (sites / "cedar.csv").write_text(f"{HEADER}40,0.5,7,yes\n40,0.5,{code},yes\n")
    done = simulate(CODES, sites, "bad")
    check_one_line(done, 2, ("cedar.csv", 'row 3, column "ward"', "is not one of the plan's values"))
    assert code not in done.err


def test_what_is_odd_is_told_on_the_terminal_and_nowhere_else(
    simulate: Callable[..., Outcome], good: Path, tmp_path: Path
) -> None:
    copytree(good, tmp_path / "sites")
    plain = simulate(text_of(), tmp_path / "sites", "plain", "--json")
    (tmp_path / "sites" / "README.md").write_text("")
    (tmp_path / "sites" / "Thumbs.db").write_text("")
    odd = simulate(text_of(), tmp_path / "sites", "odd", "--json")
    assert (plain.code, odd.code) == (0, 0)
    new = [line for line in odd.err.splitlines() if line not in plain.err.splitlines()]
    (line,) = [line for line in new if not line.endswith(" ...")]  # a stage is told where it takes long
    assert line.startswith(
        f"warning: {tmp_path / 'sites'}: passed over README.md, Thumbs.db: no site's data; "
    )
    for run in ("plain", "odd"):
        assert not any(
            b"README" in file.read_bytes() for file in (tmp_path / run).rglob("*") if file.is_file()
        )
    assert plain.json["evaluation"] == odd.json["evaluation"]


def test_sites_with_and_without_test_files_are_told_apart(
    simulate: Callable[..., Outcome], good: Path, tmp_path: Path
) -> None:
    sites = copytree(good, tmp_path / "sites")
    (sites / "ash").mkdir()
    (sites / "ash.csv").rename(sites / "ash" / "train.csv")
    (sites / "ash" / "test.csv").write_text(HEADER + GOOD + "30,-0.5,b,no\n")
    done = simulate(text_of(), sites)
    assert done.code == 0
    assert "birch, cedar (2 of 3 sites) hold no test file: 0.25 of their records are held out" in done.err
    done = simulate(text_of(holdout=0.0), sites, "none")
    assert done.code == 0 and "evaluation.holdout is 0: they are not evaluated, the others are" in done.err


def with_rules(folder: Path, policy: str) -> Path:
    """Three sites, of which elm brought a site.toml and a journal of its own."""
    write_sites(folder, 2)
    write_csv(folder / "elm" / "train.csv", rows_of(4, 30))
    create(folder / "elm" / "keys", "elm", "Elm", 30)
    (folder / "elm" / "site.toml").write_text(
        f"""
        [site]
        id = "elm"
        keys = "keys"
        journal = "journal.sqlite"
        [data]
        source = "train.csv"
        pool = "patients"
        [policy]
        cohort_minimum = 3
        tasks = ["tabular-classification"]
        {policy}
        """
    )
    return folder


ALLOWS = 'epsilon_max = 4.0\n delta_max = 1e-5\n noise = ["distributed"]'


@pytest.mark.parametrize("engine", ["vectorized", "protocol"])
def test_a_budget_that_is_spent_releases_nothing(
    simulate: Callable[..., Outcome], tmp_path: Path, engine: str
) -> None:
    """Epsilon 4 pays for one run of epsilon 3, whatever the folder and whatever the seed of the second."""
    sites = with_rules(tmp_path / "sites", ALLOWS)
    first = simulate(PRIVATE, sites, "first", "--engine", engine, "--json")
    assert first.code == 0
    assert "without_privacy" not in first.json["evaluation"]["baselines"], (
        "its records are not for comparisons"
    )
    releases = (sites / "elm" / "journal.sqlite").read_bytes().count(b"release")
    done = simulate(PRIVATE.replace("seed = 7", "seed = 8"), sites, "second", "--engine", engine)
    check_one_line(done, 3, ("epsilon 4", "3 is spent"))
    left = {path.name for path in (tmp_path / "second").rglob("*")}
    assert not left & {"params.safetensors", "report.json", "receipts.jsonl"}
    assert (sites / "elm" / "journal.sqlite").read_bytes().count(b"release") == releases
    again = simulate(PRIVATE, sites, "first", "--engine", engine, "--json")
    assert again.json == first.json, "reading the finished run again is free"


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (ALLOWS.replace("4.0", "2.0"), ("policy.epsilon_max",)),
        (ALLOWS.replace("1e-5", "1e-6"), ("policy.delta_max",)),
        (ALLOWS.replace("distributed", "site"), ("policy.noise",)),
    ],
    ids=["epsilon", "delta", "noise"],
)
def test_a_policy_that_says_no_is_one_line(
    policy: str, words: tuple[str, ...], simulate: Callable[..., Outcome], tmp_path: Path
) -> None:
    sites = with_rules(tmp_path / "sites", policy)
    check_one_line(simulate(PRIVATE, sites), 3, words)
    assert not list(tmp_path.rglob("*.sqlite")), "no journal was touched"


def test_a_journal_that_was_edited_is_one_line(simulate: Callable[..., Outcome], tmp_path: Path) -> None:
    sites = with_rules(tmp_path / "sites", ALLOWS)
    (sites / "elm" / "journal.sqlite").write_bytes(b"not a journal" + MARKER.encode())
    check_one_line(simulate(PRIVATE, sites), 3, ("journal.sqlite",))


def test_without_a_mistake_there_is_no_error(
    simulate: Callable[..., Outcome], good: Path, tmp_path: Path
) -> None:
    """The control of this file: its checks are not met by a good run."""
    copytree(good, tmp_path / "sites")
    done = simulate(text_of(), tmp_path / "sites")
    assert done.code == 0
    assert "error" not in done.err
