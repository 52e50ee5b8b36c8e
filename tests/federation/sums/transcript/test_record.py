"""The file of a round: one encoding, and a reader that answers any bytes with a transcript or one named error."""

from __future__ import annotations

import tracemalloc
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.plan.plan import load
from federation.sums.transcript.evidence import from_bytes, to_bytes
from federation.sums.transcript.record import LABEL, Heading, Transcript, digest_of, path_of, transcripts_of
from privacy.errors import MalformedMessage
from privacy.secagg.messages import wraps_from
from privacy.secagg.opened import Opened
from privacy.suite import SUITE
from privacy.wire import Writer
from tests.federation.sums.kept import LOSSY_ROUND, Parts, digests, parts_of

OPENING = Writer().text(LABEL).u8(SUITE).finish()
NUMBERS = (1, 2, 3, 4)


def read(data: bytes) -> Transcript:
    return Transcript(BytesIO(data))


def drained(data: bytes, plan_of: Path) -> Parts | None:
    """All of a transcript, or None where the reader refuses it; any other error is a fault of the reader."""
    path = plan_of / "probe"
    path.write_bytes(data)
    try:
        return Parts.of(path, load(plan_of / "plan.toml"))
    except MalformedMessage:
        return None


@pytest.fixture(scope="module")
def probe(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to read bytes from, with the plan of the run."""
    folder = tmp_path_factory.mktemp("probe")
    (folder / "plan.toml").write_bytes((kept / "plan.toml").read_bytes())
    return folder


@pytest.mark.parametrize("number", NUMBERS)
def test_a_transcript_has_one_encoding(kept: Path, number: int) -> None:
    assert parts_of(kept, number).to_bytes() == path_of(kept, number).read_bytes()


def test_every_round_and_the_evaluation_have_a_file_under_their_digest(kept: Path) -> None:
    assert [path.name for path in transcripts_of(kept)] == [f"{number:04d}.transcript" for number in NUMBERS]
    assert digests(kept) == {number: digest_of(path_of(kept, number)) for number in NUMBERS}


def test_the_params_that_the_run_began_with_are_in_the_first_alone(kept: Path) -> None:
    starts = [len(parts_of(kept, number).start) for number in NUMBERS]
    assert starts == [4 * parts_of(kept, 1).heading.dimension, 0, 0, 0]


def test_what_is_kept_of_a_lost_site_is_its_word_and_its_mask_secret(kept: Path) -> None:
    opened = parts_of(kept, LOSSY_ROUND).opened
    (lost,) = opened.sharers - opened.survivors
    assert opened.secrets.keys() == {lost}
    assert lost not in opened.seeds.keys() | opened.votes.keys() | opened.taken.keys()
    assert [upload.slot for upload in parts_of(kept, LOSSY_ROUND).uploads] == sorted(opened.survivors)
    assert all(lost in ends for ends in opened.dealt)


@pytest.mark.parametrize("number", NUMBERS)
def test_cut_short_or_grown_it_is_refused(kept: Path, probe: Path, number: int) -> None:
    data = path_of(kept, number).read_bytes()
    for size in {*range(0, len(data), 97), len(data) - 1, *range(60)}:
        assert drained(data[:size], probe) is None
    assert drained(data + b"\0", probe) is None


def test_another_version_or_suite_is_refused_by_name(kept: Path) -> None:
    data = path_of(kept, 1).read_bytes()
    with pytest.raises(MalformedMessage, match="another version"):
        read(data.replace(b"transcript/1", b"transcript/2", 1))
    at = len(OPENING) - 1
    with pytest.raises(MalformedMessage, match="secagg/3"):
        read(data[:at] + b"\3" + data[at + 1 :])


@given(st.binary(max_size=300))
def test_any_bytes_are_a_transcript_or_one_named_error(data: bytes) -> None:
    for whole in (data, OPENING + data):
        with pytest.raises(MalformedMessage):
            read(whole)


@given(data=st.data())
def test_any_bytes_in_the_place_of_any_part_are_refused_or_read(
    data: st.DataObject, kept: Path, probe: Path
) -> None:
    whole = path_of(kept, LOSSY_ROUND).read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 80)))
    altered = whole[:start] + data.draw(st.binary(max_size=80)) + whole[end:]
    found = drained(altered, probe)
    assert found is None or found.to_bytes() == altered


@given(st.binary(max_size=400))
def test_any_bytes_are_evidence_or_one_named_error(data: bytes) -> None:
    for read_of in (lambda: from_bytes(data, 0, bytes(32), bytes(32)), lambda: wraps_from(data)):
        try:
            found = read_of()
        except MalformedMessage:
            continue
        assert not isinstance(found, Opened) or to_bytes(found) == data


@pytest.mark.parametrize("fields", [0, 1, 2])
def test_a_length_that_the_file_does_not_hold_allocates_nothing(kept: Path, fields: int) -> None:
    """Four bytes must not choose how much memory an auditor needs."""
    parts = parts_of(kept, 2)
    writer = Writer().fixed(OPENING)
    for part in (parts.heading.to_bytes(), parts.start, b"")[:fields]:
        writer.blob(part)
    data = writer.u32(0x3FFFFFFF if fields else 0xFFFFFFFF).finish() + bytes(1000)
    tracemalloc.start()
    with pytest.raises(MalformedMessage):
        read(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_heading_has_one_encoding_and_no_room_for_more(kept: Path) -> None:
    heading = parts_of(kept, 1).heading
    data = heading.to_bytes()
    assert Heading.from_bytes(data) == heading
    with pytest.raises(MalformedMessage):
        Heading.from_bytes(data + b"\0")
