"""Genuine inputs of every decoder: a small round's messages, and the files of a small run."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clients.approvals import read_proposal
from clients.checkpoints.making import read_file
from clients.data.images.form import Form, NoImage
from clients.data.images.picture import read_picture
from clients.data.sources.archive import read_npz
from clients.drafting.invitation import Invitation, load_invitation
from clients.journal.remembered import Memory
from clients.people.listed import Line, Withdrawals, load_list
from clients.personal import read_personal, write_personal
from clients.policy import load_site
from clients.rules.origin import Origin
from federation.audit import evidence
from federation.audit.bundle.statement import PAYLOAD_TYPE, Statement, statement_from_bytes
from federation.audit.findings import Findings
from federation.audit.measured.evidence import read_measured
from federation.audit.measured.figures import Figures
from federation.audit.measured.record import Measurement
from federation.audit.receipts import read_receipts
from federation.config import toml
from federation.errors import CheckpointError, DataError, InputError, RosterError, UnusableFile
from federation.identity import keys
from federation.identity.roles import create_coordinator, create_node, load_any_public, load_node
from federation.identity.roster_file import load_roster
from federation.ledger import proofs
from federation.ledger.export import export_lines, load_entries
from federation.model.params import params_bytes, params_from_bytes
from federation.plan import plan as plans
from federation.report.files import read_report
from federation.report.said.finished import open_model
from federation.report.stated import read_stated
from federation.round import messages as frames
from federation.round.terms import Terms
from federation.sums.transcript.evidence import from_bytes as shown_from
from federation.sums.transcript.evidence import to_bytes as shown_bytes
from federation.sums.transcript.record import Heading, Transcript, path_of
from privacy.accounting import events, filters, units
from privacy.canonical import canonical, parsed
from privacy.dsse import sealed, signed_from_bytes
from privacy.errors import (
    LedgerCorrupt,
    MalformedMessage,
    PrivacyError,
    RecordsUnavailable,
    UnsafeParameters,
    UnsupportedEvent,
)
from privacy.ledger import approvals, chain
from privacy.ledger import heads as ledger_heads
from privacy.ledger.approvals import approve
from privacy.ledger.heads import Head
from privacy.ledger.state import fold
from privacy.roster import Roster, SignedRoster
from privacy.secagg import messages
from privacy.secagg.ring import packed_size
from privacy.secagg.server import Phase
from privacy.signing import public_identity
from privacy.tlog.note import LOG, Verifier, note_from_text, verifier_from_text
from server import checkpoint
from server.showing.now import FILE as NOW
from server.showing.now import read_now
from simulations.comparing.alone import Alone
from simulations.faults.guests import kind_of
from simulations.faults.rules import load_faults
from simulations.ray.slices import Slice
from simulations.ray.slices import Work as SliceWork
from tests.adversary.endurance.decoders import Decoder, Files, binary
from tests.federation.audit.audited import TEXT, served
from tests.federation.audit.measured.made import figures_of
from tests.privacy.ledger.ledgers import ANNA, BERT, FILTER, PLAN, reserved
from tests.privacy.secagg.rounds import Round, identity, make_roster
from tests.server.test_checkpoint import state_of
from tests.worlds import start

FAULTS = b"[simulation]\nseed = 7\ndropouts = 0.05\nstragglers = 0.1\ndelay_seconds = 60\nlate = 0.1\n"
PHASES = [Phase.ADVERTISE, Phase.SHARE, Phase.MASK, Phase.COMMIT, Phase.REVEAL]


def genuine() -> dict[str, bytes]:
    """One message of each kind, of a round that loses a site."""
    round_ = Round(5, colluders=0)
    sent: dict[str, bytes] = {}
    for phase in PHASES:
        sent[f"{phase.name} request"] = round_.inbox.get(0, b"")
        sent[f"{phase.name} answer"] = round_.answer(0)
        round_.step(round_.everyone - {4} if phase is Phase.MASK else None)
    roster = make_roster(round_.parameters.members)
    sent["roster"] = roster.to_bytes()
    sent["signed roster"] = SignedRoster.by(roster, [identity("consortium")]).to_bytes()
    del sent["ADVERTISE request"]
    return sent


def of_messages(sent: Mapping[str, bytes]) -> dict[str, Decoder]:
    """The wire of a round and of the roster."""
    sealed = messages.SealedShares.from_bytes(sent["SHARE answer"]).by_slot[1]
    portion = messages.Portion(bytes(range(32)), bytes(32), (5, 6))
    size = packed_size(7, 21)
    of_kind = {
        messages.Advert: "ADVERTISE answer",
        messages.Adverts: "SHARE request",
        messages.SealedShares: "SHARE answer",
        messages.Delivery: "MASK request",
        messages.Survivors: "COMMIT request",
        messages.Vote: "COMMIT answer",
        messages.Certificate: "REVEAL request",
        messages.Reveal: "REVEAL answer",
    }
    found = {
        f"privacy.secagg.messages.{kind.__name__}": binary(kind, [sent[name]])
        for kind, name in of_kind.items()
    }
    masked = Decoder(
        lambda data: messages.Masked.from_bytes(data, size),
        [sent["MASK answer"]],
        encode=lambda value: value.to_bytes(),
    )
    return {f"{name}.from_bytes": each for name, each in found.items()} | {
        "privacy.secagg.messages.Masked.from_bytes": masked,
        "privacy.secagg.messages.Portion.from_bytes": binary(messages.Portion, [portion.to_bytes()]),
        "privacy.secagg.messages.Sealed.from_bytes": binary(messages.Sealed, [sealed.to_bytes()]),
        "privacy.secagg.messages.Dealt.from_bytes": binary(messages.Dealt, [sealed.dealt.to_bytes()]),
        "privacy.secagg.messages.kind_of": Decoder(messages.kind_of, list(sent.values())[:9]),
        "privacy.roster.Roster.from_bytes": binary(Roster, [sent["roster"]]),
        "privacy.roster.SignedRoster.from_bytes": binary(SignedRoster, [sent["signed roster"]]),
    }


def of_frames(sent: Mapping[str, bytes]) -> dict[str, Decoder]:
    """The wire of a run."""
    head = Head("site-1", bytes(32), 7, bytes(range(32)), bytes(64))
    members = (frames.Member("site-0", 5), frames.Member("site-1", 2**53))
    paired = frames.Paired(sent["MASK answer"], b"next", (head,))
    frame = frames.Frame(frames.Kind.MASKED, bytes(16), 3, 1, paired.to_bytes())
    plan = plans.parse(TEXT)
    some = {
        frames.Frame: frame,
        frames.Hello: frames.Hello(plan.canonical(), sent["signed roster"], 1_000, 2_000, (head,)),
        frames.Welcome: frames.Welcome(
            *(members[0], plan.digest, "1.25", bytes(32), bytes(range(32)), head, 12),
            heads=(replace(head, seq=8),),
        ),
        frames.Invitation: frames.Invitation(members),
        frames.Broadcast: frames.Broadcast(bytes(40), sent["MASK request"], (head,)),
        frames.Paired: paired,
    }
    room = "federation.round.messages"
    found = {
        f"{room}.{kind.__name__}.from_bytes": binary(kind, [value.to_bytes()]) for kind, value in some.items()
    }
    return found | {
        "simulations.ray.slices.Slice.from_bytes": binary(Slice, [_slice(plan).to_bytes()]),
        f"{room}.closing_digest": Decoder(frames.closing_digest, [bytes(range(32))], encode=bytes),
        f"{room}.heads_from": Decoder(
            frames.heads_from, [frames.heads_body((head,))], encode=frames.heads_body
        ),
        f"{room}.abort_reason": Decoder(
            frames.abort_reason, [frames.abort_body(frames.Reason.POLICY)], encode=frames.abort_body
        ),
        "privacy.ledger.heads.Head.from_bytes": binary(Head, [head.to_bytes()]),
        "federation.plan.plan.Plan.from_canonical": Decoder(
            plans.Plan.from_canonical,
            [plan.canonical()],
            (MalformedMessage, UnsafeParameters),
            lambda value: value.canonical(),
        ),
        "simulations.faults.guests.kind_of": Decoder(kind_of, [frame.to_bytes()]),
        "federation.model.params.params_from_bytes": Decoder(
            lambda data: params_from_bytes(data, start(plan).numel()),
            [params_bytes(start(plan))],
            encode=params_bytes,
        ),
    }


def _slice(plan: plans.Plan) -> Slice:
    """Two of a sum's three sites, as a worker of the cluster is told of them."""
    params = start(plan)
    members = tuple(frames.Member(f"site-{number}", 40 + number) for number in range(3))
    terms = Terms(plan, bytes(range(16)), 3, 1, members, params.numel())
    work = SliceWork(TEXT, "/data/sites", bytes(range(32)))
    return Slice.of(work, terms, ("site-0", "site-1"), "seen", params, 1)


