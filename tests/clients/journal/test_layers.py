"""The layers that a site keeps from round to round (DP-85): which ones a round trains from, whatever came."""

from __future__ import annotations

import stat
from functools import partial
from pathlib import Path

import pytest
import torch

from clients import release as released
from clients.journal.journal import Journal
from clients.journal.layers import Layers, forget_layers, layers_folder
from clients.release import release
from clients.training.work import Trainer, contribution, site_stream
from federation.errors import UnusableFile
from federation.model.own import begun_own
from federation.model.params import initial_params
from federation.model.task import Task, build_task
from federation.plan.plan import Plan, parse
from federation.round.terms import Terms
from privacy.errors import RecordsUnavailable
from privacy.mechanism.encoding import EncodingOverflow, RingVector
from tests.clients.journal.journals import fill_the_disk
from tests.clients.sites import RUN, make_data, make_plan, make_terms, open_journal

SITE, KEPT = "amsterdam", 130
TABLE = f'\n[personal]\nsteps = 5\nlearning_rate = 0.1\nlayers = ["2"]\nkept = {KEPT}\n'


class House:
    """One site with a journal and layers of its own beside it."""

    def __init__(self, folder: Path, unit: str = "client", noise: str = "distributed") -> None:
        bare = make_plan(unit, noise, model="mlp")
        self.plan: Plan = parse(bare.to_toml() + TABLE)
        self.task: Task = build_task(self.plan)
        self.path, self.noised = folder / "journal", unit != "client"
        self.journal: Journal = open_journal(self.path, self.plan)
        self.params = initial_params(self.task.model, 1)
        self.begun = begun_own(self.task.model)

    def layers(self, people: str = "", run: str = RUN.hex()) -> Layers:
        return Layers(layers_folder(self.path), run, noised=self.noised, people=people)

    def terms(self, number: int) -> Terms:
        return make_terms(self.plan, round=number, dimension=len(self.params))

    def plays(self, number: int, people: str = "") -> bytes:
        trainer = Trainer(self.task, make_data(40, 1), partial(site_stream, self.plan, SITE))
        terms, layers = self.terms(number), self.layers(people)
        return release(terms, SITE, self.params, trainer, self.journal, layers=layers).tobytes()

    def before(self, number: int, people: str = "") -> torch.Tensor:
        return self.layers(people).before(number, self.begun, self.journal)


