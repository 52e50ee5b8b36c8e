"""A small world for the tests of this folder: a plan, three sites' data, sites with journals, a round played."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from torch import Tensor, nn
from torch.nn import functional

from clients.journal.journal import Journal
from clients.policy import Approval, Policy
from clients.site import Site
from clients.training.work import Trainer, site_stream
from clients.trust import Trust
from federation.model.params import params_bytes
from federation.model.task import Dataset, Task, build_task, cross_entropy
from federation.plan.plan import Plan
from federation.round.messages import Frame, Hello, Invitation, Kind, Member, Paired, Reason, abort_reason
from federation.round.signed import ordered as order
from federation.round.signed import plan_digest
from federation.round.terms import Terms
from privacy.errors import MalformedMessage
from privacy.ledger.heads import Head
from privacy.mechanism.noise import Stream, poisson_sample
from privacy.roster import Entry, Roster, SignedRoster
from privacy.signing import public_identity
from privacy.wire import digest
from server.coordinator import Coordinator
from server.memory.heads import Heads
from server.voice import Voice
from tests import plans

RUN = bytes(range(16))
SIZES = {"amsterdam": 40, "berlin": 24, "cleveland": 30}
FIVE = {**SIZES, "dresden": 20, "essen": 28}
DIMENSION = 6  # two numbers and a bias, two classes

SMALL: plans.Changes = {
    "name": "small",
    "rounds": 4,
    "target": "sick",
    "classes": ["no", "yes"],
    "task.features": {"age": {"low": 0, "high": 100}, "pressure": {"low": 50, "high": 250}},
    "cohort.deadline_seconds": None,
    "sample_rate": 1.0,  # closed form: calibrated in no time
    "epsilon": 8.0,
    "clipping_norm": 0.5,
    "colluders": 0,
    "dropouts": 0,
    "server.optimizer": "average",
    "server.learning_rate": 1.0,
    "evaluation": None,
}


def make_plan(unit: str = "record", noise: str = "distributed", **changes: object) -> Plan:
    """A small plan; one for patients names the column that says who a record's patient is."""
    column = {"task.patient": "who"} if unit == "patient" else {}
    return plans.plan_of(SMALL, {"unit": unit, "noise": noise}, column, **changes)


def make_data(records: int, seed: int, scale: float = 1.0) -> Dataset:
    """Records whose labels depend on their features."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand(records, 2, generator=generator) * 2 - 1
    labels = (features.sum(dim=1) + 0.2 * torch.randn(records, generator=generator) > 0).to(torch.int64)
    return Dataset(features * scale, labels)


def make_params(dimension: int = DIMENSION, seed: int = 0) -> Tensor:
    """Some params, float32."""
    return torch.randn(dimension, generator=torch.Generator().manual_seed(seed)) * 0.3


def make_terms(plan: Plan, sizes: Mapping[str, int] | None = None, **changes: object) -> Terms:
    """The terms of a first attempt at round 1."""
    names = SIZES if sizes is None else sizes
    model = build_task(plan).model()
    dimension = sum(parameter.numel() for parameter in model.parameters())
    terms = Terms(
        plan=plan,
        run=RUN,
        round=1,
        attempt=1,
        members=tuple(Member(name, names[name]) for name in sorted(names)),
        dimension=dimension,
    )
    return replace(terms, **changes)  # type: ignore[arg-type]


def key_of(*parts: object) -> bytes:
    """A fixed key for a stream; another one for other parts."""
    return digest("tests", *(str(part).encode() for part in parts))


def identity(name: str) -> Ed25519PrivateKey:
    """The signing key of this name, for tests only."""
    return Ed25519PrivateKey.from_private_bytes(key_of("identity", name))


COORDINATOR = identity("coordinator")


def make_roster(sizes: Mapping[str, int], serial: int = 1) -> Roster:
    """Each of these sites, an organization of its own."""
    entries = (
        Entry(name, f"owner of {name}", public_identity(identity(name)), sizes[name])
        for name in sorted(sizes)
    )
    return Roster(serial, tuple(entries), coordinator=public_identity(COORDINATOR))


CONSORTIUM = identity("consortium")
ROSTER = make_roster(FIVE)
SIGNED = SignedRoster.by(ROSTER, [CONSORTIUM])


def make_trust(name: str) -> Trust:
    """What a site of this name believes: the one consortium key, and its own."""
    return Trust(frozenset({public_identity(CONSORTIUM)}), quorum=1, serial=0, identity=identity(name))


def keyed_trainer(plan: Plan, data: Dataset, key: bytes) -> Trainer:
    """A trainer whose secret stream the test knows."""
    return Trainer(build_task(plan), data, lambda _: Stream(key))


def loaded(task: Task, params: Tensor, dtype: torch.dtype) -> nn.Module:
    """The task's model at `params`, filled by torch's own means."""
    model = task.model().to(dtype)
    nn.utils.vector_to_parameters(params.to(dtype, copy=True), model.parameters())
    return model


def flat(model: nn.Module) -> Tensor:
    """A model's parameters, one float64 vector."""
    return nn.utils.parameters_to_vector(model.parameters()).detach().to(torch.float64)


