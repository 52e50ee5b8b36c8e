"""The base of a model: what is pinned, by which digest, and who is refused."""

from __future__ import annotations

import hashlib
import operator
import struct
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from federation.errors import OtherBase, TaskError
from federation.model.base import Kept, base_digest, in_training, require_base, shared, structure, trained
from federation.model.params import Layout, initial_params
from federation.plan.plan import parse
from tests.plans import text_of


class Based(nn.Module):
    """A frozen layer and two buffers, of other types of number, below a layer that is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.below = nn.Linear(2, 3).requires_grad_(False)
        with torch.no_grad():
            self.below.weight.copy_(torch.arange(6.0).view(3, 2))
            self.below.bias.fill_(0.5)
        self.above = nn.Linear(3, 2)
        self.register_buffer("order", torch.tensor([2, 0, 1]))
        self.register_buffer("scale", torch.tensor(1.5, dtype=torch.bfloat16), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.above(self.below(x)[:, self.order])  # type: ignore[no-any-return,index]


def test_the_digest_is_of_names_types_shapes_and_bytes_as_its_definition_says() -> None:
    """Written down a second time, from the specification: big-endian fields, little-endian numbers."""

    def text(value: str) -> bytes:
        return struct.pack(">I", len(value)) + value.encode()

    def entry(name: str, dtype: str, shape: tuple[int, ...], content: bytes) -> bytes:
        lengths = b"".join(struct.pack(">Q", each) for each in shape)
        return (
            text(name)
            + text(dtype)
            + struct.pack(">I", len(shape))
            + lengths
            + hashlib.sha256(content).digest()
        )

    listed = (
        entry("below.bias", "float32", (3,), struct.pack("<3f", 0.5, 0.5, 0.5))
        + entry("below.weight", "float32", (3, 2), struct.pack("<6f", *range(6)))
        + entry("order", "int64", (3,), struct.pack("<3q", 2, 0, 1))
        + entry("scale", "bfloat16", (), struct.pack("<H", 0x3FC0))
    )
    label = b"federation/base/1"
    fields = b"".join(struct.pack(">I", len(part)) + part for part in (label, listed))
    assert base_digest(Based()) == f"sha256:{hashlib.sha256(fields).hexdigest()}"


def _other(change: Callable[[Based], object]) -> str:
    model = Based()
    change(model)
    return base_digest(model)


def test_the_digest_follows_the_base_and_nothing_else() -> None:
    here = base_digest(Based())
    assert here == base_digest(Based())
    assert here == _other(lambda m: nn.init.ones_(m.above.weight))
    assert here == _other(lambda m: m.eval())
    noncontiguous = torch.arange(6.0).view(3, 2).T.contiguous().T
    assert here == _other(lambda m: setattr(m.below.weight, "data", noncontiguous))
    changes: list[Callable[[Based], object]] = [
        lambda m: m.below.bias.data.add_(1e-7),
        lambda m: m.below.bias.data.neg_(),
        lambda m: m.order.__setitem__(0, 1),  # type: ignore[operator]
        lambda m: m.below.double(),
        lambda m: setattr(m.below.weight, "data", torch.arange(6.0).view(2, 3)),
        lambda m: m.above.bias.requires_grad_(False),
        lambda m: m.register_buffer("more", None) or m.register_buffer("more", torch.zeros(0)),
        lambda m: m.register_buffer("scalf", m._buffers.pop("scale")),
    ]
    assert len({here, *map(_other, changes)}) == 1 + len(changes)


def _plan(base: str = "") -> str:
    text = text_of({"task": None})
    return f'task = "mine:task"\n{text}\n{base}'


def _base(digest: str) -> str:
    return f'[base]\ndigest = "{digest}"\ntrained_on = "books"\n'


def test_a_base_is_pinned_and_no_other_is_taken() -> None:
    model = Based()
    require_base(parse(_plan(_base(base_digest(model)))), "t", model)
    with pytest.raises(OtherBase, match="does not pin") as refused:
        require_base(parse(_plan()), "t", model)
    assert base_digest(model) in refused.value.hint
    with pytest.raises(OtherBase, match=f"base here is {base_digest(model)}, the plan pins sha256:0"):
        require_base(parse(_plan(_base("sha256:" + 64 * "0"))), "t", model)
    require_base(parse(_plan()), "t", nn.Linear(2, 2))
    with pytest.raises(OtherBase, match="nothing of the model is frozen"):
        require_base(parse(_plan(_base("sha256:" + 64 * "0"))), "t", nn.Linear(2, 2))


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.zeros(3, device="meta"),
    ],
)
def test_what_has_no_bytes_of_its_own_cannot_be_pinned(make: Callable[[], Tensor]) -> None:
    model = nn.Linear(2, 2)
    model.register_buffer("odd", make())
    for refuses in (base_digest, Layout.of):
        with pytest.raises(TaskError, match='"odd" is frozen and has no bytes'):
            refuses(model)


def test_only_what_is_trained_is_in_the_flat_vector() -> None:
    model = Based()
    layout = Layout.of(model)
    assert (layout.names, layout.dimension) == (("above.weight", "above.bias"), 8)
    before = base_digest(model)
    layout.load(model, torch.ones(8))
    assert layout.flatten(model).tolist() == [1.0] * 8
    assert base_digest(model) == before


def test_a_norm_with_pinned_statistics_may_stay() -> None:
    def model() -> nn.Module:
        norms = nn.BatchNorm1d(2), nn.InstanceNorm1d(2, track_running_stats=True)
        return nn.Sequential(*norms, nn.Linear(2, 2)).requires_grad_(False)

    fine = model().eval()
    fine[2].requires_grad_(True)  # type: ignore[index]
    assert Layout.of(fine).dimension == 6
    assert not in_training(fine)[0].training  # type: ignore[index]
    fine.train()
    with pytest.raises(TaskError, match="mixes the records"):
        Layout.of(fine)


def test_modes_are_the_factorys_where_there_is_a_base() -> None:
    plain = nn.Sequential(nn.Dropout(), nn.Linear(2, 2)).eval()
    assert in_training(plain)[0].training  # type: ignore[index]
    based = nn.Sequential(nn.Dropout(), nn.Linear(2, 2).requires_grad_(False), nn.Dropout(), nn.Linear(2, 2))
    based[0].eval()
    assert [part.training for part in in_training(based)] == [False, True, True, True]  # type: ignore[attr-defined]


def test_a_kept_model_is_copied_and_begins_as_its_factory_says() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        kept = Kept(Based, 7, Based())
    one, other = kept(), kept()
    one.below.weight.data.zero_()  # type: ignore[union-attr]
    assert base_digest(other) == base_digest(kept()) == base_digest(Based())
    for seed in (7, 8):
        assert torch.equal(initial_params(kept, seed), initial_params(Based, seed))
    assert not torch.equal(initial_params(kept, 7), initial_params(kept, 8))


def test_trained_parameters_in_one_memory_are_refused_and_one_parameter_at_two_places_is_not() -> None:
    one, other = nn.Linear(3, 3), nn.Linear(3, 3)
    tied = nn.Sequential(one, other)
    other.weight = one.weight
    assert Layout.of(tied).names == ("0.weight", "0.bias", "1.bias")
    other.weight = nn.Parameter(one.weight.data[1:])
    with pytest.raises(
        TaskError, match=r'"1\.weight" shares its memory with "0\.weight", and both are trained'
    ):
        Layout.of(tied)
    halves = torch.zeros(6, 3)
    one.weight, other.weight = nn.Parameter(halves[:3]), nn.Parameter(halves[3:])
    assert Layout.of(tied).dimension == 24  # beside each other, and no number of both


def test_the_structure_of_a_model_is_copied_and_its_tensors_are_not() -> None:
    model = Based()
    other = structure(model)
    assert all(map(operator.is_, model.parameters(), other.parameters()))
    assert all(map(operator.is_, model.buffers(), other.buffers()))
    other.order = model.order + 1  # type: ignore[operator]
    assert torch.equal(model.order, torch.tensor([2, 0, 1]))  # type: ignore[arg-type]


def test_a_shared_base_is_one_and_what_is_trained_is_two() -> None:
    model = Based()
    copy = shared(model)
    assert copy.below.weight is model.below.weight and copy.order is model.order  # type: ignore[union-attr]
    assert not {id(each) for each in trained(copy).values()} & {id(each) for each in model.parameters()}
