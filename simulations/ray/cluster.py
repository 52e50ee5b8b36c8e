"""The driver of a cluster: Flower's Ray backend, a message for each slice of a sum, and the partial sums added up.

Ray starts on this machine alone unless RAY_ADDRESS names the head of a cluster. There is one process for each core.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from federation.errors import InputError, TransportError
from federation.plan.plan import Plan
from federation.quiet import quiet_flower
from federation.round.terms import Terms
from privacy.mechanism.encoding import RingVector
from simulations.flower import flower_process
from simulations.ray.slices import Slice, Work, cut, seen_at, seen_of, total
from simulations.sums.adding import Adding
from simulations.world import World

quiet_flower()  # Flower and Ray read some of their switches when they are imported

from flwr.app import Context, Message, MessageType, RecordDict  # noqa: E402

from federation.round.flower import from_record, to_record  # noqa: E402

_RUN: Final = 1
_NODE: Final = 1 << 63
_ADDRESS: Final = "RAY_ADDRESS"
_PATIENCE: Final = 10.0  # seconds for the head of a cluster to take a connection
_RESUME: Final = "the same command goes on after the last round that is done"

Ask = Callable[[int, bytes], bytes]  # number of a slice, message -> answer


@dataclass(frozen=True)
class Spread(Adding):
    """`Adding` where simulated sites are trained by others: `ask` in `at_once` slices at a time."""

    plan: Plan = field(kw_only=True)
    work: Work = field(kw_only=True)
    ask: Ask = field(kw_only=True, repr=False)
    at_once: int = field(kw_only=True)
    seen: dict[str, str] = field(kw_only=True, repr=False)

    def simulated(self, terms: Terms, names: tuple[str, ...], params: Tensor, lost: int) -> RingVector:
        """A slice for each process of the cluster. The first error of a slice is raised."""
        slices = []
        for part in cut(names, self.at_once):
            seen = seen_of(self.work.key, self.plan, (self.seen[name] for name in part))
            slices.append(Slice.of(self.work, terms, part, seen, params, lost).to_bytes())
        with ThreadPoolExecutor(self.at_once) as pool:
            return total(pool.map(self.ask, range(len(slices)), slices), terms.length)


@contextmanager
def cluster() -> Iterator[tuple[Ask, int]]:
    """Within the context: whom to ask, and how many can be asked at a time.

    InputError without Ray; TransportError if no cluster answers, or none with a core to spare.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="federation-")))
        stack.enter_context(flower_process(folder))
        stack.enter_context(_silent())
        backend = _backend()
        stack.callback(backend.terminate)
        yield lambda number, data: _asked(backend, number, data), int(backend.num_workers)


@contextmanager
def spread(world: World, sites: Path) -> Iterator[Callable[[Plan, Adding], Spread]]:
    """Within the context: the sites of a folder trained by a cluster, which sees the folder at the same path."""
    key = os.urandom(32)
    seen = {name: seen_at(key, data, world.held_out.get(name)) for name, data in world.training.items()}
    with cluster() as (ask, at_once):

        def adds(plan: Plan, adding: Adding) -> Spread:
            work = Work(plan.to_toml(), str(sites.resolve()), key)
            given = adding.works, adding.own, adding.tally, adding.begins
            return Spread(*given, plan=plan, work=work, ask=ask, at_once=at_once, seen=seen)

        yield adds


def _backend() -> Any:
    """Flower's backend, with a process for each core."""
    try:
        from flwr.server.superlink.fleet.vce.backend.raybackend import RayBackend
    except ImportError:
        hint = "pip install 'private-federation[ray]'"
        raise InputError("--ray needs Ray, which is not installed", hint=hint) from None
    from simulations.ray.worker import load_app

    address = os.environ.get(_ADDRESS)
    init: dict[str, Any] = {"address": address or "local", "log_to_driver": False, "logging_level": "error"}
    try:
        _require_there(address)
        resources: dict[str, Any] = {"num_cpus": 1, "num_gpus": 0.0}
        backend = RayBackend({"init_args": init, "client_resources": resources})
        backend.build(load_app)
    except Exception as error:
        where = "could not be started on this machine" if address is None else f"does not answer at {address}"
        hint = "see `ray status`" if address else f"start it by hand, and name it in {_ADDRESS}"
        raise TransportError(f"Ray {where} ({type(error).__name__})", hint=hint) from error
    return backend


def _require_there(address: str | None) -> None:
    """OSError if nobody answers at HOST:PORT: Ray itself would look for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and "//" not in host:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()


def _asked(backend: Any, number: int, data: bytes) -> bytes:
    """The answer of a process to one slice. TransportError if it is lost, or fails."""
    message = Message(to_record(data), _NODE + number, MessageType.QUERY)
    context = Context(_RUN, _NODE + number, {"partition-id": number}, RecordDict(), {})
    try:
        reply, _ = backend.process_message(message, context)
        return from_record(reply.content)
    except Exception as error:
        reason = f"a worker of the Ray cluster was lost or failed ({type(error).__name__})"
        raise TransportError(reason, hint=_RESUME) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Within the context neither Flower nor Ray writes to this terminal, or leaves a variable behind."""
    # Unset, Ray tells of it in a warning. Each process has a core, and no GPU is handed out.
    before, loggers = dict(os.environ), [logging.getLogger(name) for name in ("flwr", "ray")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        os.environ.clear()
        os.environ.update(before)