def clipped_sum(model: nn.Module, data: Dataset, norm: float) -> Tensor:
    """The slow twin: one backward pass per record, clipped by hand as Opacus does, float64."""
    parameters = list(model.parameters())
    total = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
    for row, label in zip(data.features.to(torch.float64), data.labels, strict=True):
        grads = torch.autograd.grad(cross_entropy(model(row[None]), label[None]).sum(), parameters)
        gradient = torch.cat([grad.reshape(-1) for grad in grads])
        total += gradient * min(1.0, norm / (float(gradient.norm()) + 1e-6))
    return total


def batch_of(data: Dataset, rate: float, batches: Stream) -> Dataset:
    """The next Poisson batch of a stream, as the site draws it."""
    chosen = torch.from_numpy(poisson_sample(batches, len(data), rate))
    return Dataset(data.features[chosen], data.labels[chosen])


def sgd_by_torch(plan: Plan, data: Dataset, params: Tensor, size: int) -> Tensor:
    """The outside oracle of a site that trains on everything in every step: plain torch, float64 delta."""
    kinds = {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop,
    }
    model = loaded(build_task(plan), params, torch.float32)
    before = flat(model)
    given = {name: getattr(plan.training, name) for name in ("momentum", "weight_decay")}
    extra = {name: value for name, value in given.items() if value is not None}
    optimizer = kinds[plan.training.optimizer](model.parameters(), lr=plan.training.learning_rate, **extra)
    for _ in range(plan.training.local_steps):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(data.features), data.labels, reduction="sum") / size
        way = torch.nn.utils.parameters_to_vector(model.parameters()) - before
        (loss + (plan.training.proximal or 0.0) / 2 * (way * way).sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return flat(model) - before


def open_journal(path: Path, plan: Plan, site: str = "amsterdam", *, reserve: bool = True) -> Journal:
    """A journal, with the plan's run reserved in it."""
    journal = Journal.open(path, site=site, pool="pool", key=make_trust(site).identity)
    if reserve:
        limits = Policy.for_plan(plan).limits()
        journal.reserve(RUN.hex(), plan.digest, plan.kind.charge, plan.federation.rounds, limits)
    return journal


def make_site(
    folder: Path,
    plan: Plan,
    name: str,
    size: int,
    *,
    policy: Policy | None = None,
    load: Callable[[Plan], Trainer] | None = None,
) -> Site:
    """A site with `size` records and a journal in `folder`, which allows this plan unless told otherwise."""
    folder.mkdir(exist_ok=True)
    trust = make_trust(name)
    journal = Journal.open(folder / f"{name}.sqlite", site=name, pool=name, key=trust.identity)
    trainer = Trainer(build_task(plan), make_data(size, size), partial(site_stream, plan, name))
    return Site(
        Member(name, size),
        trust,
        lambda: policy or Policy.for_plan(plan),
        journal,
        load=load or (lambda _: trainer),
    )


def make_sites(folder: Path, plan: Plan, sizes: Mapping[str, int] | None = None) -> dict[str, Site]:
    """The sites of a cohort, none of which has joined."""
    return {
        name: make_site(folder, plan, name, size)
        for name, size in (SIZES if sizes is None else sizes).items()
    }


def ordered(frame: Frame, plan: Plan, roster: Roster | None = None) -> bytes:
    """A request as the coordinator signs it."""
    return order(frame, COORDINATOR, plan.digest, (roster or ROSTER).root).to_bytes()


def hello(
    plan: Plan,
    run: bytes = RUN,
    roster: SignedRoster = SIGNED,
    heads: tuple[Head, ...] = (),
    stands: tuple[int, int] = (0, 0),
    key: Ed25519PrivateKey = COORDINATOR,
) -> bytes:
    """What a server says first."""
    return Voice(plan, run, roster, key).hello(stands, heads).to_bytes()


def greeting_of(body: bytes, run: bytes = RUN) -> bytes:
    """A HELLO with this body, which the coordinator signs, whatever it is."""
    try:
        said = plan_digest(Hello.from_bytes(body))
    except MalformedMessage:
        said = ""
    return order(Frame(Kind.HELLO, run, 0, 0, body), COORDINATOR, said, ROSTER.root).to_bytes()


def closing(plan: Plan, params: bytes, run: bytes = RUN) -> bytes:
    """What a server says last."""
    return ordered(Frame(Kind.CLOSE, run, 0, 0, params), plan)


def approved(*plans: Plan, runs: int = 1) -> tuple[Approval, ...]:
    """`policy.plans` for so many runs of each."""
    return tuple(Approval(digest=plan.digest, runs=runs) for plan in plans)


def joined(folder: Path, plan: Plan, sizes: Mapping[str, int] = SIZES) -> dict[str, Site]:
    """Sites that have consented to the plan."""
    sites = make_sites(folder, plan, sizes)
    for site in sites.values():
        assert Frame.from_bytes(site.receive(hello(plan))).kind is Kind.WELCOME
    return sites


def invite(terms: Terms) -> bytes:
    body = Invitation(terms.members).to_bytes()
    return ordered(Frame(Kind.INVITE, *terms.place, body), terms.plan)


def refused(site: Site, data: bytes) -> Reason:
    """The reason of the one byte that a refusal says."""
    frame = Frame.from_bytes(site.receive(data))
    assert frame.kind is Kind.ABORT
    return abort_reason(frame.body)


def without_head(data: bytes) -> Frame:
    """A reply but for the head of the ledger beside it, which is always the newest."""
    frame = Frame.from_bytes(data)
    if frame.kind not in (Kind.MASKED, Kind.REVEAL):
        return frame
    return replace(frame, body=replace(Paired.from_bytes(frame.body), heads=()).to_bytes())


def kinds(site: Site) -> list[str]:
    return [entry.kind for entry in site.journal.entries()]


class Round:
    """One attempt at a round between sites and the real coordinator, kept for replay.

    `requests` and `replies` hold, by site and kind of the request, the frames that went each way. A `following`
    round is prepared on the way; `Round.prepared` then plays it. `heads` are what the server knows of the sites'
    ledgers: nothing, unless it is told.
    """

    def __init__(
        self,
        terms: Terms,
        sites: Mapping[str, Site],
        params: Tensor | None = None,
        following: Terms | None = None,
        heads: Heads | None = None,
    ) -> None:
        self.coordinator = Coordinator(terms, ROSTER, COORDINATOR, heads)
        self.following = None if following is None else Coordinator(following, ROSTER, COORDINATOR, heads)
        self.requests: dict[tuple[str, Kind], bytes] = {}
        self.replies: dict[tuple[str, Kind], bytes] = {}
        self._params = make_params(terms.dimension) if params is None else params
        self.sites, self.plan = sites, terms.plan

    @classmethod
    def prepared(cls, before: Round) -> Round:
        """The round that travelled with the one before."""
        assert before.following is not None
        after = cls(before.following.terms, before.sites)
        after.coordinator = before.following
        return after

    def play(
        self,
        lost: tuple[tuple[str, Kind], ...] = (),
        alter: Callable[[str, Frame], Frame] = lambda _, frame: frame,
    ) -> Round:
        """Carry every message until all is quiet; requests in `lost` never arrive, others arrive as altered."""
        outgoing = self.coordinator.start(params_bytes(self._params), self.following)
        while self.coordinator.result is None:
            arrived = []
            for message in outgoing:
                sent = Frame.from_bytes(message.data)
                frame = alter(message.to, sent)
                at = message.to, frame.kind
                # A hostile coordinator signs what it has altered.
                self.requests[at] = message.data if frame == sent else ordered(frame, self.plan)
                if at not in lost:
                    self.replies[at] = self.sites[message.to].receive(self.requests[at])
                    arrived.append((message.to, self.replies[at]))
            outgoing = []
            for name, data in arrived:
                outgoing += self.coordinator.receive(name, data)
            if not outgoing and self.coordinator.result is None:
                outgoing = self.coordinator.deadline()
        return self
