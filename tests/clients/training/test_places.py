"""Where gradients are computed changes no sum: not what a device finds, and not what it fails at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import clients.join
import clients.training.sums
from clients.check import preflight
from clients.join import attend, open_site
from clients.training import frozen
from clients.training.isolation import Tally
from clients.training.local import plain_gradient
from clients.training.places import DEVICES, HERE, Place, place_of, require_same, twin_of
from clients.training.sums import clipped_sums
from clients.training.work import SiteWork, Trainer
from federation.errors import InputError, SiteFileError, TaskError
from federation.model.base import Kept
from federation.model.task import Task, cross_entropy
from privacy.mechanism.noise import Stream
from server.serve import serve
from tests.clients.sites import make_data, make_params, make_plan, make_terms
from tests.encoders import WIDTH, write_encoder
from tests.server.test_serve import PLAN, carrier, hospitals
from tests.worlds import load_params, text_of

NORM, CPU, RECORDS = 0.4, torch.device("cpu"), 23
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@dataclass(frozen=True)
class Watched(Place):
    """A device that is the processor under another name: it notes how many records are put on it at a time."""

    seen: list[int] = field(default_factory=list, compare=False)

    def put(self, tensor: Tensor) -> Tensor:
        if tensor.dtype == torch.int64:  # labels
            self.seen.append(len(tensor))
        return tensor.clone()


@dataclass(frozen=True)
class Small(Watched):
    """One with no memory for more than a few records."""

    def put(self, tensor: Tensor) -> Tensor:
        if tensor.dtype == torch.int64 and len(tensor) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().put(tensor)


@dataclass(frozen=True)
class Dying(Watched):
    """One that works for a while."""

    def put(self, tensor: Tensor) -> Tensor:
        if len(self.seen) > 2:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return super().put(tensor)


@dataclass(frozen=True)
class Off(Watched):
    """One that computes something else."""

    def put(self, tensor: Tensor) -> Tensor:
        return super().put(tensor) * (1 + 1e-4) if tensor.is_floating_point() else super().put(tensor)


PLACES: dict[str, Callable[[], Place]] = {
    "a device": lambda: Watched(CPU),
    "a repeatable one": lambda: Watched(CPU, repeatable=True),
    "a small one": lambda: Small(CPU),
    "one that dies": lambda: Dying(CPU),
    "one that finds nothing": lambda: Place(torch.device("meta")),
}


class Choosy(nn.Module):
    """Code of a user's own, which raises on some records."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, features: Tensor) -> Tensor:
        if bool((features[:, 0] > 0.5).any()):
            raise ValueError
        outputs: Tensor = self.layer(features)
        return outputs


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 3))


def sums(place: Place, route: str, made: Callable[[], nn.Module], *, people: bool) -> tuple[Tensor, int]:
    """The clipped sum of some records, and how many raised."""
    torch.manual_seed(3)
    model, data, tally = made().double().train(), make_data(RECORDS, 5), Tally()
    patients = torch.arange(RECORDS) // 4 if people else None
    with clipped_sums(
        route, model, cross_entropy, NORM, 2 * 8 * 40 * 4, tally, (0.5, 1.0, 0.25), place
    ) as gradient:
        return gradient(data.features.double(), data.labels, patients), tally.raised


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("route", "made", "people"),
    [
        ("hooks", mlp, False),
        ("hooks", mlp, True),
        ("functorch", mlp, False),
        ("functorch", mlp, True),
        ("ghost", mlp, False),
        ("alone", Choosy, False),
        ("alone", Choosy, True),
    ],
)
def test_the_clipped_sum_is_that_of_the_processor(
    place: str, route: str, made: Callable[[], nn.Module], people: bool
) -> None:
    expected, raised = sums(HERE, route, made, people=people)
    found, also = sums(PLACES[place](), route, made, people=people)
    assert found.device.type == "cpu"
    assert found.dtype == torch.float64
    assert float((found - expected).abs().max()) < 1e-12
    assert float(expected.abs().max()) > 0.01
    assert (raised, also) == ((raised, raised) if made is Choosy else (0, 0))
    assert made is mlp or raised > 0