def of_texts() -> dict[str, Decoder]:
    """JSON and TOML that files and ledgers are made of. Bytes that are not UTF-8 become lone surrogates."""
    head = Head("site-1", bytes(32), 7, bytes(range(32)), bytes(64))
    proposal = reserved().account.tip.replacement(bytes(range(32)))
    signed = tuple(approve(proposal, key) for key in (ANNA, BERT))
    genesis = reserved().entries[0].body
    damage = (UnsupportedEvent, UnsafeParameters)
    figures = {"ash": {"auc": 0.5, "n": 40}, "birch": {"auc": None, "n": 48}}
    alone = Alone({"auc": 0.5, "n": 88}, figures, figures)
    return {
        "privacy.canonical.parsed": Decoder(
            lambda data: parsed(_text(data)),
            [canonical({"a": [1, 0.5, None, True], "b": {"ü": "\x7f"}}).encode()],
            ValueError,
            lambda value: canonical(value).encode(),
        ),
        "federation.audit.measured.record.Measurement.from_text": Decoder(
            lambda data: Measurement.from_text(_text(data)),
            [_measurement().encode()],
            ValueError,
            encode=lambda one: one.to_text().encode(),
        ),
        "federation.audit.measured.figures.Figures.from_json": _json(
            Figures.from_json, json.loads(_measurement())["figures"], ValueError
        ),
        "privacy.ledger.approvals.from_text": Decoder(
            lambda data: approvals.from_text(_text(data)), [approvals.to_text(proposal, signed).encode()]
        ),
        "privacy.ledger.approvals.approvals_from_json": _json(
            approvals.approvals_from_json, [one.to_json() for one in signed], ValueError
        ),
        "privacy.ledger.chain.genesis_from_json": _json(chain.genesis_from_json, genesis, ValueError),
        "privacy.ledger.heads.head_from_json": _json(
            ledger_heads.head_from_json, head.to_json(), MalformedMessage
        ),
        "privacy.accounting.events.event_from_json": _json(
            events.event_from_json, PLAN.event.to_json(), *damage
        ),
        "privacy.accounting.filters.filter_from_json": _json(
            filters.filter_from_json, FILTER.to_json(), *damage
        ),
        "privacy.accounting.units.charge_from_json": _json(units.charge_from_json, PLAN.to_json(), *damage),
        "simulations.comparing.alone.Alone.from_json": _json(
            Alone.from_json, alone.to_json(), KeyError, TypeError, AttributeError, ValueError
        ),
        "federation.config.toml.parse": Decoder(
            lambda data: toml.parse(_text(data)), [TEXT.encode()], UnusableFile
        ),
        "federation.plan.plan.parse": Decoder(
            lambda data: plans.parse(_text(data)), [TEXT.encode()], (InputError, UnsafeParameters)
        ),
    }


