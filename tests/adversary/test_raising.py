"""A task's own code that trips over one record: neighboring sites look the same over a whole exchange.

`Touchy` behaves on every record but one. Of two neighboring sites one has that record, too. What the site with it
sends has the same form, message by message; the sums differ by at most the clipping norm, and by nothing at all
where the record contributes zero.
"""

from __future__ import annotations

import logging
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clients.site import Site
from clients.training.evaluating.held_out import figures
from clients.training.isolation import Tally, apart, attempt, listening
from clients.training.sums import PER_RECORD, ROUTES, clipped_sums
from clients.training.work import Trainer, contribution, site_stream
from federation.model.task import Dataset, Task, cross_entropy
from federation.plan.plan import Plan
from federation.round.messages import Frame, Kind
from privacy.mechanism.noise import SIGMA, Stream
from server.memory.heads import Heads
from tests.clients.sites import (
    ROSTER,
    SIZES,
    Round,
    closing,
    hello,
    key_of,
    make_data,
    make_params,
    make_plan,
    make_sites,
    make_terms,
)
from tests.clients.units import PRIVATE, owned

BAD = 40.0  # a reading of the one record; all others lie in [-1, 1]
RAISED: dict[str, type[BaseException]] = {
    "exit": SystemExit,
    "interrupt": KeyboardInterrupt,
    "recursion": RecursionError,
    "memory": MemoryError,
    "generator": GeneratorExit,
    "assertion": AssertionError,
    "warning": UserWarning,
}
ZERO = [*RAISED, "label", "shape", "number", "nan", "integers", "detached", "backward"]
NOT_ZERO = ["mixes", "moves", "remembers", "settings", "edits", "grad mode", "second call"]


class Backward(torch.autograd.Function):
    """Raises on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        if bool((ctx.saved_tensors[0] > 5).any()):
            raise RuntimeError(f"a reading of {float(ctx.saved_tensors[0].max())}")
        return grad


class Touchy(nn.Module):
    """A linear model that does `how` where a reading is above 5."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.layer, self.shift = how, nn.Linear(2, 2), 0.0

    def forward(self, x: Tensor) -> Tensor:
        if self.how != "label" and bool((x > 5).any()):
            x = self.trip(x)
        outputs: Tensor = self.layer(x) + self.shift
        if self.how == "backward":
            outputs = Backward.apply(outputs)  # type: ignore[no-untyped-call]
        return outputs.squeeze(0) if self.how == "shape" and bool((x > 5).any()) else outputs

    def trip(self, x: Tensor) -> Tensor:
        if self.how in RAISED:
            raise RAISED[self.how](f"a reading of {float(x.max())}")
        match self.how:
            case "nan":
                return x * torch.nan
            case "mixes":
                return x + 1000 * x.sum(dim=0)
            case "moves":
                self.layer.weight.data += 100
            case "remembers":
                self.shift = 100.0
            case "settings":
                torch.set_default_dtype(torch.float16)
                np.seterr(all="raise")
            case "grad mode":
                torch.set_grad_enabled(False)
            case "edits":
                x.mul_(-1)
            case "second call":
                self.shift += 1.0
        return x


def loss_for(how: str) -> Any:
    def loss(outputs: Tensor, labels: Tensor) -> Any:
        losses = cross_entropy(outputs, labels)
        if how in ("number", "integers", "detached") and bool((outputs.detach().abs() > 5).any()):
            return {"number": 1.5, "integers": losses.long(), "detached": losses.detach()}[how]
        return losses

    return loss


def task_of(how: str) -> Task:
    return Task("touchy", partial(Touchy, how), loss_for(how))


def neighbors(how: str, size: int = 24, seed: int = 24) -> tuple[Dataset, Dataset]:
    """A site's records, without and with the one; each a patient's own, but the one is its patient's second."""
    clean = make_data(size, seed)
    reading, label = ([0.5, 0.5], 7) if how == "label" else ([BAD, -BAD], 1)
    features = torch.cat([clean.features, torch.tensor([reading])])
    labels = torch.cat([clean.labels, torch.tensor([label])])
    return owned(clean), owned(
        Dataset(features, labels), torch.cat([torch.arange(size), torch.tensor([size])])
    )


def sent(plan: Plan, how: str, data: Dataset, tally: Tally | None = None) -> Any:
    """What a site sends, in grid steps, with noise that both neighbors share."""
    terms = make_terms(plan)
    trainer = Trainer(task_of(how), data, lambda _: Stream(key_of(how)), tally=tally or Tally())
    return terms.codec.from_ring(contribution(terms, "berlin", make_params(), trainer))


