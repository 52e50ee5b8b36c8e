"""A person withdraws at a site, or consents anew: what the list, the site's people and nobody else get to know."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.journal.lock import alone
from clients.people.asking import Seen, listed, withdraw
from clients.people.listed import list_path, load_list
from clients.policy import load_site
from federation.errors import InputError, SiteFileError, SiteRunning
from privacy.errors import LedgerRefusal
from tests.clients.people.houses import NOISED, THREE, build, entries_of, staffed
from tests.worlds import plan_of

PLAN = plan_of(NOISED)
DAY = "2026-11-29"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("houses")
    build(folder, PLAN)
    return folder


@pytest.fixture
def house(built: Path, tmp_path: Path) -> Path:
    """The files of one hospital, as they were built."""
    import shutil

    shutil.copytree(built, tmp_path / "sites")
    return tmp_path / "sites" / f"{THREE[0]}.toml"


def test_who_withdraws_is_told_apart_from_who_had_before_and_from_who_is_not_there(house: Path) -> None:
    told = withdraw(house, ["P0001", " P0004 ", "nobody", "P0001"], DAY)
    assert (told.new, told.already, told.seen) == (3, 0, Seen(rows=4, absent=1, alike=0))
    again = withdraw(house, ["P0001", "p0006"], DAY)
    assert (again.new, again.already) == (1, 1)
    assert again.seen == Seen(rows=2, absent=1, alike=1), "P0006 is there in capitals"
    assert len(again.known.marks()) == 4


def test_without_a_column_nobody_can_withdraw(house: Path) -> None:
    house.write_text(house.read_text().replace('person = "mrn"\n', ""))
    with pytest.raises(
        SiteFileError, match=r'data.person: is missing; name the column .* such as person = "mrn"'
    ):
        withdraw(house, ["P0001"], DAY)
    assert not list_path(load_site(house)).exists()


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ([], "standard input holds no id"),
        (["P1", "  "], "line 2 is empty"),
        (["NA"], "line 1 names nobody: a mark for missing"),
        (["1.2E+11"], "line 1 is an identifier turned into a number with an exponent"),
    ],
)
def test_what_names_nobody_is_refused_without_being_shown(house: Path, ids: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        withdraw(house, ids, DAY)
    assert "1.2E" not in str(error.value)
    assert not list_path(load_site(house)).exists()


def test_data_that_cannot_be_read_keep_nobody_from_withdrawing(house: Path) -> None:
    (house.parent / f"{THREE[0]}.csv").unlink()
    told = withdraw(house, ["P0001"], DAY)
    assert (told.new, told.seen) == (1, None)


def test_a_running_site_may_be_told_but_for_what_its_process_cannot_know(house: Path) -> None:
    with staffed(house.parent), alone(load_site(house).journal):
        assert withdraw(house, ["P0001"], DAY).new == 1
        for how in ({"undo": True}, {"anew": True}):
            with pytest.raises(SiteRunning):
                withdraw(house, ["P0001"], DAY, **how)


def test_a_process_that_began_without_a_column_is_stopped_first(house: Path) -> None:
    """It has not noted whose the records are: it could only refuse its next round, which everybody would see."""
    with_column = house.read_text()
    house.write_text(with_column.replace('person = "mrn"\n', ""))
    with staffed(house.parent), alone(load_site(house).journal):
        house.write_text(with_column)
        with pytest.raises(SiteRunning):
            withdraw(house, ["P0001"], DAY)
    assert withdraw(house, ["P0001"], DAY).new == 1


def test_consent_anew_takes_them_off_the_list(house: Path) -> None:
    withdraw(house, ["P0001", "P0004"], DAY)
    told = withdraw(house, ["P0001", "P0002"], DAY, undo=True)
    assert (told.new, told.already, len(told.known.marks())) == (1, 1, 1)
    assert len(told.known.lines) == 3


def test_a_lost_list_is_made_anew_and_nothing_replaces_one_that_is_there(house: Path) -> None:
    withdraw(house, ["P0001"], DAY)
    place = list_path(load_site(house))
    with pytest.raises(LedgerRefusal, match="nothing replaces it"):
        withdraw(house, ["P0001"], DAY, anew=True)
    before = load_list(place)
    place.unlink()
    with staffed(house.parent):
        pass  # its ledger says nothing of a list yet
    place.unlink()
    told = withdraw(house, ["P0001", "P0004"], DAY, anew=True)
    assert told.known.secret != before.secret
    assert (told.new, told.known.since) == (2, entries_of(house.parent)[-1].seq)


def test_a_site_without_ledger_and_list_has_nothing_to_show(house: Path) -> None:
    assert listed(house) is None
    with staffed(house.parent):
        pass
    told = listed(house)
    assert told is not None and not told.gone and not told.releases