@pytest.fixture(params=[("client", "distributed"), ("record", "site")], ids=["client", "record"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    return House(tmp_path, *request.param)


def test_a_round_trains_from_what_the_round_before_left(house: House) -> None:
    assert torch.equal(house.before(1), house.begun)
    house.plays(1)
    first = house.before(2)
    assert not torch.equal(first, house.begun)
    assert house.plays(1) == house.plays(1), "the same bytes again, and nothing is trained"
    assert torch.equal(house.before(2), first)
    house.plays(2)
    assert not torch.equal(house.before(3), first)
    (file,) = layers_folder(house.path).iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert len(first) == KEPT


def test_what_was_trained_and_not_put_on_record_is_as_if_it_had_never_been(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the file and the ledger: the next try begins where the lost one began."""
    house.plays(1)
    first = house.before(2)
    fill_the_disk(house.journal)
    with pytest.raises(RecordsUnavailable):
        house.plays(2)
    fill_the_disk(house.journal, False)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Journal, "release", dies)
        house.plays(2)
    assert len(list(layers_folder(house.path).iterdir())) == 2
    assert torch.equal(house.before(2), first)
    house.plays(2)
    assert not torch.equal(house.before(3), first)


def test_what_was_put_on_record_is_taken_up_by_the_next_process(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the ledger and the renaming of the file."""

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Layers, "settle", dies)
        house.plays(1)
    assert not torch.equal(house.before(2), house.begun)
    assert len(list(layers_folder(house.path).iterdir())) == 1


def test_layers_of_another_training_than_the_released_one_are_never_taken_up(house: House) -> None:
    """Two processes at one round: the layers of one beside the release of the other would be two for one charge."""
    sent = house.plays(1)
    house.layers().write(2, torch.full((KEPT,), 9.0), b"other bytes")
    house.layers().settle(sent)
    first = house.before(2)
    assert not torch.equal(first, torch.full((KEPT,), 9.0))
    house.plays(2)
    assert float(house.before(3).abs().max()) < 9
    assert torch.equal(house.before(1), house.begun), "a ledger that was put back to before the round"


def test_layers_of_a_training_whose_update_left_the_ring_are_never_taken_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it left is what the round released: nothing else of that training may be there later."""
    house.plays(1)
    first = house.before(2)

    def leaves(terms: Terms, site: str, params: torch.Tensor, trainer: Trainer, excess: bytes) -> RingVector:
        contribution(terms, site, params, trainer, excess)
        assert trainer.own is not None and trainer.own.after is not None
        raise EncodingOverflow("beyond")

    with monkeypatch.context() as patch, pytest.raises(EncodingOverflow):
        patch.setattr(released, "contribution", leaves)
        house.plays(2)
    with pytest.raises(EncodingOverflow):
        house.plays(2)
    assert torch.equal(house.before(3), first)
    house.plays(3)


def test_another_run_reads_nothing_of_it(house: House) -> None:
    house.plays(1)
    assert torch.equal(house.layers(run="ab" * 16).before(1, house.begun, house.journal), house.begun)
    folder = layers_folder(house.path)
    (folder / f"{RUN.hex()}.safetensors").rename(folder / f"{'ab' * 16}.safetensors")
    with pytest.raises(UnusableFile, match="cannot be read as a site's own layers; remove it"):
        house.layers(run="ab" * 16).before(2, house.begun, house.journal)


def test_who_withdraws_is_out_of_layers_without_noise_and_noised_ones_tell_nothing(house: House) -> None:
    """Noised layers stay: they were charged, and beginning them anew would say that somebody withdrew."""
    house.plays(1, people="a list")
    assert torch.equal(house.before(2, "a longer list"), house.begun) is not house.noised
    assert not torch.equal(house.before(2, "a list"), house.begun)
    assert forget_layers(layers_folder(house.path)) == (not house.noised)
    assert torch.equal(house.before(2, "a list"), house.begun) is not house.noised


def test_a_file_of_another_kind_of_run_and_one_that_is_half_written_are_not_taken_up(house: House) -> None:
    """A server names runs. Under one name, layers without noise enter no noised round, whatever was lost."""
    other = Layers(layers_folder(house.path), RUN.hex(), noised=not house.noised)
    other.write(1, torch.full((KEPT,), 9.0), b"bytes")
    other.settle(b"bytes")
    assert torch.equal(house.before(2), house.begun)
    half = layers_folder(house.path) / f"{RUN.hex()}.next.safetensors.new"
    half.write_bytes(b"of a process that was killed")
    forget_layers(layers_folder(house.path))
    assert not half.exists()


@pytest.mark.parametrize("content", [b"", b"age,dose\n", "cut"])
def test_a_damaged_file_is_named_before_anything_is_charged(tmp_path: Path, content: bytes | str) -> None:
    house = House(tmp_path)
    house.plays(1)
    (file,) = layers_folder(house.path).iterdir()
    file.write_bytes(file.read_bytes()[:-3] if isinstance(content, str) else content)
    before = len(house.journal.entries())
    with pytest.raises(UnusableFile, match="layers begin anew"):
        house.plays(2)
    assert len(house.journal.entries()) == before
    file.unlink()
    house.plays(2)


def test_a_folder_that_cannot_be_written_is_named_and_nothing_leaves(tmp_path: Path) -> None:
    house = House(tmp_path)
    layers_folder(house.path).write_text("in the place of the folder")
    with pytest.raises(RecordsUnavailable, match="cannot be written"):
        house.plays(1)
    assert house.journal.kept(RUN.hex(), 1) is None
