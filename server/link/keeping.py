"""How much a node can have the SuperLink keep: its newest messages, and of each of them one object of any size.

Flower keeps a message until it was fetched and confirmed, or its run ends. A reply that the coordinator gave up is
never fetched, and a request whose receipt a site does not confirm is never forgotten: an hour of them fills the
memory. What is older than all that the coordinator still asks for is of no use to anybody, so it is let go.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from federation.round.transport import OPEN

ROOM: Final = 1 << 12
"""Bytes of an object that other objects hang on: it carries nothing of ours."""
_Owner: TypeAlias = tuple[int, bool]  # a node; whether these are its replies, or the requests to it


class Keeping:
    """Bounds what Flower's state in memory keeps for a node. It takes the place of two of the state's methods."""

    def __init__(self, state: Any) -> None:
        self._state, self._objects = state, state.object_store
        self._store, self._put = state.store_message_and_object_tree, state.object_store.put
        self._kept: dict[_Owner, list[str]] = {}
        self._owners: dict[str, _Owner] = {}
        # Flower takes these two in either order, and two nodes at the right moment would have it wait for ever.
        state._lock_object_push_sessions = state.lock
        state.store_message_and_object_tree, state.object_store.put = self.store, self.put

    def store(self, message: Any, tree: Any, session: str) -> tuple[bool, list[str]]:
        """Take a message as Flower does, and let go of the node's oldest one if these are too many."""
        about, name = message.metadata, tree.object_id
        is_reply = bool(about.reply_to_message_id)
        owner = (about.src_node_id if is_reply else about.dst_node_id, is_reply)
        with self._state.lock:
            try:
                if self._owners.get(name, owner) != owner:
                    return False, []  # another's: it would be let go with this one's
                is_stored, missing = self._store(message, tree, session)
                if is_stored:
                    self._keep(owner, name)
                return is_stored, missing
            finally:
                if is_reply:
                    self._end_if_done(session)

    def put(self, name: str, content: bytes) -> None:
        """Take an object as Flower does, unless it is large and others hang on it. ValueError then."""
        if len(content) > ROOM and name in self._objects and self._objects.get_object_tree(name).children:
            raise ValueError("an object around others is too large")
        self._put(name, content)

    def _keep(self, owner: _Owner, name: str) -> None:
        before = [one for one in self._kept.get(owner, []) if one != name]
        here = [*(one for one in before if one in self._objects), name]  # not fetched and confirmed
        for one in before:
            del self._owners[one]
        for one in here[:-OPEN]:
            self._let_go(one)
        self._kept[owner] = here[-OPEN:]
        self._owners |= dict.fromkeys(here[-OPEN:], owner)

    def _let_go(self, name: str) -> None:
        """Forget a message, its objects, and whatever of them is still awaited."""
        state = self._state
        session = state._object_push_session_by_root.get(name)
        if session is not None and state._object_push_sessions[session].root_object_ids == {name}:
            state._cleanup_push_session(session, cleanup_messages=False)
        self._objects.delete(name)
        state._on_push_session_expired({name})

    def _end_if_done(self, session: str) -> None:
        """Flower begins a session for each reply that is announced, and keeps it if there is nothing to send."""
        found = self._state._object_push_sessions.get(session)
        if found is not None and not found.pending_object_ids:
            self._state._cleanup_push_session(session, cleanup_messages=False)