def allowed(plan: Plan) -> float:
    """The clipping norm in grid steps, and as much again for rounding."""
    terms = make_terms(plan)
    mechanism = terms.kind.mechanism(terms.parties)
    return float(SIGMA * np.sqrt(mechanism.shares) / mechanism.noise_multiplier)


# Sums.


@pytest.mark.parametrize(("unit", "noise"), [case for case in PRIVATE if case[0] != "client"])
@pytest.mark.parametrize("how", ZERO)
def test_a_record_that_raises_contributes_zero_and_takes_no_other_with_it(
    how: str, unit: str, noise: str
) -> None:
    """DP-57"""
    plan, (clean, more) = make_plan(unit, noise), neighbors(how)
    tally = Tally()
    assert np.array_equal(sent(plan, how, clean), sent(plan, how, more, tally))
    assert tally.raised == (0 if how == "nan" else 1)


@pytest.mark.parametrize("how", NOT_ZERO)
@pytest.mark.parametrize(("unit", "noise"), [("record", "distributed"), ("patient", "central")])
def test_code_whose_path_follows_one_record_moves_the_sum_by_that_record_alone(
    how: str, unit: str, noise: str
) -> None:
    plan, (clean, more) = make_plan(unit, noise), neighbors(how)
    moved = sent(plan, how, more) - sent(plan, how, clean)
    assert float(np.linalg.norm(moved)) <= allowed(plan)
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("how", [*ZERO, *NOT_ZERO])
@pytest.mark.parametrize("noise", ["site", "distributed", "central", "none"])
def test_a_plain_update_leaves_out_the_record_too(how: str, noise: str) -> None:
    """Under client units, and without privacy: the site answers, and what it sends has the same form."""
    plan, (clean, more) = make_plan("client", noise), neighbors(how)
    if (noise, how) == ("none", "mixes"):
        pytest.skip("without noise the sum of a site may well leave the ring")
    one, other = sent(plan, how, clean), sent(plan, how, more)
    assert one.shape == other.shape
    if (
        how in ZERO and how != "shape"
    ):  # in a batch it has none: a site that is protected whole is not taken apart
        assert np.abs(one - other).max() <= 1  # sums in float32, in another order


@pytest.mark.parametrize("route", [*ROUTES, "alone"])
@pytest.mark.parametrize("patients", [False, True])
@pytest.mark.parametrize("bad", [[0], [3, 4], [0, 5, 12], list(range(13))])
def test_every_route_in_every_piece_leaves_out_what_raises_and_nothing_else(
    route: str, patients: bool, bad: list[int]
) -> None:
    if patients and route not in PER_RECORD:
        pytest.skip("clips no patients")
    torch.manual_seed(0)
    model = nn.Linear(2, 3).double()
    features, labels = torch.randn(13, 2, dtype=torch.float64), torch.arange(13) % 3
    whose = torch.arange(13) // 2
    kept = torch.tensor([place for place in range(13) if place not in bad], dtype=torch.int64)
    labels[bad] = 9
    for memory in (1, 5 * 9 * 8, 2**20):
        tally = Tally()
        with clipped_sums(route, model, cross_entropy, 0.3, memory, tally) as gradient:
            found = gradient(features, labels, whose if patients else None)
        with clipped_sums(route, model, cross_entropy, 0.3) as gradient:
            expected = gradient(features[kept], labels[kept], whose[kept] if patients else None)
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)
        assert tally.raised == len(bad)


def test_an_index_out_of_an_embedding_is_left_out() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.out = nn.Embedding(5, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = self.out(self.table(x).mean(dim=1))
            return outputs

    torch.manual_seed(0)
    model, words = Words().double(), torch.tensor([[0, 1], [2, 3], [4, 5], [1, 1]])
    labels, kept, tally = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 3]), Tally()
    with clipped_sums("hooks", model, cross_entropy, 0.3, tally=tally) as gradient:
        assert torch.allclose(gradient(words, labels), gradient(words[kept], labels[kept]), rtol=1e-12)
    assert tally.raised == 1


# Held-out records.


@pytest.mark.parametrize("how", [*ZERO, *NOT_ZERO])
@pytest.mark.parametrize("whole_patients", [False, True])
def test_a_held_out_record_moves_the_figures_by_itself_alone(how: str, whole_patients: bool) -> None:
    clean, more = neighbors(how)
    task, tally = task_of(how), Tally()
    torch.manual_seed(3)
    model = task.model()
    found = [
        figures(model, task, data, whole_patients=whole_patients, tally=tally)
        for data in (clean, clean, more)
    ]
    assert float((found[2] - found[0]).norm()) <= np.sqrt(2) + 1e-9
    if how in RAISED or how in ("label", "number", "shape"):
        assert tally.raised == 1


# The whole exchange.