class Adapted(nn.Module):
    """A frozen base, a buffer that code may write into, and a layer that is trained."""

    def __init__(self, *, writes: bool = False) -> None:
        super().__init__()
        self.base = nn.Linear(2, 4).requires_grad_(False)
        self.head, self._writes = nn.Linear(4, 3), writes
        self.register_buffer("shift", torch.zeros(4))
        self.shift: Tensor

    def forward(self, features: Tensor) -> Tensor:
        if self._writes:
            self.shift += 1.0
        outputs: Tensor = self.head(torch.tanh(self.base(features) + self.shift))
        return outputs


@pytest.mark.parametrize("place", PLACES)
def test_what_is_frozen_stays_and_has_no_gradient_on_a_device_either(place: str) -> None:
    expected, _ = sums(HERE, "functorch", Adapted, people=False)
    found, _ = sums(PLACES[place](), "functorch", Adapted, people=False)
    assert len(found) == 4 * 3 + 3
    assert float((found - expected).abs().max()) < 1e-12
    torch.manual_seed(3)
    model, data = Adapted(), make_data(RECORDS, 5)
    plain = [
        plain_gradient(model, cross_entropy, place=where)(data.features, data.labels)
        for where in (HERE, PLACES[place]())
    ]
    assert float((plain[0] - plain[1]).abs().max()) < 1e-5
    assert len(plain[0]) == len(found)


def test_what_is_not_in_float64_is_clipped_by_the_processor() -> None:
    """Where a device ends in the middle, in float32 the roundings of the other records would tell of it."""
    used, data, model = Watched(CPU), make_data(9, 5), mlp()
    assert twin_of(model, used) is not None
    with clipped_sums("functorch", model, cross_entropy, NORM, tally=Tally(), place=used) as gradient:
        gradient(data.features, data.labels)
    assert used.seen == []


@pytest.mark.parametrize("place", [HERE, Watched(CPU)], ids=["processor", "device"])
def test_a_large_base_is_in_float64_only_where_a_site_has_a_device(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "LARGE", 1)
    plan, seen = make_plan("record", "site", local_steps=1, sample_rate=1.0), list[torch.dtype]()

    class Noting(Adapted):
        def forward(self, features: Tensor) -> Tensor:
            seen.append(self.base.weight.dtype)
            return super().forward(features)

    task = Task("made-up", Kept(Noting, 1, Noting()), cross_entropy)
    trainer = Trainer(task, make_data(4, 1), lambda _: Stream(bytes(32)), place=place)
    terms = replace(make_terms(plan), dimension=15)
    work = SiteWork(terms, "amsterdam", make_params(15), trainer, Stream(bytes(32)))
    work.noised_update(NORM, lambda total: total)
    assert seen[-1] is (torch.float64 if place.apart else torch.float32)


def test_code_that_writes_into_the_base_of_the_copy_is_not_taken_at_its_word() -> None:
    twin = twin_of(Adapted(writes=True), Watched(CPU))
    assert twin is not None
    features, labels = make_data(3, 1).features, make_data(3, 1).labels
    with pytest.raises(RuntimeError, match="a base was written into"):
        twin.compute(lambda x, _: twin.model(x), features, labels)
    assert float(twin.model.shift.abs().max()) == 0.0  # type: ignore[union-attr, operator]


def test_the_device_is_used_where_it_can_be() -> None:
    """The control: nothing above would notice if it never were."""
    watched, small = Watched(CPU), Small(CPU)
    sums(watched, "hooks", mlp, people=False)
    sums(small, "alone", mlp, people=False)
    assert sum(watched.seen) == sum(small.seen) == RECORDS


@pytest.mark.parametrize("place", PLACES)
def test_one_record_more_adds_its_own_clipped_gradient_whatever_the_device_does(place: str) -> None:
    torch.manual_seed(3)
    model, data = mlp().double().train(), make_data(RECORDS, 5)
    features, labels = data.features.double(), data.labels

    def of(records: slice) -> Tensor:
        with clipped_sums("hooks", model, cross_entropy, NORM, 999, place=PLACES[place]()) as gradient:
            return gradient(features[records], labels[records])

    moved = of(slice(None)) - of(slice(RECORDS - 1))
    with clipped_sums("hooks", model, cross_entropy, NORM) as gradient:
        own = gradient(features[-1:], labels[-1:])
    assert float((moved - own).abs().max()) < 1e-12
    assert float(moved.norm()) <= NORM * (1 + 1e-12)


