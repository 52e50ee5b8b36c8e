"""Who else on this machine can open or change what belongs to a site. Access lists are not looked at."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from clients.data.populations import registry_path
from clients.policy import SiteFile, data_paths
from clients.preflight.finding import Finding, fine, odd, wrong
from federation.errors import InputError

_OTHERS, _WRITE = 0o077, 0o022


def modes(rules: SiteFile, path: Path) -> Iterator[Finding]:
    """A finding for each file and folder that others can open or change; one in all if there is none."""
    found = [*_secrets(rules), *_own(rules, path), *_records(rules, path)]
    yield from found or [
        fine("file modes", "keys are closed to others, and nobody else can change files of this site")
    ]


def _secrets(rules: SiteFile) -> Iterator[Finding]:
    secrets = sorted(rules.keys.glob("*.key"))
    if rules.passphrase_file is not None:
        secrets.append(rules.passphrase_file)
    for file in secrets:
        if (mode := _mode(file)) & _OTHERS and file.stat().st_uid == os.geteuid():
            message = f"{file}: others on this machine can open it (mode {mode:04o})"
            cure = f"chmod 600 {_quoted(file)}; if others have seen it, make a new one"
            yield wrong("file modes", InputError(message, hint=cure))


def _own(rules: SiteFile, path: Path) -> Iterator[Finding]:
    """What decides what this site allows, and what it has spent: whoever can change it can change that."""
    places = [path, path.absolute().parent, rules.keys, rules.journal, registry_path(rules)]
    for place in dict.fromkeys(places):
        if (mode := _mode(place)) & _WRITE and not mode & stat.S_ISVTX:
            message = f"{place}: others on this machine can change it (mode {mode:04o})"
            yield wrong("file modes", InputError(message, hint=f"chmod go-w {_quoted(place)}"))


def _records(rules: SiteFile, path: Path) -> Iterator[Finding]:
    for file in data_paths(rules, path.parent):
        if _mode(file) & 0o004:
            yield odd(
                "file modes", f"{file}: everybody on this machine can read it", f"chmod 600 {_quoted(file)}"
            )


def _mode(place: Path) -> int:
    """0 where there is nothing."""
    try:
        return stat.S_IMODE(place.stat().st_mode)
    except OSError:
        return 0


def _quoted(place: Path) -> str:
    return shlex.quote(str(place))