def _measurement() -> str:
    """What ash measured, as its file has it."""
    plan = plans.parse(TEXT)
    figures = figures_of(plan)
    return Measurement(plan.digest, "ash", "2026-11-29T10:00:00Z", "1", figures).signed(ANNA).to_text()


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def _json(decode: Callable[[Any], object], content: object, *errors: type[Exception]) -> Decoder:
    """Of what JSON says. Readers look whether a table is a table before they hand it on, so no other type comes."""

    def decoded(data: bytes) -> object:
        try:
            value = json.loads(_text(data))
        except (ValueError, RecursionError):
            return None
        return decode(value) if type(value) is type(content) else None

    return Decoder(decoded, [json.dumps(content).encode()], errors)


def of_files(folder: Path) -> dict[str, Decoder]:
    """Files: of a site, of a server, and of a run that an auditor is handed."""
    run = served(folder / "world", TEXT)
    home = folder / "world" / "ash"
    (folder / "run" / "journals").mkdir(parents=True)
    made = Files(folder / "run")

    def audited(read: Callable[[Path, Findings], object]) -> Callable[[Path], object]:
        return lambda path: read(path.parent, Findings())

    plan = plans.load(run / "plan.toml")
    checkpoint.write(folder / "state", plan, state_of(plan))
    state = (folder / "state" / "state.safetensors").read_bytes()
    journal = (home / "own.sqlite").read_bytes()
    export = export_lines(load_entries(home / "own.sqlite")).encode()
    proposal = approvals.to_text(reserved().account.tip.replacement(bytes(range(32)))).encode()
    key = (home / "keys" / "ash.key").read_bytes()
    _, named = create_coordinator(folder / "keys", "lead")
    coordinator, (node, _) = named.read_bytes(), create_node(folder / "keys", "ash")
    consortium = {"keys": [keys.load_public(home / "keys" / "ash.pub").key], "quorum": 1}
    known = {"version": "federation.invitation/1", "consortium": consortium, "plan": {"toml": TEXT}}
    invitation = Invitation.model_validate(known).to_toml("ash").encode()
    public, roster = (home / "keys" / "ash.pub").read_bytes(), (run / "roster.toml").read_bytes()
    receipts, report = (run / "receipts.jsonl").read_bytes(), (run / "report.json").read_bytes()
    room = "federation.audit.evidence"
    finished, own = open_model(run), folder / "own.safetensors"
    write_personal(finished, "ash", finished.params, own)
    return (
        _of_transcript(path_of(run, 1))
        | _of_images(made)
        | _of_checkpoints(made, home / "own.sqlite")
        | {
            "clients.approvals.read_proposal": made.of(
                "p.json", read_proposal, [proposal], InputError, MalformedMessage
            ),
            "clients.drafting.invitation.load_invitation": made.of(
                "invite.toml", load_invitation, [invitation], InputError
            ),
            "clients.people.listed.load_list": made.of(
                "ash.withdrawn", load_list, [WITHDRAWN.to_bytes()], RecordsUnavailable
            ),
            "clients.people.listed.Withdrawals.from_bytes": Decoder(
                Withdrawals.from_bytes, [WITHDRAWN.to_bytes()], errors=ValueError
            ),
            "clients.journal.remembered.Memory.read": made.of(
                "ash.restores", _remembered, [b'{"00ff": 3, "ff00": 12}'], RecordsUnavailable
            ),
            "clients.policy.load_site": made.of(
                "site.toml", load_site, [(home / "site.toml").read_bytes()], InputError
            ),
            "federation.config.toml.read": made.of("any.toml", toml.read, [TEXT.encode()], UnusableFile),
            "federation.identity.keys.load_private": made.of("a.key", keys.load_private, [key], UnusableFile),
            "federation.identity.keys.load_passphrase": made.of(
                "words", keys.load_passphrase, [b"seven words that nobody guesses\n"], UnusableFile
            ),
            "federation.identity.keys.load_public": made.of("a.pub", keys.load_public, [public], InputError),
            "federation.identity.roles.load_node": made.of(
                "ash.node.key", load_node, [node.read_bytes()], UnusableFile
            ),
            "federation.identity.roles.load_any_public": made.of(
                "any.pub", load_any_public, [public, coordinator], InputError
            ),
            "federation.identity.roster_file.load_roster": made.of(
                "any-roster.toml", load_roster, [roster], InputError, RosterError, MalformedMessage
            ),
            "federation.ledger.export.load_entries": made.of(
                "ledger",
                _folded,
                [export, export, export, journal],
                LedgerCorrupt,
                PrivacyError,
                UnusableFile,
            ),
            "federation.report.files.read_report": made.of(
                "report.json", lambda path: read_report(path.parent), [report], CheckpointError
            ),
            "federation.report.stated.read_stated": made.of(
                "page", lambda path: read_stated(path.read_text(errors="replace")), [_page(run)], ValueError
            ),
            "federation.audit.measured.evidence.read_measured": made.of(
                "measured.json",
                lambda path: read_measured([path], plan, None, Findings()),
                [_measurement().encode()],
            ),
            "clients.personal.read_personal": made.of(
                "own.safetensors", partial(read_personal, finished), [own.read_bytes()], UnusableFile
            ),
            "federation.audit.receipts.read_receipts": made.of(
                "receipts.jsonl", lambda path: read_receipts(path.parent, plan, Findings()), [receipts]
            ),
            f"{room}.read_plan": made.of("plan.toml", audited(evidence.read_plan), [TEXT.encode()]),
            f"{room}.read_rosters": made.of("roster.toml", audited(evidence.read_rosters), [roster]),
            f"{room}.read_report": made.of("report.json", audited(evidence.read_report), [report]),
            f"{room}.read_params": made.of(
                "params.safetensors",
                audited(evidence.read_params),
                [(run / "params.safetensors").read_bytes()],
            ),
            f"{room}.read_ledgers": made.of(
                "journals/ash.sqlite",
                lambda path: evidence.read_ledgers(path.parent.parent, (), Findings()),
                [export, journal],
            ),
            "simulations.faults.rules.load_faults": made.of(
                "faults.toml", lambda path: load_faults(str(path)), [FAULTS], InputError
            ),
            "server.showing.now.read_now": made.of(
                NOW,
                lambda path: read_now(path.parent),
                [b'{"phase": "playing", "sites": {"ash": {"connected": true}}}'],
            ),
            "server.checkpoint.read": made.of(
                "state.safetensors", lambda path: checkpoint.read(path.parent, plan), [state], CheckpointError
            ),
        }
    )


