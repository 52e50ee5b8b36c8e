"""What whoever carries messages to a site gets of it: a reply, or nothing, and never an exception."""

from __future__ import annotations

from collections.abc import Callable

from federation.log import warn
from federation.round.transport import LARGEST


def answered(receive: Callable[[bytes], bytes], request: bytes) -> bytes | None:
    """The site's reply; None where it failed, or made one that is too long to send. The log says so.

    For a thread that serves a site and must go on: else the site would answer nobody.
    """
    try:
        reply = receive(request)
    except BaseException as error:
        # No signal reaches such a thread, so a task's code raised it, whatever it is. The text may quote the data:
        # only its kind is logged, nothing is sent.
        warn("failed", detail=f"a request failed ({type(error).__name__})")
        return None
    if len(reply) > LARGEST:
        warn("failed", detail=f"a reply of {len(reply)} bytes is too long to send")
        return None
    return reply
