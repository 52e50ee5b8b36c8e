"""What is missing is asked for, or named all at once where nobody is there to ask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clients.drafting.answers import Given, drafted
from clients.drafting.invitation import invite
from clients.drafting.sites import made
from clients.policy import load_site
from clients.preflight.plans import missing_plans, plans_at_hand
from federation.errors import InputError, UnusableFile
from federation.identity.keys import create
from federation.plan.plan import Plan
from tests.clients.drafting.drafts import given_in


class Person:
    """Answers questions by words in them, and remembers what was asked."""

    def __init__(self, **answers: str) -> None:
        self.answers, self.asked = answers, list[str]()

    def __call__(self, question: str, otherwise: str) -> str:
        self.asked.append(question)
        return next(
            (said for word, said in self.answers.items() if word.replace("_", " ") in question), otherwise
        )


def invitation_in(folder: Path) -> Path:
    given = given_in(folder)
    assert given.plan is not None
    path = folder / "invite.toml"
    found = invite(given.plan, given.consortium, None, given.address, given.certificate)
    path.write_text(found.to_toml("invite.toml"), "utf-8")
    return path


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        drafted(Given(), None)
    assert str(error.value).startswith("missing: --id, --invite (or --plan), --data, --size; give it")
    with pytest.raises(InputError, match="missing: --consortium, --size"):
        drafted(given_in(tmp_path, size=None, consortium=()), None)
    assert not (tmp_path / "site").exists()


def test_an_invitation_a_name_records_and_a_size_are_enough(tmp_path: Path) -> None:
    whole = drafted(given_in(tmp_path), None)
    invited = Given(
        id="cleveland", invite=invitation_in(tmp_path), data=whole.data, size=60, folder=tmp_path / "b"
    )
    draft = drafted(invited, None)
    assert draft.invitation is not None
    assert (
        replace(
            draft,
            folder=whole.folder,
            certificate=whole.certificate,
            invitation=None,
            policy=draft.policy.model_copy(update={"plan_files": whole.policy.plan_files}),
        )
        == whole
    )
    pinned = tmp_path / "b" / "ca.crt"
    assert (draft.certificate, draft.pool, draft.organization) == (pinned, "cleveland", "cleveland")
    assert (tmp_path / "b" / "plan.toml").read_text() == (tmp_path / "plan.toml").read_text()
    assert drafted(invited, None) == draft, (
        "parts that are there already, with the same content, are no obstacle"
    )
    (tmp_path / "b" / "plan.toml").write_text("another")
    with pytest.raises(UnusableFile, match="exists already"):
        drafted(invited, None)


@pytest.mark.parametrize("kind", ["invitation", "plan"])
def test_a_person_is_asked_for_the_rest(kind: str, tmp_path: Path) -> None:
    path = invitation_in(tmp_path)
    person = Person(
        id="basel",
        invitation=str(path if kind == "invitation" else tmp_path / "plan.toml"),
        file_with_the_records=str(tmp_path / "heart.csv"),
        many="61",
        owns="Clinic",
        people="cardiology",
        signs=str(tmp_path / "consortium.pub"),
        HOST="fed.example.org:1",
        certificate=str(tmp_path / "ca.crt"),
    )
    draft = drafted(Given(folder=tmp_path / "c"), person)
    assert (draft.id, draft.size, draft.organization, draft.pool) == ("basel", 61, "Clinic", "cardiology")
    assert draft.address == ("fed.example.org:8443" if kind == "invitation" else "fed.example.org:1")
    assert len(person.asked) == (6 if kind == "invitation" else 9)


def test_what_was_said_is_not_asked_again(tmp_path: Path) -> None:
    person = Person()
    drafted(given_in(tmp_path, pool="p", organization="o"), person)
    assert person.asked == []


def test_a_coordinator_may_be_named_later(tmp_path: Path) -> None:
    draft = drafted(given_in(tmp_path, address=None, certificate=None), Person())
    assert (draft.address, draft.certificate) == (None, None)


def test_join_finds_the_plan_that_was_named_by_itself(tmp_path: Path) -> None:
    draft = drafted(given_in(tmp_path), None)
    with made(draft):
        rules = load_site(draft.path)
    found = plans_at_hand(rules, draft.path, [])
    assert list(missing_plans(rules, [plan for plan in found.values() if isinstance(plan, Plan)])) == []
    beside = replace(given_in(tmp_path), folder=tmp_path)
    assert "plan_files" not in drafted(beside, None).text


@pytest.mark.parametrize("said", ["", "many", "0", "-3", "3.5", "³"])
def test_a_size_is_a_whole_number(said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no number of records"):
        drafted(given_in(tmp_path, size=None), Person(many=said))


@pytest.mark.parametrize("name", ["../x", "a b", "", "-x", "x" * 65])
def test_an_id_that_is_none_is_refused_before_anything_is_looked_at(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing: --id|cannot be a site's id"):
        drafted(given_in(tmp_path, id=name), None)


def test_an_invitation_and_its_parts_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="--plan, --consortium, --address, --certificate: an invitation brings that"
    ):
        drafted(given_in(tmp_path, invite=invitation_in(tmp_path)), None)
    with pytest.raises(InputError, match="goes with the --certificate"):
        drafted(given_in(tmp_path, certificate=None), None)


def test_a_key_of_another_role_signs_no_roster(tmp_path: Path) -> None:
    from federation.identity.roles import create_coordinator, make_identity

    create_coordinator(tmp_path, "coordinator")
    make_identity("site", tmp_path, "basel", "Basel", 30, None)
    make_identity("node", tmp_path, "bern", "", 1, None)
    for name, what in (("coordinator", "the coordinator"), ("basel", "a site"), ("bern.node", "a node")):
        with pytest.raises(InputError, match=rf"{name}\.pub: is the key of {what}; name the \.pub"):
            drafted(given_in(tmp_path, consortium=(tmp_path / f"{name}.pub",)), None)


def test_all_keys_of_a_consortium_have_to_sign_unless_fewer_are_asked_for(tmp_path: Path) -> None:
    create(tmp_path, "second", "The other", 1)
    both = (tmp_path / "consortium.pub", tmp_path / "second.pub")
    assert drafted(given_in(tmp_path, consortium=both), None).consortium.quorum == 2
    assert drafted(given_in(tmp_path, consortium=both, quorum=1), None).consortium.quorum == 1
    with pytest.raises(InputError, match="quorum = 3: is more than the 2 keys"):
        drafted(given_in(tmp_path, consortium=both, quorum=3), None)
    with pytest.raises(InputError, match="distinct public keys"):
        drafted(given_in(tmp_path, consortium=both[:1] * 2), None)


def test_an_address_or_certificate_that_is_none_is_told_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'address = "http://x": is a URL'):
        drafted(given_in(tmp_path, address="http://x"), None)
    with pytest.raises(InputError, match=r"heart\.csv.*is no certificate in PEM form"):
        drafted(given_in(tmp_path, certificate=tmp_path / "heart.csv"), None)
    assert not (tmp_path / "site").exists()