def _of_images(made: Files) -> dict[str, Decoder]:
    """Files of images, which a device or another hospital may have written."""
    gray, packed = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5, io.BytesIO()
    form = Form(height=6, width=8, channels=1, low=0, high=255, resize=True)
    np.savez_compressed(
        packed, scan=gray[None].repeat(3, 0), label=np.array([0, 1, 1]), who=np.array(list("abb"))
    )
    files = []
    for kind in ("PNG", "JPEG"):
        stream = io.BytesIO()
        Image.fromarray(gray).save(stream, kind)
        files.append(stream.getvalue())
    return {
        "clients.data.images.picture.read_picture": made.of(
            "scan.png", lambda path: read_picture(path, form), files, NoImage
        ),
        "clients.data.sources.archive.read_npz": made.of(
            "scans.npz", lambda path: read_npz(Origin.of(path)), [packed.getvalue()], DataError
        ),
    }


def _of_transcript(path: Path) -> dict[str, Decoder]:
    """The parts of a transcript with a form of their own; test_record.py has the file."""
    with Transcript.open(path) as transcript:
        heading, shown = transcript.heading.to_bytes(), transcript.evidence
    return {
        "federation.sums.transcript.record.Heading.from_bytes": binary(Heading, [heading]),
        "federation.sums.transcript.evidence.from_bytes": Decoder(
            lambda data: shown_from(data, 0, bytes(32), bytes(32)), [shown], encode=shown_bytes
        ),
    }


