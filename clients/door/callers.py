"""Who may call at a site's socket: the user that runs Flower, and never by chance the site's own.

Flower's ClientApp is code of whoever submits a run to the coordinator. It runs as the user that started the
SuperNode, and reads whatever that user can read: if that is the site's own user, every private key and record of
the site. So the kernel is asked who calls (SO_PEERCRED), and a caller with the site's own user is turned away, as
is root, who can read everything; unless the people at the site said that they accept it (`--same-user`).
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

from federation.errors import InputError

_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid
_Record = TypeVar("_Record", pwd.struct_passwd, grp.struct_group)


@dataclass(frozen=True)
class Callers:
    """The site's own user, or else one user (`uid`), or anybody in a group (`gid`), to whom the socket belongs."""

    uid: int | None = None
    gid: int | None = None
    same_user: bool = False

    @classmethod
    def named(cls, user: str | None, group: str | None, *, same_user: bool = False) -> Self:
        """By the names of a user and a group. InputError for one that this machine does not know."""
        uid = gid = None
        if user is not None:
            found = _found(pwd.getpwnam, "flower_user", user, "user")
            uid, gid = found.pw_uid, found.pw_gid
        if group is not None:
            gid = _found(grp.getgrnam, "socket_group", group, "group").gr_gid
        if uid is not None and not same_user and uid in (0, os.geteuid()):
            who = "root, who can read everything" if uid == 0 else "the site's own user"
            raise InputError(
                f'server.flower_user = "{user}" is {who}', hint="name a user that is for Flower alone"
            )
        return cls(uid, gid, same_user)

    @property
    def are_others(self) -> bool:
        """Whether anybody but the site's own user may call."""
        return self.gid is not None

    def refusal(self, uid: int, gid: int) -> str:
        """Why a caller with this user and group is turned away; "" if it is not."""
        if uid == os.geteuid():
            if self.same_user:
                return ""
            return (
                "it runs as this site's own user: Flower runs code of others, which could read data and keys"
            )
        if uid == 0:
            return "it runs as root: Flower runs code of others, which could read data and keys"
        if not self.are_others or (self.uid is not None and uid != self.uid):
            return f"user {uid} is not who may call here"
        if self.uid is None and self.gid not in _groups(uid, gid):
            return f"user {uid} is not in the group that may call here"
        return ""

    def can_read(self, path: Path) -> bool:
        """Whether these users could read a file or a folder, by its mode and those of the folders above it."""
        place = path.resolve()
        return self._may(place, 0o4) and self.can_reach(place)

    def can_reach(self, path: Path) -> bool:
        """Whether these users can enter every folder on the way to `path`. Access lists are not asked."""
        return all(self._may(folder, 0o1) for folder in path.resolve().parents)

    def _may(self, path: Path, wanted: int) -> bool:
        try:
            found = path.stat()
        except OSError:
            return False
        if self.uid is not None and found.st_uid == self.uid:
            return bool(found.st_mode >> 6 & wanted)
        mine = {self.gid} if self.uid is None else _groups(self.uid, self.gid)
        shift = 3 if found.st_gid in mine else 0
        return bool(found.st_mode >> shift & wanted)


def caller_of(connection: socket.socket) -> tuple[int, int]:
    """User and group of the process at the other end, as the kernel has them from when it connected."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, gid = _CREDENTIALS.unpack(data)
    return uid, gid


def name_of_group(gid: int) -> str:
    """The name of a group, or its number if it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _groups(uid: int, gid: int | None) -> set[int | None]:
    """The groups of a user: that of the process or the login, and those that the machine lists."""
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return {gid}
    return {gid, *os.getgrouplist(user.pw_name, user.pw_gid)}


def _found(lookup: Callable[[str], _Record], key: str, name: str, what: str) -> _Record:
    """The user or group of this name. InputError, which says how to make it, if this machine knows none."""
    try:
        return lookup(name)
    except KeyError:
        raise InputError(
            f'server.{key} = "{name}": there is no such {what} on this machine',
            hint=f"make it: {what}add --system {name}",
        ) from None