class Heard:
    """Three sites, berlin's with a task of its own, and the form of every frame that berlin sends."""

    def __init__(self, folder: Path, plan: Plan, how: str, data: Dataset, timed: bool) -> None:
        self.sites: dict[str, Any] = dict(make_sites(folder, plan))
        task = task_of(how)
        for name, site in self.sites.items():
            own = data if name == "berlin" else owned(make_data(SIZES[name], SIZES[name]))
            trainer = Trainer(task, own, partial(site_stream, plan, name), held_out=own)
            site.load = lambda _, trainer=trainer: trainer
        self.berlin: Site = self.sites["berlin"]
        self.berlin.is_timed = timed
        self.sites["berlin"] = self
        self.frames: list[tuple[str, int]] = []

    def receive(self, data: bytes) -> bytes:
        reply = self.berlin.receive(data)
        self.frames.append((Frame.from_bytes(reply).kind.name, len(reply)))
        return reply


def exchange(folder: Path, plan: Plan, how: str, data: Dataset, timed: bool = False) -> Heard:
    """Greeting, three rounds with and without preparation, a published evaluation, closing."""
    heard, heads = Heard(folder, plan, how, data, timed), Heads(ROSTER)
    for site in heard.sites.values():
        assert Frame.from_bytes(site.receive(hello(plan))).kind is Kind.WELCOME
    played = Round(make_terms(plan), heard.sites, following=make_terms(plan, round=2, attempt=2), heads=heads)
    Round.prepared(played.play()).play()
    for number in (3, 4, *([5] if plan.figures is not None else [])):
        Round(make_terms(plan, round=number, attempt=9), heard.sites, heads=heads).play()
    heard.receive(closing(plan, bytes([1]) * 32))
    return heard


CASES = [(unit, noise, "assertion") for unit, noise in PRIVATE]
OTHERS = ("exit", "interrupt", "label", "nan", "shape", "mixes", "settings", "second call")
CASES += [("record", "distributed", how) for how in OTHERS]


@pytest.mark.parametrize(("unit", "noise", "how"), CASES)
def test_neighboring_sites_say_the_same_over_a_whole_exchange(
    unit: str, noise: str, how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """DP-57: messages, their lengths, the ledger; and the log says no more than a number."""
    plan = make_plan(unit, noise)
    if unit != "client":
        plan = plan.model_copy(update={"evaluation": plan.evaluation.model_copy(update={"epsilon": 1.0})})
    heard = []
    for number, data in enumerate(neighbors(how)):
        with caplog.at_level(logging.DEBUG):
            heard.append(exchange(tmp_path / str(number), plan, how, data, timed=how == "assertion"))
    one, other = heard
    assert one.frames == other.frames
    assert "ABORT" not in [kind for kind, _ in other.frames]
    assert one.berlin.last_error is None and other.berlin.last_error is None
    journals = [[entry.kind for entry in each.berlin.journal.entries()] for each in heard]
    assert journals[0] == journals[1]
    assert not any(word in caplog.text for word in ("40.0", "reading", "Error", "Exit", "Traceback"))
    for each in heard:
        for site in (each.berlin, *each.sites.values()):
            site.close() if isinstance(site, Site) else None


# Interruptions.


def test_an_interruption_is_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the code runs ends the work, also if the code hides it; what code raises itself does not."""

    def pressed(_: Tensor) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return 1

    def hiding(places: Tensor) -> int:
        try:
            return pressed(places)
        except BaseException:
            return 1

    for code in (pressed, hiding):
        with pytest.raises(KeyboardInterrupt), listening():
            list(apart(code, 4, Tally()))

    def raising(_: Tensor) -> int:
        raise KeyboardInterrupt

    tally = Tally()
    with listening():
        assert list(apart(raising, 4, tally)) == []
    assert tally.raised == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_taking_apart_takes_few_calls() -> None:
    for size, bad in [(1, {0}), (1000, {999}), (1024, {3, 500, 501}), (64, set(range(64))), (0, set())]:
        calls, tally = [], Tally()

        def code(places: Tensor) -> list[int]:
            calls.append(len(places))  # noqa: B023
            if bad & set(places.tolist()):  # noqa: B023
                raise ValueError
            return places.tolist()

        found = [place for part in apart(code, size, tally) for place in part]
        assert found == [place for place in range(size) if place not in bad]
        assert tally.raised == len(bad)
        assert len(calls) <= min(2 * size, 1 + 2 * max(1, len(bad)) * (size.bit_length() + 1))


def test_settings_are_put_back() -> None:
    def code() -> None:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        np.seterr(all="raise")
        raise ValueError

    before = np.geterr()
    assert attempt(code) is None
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert np.geterr() == before
