"""The Flower ClientApp: forwards frames to the service, decides nothing.

Flower starts a process for each message, with this in it. It holds no data, no keys and no decisions: it
passes bytes to the site's own process (`clients.door`) at the socket that the hospital named when it
started its SuperNode (`--node-config 'socket="/path"'`), and passes the reply back. Flower sends the text
of an exception to the server, so no exception leaves: every error is the same sentence.

The message type is `query`, Flower's word for a request that is neither training nor evaluation. The bytes say
what is asked, and Flower does not read them.
"""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from clients.door.asking import ask_site
from federation.errors import ShadowedPackage
from federation.log import said, to_stderr, warn
from federation.origins import check_origins
from federation.round.flower import from_record, to_record

_UNANSWERED = Error(code=0, reason="this site's service did not answer")

app = ClientApp()


@app.query()
def forward(message: Message, context: Context) -> Message:
    """The service's reply to the bytes in `message`, or one fixed error."""
    try:
        check_origins()
        socket = Path(str(context.node_config["socket"]))
        reply = to_record(ask_site(socket, from_record(message.content), timeout=message.metadata.ttl))
    except Exception as error:
        to_stderr()
        told = (
            said(error) if isinstance(error, ShadowedPackage) else type(error).__name__
        )  # others may quote data
        warn("failed", detail=f"nothing was forwarded ({told})")
        return Message(_UNANSWERED, reply_to=message)
    return Message(reply, reply_to=message)
