"""Nothing leaves beside the release: what a site sends has a form that its data have no say in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from clients.site import Site
from clients.training.work import Trainer, site_stream
from federation.errors import DataError, TooFewSurvivors
from federation.model.task import Dataset, build_task
from federation.plan.plan import Plan
from federation.round.messages import Broadcast, Frame, Kind, Paired, Reason, Welcome
from server.memory.heads import Heads
from tests.clients.sites import (
    ROSTER,
    SIZES,
    Round,
    closing,
    hello,
    make_data,
    make_plan,
    make_site,
    make_sites,
    make_terms,
)

PARAMS = bytes([1]) * 32


def plain(size: int) -> Dataset:
    return make_data(size, 3)


def one_more(size: int) -> Dataset:
    return make_data(size + 1, 4)


def many_more(size: int) -> Dataset:
    return make_data(5 * size, 5)


def hardly_any(size: int) -> Dataset:
    return make_data(1, size)


def one_class(size: int) -> Dataset:
    return Dataset(make_data(size, 6).features, torch.ones(size, dtype=torch.int64))


def poisoned(size: int) -> Dataset:
    data = make_data(size, 7)
    data.features[0] = torch.tensor([float("nan"), float("inf")])
    data.features[1] = 3e38
    return data


CONTENTS = (plain, one_more, many_more, hardly_any, one_class, poisoned)


class Listening:
    """Sites, and the size of every frame that leaves berlin, in order, with what it says in the clear."""

    def __init__(self, folder: Path, plan: Plan, content: Callable[[int], Dataset]) -> None:
        self.sites: dict[str, Any] = dict(make_sites(folder, plan))
        trainer = Trainer(
            build_task(plan), content(SIZES["berlin"]), lambda n: site_stream(plan, "berlin", n)
        )
        self.berlin = make_site(folder / "own", plan, "berlin", SIZES["berlin"], load=lambda _: trainer)
        self.sites["berlin"] = self
        self.heard: list[tuple[str, int]] = []

    def receive(self, data: bytes) -> bytes:
        reply = self.berlin.receive(data)
        self.heard.append((Frame.from_bytes(reply).kind.name, len(reply)))
        return reply


def whole_run(
    folder: Path, plan: Plan, content: Callable[[int], Dataset]
) -> tuple[list[tuple[str, int]], Site]:
    """Greeting, rounds with and without preparation, closing."""
    heard, heads = Listening(folder, plan, content), Heads(ROSTER)
    for site in heard.sites.values():
        assert Frame.from_bytes(site.receive(hello(plan))).kind is Kind.WELCOME
    first, second = make_terms(plan), make_terms(plan, round=2, attempt=2)
    played = Round(first, heard.sites, following=second, heads=heads).play()
    Round.prepared(played).play()
    Round(make_terms(plan, round=3, attempt=9), heard.sites, heads=heads).play()
    heard.receive(closing(plan, PARAMS))
    return heard.heard, heard.berlin


@pytest.mark.parametrize("noise", ["distributed", "site"])
def test_the_frames_of_a_whole_run_are_as_long_whatever_the_data_are(noise: str, tmp_path: Path) -> None:
    """DP-48: no count of records or steps, no loss, no metric; and one or five times the records look the same."""
    plan = make_plan("record", noise, sample_rate=0.5)
    heard = {
        content.__name__: whole_run(tmp_path / content.__name__, plan, content)[0] for content in CONTENTS
    }
    assert len(heard["plain"]) == 12  # greeting; 4 + 2 + 4 replies; closing
    for name, sizes in heard.items():
        assert sizes == heard["plain"], name


@pytest.mark.parametrize("content", CONTENTS)
def test_what_a_ledger_says_does_not_depend_on_the_data(
    content: Callable[[int], Dataset], tmp_path: Path
) -> None:
    """DP-48: peers and auditors read it, so beside digests it holds what the plan and the messages say."""
    plan = make_plan(sample_rate=0.5)

    def said(site: Site) -> list[tuple[str, Any]]:
        unlike = ("hash", "commitment", "heads", "question", "root", "salt", "at")  # `at`: of the clock alone
        return [
            (entry.kind, {key: value for key, value in entry.body.items() if key not in unlike})
            for entry in site.journal.entries()
        ]

    _, one = whole_run(tmp_path / "one", plan, plain)
    _, other = whole_run(tmp_path / "other", plan, content)
    assert said(one) == said(other)


def test_a_round_s_reply_has_no_place_for_anything_else() -> None:
    """DP-48: an extra metric, an extra array, the exact number of examples; bytes after the end are malformed."""
    fields: dict[type, list[str]] = {
        Welcome: [
            *("member", "plan_digest", "noise_multiplier", "root", "greeting", "head"),
            *(
                "dimension",
                "signature",
                "heads",
            ),  # the dimension is the plan's model's, whatever the data are
        ],
        Paired: ["own", "following", "heads"],
        Broadcast: ["params", "shares", "heads"],
        Frame: ["kind", "run", "round", "attempt", "body", "signature"],
    }
    for message, names in fields.items():
        assert [field.name for field in dataclasses.fields(message)] == names


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Jane Doe, born 1970: HIV positive " * 50),
        IndexError(987654),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (7x3 and 2x2)"),
        DataError("row 17 of berlin.csv"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_in_the_users_code_leaves_one_byte(error: Exception, tmp_path: Path) -> None:
    """DP-48: a long error string is blocked, at loading as in the middle of training."""
    plan = make_plan()

    def failing(*_: object) -> Any:
        raise error

    site = make_site(tmp_path / "load", plan, "berlin", 24, load=failing)
    at_loading = site.receive(hello(plan))
    listening = Listening(tmp_path / "train", plan, plain)
    for other in listening.sites.values():
        other.receive(hello(plan))
    joined = listening.berlin._joined
    assert joined is not None
    joined.trainer = replace(joined.trainer, task=replace(joined.trainer.task, loss=failing))
    played = Round(make_terms(plan), listening.sites)
    with pytest.raises(TooFewSurvivors):
        played.play()
    in_training = played.replies["berlin", Kind.BROADCAST]
    for reply in (at_loading, in_training):
        frame = Frame.from_bytes(reply)
        assert (frame.kind, frame.body) == (Kind.ABORT, bytes([Reason.FAILED]))
        assert len(reply) == len(Frame(Kind.ABORT, bytes(16), 0, 0, b"1").to_bytes())
    assert "begin" in [entry.kind for entry in listening.berlin.journal.entries()]  # and it stays charged
