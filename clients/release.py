"""The only door out: charge, train, clip, noise, encode; in that order, and nothing else leaves.

`release` is the one function whose result may leave a site. Before it reads a record the journal has charged the
round, durably; before its result is handed on the journal holds it, durably. So a crash can waste budget but
never overspend it, and a retry of the round resends the very same bytes instead of drawing fresh noise.

That an update left the ring follows from noised steps, and a server learns it. So it is kept as the round's
release, and a retry is told the same. Were the round trained again, each time that its update leaves the ring would
be one more answer on the same charge, and a server can send params that bring updates to the edge.

What a plan makes of a round is its kind (`federation.kinds.base`); how a site trains is in `clients.training.work`.

The payload is `Payload.length` integers below 2^ring_bits, packed, and has no place for anything else: no count of
records or steps, no loss, no metric, no text. It is checked, turned into bytes, kept by the journal, and what is
handed on is read back from these bytes, so that nothing that was attached to an array in memory travels with it.

Floating-point noise leaks: the low bits of x + noise can identify x (Mironov 2012; Holohan and Braghin 2021 on the
attempts to repair it). We add integer noise on a grid that follows from public numbers alone, so a neighboring data
set can produce every output too.

The task's code (model and loss) runs on the records. What it raises on one is caught where it is called, and the
record contributes zero (`clients.training.isolation`). Any other exception could still quote a record. So we pass
on the text of our own errors only; of others we pass on the type, such as `KeyError`. We do not watch what the code
prints or writes: a site approves the tasks that it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from torch import Tensor

from clients.journal.journal import Journal
from clients.journal.layers import Layers
from clients.training.own import Own
from clients.training.work import Trainer, contribution, fresh_excess
from federation.errors import FederationError, TaskError
from federation.model.own import begun_own
from federation.model.params import params_view
from federation.round.messages import Invitation
from federation.round.plays import account_name
from federation.round.sent import require_reachable
from federation.round.terms import Terms
from privacy.accounting.units import Limit
from privacy.errors import MalformedMessage, PolicyViolation, PrivacyError
from privacy.ledger.heads import Head
from privacy.mechanism.encoding import EncodingOverflow, RingVector
from privacy.secagg.keys import SECRET_BYTES
from privacy.secagg.ring import lane_type, pack, packed_size, unpack
from privacy.wire import digest

_LEFT_THE_RING: Final = b"left the ring"  # in the place of a vector: of a length that no packed one has


@dataclass(frozen=True)
class Payload:
    """The form of everything that leaves: `length` numbers below 2^ring_bits, packed as on the wire."""

    length: int
    ring_bits: int

    def seal(self, vector: object) -> bytes:
        """The bytes of an array of exactly this form. PolicyViolation for anything else, not showing it."""
        lanes = lane_type(self.ring_bits)
        if type(vector) is not np.ndarray or vector.dtype not in (np.uint64, lanes):
            raise PolicyViolation("a release is not of the one form that may leave")
        if vector.shape != (self.length,):
            raise PolicyViolation("a release is not of the one form that may leave")
        if int(vector.max()) >> self.ring_bits:
            raise PolicyViolation("a release leaves the ring")
        return pack(vector.astype(lanes, copy=False), self.ring_bits)

    def split(self, data: bytes) -> tuple[bytes, bytes, bytes]:
        """The sealed vector, and what is kept with it: the secret of its excess noise and for which cohort, if any.

        PolicyViolation for bytes of another form.
        """
        vector, beside = data[: self._size], data[self._size :]
        if len(beside) not in (0, 2 * SECRET_BYTES):
            raise PolicyViolation("a release is not of the one form that may leave")
        return vector, beside[:SECRET_BYTES], beside[SECRET_BYTES:]

    def open(self, data: bytes) -> RingVector:
        """The vector of sealed bytes, which are all that it holds. PolicyViolation if they have another form."""
        if type(data) is not bytes:
            raise PolicyViolation("a release is not of the one form that may leave")
        try:
            return unpack(data, self.length, self.ring_bits)
        except MalformedMessage:
            raise PolicyViolation("a release is not of the one form that may leave") from None

    @property
    def _size(self) -> int:
        return packed_size(self.length, self.ring_bits)


Present: TypeAlias = Callable[[Trainer], tuple[Trainer, Callable[[bytes], str]]]
"""A trainer without the records of people who withdrew, and what the ledger is told of them."""


def release(
    terms: Terms,
    site: str,
    params: Tensor,
    trainer: Trainer,
    journal: Journal,
    *,
    limits: Sequence[Limit] = (),
    heads: Sequence[Head] = (),
    excess: bytes = b"",
    present: Present | None = None,
    at: str = "",
    layers: Layers | None = None,
) -> RingVector:
    """This site's vector for the secure sum: integers below 2^ring_bits, of length `terms.length`.

    `excess` is the secret of what may be taken out of its noise again. It is of the round, like the vector, and
    kept with it; without one nothing can be taken out. The journal checks `limits`, what the site's policy allows
    at this moment, and `heads`, what others say that they saw of its own and their journals, before the round is
    charged. `present` takes out the records of who withdrew, once they may be read, and says for the ledger who
    they are. `at` is the minute. Where the clipping norm moves, `params` end with it. `layers` are those that the
    site keeps for itself, where the plan has some: they are on disk before the release is on record, and are not
    taken up unless it is.

    Raises FaultyServer for a norm that no sums lead to, BudgetExceeded, PolicyViolation or LedgerCorrupt before any
    data is read, EncodingOverflow when a delta that is already private, or never was, left the ring's range, again
    for the same round whenever it is asked for, and TaskError for whatever the task's code raised.
    """
    require_reachable(terms, params)
    run, number = terms.account
    question = terms.question(params_view(params)).hex()
    ended = (
        account_name(terms.plan, terms.run) if terms.is_evaluation else ""
    )  # its model is what is evaluated
    own = None if layers is None else Own(layers.before(number, begun_own(trainer.task.model), journal))
    sealed = journal.begin(run, number, question, limits, heads, ended, at)
    form = Payload(terms.length, terms.codec.ring_bits)
    if sealed is None:
        beside = excess + cohort_digest(terms) if excess else b""
        here, withdrawn = (trainer, None) if present is None else present(trainer)
        here = replace(here, own=own)
        try:
            sealed = form.seal(_without_text(terms, site, params, here, excess)) + beside
        except EncodingOverflow:  # that it did is told to the server: it is what this charge released
            journal.release(run, number, _LEFT_THE_RING, withdrawn)
            raise
        if layers is not None and own is not None and own.after is not None:
            layers.write(number, own.after, sealed)
        journal.release(run, number, sealed, withdrawn)
    if sealed == _LEFT_THE_RING:
        raise EncodingOverflow("the update left the range of the ring when it was made")
    if layers is not None:
        layers.settle(sealed)
    vector, drawn, _ = form.split(sealed)
    if drawn != excess:
        raise PolicyViolation("a release is kept with another secret of its noise than that of this attempt")
    return form.open(vector)


def excess_of(terms: Terms, journal: Journal) -> bytes:
    """The secret of what may be taken out of a round's noise, to be shared in an attempt: its release's or new.

    Until something is released every attempt has its own. What was released has one, in every attempt with the same
    cohort: a second would belong to noise that is not in the vector. To another cohort it is never dealt, not even
    before its params are known and it is refused: fewer sites could open it there, for a set that lost nobody, and
    strip noise that the sum of the first cohort needs. Empty where nothing is taken out.
    """
    if not terms.takes_out:
        return b""
    sealed = journal.kept(*terms.account)
    if sealed is not None:
        _, excess, cohort = Payload(terms.length, terms.codec.ring_bits).split(sealed)
        if cohort == cohort_digest(terms):
            return excess
    return fresh_excess(terms)


def cohort_digest(terms: Terms) -> bytes:
    """32 bytes for a round's cohort with the declared sizes."""
    return digest("federation/excess/1", Invitation(terms.members).to_bytes())


def _without_text(terms: Terms, site: str, params: Tensor, trainer: Trainer, excess: bytes) -> RingVector:
    """`contribution`; a foreign error becomes a TaskError that carries neither its text nor its cause."""
    try:
        return contribution(terms, site, params, trainer, excess)
    except (FederationError, PrivacyError, EncodingOverflow):
        raise
    except (Exception, SystemExit) as error:
        kind = type(error).__name__
    raise TaskError(f"training failed with {kind}", hint="try the task's code on made-up records")
