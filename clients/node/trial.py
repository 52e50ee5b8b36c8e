"""One try to connect, before a site joins or when something does not work."""

from __future__ import annotations

from contextlib import closing, suppress

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from clients.node.fleet import Fleet
from clients.node.line import Line, Place
from clients.node.trouble import Trouble, trouble_of

_GOING = 5.0  # seconds to say that we go


def tried(place: Place, key: EllipticCurvePrivateKey, site: str) -> Trouble | None:
    """Say hello to the coordinator and goodbye; None if it knows this node, else why that failed."""
    with closing(Line(place)) as line:
        fleet = Fleet(line, key)
        try:
            node = fleet.activate()
        except Exception as error:
            return trouble_of(error, place, site)
        with suppress(Exception):
            fleet.deactivate(node, _GOING)
    return None
