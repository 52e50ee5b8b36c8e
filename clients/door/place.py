"""The place of a site's socket: its folder, its mode and its group, and that one process alone answers there."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path
from typing import Final

from clients.door.callers import Callers, name_of_group
from federation.errors import TransportError
from federation.log import warn

_LONGEST_PATH: Final = 100
_BACKLOG: Final = 128


def prepare(path: Path, callers: Callers) -> None:
    """Make the socket's folder if it is missing. TransportError if others than the callers could enter it."""
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise TransportError(f"{path} is too long for a socket", hint=f"use at most {_LONGEST_PATH} bytes")
    folder, mode = path.parent, 0o710 if callers.are_others else 0o700
    if not folder.exists():
        folder.mkdir(mode=mode, parents=True)
        _give(folder, mode, callers)
    found = folder.stat()
    given = found.st_gid == callers.gid and bool(found.st_mode & 0o010)
    allowed = 0o750 if given else 0o700
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o777 & ~allowed:
        raise TransportError(f"{folder} is open to other users", hint=f"chmod {mode:o} {folder}")
    if callers.are_others and not given:
        group = name_of_group(callers.gid or 0)
        raise TransportError(
            f"{folder} cannot be entered by the group {group}, so nobody could call",
            hint=f"chgrp {group} {folder} && chmod 710 {folder}",
        )
    if callers.are_others and not callers.can_reach(path):
        warn("warning", detail=f"who may call cannot enter every folder above {path}: name another --socket")


def _give(place: Path, mode: int, callers: Callers) -> None:
    """Set mode and, where others may call, group; the mode first closes it, and opens it last."""
    place.chmod(mode & 0o700)
    if callers.gid is not None:
        try:
            os.chown(place, -1, callers.gid)
        except OSError as error:
            group = name_of_group(callers.gid)
            raise TransportError(
                f"{place} cannot be given to the group {group} ({error.strerror})",
                hint=f"add the site's user to it: usermod -aG {group} USER, then log in again",
            ) from None
    place.chmod(mode)


def lock(path: Path) -> int:
    """A lock that ends with the process, so two services never both take a socket for a leftover."""
    held = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        raise _occupied(path) from None
    return held


def listen(path: Path, callers: Callers) -> socket.socket:
    """A socket on which callers are heard; one that a killed process left behind is replaced."""
    if path.exists():
        _remove_leftover(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        _give(
            path, 0o660 if callers.are_others else 0o600, callers
        )  # until then the kernel lets nobody else in
        listener.listen(_BACKLOG)
    except TransportError:
        listener.close()
        path.unlink(missing_ok=True)
        raise
    except OSError as error:
        listener.close()
        raise TransportError(f"no socket can be made at {path} ({error.strerror})") from error
    return listener


def _remove_leftover(path: Path) -> None:
    if not path.is_socket():
        raise TransportError(f"{path} exists and is not a socket", hint="name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise _occupied(path)


def _occupied(path: Path) -> TransportError:
    return TransportError(f"another process answers at {path}", hint="stop it, or name another socket")
