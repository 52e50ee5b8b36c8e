"""What leaves a site that cannot or will not answer: a reason of one byte, whatever happened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.policy import Policy
from clients.site import Site
from clients.training.work import Trainer
from federation.errors import DataError, TooFewSurvivors, TrainingDiverged
from federation.plan.plan import Plan, parse
from federation.round.messages import Frame, Kind, Reason, abort_reason
from privacy.errors import (
    BudgetExceeded,
    JournalMisuse,
    LedgerCorrupt,
    LedgerRefusal,
    PolicyViolation,
    PrivacyError,
    ProtocolError,
    RecordsUnavailable,
)
from tests.clients.sites import (
    RUN,
    SIZES,
    SMALL,
    Round,
    hello,
    invite,
    joined,
    kinds,
    make_plan,
    make_site,
    make_terms,
    refused,
)
from tests.plans import text_of

QUOTED = "Jane Doe, born 1970, HIV positive"


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site in the middle of a round."""
    plan = make_plan()
    site = joined(tmp_path_factory.mktemp("listening"), plan)["berlin"]
    site.receive(invite(make_terms(plan)))
    return site


FRAMES = st.builds(
    Frame,
    kind=st.sampled_from(Kind),
    run=st.sampled_from([RUN, bytes(16)]),
    round=st.integers(0, 6),
    attempt=st.integers(0, 3),
    body=st.binary(max_size=300),
)


ABORT_SIZE = len(Frame(Kind.ABORT, bytes(16), 0, 0, b"1").to_bytes())


@settings(max_examples=300, deadline=None)
@given(data=st.one_of(st.binary(max_size=300), FRAMES.map(Frame.to_bytes)))
def test_any_bytes_get_one_frame_with_nothing_but_a_reason(data: bytes, listening: Site) -> None:
    reply = listening.receive(data)
    frame = Frame.from_bytes(reply)
    assert (frame.kind, len(reply)) == (Kind.ABORT, ABORT_SIZE)
    assert abort_reason(frame.body) in Reason
    assert isinstance(listening.last_error, PrivacyError)


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_an_altered_invitation_gets_a_reason_or_fresh_keys(place: int, flip: int, listening: Site) -> None:
    altered = bytearray(invite(make_terms(make_plan())))
    altered[place % len(altered)] ^= flip
    frame = Frame.from_bytes(listening.receive(bytes(altered)))
    assert frame.kind in (Kind.ABORT, Kind.ADVERT)


class Leaky(Exception):
    """An exception as a library may raise it, with a record in its text."""


@pytest.mark.parametrize("where", ["load", "train"])
def test_what_an_exception_says_stays_at_the_site(where: str, tmp_path: Path) -> None:
    plan = make_plan()
    sites = joined(tmp_path, plan)

    def fail(_: Any) -> Any:
        raise Leaky(QUOTED)

    if where == "load":
        site = make_site(tmp_path / "leaky", plan, "berlin", 24, load=fail)
        reply = site.receive(hello(plan))
    else:
        site, terms = sites["berlin"], make_terms(plan)
        assert site._joined is not None
        site._joined.trainer = replace(site._joined.trainer, stream=fail)
        played = Round(terms, sites)
        with pytest.raises(TooFewSurvivors):
            played.play()
        reply = played.replies["berlin", Kind.BROADCAST]
    frame = Frame.from_bytes(reply)
    assert (frame.kind, abort_reason(frame.body)) == (Kind.ABORT, Reason.FAILED)
    assert len(frame.body) == 1
    assert not any(word.encode() in reply for word in QUOTED.replace(",", "").split())
    if where == "load":  # nobody has read a record yet
        assert isinstance(site.last_error, Leaky)
    else:
        assert str(site.last_error).startswith("training failed with Leaky;")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BudgetExceeded("x"), Reason.BUDGET),
        (PolicyViolation("x"), Reason.POLICY),
        (LedgerRefusal("x"), Reason.POLICY),
        (JournalMisuse("x"), Reason.POLICY),
        (LedgerCorrupt("x", "cut"), Reason.FAILED),
        (RecordsUnavailable("x"), Reason.FAILED),
        (ProtocolError("x"), Reason.PROTOCOL),
        (TrainingDiverged("x"), Reason.DIVERGED),
        (PrivacyError("x"), Reason.FAILED),
        (DataError("x"), Reason.FAILED),
        (ValueError("x"), Reason.FAILED),
        (MemoryError(), Reason.FAILED),
    ],
)
def test_every_exception_has_its_reason(error: Exception, reason: Reason, tmp_path: Path) -> None:
    plan = make_plan()
    site = make_site(tmp_path, plan, "berlin", 24)

    def policy() -> Policy:
        raise error

    site.policy = policy
    assert refused(site, hello(plan)) is reason
    assert site.last_error is error


def test_a_keyboard_interrupt_is_not_an_answer(tmp_path: Path) -> None:
    plan = make_plan()

    def load(_: Plan) -> Trainer:
        raise KeyboardInterrupt

    site = make_site(tmp_path, plan, "berlin", 24, load=load)
    with pytest.raises(KeyboardInterrupt):
        site.receive(hello(plan))


def test_training_that_leaves_the_ring_says_so(tmp_path: Path) -> None:
    plan = make_plan("record", "none", learning_rate=1e6)
    sites, terms = joined(tmp_path, plan), make_terms(plan)
    with pytest.raises(TooFewSurvivors):
        played = Round(terms, sites)
        played.play()
    reply = Frame.from_bytes(played.replies["berlin", Kind.BROADCAST])
    assert abort_reason(reply.body) is Reason.DIVERGED
    assert isinstance(sites["berlin"].last_error, TrainingDiverged)
    assert "learning_rate" in sites["berlin"].last_error.hint


def test_a_site_shows_nothing_of_its_data(tmp_path: Path) -> None:
    site = joined(tmp_path, make_plan())["berlin"]
    assert "tensor" not in repr(site)
    assert "Stream" not in repr(site)


def test_a_site_lets_go_of_its_journal(tmp_path: Path) -> None:
    plan = make_plan()
    site = make_site(tmp_path, plan, "berlin", 24)
    site.close()
    assert refused(site, hello(plan)) is Reason.FAILED


@pytest.mark.parametrize("code", ["", "sha256:" + 64 * "0"])
@pytest.mark.parametrize("module", ["no_such_study", "tests.clients.sites"])
def test_code_that_is_not_there_or_not_pinned_is_told_as_that_and_nothing_is_charged(
    code: str, module: str, tmp_path: Path
) -> None:
    """Before the budget is touched, whatever the data are. `sites` is there, and no task of that name is in it."""
    changes: dict[str, object] = {"federation.code": code} if code else {}
    text = text_of(SMALL, {"task": None, "noise": "none", **changes})
    plan = parse(f'task = "{module}:task"\n{text}')
    site = make_site(tmp_path, make_plan(), "berlin", SIZES["berlin"], policy=Policy.for_plan(plan))
    assert refused(site, hello(plan)) is Reason.CODE
    assert kinds(site) == ["genesis"]
    assert (
        "pins" in str(site.last_error) if code and module != "no_such_study" else "no" in str(site.last_error)
    )