def _of_checkpoints(made: Files, journal: Path) -> dict[str, Decoder]:
    """What a witness is handed, as files of text."""
    entries = load_entries(journal)
    old = proofs.checkpoint_at(entries[:4]).note().signed("log", ANNA)
    note = proofs.checkpoint_at(entries).note().signed("log", ANNA)
    one, grown = proofs.included(entries, 3, note), proofs.continued(entries, 4, note)
    key = str(Verifier("log", LOG, public_identity(ANNA)))

    def text(parse: Callable[[str], object], *samples: str) -> Decoder:
        read = partial(read_file, parse=parse, wrote="federation ledger checkpoint")
        return made.of(parse.__name__, read, [sample.encode() for sample in samples], UnusableFile)

    room = "federation.ledger.proofs"
    statement = Statement({"plan.toml": "00" * 32}, {"verdict": "pass"}, "now", "1")
    return {
        "federation.audit.bundle.statement.statement_from_bytes": Decoder(
            statement_from_bytes, [statement.to_bytes()]
        ),
        "privacy.dsse.signed_from_bytes": Decoder(
            partial(signed_from_bytes, payload_type=PAYLOAD_TYPE),
            [sealed(statement.to_bytes(), PAYLOAD_TYPE, ANNA)],
        ),
        "clients.checkpoints.making.read_file": text(note_from_text, str(old)),
        "privacy.tlog.note.note_from_text": text(note_from_text, str(old)),
        "privacy.tlog.note.verifier_from_text": text(verifier_from_text, key),
        f"{room}.checkpoint_from_text": text(proofs.checkpoint_from_text, str(note)),
        f"{room}.inclusion_from_text": text(proofs.inclusion_from_text, str(one)),
        f"{room}.continued_from_text": text(proofs.continued_from_text, str(grown), str(old)),
    }


WITHDRAWN = Withdrawals(
    bytes(32), "mrn", 3, (Line(bytes([1]) * 32, "2026-11-29"), Line(bytes(32), "2026-11-30", True))
)


def _remembered(path: Path) -> dict[str, int]:
    return Memory(path, "restores", int).read()


def _folded(path: Path) -> object:
    return fold(load_entries(path))


def _page(run: Path) -> bytes:
    """The part of a page that states numbers; its plots are no business of the reader."""
    page = (run / "report.html").read_bytes()
    return page[page.index(b"<body") :][:20_000]
