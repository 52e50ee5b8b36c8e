"""Four hospitals train over TLS as if they were in one room; whoever listens or knocks meanwhile gets nothing."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor

from clients.training.work import Trainer
from federation.round.terms import Terms
from tests.certificates import Authority
from tests.stories.real import knocking
from tests.stories.real.consortium import AUTHORITY, RECORDS, SITES, Consortium, federation
from tests.stories.real.family import descendants
from tests.stories.real.intruder import Intruder, node_key, offers
from tests.stories.real.party import Nursery, Party
from tests.stories.real.replayed import protocol, replayed
from tests.stories.real.wire import DATA, check_line, counts_in, forms_of, records

TRAINS = "clients.release:contribution"  # where a site has charged a round and not yet read a record


@pytest.mark.waits
def test_nobody_else_learns_or_changes_anything(nursery: Nursery, tmp_path: Path) -> None:
    """Without noise, so that what is secret is known to the bit, and the result as well."""
    plan = {"noise": "none", "rounds": 3, "deadline_seconds": 600}
    with Consortium(tmp_path / "c", nursery, (*SITES, "elm"), **plan) as consortium:
        serve = consortium.serve()
        serve.tells("waiting")
        wrong_certificate(consortium)
        consortium.disown("elm")
        sites = consortium.join_all({"ash": (TRAINS, (2,))})
        impostor = consortium.join("elm")
        sites["ash"].halts(2)
        serve.tells("site_refused", reason="protocol")
        assert not impostor.events("round_begins")
        knock(consortium, serve)
        stranger(consortium, serve)
        sites["ash"].go(2)
        assert serve.ends() == 0, serve.told()
        consortium.stop()
        assert torch.equal(consortium.params(), protocol(consortium))
        check_run(consortium)
        check_wire(consortium, consortium.frames)


def wrong_certificate(consortium: Consortium) -> None:
    """A site that pins another authority says so, and has sent no word of its own."""
    elsewhere = Authority(AUTHORITY).write(consortium.folder / "elsewhere", "localhost")
    consortium.settle("birch", elsewhere)
    site, relay = consortium.join("birch"), consortium.relays["birch"]
    site.hears("its certificate is signed by authority of a test, not by ca.crt")
    site.signal(signal.SIGTERM)
    site.ends()
    for tap in relay.taps:
        said = [body for kind, body in records(bytes(tap.up)) if kind == DATA]
        assert sum(map(len, said)) < 100, "no more than an alert, or the end of a handshake"
    relay.taps.clear()
    consortium.settle("birch")


def stranger(consortium: Consortium, serve: Party) -> None:
    """A node's key that is not on the roster opens nothing, and the site that has it hears why."""
    consortium.found("stranger")
    alone = consortium.join("stranger")
    alone.hears("the coordinator does not know this node's key")
    alone.signal(signal.SIGTERM)
    alone.ends()
    assert "stranger" not in serve.said


def knock(consortium: Consortium, serve: Party) -> None:
    """Ask for all of Flower's interface: as anybody on the network, as a site, and as a user of the machine."""
    everything, authority, port = offers(), consortium.certificate, consortium.port
    assert len(everything) >= 76
    with Intruder(port, authority) as anybody:
        knocking.refused_to_strangers(anybody, everything)
    ids, run = consortium.nodes(), consortium.run_number()
    key = node_key(consortium.site("elm") / "keys" / "elm.node.key")
    with Intruder(port, authority, key, node_id=ids["ash"], src_node_id=ids["ash"], run_id=run) as site:
        knocking.refused_to_nodes(site, everything)
        knocking.refused_for_others(site, everything)
    inner = knocking.refused_without_token(descendants(serve.pid), port, everything)
    assert inner >= 1
    assert ids == consortium.nodes(), "no node came or went"
    assert consortium.run_number() == run, "no other run was begun"


def check_run(consortium: Consortium) -> None:
    """All that a run leaves behind is there, and an audit with all ledgers finds nothing."""
    receipts = consortium.receipts()
    assert [receipt.survivors for receipt in receipts] == [SITES] * consortium.plan.federation.rounds
    report = json.loads((consortium.run / "report.json").read_text())
    promised = None
    if consortium.plan.is_private:
        promised = json.loads(federation("budget", consortium.folder / "plan.toml", "--json"))["epsilon"]
    assert report["privacy"]["epsilon"] == promised
    assert "</html>" in (consortium.run / "report.html").read_text()
    for number in range(1, len(receipts) + 1):
        assert (consortium.run / "rounds" / f"{number:04}.transcript").exists()
        assert all(consortium.charged(name)[number] == 1 for name in SITES)
    outcome = consortium.audited()
    assert outcome.verdict == "pass", outcome.findings


def check_wire(consortium: Consortium, carried: bytes) -> None:
    """The lines carry TLS and nothing else; what the SuperLink carries holds no contribution and no count."""
    secrets: dict[str, bytes] = {}

    def at(terms: Terms, params: Tensor, trainers: dict[str, Trainer]) -> None:
        for name in SITES:
            forms = forms_of(terms, name, params, trainers[name])
            secrets.update({f"{name} in round {terms.round} as {form}": data for form, data in forms.items()})

    assert torch.equal(replayed(consortium, consortium.receipts(), at), consortium.params())
    assert len(secrets) == 4 * 3 * 4
    assert b"hospital dogwood" in carried, "messages are seen in what was carried, in the clear"
    for name, secret in secrets.items():
        assert secret not in carried, name
    for name, count in RECORDS.items():
        assert counts_in(carried, count) == [], name
    run = bytes.fromhex(consortium.run_id())
    assert run in carried
    plain = {
        "a run": run,
        "a name": b"hospital dogwood",
        "a call": b"/v1/fleet/",
        "a digest": consortium.plan.digest.encode(),
    }
    passed = {name: check_line(relay, plain | secrets) for name, relay in consortium.relays.items()}
    assert all(passed[name] > 10_000 for name in SITES)
