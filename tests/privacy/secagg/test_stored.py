"""Vectors in blocks and messages in files: the same bytes and the same sums, and no trust in what changed."""

from __future__ import annotations

import numpy as np
import pytest

from privacy.errors import FaultyServer, MalformedMessage, RecordsUnavailable, SuspectedClient
from privacy.secagg import masks, ring
from privacy.secagg.masks import Keystream, keystream
from privacy.secagg.opened import Upload, recount
from privacy.secagg.ring import RingVector
from privacy.secagg.server import Phase
from privacy.wire import Octets, Stored
from tests.privacy.secagg.rounds import CONTEXT, Round, fork, site


class File:
    """A file in memory; `changes` are made to it after so many bytes were read."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.reads, self.changes = 0, dict[int, bytes]()

    def write(self, start: int, data: Octets) -> None:
        self.data.extend(bytes(max(0, start + len(data) - len(self.data))))
        self.data[start : start + len(data)] = data

    def part(self, start: int, size: int) -> Stored:
        return Stored(self.read, size, start)

    def read(self, start: int, size: int) -> bytes:
        self.reads += size
        for after in [after for after in self.changes if after <= self.reads]:
            self.data = bytearray(self.changes.pop(after))
        return bytes(self.data[start : start + size])

    @property
    def content(self) -> Stored:
        return self.part(0, len(self.data))


class Counted:
    """A vector whose elements are counted as they are asked for."""

    def __init__(self, vector: RingVector) -> None:
        self._vector, self.asked, self.shape = vector, np.zeros(len(vector), int), vector.shape

    def __getitem__(self, span: slice) -> RingVector:
        self.asked[span] += 1
        return self._vector[span]


def _asked(bits: int, length: int, n: int = 4) -> Round:
    """A round whose sites are asked for their vectors, and have accepted what was dealt."""
    round_ = Round(n, ring_bits=bits, length=length).until(Phase.MASK)
    for slot, client in enumerate(round_.clients):
        client.accept(round_.inbox[slot])
    return round_


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches of a few columns, so that short vectors have many."""
    monkeypatch.setattr(ring, "_CHUNK_BYTES", 64)
    monkeypatch.setattr(ring, "_STRETCH", 1 << 9)
    monkeypatch.setattr(masks, "SHORT", 0)


@pytest.mark.parametrize(
    ("bits", "length"),
    [
        (1, 700),
        (8, 31),
        (16, 257),
        (21, 1),
        (27, 2),
        (27, 1025),
        (28, 1024),
        (28, 513),
        (32, 99),
        (33, 257),
        (62, 300),
    ],
)
def test_a_file_holds_what_the_whole_vector_gives(
    monkeypatch: pytest.MonkeyPatch, bits: int, length: int
) -> None:
    round_, files = _asked(bits, length), []
    for slot, client in enumerate(round_.clients):
        with monkeypatch.context() as whole:
            whole.setattr(masks, "SHORT", 1 << 20)
            whole.setattr(ring, "_STRETCH", 1 << 20)
            expected = fork(client).mask(round_.vectors[slot], CONTEXT)
        in_blocks = fork(client).mask(round_.vectors[slot], CONTEXT)
        vector, file = Counted(round_.vectors[slot]), File()
        client.mask_into(vector, CONTEXT, file)
        assert bytes(file.data) == expected
        assert in_blocks == expected
        assert set(vector.asked) == {1}  # twice, and two vectors could lie under one mask
        files.append(file)
    for slot, file in enumerate(files):
        round_.deliver(round_.server.receive(site(slot), file.content))
    round_.until(Phase.DONE)
    assert round_.result() == round_.sum_over(range(4))


def test_some_in_files_some_in_memory_and_one_lost_give_the_sum_that_anybody_recounts() -> None:
    round_, uploads = _asked(28, 1000, n=5), list[Upload]()
    round_.server._sink = uploads.append
    for slot in range(4):
        file = File()
        round_.clients[slot].mask_into(round_.vectors[slot], CONTEXT, file)
        data = file.content if slot % 2 else bytes(file.data)
        round_.deliver(round_.server.receive(site(slot), data))
    round_.deliver(round_.server.deadline())
    round_.until(Phase.DONE)
    assert round_.result() == round_.sum_over(range(4))
    opened = round_.server.opened
    assert opened is not None
    assert recount(round_.roster, round_.parameters, opened, uploads).tolist() == round_.result()


