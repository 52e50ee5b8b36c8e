"""A site leaves a real run while its process answers: the run goes on, and an audit of all ledgers tells it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from clients.leaving import about, leave
from federation.audit.examine import audit
from federation.round.messages import Frame, Kind
from federation.round.transport import Outgoing
from simulations.world import InProcess
from tests.federation.audit.audited import ids, ids_at, served
from tests.worlds import text_of

NAMES = ("ash", "birch", "cedar", "dogwood")
TEXT = text_of(
    {"server.optimizer": "average"},
    noise="distributed",
    rounds=4,
    sample_rate=0.5,
    minimum=3,
    colluders=1,
    dropouts=1,
)


def test_a_site_that_leaves_a_real_run_is_missing_from_then_on_and_the_audit_passes(tmp_path: Path) -> None:
    left: list[int] = []

    class Leaving(InProcess):
        """Before round 3 is broadcast, the people of dogwood leave, by the command that they have for it."""

        def send(self, messages: Iterable[Outgoing]) -> None:
            for message in messages:
                frame = Frame.from_bytes(message.data)
                if frame.kind is Kind.BROADCAST and frame.round == 3 and not left:
                    site = tmp_path / "dogwood" / "site.toml"
                    leave(site, about(site, frame.run.hex()))
                    left.append(frame.round)
                super().send([message])

    run = served(tmp_path, TEXT, Leaving, NAMES)
    found = audit(run, [tmp_path / name / "own.sqlite" for name in NAMES])
    assert (found.verdict, ids(found, "critical")) == ("pass", set())
    assert "site-left" in ids_at(found, "dogwood")
    (told,) = [each.detail for each in found.findings if each.id == "site-left"]
    assert told == "the site left the run after 2 of 4 rounds; the rest is returned"
    executed = {site.id: site.training.executed for site in found.sites}
    assert executed == {"ash": 4, "birch": 4, "cedar": 4, "dogwood": 2}
