"""The loop of a node: connect, fetch a request, hand it to the site, send its reply; for ever, whatever happens.

Whoever answers at the other end can make this loop wait, and nothing else: each fault is told once, in the log and
on the site's board, and the loop goes on. Requests are answered one after the other, since a site is a state
machine; heartbeats go on meanwhile. Looks for a request are as far apart as a tenth of the silence so far: quick
after a message, a few seconds apart in the night.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self, TypeVar

from clients.board.board import Board
from clients.node.answering import answered
from clients.node.fleet import RUN_OVER, Asked, Fleet, NotOurs, Refused, Reply
from clients.node.line import Place
from clients.node.trouble import NOT_READY, trouble_of
from federation.log import warn

_SHORTEST: Final = 0.05  # seconds between two looks for a request
_LONGEST: Final = 3.0
_OF_SILENCE: Final = 0.1
_OF_LOOK: Final = 4.0
_FIRST: Final = 0.5  # seconds until the first new try to connect; doubled each time
_LAST: Final = 30.0
_LASTING: Final = 60.0
_BEAT: Final = 12.0  # seconds between heartbeats; a node counts as gone after 60 s
_BEAT_AGAIN: Final = 3.0
_TRIES: Final = 6  # to fetch a request, and to send a reply
_TOLD: Final = 64  # faults of messages that are told, each once
_Result = TypeVar("_Result")
EXCHANGE_SECONDS: Final = 10.0
"""Seconds that a request in progress has when the process is told to end."""
_GOING: Final = 2.0  # seconds to say that we go


class Node:
    """Answers each request of the coordinator with `receive(request)`, as a context manager.

    `largest` is asked before a request is fetched: no more bytes of it are read. Never raises for what the network
    or the coordinator does.
    """

    def __init__(
        self,
        site: str,
        fleet: Fleet,
        place: Place,
        receive: Callable[[bytes], bytes],
        largest: Callable[[], int],
        board: Board,
    ) -> None:
        self._site, self._fleet, self._place = site, fleet, place
        self._receive, self._largest, self._board = receive, largest, board
        self._node: int | None = None  # our number, while the coordinator knows us
        self._last = time.monotonic()  # when the last request came
        self._told: set[str] = set()
        self._tries = 0
        self._stopping, self._busy = threading.Event(), threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(step,), name=name, daemon=True)
            for name, step in (("node", self._step), ("node-heartbeat", self._beat))
        ]

    def __enter__(self) -> Self:
        proxy = self._place.proxy
        self._board.connecting(self._place.address + (f" by the proxy {proxy.place}" if proxy else ""))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; a request in progress gets `EXCHANGE_SECONDS` to end (the journal bears a cut)."""
        self._stopping.set()
        if self._busy.acquire(timeout=EXCHANGE_SECONDS):
            self._busy.release()
        for thread in self._threads:  # first, or a heartbeat under way would arrive after our leave
            # Whatever it waits for has a deadline, and the process need not wait for that.
            thread.join(_GOING)
        node, self._node = self._node, None
        if node is not None:
            with suppress(Exception):
                self._fleet.deactivate(node, _GOING)

    def _run(self, step: Callable[[], float]) -> None:
        """One step after the other, with as many seconds between two as the first returns."""
        while not self._stopping.is_set():
            try:
                pause = step()
            except Exception as error:
                if self._stopping.is_set():
                    return
                pause = self._failed(error)
            self._stopping.wait(pause)

    def _step(self) -> float:
        """Connect, or look for a request and answer it; seconds until the next step."""
        node = self._node
        if node is None:
            node = self._node = self._fleet.activate()
            self._last = time.monotonic()
        began = time.monotonic()
        asked = self._pull(node)
        if asked is None:
            return _pause(time.monotonic() - self._last, time.monotonic() - began)
        with self._busy:
            if not self._stopping.is_set():
                self._answer(node, asked)
        self._last = time.monotonic()
        return 0.0

    def _pull(self, node: int) -> Asked | None:
        asked = self._fleet.pull(node)
        self._tries = 0
        self._board.contacted()
        return asked

    def _answer(self, node: int, asked: Asked) -> None:
        try:
            data = self._persist(lambda: self._fleet.fetch(node, asked, self._largest()))
        except NotOurs as error:
            self._tell_once(f"a message of the coordinator's was not answered: {error}")
            data = None
        except Refused as error:
            if error.code == RUN_OVER:  # nobody waits for the answer
                return
            raise
        self._send(node, asked, None if data is None else answered(self._receive, data))
        self._board.exchanged()
        with suppress(Exception):  # it only tidies up there
            self._fleet.confirm(node, asked)

    def _send(self, node: int, asked: Asked, reply: bytes | None) -> None:
        ready = Reply.to(asked, reply)
        try:
            self._persist(lambda: self._fleet.send(node, ready))
        except Refused as error:
            if error.code != RUN_OVER:
                raise
            self._tell_once("the coordinator did not take a reply: its run is over")

    def _persist(self, call: Callable[[], _Result]) -> _Result:
        """The result of a call, tried several times if the line breaks: what it is about may have been charged."""
        for number in range(_TRIES - 1):
            try:
                return call()
            except NotOurs:
                raise
            except Refused as error:
                if error.status not in NOT_READY:
                    raise
            except Exception:
                if self._stopping.is_set():
                    raise
            self._stopping.wait(_backoff(number))
        return call()

    def _beat(self) -> float:
        node = self._node
        if node is None:
            return _BEAT_AGAIN
        try:
            if not self._fleet.beat(node):
                self._node = None  # forgotten, after a restart say: the loop introduces us again
        except Exception:
            return _BEAT_AGAIN  # the loop tells it
        return _BEAT * (0.8 + 0.4 * _chance())

    def _failed(self, error: Exception) -> float:
        """Tell why there is no connection, each reason once in a row; seconds until the next try."""
        if isinstance(error, Refused) and error.status in (401, 403, 412) and self._node is not None:
            self._node = None  # it has forgotten us: after this, an introduction
            self._tries += 1
            return _FIRST * _chance() if self._tries == 1 else _backoff(self._tries)
        trouble = trouble_of(error, self._place, self._site)
        self._board.lost(str(trouble), is_gone=trouble.is_gone)
        self._tries += 1
        return _backoff(self._tries, _LASTING if trouble.lasts else _LAST)

    def _tell_once(self, text: str) -> None:
        if text not in self._told and len(self._told) < _TOLD:
            self._told.add(text)
            warn("warning", site=self._site, detail=text)


def _pause(silence: float, took: float) -> float:
    """Seconds until the next look for a request, after so many without one and a look that took so long.

    A coordinator that answers slowly has many to answer, so each asks it less often.
    """
    return min(_LONGEST, max(_SHORTEST, _OF_SILENCE * silence, _OF_LOOK * took))


def _backoff(number: int, most: float = _LAST) -> float:
    """Seconds before the next try: twice as long each time, up to `most`, and by chance up to half of it less.

    Many sites that lose one coordinator do not all come back in one moment.
    """
    return float(min(most, _FIRST * 2.0 ** min(number, 16)) * (0.5 + 0.5 * _chance()))


def _chance() -> float:
    return secrets.randbelow(1 << 16) / (1 << 16)