def test_the_request_again_reads_and_writes_nothing() -> None:
    round_, file = _asked(21, 100), File()
    client, vector = round_.clients[0], Counted(round_.vectors[0])
    client.mask_into(vector, CONTEXT, file)
    written, file.data = bytes(file.data), bytearray()
    client.mask_into(vector, CONTEXT, file)
    assert not file.data and set(vector.asked) == {1}
    round_.receive(0, written)
    assert not round_.server.blame


@pytest.mark.parametrize("again", ["memory", "context"])
def test_another_vector_is_never_masked_after_a_file(again: str) -> None:
    round_ = _asked(21, 100)
    client = round_.clients[0]
    client.mask_into(round_.vectors[0], CONTEXT, File())
    with pytest.raises(FaultyServer):
        if again == "memory":
            client.mask(round_.vectors[1], CONTEXT)
        else:
            client.mask_into(round_.vectors[1], bytes(32), File())


def test_a_vector_that_ends_too_early_ends_the_round_for_the_site() -> None:
    class Short(Counted):
        def __getitem__(self, span: slice) -> RingVector:
            return self._vector[slice(span.start, min(span.stop, 90))]

    round_, file = _asked(21, 100), File()
    with pytest.raises(ValueError, match="too early"):
        round_.clients[0].mask_into(Short(round_.vectors[0]), CONTEXT, file)
    round_.receive(0, bytes(file.data))  # what is half written is no message
    assert isinstance(round_.server.blame[site(0)], SuspectedClient)
    with pytest.raises(FaultyServer):
        round_.clients[0].mask_into(round_.vectors[0], CONTEXT, File())


def _written(round_: Round, slot: int) -> File:
    file = File()
    round_.clients[slot].mask_into(round_.vectors[slot], CONTEXT, file)
    return file


@pytest.mark.parametrize("damage", ["cut", "longer", "a bit", "another kind", "empty"])
def test_a_file_that_no_honest_site_sent_is_not_in_the_sum(damage: str) -> None:
    round_ = _asked(28, 1000)
    files = [_written(round_, slot) for slot in range(4)]
    data = bytes(files[0].data)
    files[0].data = bytearray(
        {
            "cut": data[:-1],
            "longer": data + b"x",
            "a bit": data[:-7] + bytes([data[-7] ^ 1]) + data[-6:],
            "another kind": data[:1] + b"\x09" + data[2:],
            "empty": b"",
        }[damage]
    )
    for slot, file in enumerate(files):
        round_.deliver(round_.server.receive(site(slot), file.content))
    assert isinstance(round_.server.blame[site(0)], SuspectedClient)
    round_.until(Phase.DONE)
    assert round_.result() == round_.sum_over([1, 2, 3])


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("share", [1.0, 1.8])
def test_a_file_that_changes_after_its_digest_was_checked_opens_no_sum(share: float, cut: bool) -> None:
    round_ = _asked(28, 1000)
    file = _written(round_, 0)
    data, file.reads = bytes(file.data), 0
    other = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
    file.changes[int(share * len(data)) + 100] = data[:-40] if cut else other
    with pytest.raises(RecordsUnavailable, match="changed"):
        round_.server.receive(site(0), file.content)
    assert round_.server.phase is Phase.ABORTED and round_.server.result is None
    assert not round_.server.blame  # it is this machine's disk that is at fault
    assert round_.server.receive(site(1), _written(round_, 1).content) == []


def test_only_a_masked_vector_may_lie_in_a_file() -> None:
    """The others are held as a whole, so their size is bounded elsewhere, in memory."""
    round_ = Round(4)
    advert = round_.clients[0].advertise()
    round_.server.receive(site(0), File(advert).content)
    assert isinstance(round_.server.blame[site(0)], SuspectedClient)


def test_stored_bytes_are_sliced_like_bytes_and_end_where_they_end() -> None:
    data = bytes(range(100))
    stored = File(data).content
    assert (stored[3:7], stored[90:], stored[:], len(stored.part(10, 5))) == (data[3:7], data[90:], data, 5)
    assert b"".join(map(bytes, stored.part(10, 50).blocks())) == data[10:60]
    for wrong in (stored.part(90, 20), File(data).part(0, 101)):
        with pytest.raises(MalformedMessage):
            list(wrong.blocks())
    with pytest.raises(MalformedMessage):
        stored.part(0, 10).read(5, 6)


def test_a_keystream_goes_on_from_any_byte() -> None:
    whole = keystream(bytes(32), 200)
    for start in (0, 1, 15, 16, 17, 63, 160):
        buffer = bytearray(55)
        Keystream(bytes(32), start).fill(buffer, 40)
        assert buffer[:40] == whole[start : start + 40]
