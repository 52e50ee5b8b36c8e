"""How the command ends: each error is one line on stderr, and the exit status is true whatever ends it.

    0 to 5   done, or an error of ours (docs/decisions and federation/errors.py say which)
    129      SIGHUP: the terminal went away
    130      SIGINT: Ctrl-C
    141      whoever read stdout went away
    143      SIGTERM

A signal becomes an exception in the main thread, so that journals and sockets are closed on the way out. Nothing
depends on that: files bear a kill at any instant. Only the standard library and our errors are imported here, so
that a signal is answered from the first milliseconds on.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, Final, Self

from federation.cli.streams import OutputLost, streams
from federation.errors import FederationError
from privacy.errors import PrivacyError

_WORDS: Final = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_AGAIN: Final = "give the same command again"
_OUR_BUG: Final = "a bug of ours; run again with --debug and report it"
_ECHO: Final = 1.0  # seconds: `timeout` sends its signal twice, and people press Ctrl-C twice
_BROKEN_PIPE: Final = 128 + signal.SIGPIPE


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end."""


class _Advice:
    """What to do after an interruption. A command sets it when it knows."""

    give: Callable[[], str] = staticmethod(lambda: _AGAIN)


def _in_no_other_form(_line: str, _code: int) -> bool:
    return False


class _End:
    """Another form for the last line; False where it has none. A command sets it when its lines have that form."""

    tell: Callable[[str, int], bool] = staticmethod(_in_no_other_form)


def end_by(tell: Callable[[str, int], bool]) -> None:
    """From here on, how the command ends is told by `tell(words, status)`, if it returns True."""
    _End.tell = staticmethod(tell)


def advise(give: Callable[[], str]) -> None:
    """From here on, an interruption ends with `give()`: what to do about it, in one line."""
    _Advice.give = staticmethod(give)


def command_line(words: Sequence[str]) -> str:
    """Words as a shell reads them, in one line that can be copied.

    >>> print(command_line(["federation", "simulate", "my plan.toml"]))
    federation simulate 'my plan.toml'
    """
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    escaped = "".join(
        c if c.isprintable() and c not in "'\\" else "".join(f"\\x{b:02x}" for b in os.fsencode(c))
        for c in word
    )
    return f"$'{escaped}'"


def run(work: Callable[[], int]) -> int:
    """The exit status of `work`. Errors are told on stderr; with --debug, those that are no signals are raised."""
    advise(lambda: _AGAIN)
    end_by(_in_no_other_form)
    with _Signals() as signals, streams():
        try:
            code = work()
        except BaseException as error:  # each kind has a status
            code = _status(error, signals.told)
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OutputLost as error:
            code = code or _lost(error)
        return code


def fail(message: str, code: int) -> int:
    """Tell an error in one line; its status."""
    return _tell(" ".join(message.split()), code)


def _tell(line: str, code: int) -> int:
    if _End.tell(line, code):
        return code
    with suppress(OSError, AttributeError):  # stderr is closed or gone: the status says it all
        sys.stderr.write(f"{_off_the_echo(code)}error: {line}\n")
        sys.stderr.flush()
    return code


def _off_the_echo(code: int) -> str:
    """A terminal has just written ^C where somebody was typing: the error goes to a line of its own."""
    return "\n" * (code == 128 + signal.SIGINT and sys.stderr.isatty())


def _status(error: BaseException, told: int | None) -> int:
    if told is not None:  # whatever the signal turned into on its way through other people's code
        return _tell(_stopped(told), 128 + told)
    if isinstance(error, OutputLost):
        return _lost(error)
    if isinstance(error, KeyboardInterrupt):
        return _tell(_stopped(signal.SIGINT), 128 + signal.SIGINT)
    if isinstance(error, SystemExit) and isinstance(error.code, int | None):
        return error.code or 0
    return _failed(error)


def _failed(error: BaseException) -> int:
    if "--debug" in sys.argv:
        raise error
    if isinstance(error, FederationError | PrivacyError):
        return fail(str(error), error.exit_code)
    if isinstance(error, ExceptionGroup):
        return _failed_together(error)
    if isinstance(error, OSError) and error.errno in _FULL:
        return fail(f"{os.strerror(error.errno)}; make room, then give the same command again", 4)
    return _bug(error)


def _failed_together(several: ExceptionGroup[Exception]) -> int:
    """A line for each error, and the exit code of what is easiest to mend."""
    ours = [error for error in several.exceptions if isinstance(error, FederationError | PrivacyError)]
    if len(ours) < len(several.exceptions):
        return _bug(several)
    return min(fail(str(error), error.exit_code) for error in ours)


def _bug(error: BaseException) -> int:
    """An error that is none of ours. Its text may hold anything, data included, so only its kind is shown."""
    return fail(f"unexpected {type(error).__name__}: {_OUR_BUG}", 1)


def _stopped(number: int) -> str:
    return f"{_WORDS[signal.Signals(number)]}; {_Advice.give()}"


def _lost(error: OutputLost) -> int:
    if error.errno == errno.EPIPE:
        return _BROKEN_PIPE
    reason = "is closed" if error.errno == errno.EBADF else f"cannot be written ({os.strerror(error.errno)})"
    return fail(f"stdout {reason}; what was done stands, only its words are lost", 4)


class _Signals:
    """Turns the first signal into `Stopped`, a later one into the end of the process.

    What the process was told to ignore (nohup, a job in the background) stays ignored.
    """

    def __init__(self) -> None:
        self.told: int | None = None
        self._when = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _WORDS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        if self.told is None:  # else the process is ending, and a later signal may still hurry it
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self.told is None:
            self.told, self._when = number, now
            raise Stopped
        if now - self._when > _ECHO:
            with suppress(OSError):
                os.write(2, f"error: {_stopped(self.told)}\n".encode(errors="replace"))
            os._exit(128 + self.told)
