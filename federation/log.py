"""What happens, one line per event on stderr, for the people who run a site or a coordinator.

    2026-03-01T09:30:00.000Z round ends run=3f2a... round=3 cohort=4 survivors=3 lost=west seconds=2.1 epsilon=0.61

As JSON a line also says how much it matters, `level`: "info", or "warning" for what somebody should look at. Events
and their fields are a contract (docs/operate.md): a field has one meaning and one type wherever it stands.

What other libraries and a task's own code log or warn of is dropped, since it could quote a record; Flower, which
has a handler of its own, still warns. `debug` shows all of it. A line holds site ids, counts, digests, our own
messages and reasons from the fixed list, and never a value of the data, a secret, or the text of an error that is
not ours. What the network says is made printable first, so it can neither begin a line of its own nor steer a
terminal. If nobody reads the lines any more, they are lost and the work goes on. A command that is no service,
such as a simulation, has `warnings_to_stderr` instead: warnings alone, each once. Without either there is no line.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from privacy.errors import Hinted

Event: TypeAlias = Literal[
    "ready", "stopped", "failed", "warning", "waiting", "complete_already", "connected",
    "checked", "reading_texts", "will_leave", "run_open",
    "run_begins", "run_resumed", "run_ends", "rehearsal_begins", "rehearsal_ends",
    "invited", "round_begins", "update_sent", "round_ends", "round_failed", "round_lost",
    "evaluation_begins", "evaluation_ends",
    "site_connected", "site_gone", "status_page", "superlink_ended", "superlink_away", "superlink_back",
    "site_lost", "sum_unlikely", "site_refused", "ledger_new", "refused", "caller_refused", "connection_lost",
]  # fmt: skip
Fact: TypeAlias = str | int | float | Sequence[str] | None

LOGGER: Final = logging.getLogger("federation")
LOGGER.addHandler(logging.NullHandler())
_OURS: Final = ("federation", "clients", "server", "simulations")
_SIGNALS: Final = 128  # a status above it names the signal
_LONGEST: Final = 400  # letters of a name or a detail
_PLAIN: Final = re.compile(r"[\w.:/@+,-]+")
_FOREIGN: Final = ("flwr", "httpx", "httpcore", "urllib3", "requests", "uvicorn")


@dataclass(frozen=True)
class Line:
    """A line as a listener in this process gets it. `event` is empty for words that are no event of ours."""

    at: float  # seconds since 1970
    event: str
    facts: Mapping[str, Fact]
    is_warning: bool


def note(event: Event, **facts: Fact) -> None:
    """Write one line, if anybody listens. A fact that is None is left out."""
    _write(logging.INFO, event, facts)


def warn(event: Event, **facts: Fact) -> None:
    """The same, for what somebody should look at."""
    _write(logging.WARNING, event, facts)


def is_on() -> bool:
    """Whether anybody listens: for facts that take work to know."""
    return LOGGER.isEnabledFor(logging.INFO)


def said(error: BaseException) -> str:
    """What a line may tell of an error: our own errors show no data; of any other only its kind."""
    return str(error) if isinstance(error, Hinted) else f"unexpected {type(error).__name__}"


def printable(text: str) -> str:
    """What of a text can be shown: names come from files and peers that nobody vouches for."""
    shown = _one_line(text[: _LONGEST + 1])
    return shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "..."


def to_stderr(*, as_json: bool = False, debug: bool = False) -> None:
    """Have this process say what happens, as text or as one JSON object per line. `debug`: other libraries, too."""
    _hand_to(_Stderr(_AsJson() if as_json else _AsText()), logging.INFO)
    if debug:
        logging.basicConfig(level=logging.INFO)
        return
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[logging.NullHandler()])  # before a library sets one up, as opacus does
    for name in _FOREIGN:  # those with a handler of their own
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def heard_by(hear: Callable[[Line], None]) -> Iterator[None]:
    """Have `hear` called with every line, too, in the thread that writes it. Begin with it after `to_stderr`.

    It hears a line before others write it: whoever reads one finds what was made of it.
    """
    handler, loggers = _Listener(hear), [logging.getLogger(name) for name in _OURS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.handlers.insert(0, handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


def tell_end(words: str, status: int) -> bool:
    """Tell how this process ends in a line like those before it, if they are objects; True if it did.

    The event is "failed"; "stopped" where a signal asked for the end.
    """
    is_json = any(isinstance(handler.formatter, _AsJson) for handler in LOGGER.handlers)
    if is_json:
        event: Event = "stopped" if status > _SIGNALS else "failed"
        warn(event, status=status, detail=words)
    return is_json


def warnings_to_stderr() -> None:
    """Have this process say what somebody should look at: `warning: ...`, and the same words once only."""
    handler = _Stderr(_AsWarning())
    handler.addFilter(_Unsaid().filter)
    _hand_to(handler, logging.WARNING)


def _hand_to(handler: logging.Handler, level: int) -> None:
    """Give what we log to this handler alone, and to none that a library has set up."""
    for name in _OURS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


class _Unsaid:
    """Lets words pass that it has not seen: three sites that retry a round thrice have one thing to say.

    That an attempt failed is none of it: either another succeeds, or the command ends in an error that says so.
    """

    def __init__(self) -> None:
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        words = record.getMessage()
        is_new = words not in self._said and getattr(record, "event", "") != "round_failed"
        self._said.add(words)
        return is_new


class _Stderr(logging.Handler):
    """Whatever is stderr now: Flower and tests replace it."""

    def __init__(self, form: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(form)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            pass  # a closed terminal or a full disk must not end a round


class _Listener(logging.Handler):
    """Hands events to a function. What it raises must not end a round."""

    def __init__(self, hear: Callable[[Line], None]) -> None:
        super().__init__()
        self._hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        facts, is_warning = getattr(record, "facts", {}), record.levelno >= logging.WARNING
        with suppress(Exception):
            self._hear(Line(record.created, getattr(record, "event", ""), facts, is_warning))


class _AsText(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{_time(record)} {_one_line(record.getMessage())}"


class _AsWarning(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"warning: {_one_line(record.getMessage())}"


class _AsJson(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = getattr(record, "facts", None)
        if facts is None:
            facts = {"detail": _one_line(record.getMessage())}
        level = "info" if record.levelno < logging.WARNING else "warning"
        head = {"time": _time(record), "event": getattr(record, "event", "warning"), "level": level}
        return json.dumps({**head, **facts})


def _write(level: int, event: Event, facts: Mapping[str, Fact]) -> None:
    if LOGGER.isEnabledFor(level):
        known = {name: _clean(fact) for name, fact in facts.items() if fact is not None}
        LOGGER.log(level, "%s", _words(event, known), extra={"event": event, "facts": known})


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _clean(fact: Fact) -> Fact:
    if isinstance(fact, str):
        return printable(fact)
    if isinstance(fact, float):
        return float(f"{fact:.6g}") if abs(fact) < float("inf") else None
    return fact if isinstance(fact, int) or fact is None else [printable(name) for name in fact]


def _words(event: Event, facts: dict[str, Fact]) -> str:
    """The event in words and its facts as name=value; what has a space in it is quoted, as in JSON.

    A command is not, so that it can be pasted; it comes last.
    """
    rest = dict(facts)
    command = rest.pop("command", None)
    words = [event.replace("_", " "), *(f"{name}={_value(fact)}" for name, fact in rest.items())]
    return " ".join([*words, f"now start: {command}"] if command else words)


def _value(fact: Fact) -> str:
    if fact is None or isinstance(fact, int | float):
        return "none" if fact is None else f"{fact:.6g}" if isinstance(fact, float) else str(fact)
    text = fact if isinstance(fact, str) else ",".join(fact)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