@pytest.mark.parametrize("batch", [1, 7, 400, 1200])
def test_how_many_records_are_on_the_device_at_once_is_public(
    batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is its memory: what was drawn decides only how often."""
    model, data = mlp().double().train(), make_data(batch, 5)
    row = 8 * sum(parameter.numel() for parameter in model.parameters())
    monkeypatch.setattr(clients.training.sums, "ON_DEVICE", 50 * row)
    clipping = Watched(CPU)
    with clipped_sums("hooks", model, cross_entropy, NORM, place=clipping) as gradient:
        gradient(data.features.double(), data.labels)
    plain = Watched(CPU)
    plain_gradient(mlp(), cross_entropy, place=plain)(data.features, data.labels)
    assert max(clipping.seen) == min(batch, 50)
    assert max(plain.seen) == min(batch, 1024)
    assert sum(clipping.seen) == sum(plain.seen) == batch


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(("noise", "tolerance"), [("none", 1e-5), ("site", 1e-9)])
def test_a_site_trains_to_the_same_params(place: str, optimizer: str, noise: str, tolerance: float) -> None:
    """Over several steps: each is at the params that the one before led to."""
    plan = make_plan("record", noise, local_steps=3, sample_rate=0.5, optimizer=optimizer)
    task, data = Task("made-up", lambda: nn.Linear(2, 2), cross_entropy), make_data(40, 1)

    def trained(where: Place) -> Tensor:
        trainer = Trainer(task, data, lambda _: Stream(bytes(32)), place=where)
        work = SiteWork(make_terms(plan), "amsterdam", make_params(6), trainer, Stream(bytes(32)))
        return work.update() if noise == "none" else work.noised_update(NORM, lambda total: total)

    expected = trained(HERE)
    assert float(expected.abs().max()) > 1e-3
    assert float((trained(PLACES[place]()) - expected).abs().max()) < tolerance


def test_a_run_of_sites_with_devices_ends_with_the_params_of_one_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, found, used = tmp_path / "plan.toml", [], Watched(CPU)
    plan.write_text(text_of())

    def place(_: str, *, repeatable: bool) -> Place:
        assert repeatable  # of a plan without privacy
        return used

    for name in ("processor", "device"):
        if name == "device":
            monkeypatch.setattr(clients.join, "computing_at", place)
        with hospitals(tmp_path / name) as sites:
            serve(plan, tmp_path / name / "roster.toml", tmp_path / name / "run", carrier(sites))
        found.append(load_params(tmp_path / name / "run"))
    assert float((found[0] - found[1]).abs().max()) < 1e-5
    assert sum(used.seen) > 3 * 3 * 30  # three rounds of three sites, each with all of its records


def test_a_device_that_finds_other_gradients_is_refused_before_a_run() -> None:
    data = make_data(4, 2)
    for wide in (False, True):
        features = data.features.double() if wide else data.features
        given = mlp().to(features.dtype), cross_entropy, features, data.labels
        for good in (HERE, Watched(CPU), Watched(CPU, repeatable=True)):
            require_same(*given, good)
        for bad, said in ((Off(CPU), "other gradients"), (Place(torch.device("meta")), "cannot compute")):
            if wide or bad.device.type == "meta":
                with pytest.raises(TaskError, match=said):
                    require_same(*given, bad)


def test_a_device_without_room_for_the_model_leaves_all_to_the_processor() -> None:
    assert twin_of(mlp(), HERE) is None
    assert twin_of(mlp(), Place(torch.device("cuda", 99))) is None


def test_emulated_float64_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUBLAS_EMULATE_DOUBLE_PRECISION", "1")
    with pytest.raises(InputError, match="CUBLAS_EMULATE_DOUBLE_PRECISION is set"):
        place_of("cuda")
    monkeypatch.setenv("CUBLAS_EMULATE_DOUBLE_PRECISION", "0")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    assert place_of("cuda").device.type == "cuda"
    assert place_of("cpu") == HERE
    assert set(DEVICES) == {"auto", "cpu", "cuda"}


def test_a_missing_cuda_is_told_before_anything_is_charged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with hospitals(tmp_path) as sites:
        path = tmp_path / "ash.toml"
        before = sites["ash"].journal.entries()
        path.write_text(path.read_text().replace('id = "ash"', 'id = "ash"\ndevice = "cuda"'))
        for asked in (lambda: preflight(PLAN, path), lambda: attend(path, None)):
            with pytest.raises(
                SiteFileError, match=r"site\.device = \"cuda\": this machine has no CUDA device"
            ):
                asked()
        path.write_text(path.read_text().replace('device = "cuda"', 'device = "auto"'))
        assert preflight(PLAN, path)["site"]["id"] == "ash"
        assert sites["ash"].journal.entries() == before


def test_another_device_than_these_is_told(tmp_path: Path) -> None:
    with hospitals(tmp_path):
        path = tmp_path / "ash.toml"
        path.write_text(path.read_text().replace('id = "ash"', 'id = "ash"\ndevice = "tpu"'))
        with pytest.raises(SiteFileError, match=r"site\.device"):
            open_site(path)


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("people", [False, True])
@pytest.mark.parametrize("route", ["hooks", "functorch", "ghost", "alone"])
def test_cuda_finds_what_the_processor_finds(route: str, people: bool) -> None:
    if route == "ghost" and people:
        return  # it clips records only
    expected, _ = sums(HERE, route, mlp, people=people)
    found, _ = sums(place_of("cuda"), route, mlp, people=people)
    assert float((found - expected).abs().max()) < 1e-11


@needs_cuda
@pytest.mark.cuda
def test_without_privacy_cuda_trains_to_the_same_bits_every_time() -> None:
    plan = make_plan("record", "none", local_steps=3)
    task, terms = Task("made-up", mlp, cross_entropy), replace(make_terms(plan), dimension=33)

    def trained() -> Tensor:
        place = place_of("cuda", repeatable=True)
        trainer = Trainer(task, make_data(40, 1), lambda _: Stream(bytes(32)), place=place)
        return SiteWork(terms, "amsterdam", make_params(33), trainer, Stream(bytes(32))).update()

    assert torch.equal(trained(), trained())


class Noted(nn.Module):
    """LoRA of a small encoder of texts: words (n, LENGTH) to two scores."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModel

        torch.manual_seed(3)
        lora = LoraConfig(r=2, target_modules=["query", "value"], init_lora_weights=False)  # B is not 0
        self.encoder = get_peft_model(AutoModel.from_pretrained(folder), lora)
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, words: Tensor) -> Tensor:
        mask = (words != 0)[:, None, None, :].expand(-1, 1, words.shape[1], -1)
        seen = self.encoder(input_ids=words, attention_mask=mask).last_hidden_state
        scores: Tensor = self.head(seen.mean(1))
        return scores


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")  # of libraries that speak of themselves
@pytest.mark.parametrize("people", [False, True])
@pytest.mark.parametrize("name", ["a device", pytest.param("cuda", marks=[needs_cuda, pytest.mark.cuda])])
def test_the_clipped_sum_of_an_adapter_is_that_of_the_processor(
    tmp_path: Path, name: str, people: bool
) -> None:
    pytest.importorskip("peft")
    model = frozen.prepared(Noted(write_encoder(tmp_path)), torch.float64, apart=True)
    words, labels = torch.randint(0, 12, (RECORDS, 6)), torch.arange(RECORDS) % 2
    patients = torch.arange(RECORDS) // 4 if people else None

    def sum_at(place: Place) -> Tensor:
        with clipped_sums("slices", model, cross_entropy, NORM, place=place) as gradient:
            return gradient(words, labels, patients)

    place = Watched(CPU) if name == "a device" else place_of("cuda")
    expected, found = sum_at(HERE), sum_at(place)
    assert len(expected) == 2 * 2 * 2 * 2 * WIDTH + 2 * WIDTH + 2
    assert float(expected.abs().max()) > 0.01
    assert float((found - expected).abs().max()) < 1e-11
    assert not isinstance(place, Watched) or sum(place.seen) >= RECORDS
