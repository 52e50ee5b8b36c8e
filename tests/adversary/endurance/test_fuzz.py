"""Bytes nobody made: every decoder and every machine answers them with an error of ours, or takes no notice.

About ten thousand inputs to the decoders in `make test`, a million in `make soak`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import numpy as np
import pytest

from privacy.errors import ProtocolError
from privacy.secagg.server import Phase, TooFew
from tests.adversary.endurance.decoders import EXEMPT, Decoder, found
from tests.adversary.endurance.mutations import mutated
from tests.adversary.endurance.samples import PHASES, genuine, of_files, of_frames, of_messages, of_texts
from tests.privacy.secagg.rounds import CONTEXT, Round, fork, mask, site
from tests.scale import scaled

INPUTS = scaled(200)  # for each decoder
MEASURED = 20  # so many of them are also counted in calls
GENUINE = genuine()


def inputs(name: str, count: int) -> Iterator[bytes]:
    """Mutations of every genuine message in turn."""
    samples = list(GENUINE.values())
    return mutated(name, samples, samples, count)


@pytest.fixture(scope="module")
def decoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Decoder]:
    """All of them, by name."""
    folder = tmp_path_factory.mktemp("fuzz")
    return of_messages(GENUINE) | of_frames(GENUINE) | of_texts() | of_files(folder)


NAMES = sorted(found() - EXEMPT.keys())


def test_every_decoder_is_tried_here_or_says_where_else(decoders: dict[str, Decoder]) -> None:
    """A new decoder is added to samples.py, with genuine inputs and the errors that it may answer with."""
    assert decoders.keys() == set(NAMES)
    assert EXEMPT.keys() <= found(), "an exemption for a decoder that is no more"


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, Python's and C's: a measure of work that no busy machine changes."""
    count = 0

    def counted(_: FrameType, event: str, __: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_a_decoder_gives_a_value_in_its_one_form_or_its_own_error(
    name: str, decoders: dict[str, Decoder], record_property: Callable[[str, object], None]
) -> None:
    """46: and no input makes much more work for its size than a genuine one."""
    decoder, others = decoders[name], list(GENUINE.values())
    each = max(calls(lambda sample=sample: decoder.decode(sample)) for sample in decoder.samples)  # type: ignore[misc]
    for sample in decoder.samples:
        assert decoder.encode is None or decoder.encode(decoder.decode(sample)) == sample
    values = 0
    for number, data in enumerate(mutated(name, decoder.samples, [*decoder.samples, *others], INPUTS)):
        if number % (INPUTS // MEASURED or 1) == 0:
            spent = calls(lambda data=data: _outcome(decoder, data))  # type: ignore[misc]
            assert spent < 4 * each + 200 + 40 * len(data), f"{spent} calls for {len(data)} bytes"
        values += _outcome(decoder, data)
    record_property("inputs", f"{INPUTS}, of which {values} have a value")


def _outcome(decoder: Decoder, data: bytes) -> bool:
    """Whether the input has a value, which is written as it was read; any error but the decoder's own goes on."""
    try:
        value = decoder.decode(data)
    except decoder.errors:
        return False
    assert decoder.encode is None or decoder.encode(value) == data
    return True


@pytest.mark.soak
@pytest.mark.parametrize("phase", PHASES[1:])
def test_a_site_answers_strange_bytes_with_an_error_of_ours_and_leaves(phase: Phase) -> None:
    """46: and no secret leaves: of all the inputs none but the genuine request gets a reply."""
    round_ = Round(5, colluders=0)
    if phase is Phase.COMMIT:
        round_.until(Phase.MASK).step(round_.everyone - {4})
    genuine = round_.until(phase).inbox[0]
    for data in inputs(f"site {phase}", scaled(500)):
        client = fork(round_.clients[0])
        steps: dict[Phase, Callable[[bytes], bytes]] = {
            Phase.SHARE: client.share,
            Phase.MASK: lambda request, of=client: mask(of, request, round_.vectors[0], CONTEXT),  # type: ignore[misc]
            Phase.COMMIT: client.commit,
            Phase.REVEAL: client.reveal,
        }
        if data != genuine:
            try:
                reply = steps[phase](data)
            except ProtocolError:
                assert "finished" in repr(client)
                continue
            assert phase is Phase.COMMIT, "only a set of survivors can be changed into another allowed one"
            assert len(reply) == 98


@pytest.mark.soak
@pytest.mark.parametrize("phase", PHASES)
def test_a_server_blames_the_sender_of_strange_bytes_and_gets_the_right_sum(phase: Phase) -> None:
    """46: one site babbles in one phase; the others' sum is right."""
    for start in range(scaled(3)):
        round_ = Round(6, colluders=0)
        if phase is Phase.COMMIT:
            round_.until(Phase.MASK).step(round_.everyone - {5})
        round_.until(phase)
        for data in inputs(f"server {phase} {start}", 60):
            round_.receive(2, data)
            round_.server.receive("nobody", data)
        try:
            while round_.server.phase is not Phase.DONE:
                round_.step(round_.everyone - {2})
        except TooFew:
            pytest.fail("one site's noise must not end the round")
        survivors = [round_.parameters.slots[name] for name in round_.server.survivors]
        assert round_.result() == round_.sum_over(survivors)
        assert set(round_.server.blame) <= {site(2)}


def test_numbers_that_are_no_ring_elements_never_get_to_the_mask() -> None:
    """32: not a number, infinite, denormal, negative: floats and signed integers are refused by type."""
    for value in (np.nan, np.inf, 5e-324, -0.0, 1.0):
        round_ = Round(5).until(Phase.MASK)
        with pytest.raises(ValueError, match="uint64"):
            mask(round_.clients[0], round_.inbox[0], np.full(7, value), CONTEXT)  # type: ignore[arg-type]
