"""Opens a bundle that a stranger may have made: nothing in it is believed before its signature and digests hold."""

from __future__ import annotations

import hashlib
import math
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EINVAL
from filecmp import cmp
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from federation.audit.bundle.packing import add
from federation.audit.bundle.statement import (
    ENVELOPE,
    FOUND,
    PAYLOAD_TYPE,
    Statement,
    found_text,
    statement_from_bytes,
)
from federation.audit.outcome import Audit
from federation.errors import AuditFailure, InputError, UnusableFile
from privacy.dsse import MAX_ENVELOPE, signed_from_bytes
from privacy.errors import MalformedMessage

MEASURED = "measured"
_CHUNK = 1 << 20
_SAME = ("verdict", "run", "plan_digest", "simulated", "entries_verified", "sums_verified")
_TOLERANCE = 1e-4
_NAMES = (ENVELOPE, FOUND, "receipts.jsonl")


@dataclass(frozen=True)
class Unpacked:
    """A bundle's files, all as signed, in a folder that lives as long as it is used."""

    folder: Path
    signer: bytes
    statement: Statement

    @property
    def ledgers(self) -> list[Path]:
        """The ledgers that were handed in where the bundle was made."""
        return sorted((self.folder / "ledgers").glob("*.jsonl"))

    @property
    def measured(self) -> list[Path]:
        """What sites measured of their installations, as it was handed in there."""
        return sorted((self.folder / MEASURED).glob("*.json"))


def is_bundle(path: Path) -> bool:
    """Whether a path is a file rather than a run folder."""
    return path.is_file()


@contextmanager
def unpacked(path: Path) -> Iterator[Unpacked]:
    """The files of a bundle. AuditFailure for one that was edited, in whatever byte; UnusableFile for no bundle."""
    with TemporaryDirectory() as folder:
        try:
            found = _opened(path, Path(folder))
        except AuditFailure:
            if _is_of_ours(path):
                raise
            hint = "name a run folder, or a file that federation audit RUN --bundle FILE.zip made"
            raise UnusableFile("is no bundle: it holds no signed audit", hint=hint, path=path) from None
        yield found


def _opened(path: Path, folder: Path) -> Unpacked:
    try:
        with zipfile.ZipFile(path) as archive:
            found = _unpack(archive, folder / "files", path)
        _require_nothing_else(path, found, folder / "again.zip")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error):
        raise _edited(path, "it cannot be unpacked") from None
    except OSError as error:
        if error.errno == EINVAL:  # its directory lies before its beginning
            raise _edited(path, "it cannot be unpacked") from None
        reason = error.strerror or type(error).__name__
        raise UnusableFile(f"cannot be opened ({reason})", hint="check the path", path=path) from None
    return found


def _is_of_ours(path: Path) -> bool:
    """Whether a file looks as if it had been a bundle: by names that stand in several places of one, in clear."""
    names, before = [name.encode() for name in _NAMES], b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if any(name in before + chunk for name in names):
                return True
            before = chunk[-max(map(len, names)) :]
    return False


def _edited(path: Path, how: str) -> AuditFailure:
    return AuditFailure(f"{path.name}: the bundle is not what was signed: {how}", hint="ask for it again")


def _require_nothing_else(path: Path, found: Unpacked, again: Path) -> None:
    """AuditFailure if the bundle has a byte that does not follow from its files: in a heading, or between them."""
    with zipfile.ZipFile(again, "w") as archive:
        for name in (*found.statement.files, ENVELOPE):
            add(archive, name, found.folder / name)
    if not cmp(path, again, shallow=False):
        raise _edited(path, "there is something between its files")
    again.unlink()


def _unpack(archive: zipfile.ZipFile, folder: Path, path: Path) -> Unpacked:
    members = {member.filename: member for member in archive.infolist()}
    _require_stored(archive.infolist(), path)
    if ENVELOPE not in members:
        raise _edited(path, "it has no envelope")
    if len(members) < len(archive.infolist()):
        raise _edited(path, "it has a file twice")
    if members[ENVELOPE].file_size > MAX_ENVELOPE:
        raise _edited(path, "its envelope is too long")
    try:
        signed = signed_from_bytes(_read(archive, members[ENVELOPE]), PAYLOAD_TYPE)
        statement = statement_from_bytes(signed.payload)
    except MalformedMessage as error:
        raise _edited(path, error.message) from None
    if members.keys() - {ENVELOPE} != statement.files.keys():
        raise _edited(path, "a file is missing, or one is too many")
    folder.mkdir()
    _require_room(members, folder, path)
    _extract(archive, members[ENVELOPE], folder / ENVELOPE)
    for name, digest in statement.files.items():
        if _extract(archive, members[name], folder / name) != digest:
            raise _edited(path, name)
    if statement.files.get(FOUND) != hashlib.sha256(found_text(statement.audit).encode()).hexdigest():
        raise _edited(path, f"{FOUND} says something else than its signer")
    return Unpacked(folder, signed.key, statement)


def _require_stored(members: Sequence[zipfile.ZipInfo], path: Path) -> None:
    """AuditFailure if the files would be larger than the bundle: compressed, or lying over one another.

    `pack` makes no such bundle. Asked before anything is written, so a small file cannot fill a disk.
    """
    is_stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
    if not is_stored or sum(member.file_size for member in members) > path.stat().st_size:
        raise _edited(path, "its files are compressed, or in one another")


def _require_room(members: Mapping[str, zipfile.ZipInfo], folder: Path, path: Path) -> None:
    needed = 2 * sum(member.file_size for member in members.values())
    if needed > shutil.disk_usage(folder).free:
        raise UnusableFile(f"needs {needed} bytes to be unpacked", hint="make room, or set TMPDIR", path=path)


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as file:
        return file.read(MAX_ENVELOPE)


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, place: Path) -> str:
    """Write one file and say its digest. No more is written than its heading declares, whatever it unpacks to."""
    digest, left = hashlib.sha256(), member.file_size
    place.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as file, place.open("xb") as out:
        while left > 0 and (chunk := file.read(min(_CHUNK, left))):
            digest.update(chunk)
            out.write(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def require_same(told: Mapping[str, Any], found: Audit) -> None:
    """AuditFailure unless this installation finds what the signer says that theirs found."""
    here = found.to_json()
    odd = [name for name in _SAME if told.get(name) != here[name]]
    if not _is_close(_epsilon(told), _epsilon(here)):
        odd.append("epsilon")
    if odd:
        detail = f"this installation finds another {', '.join(odd)} than the signer of the bundle says"
        raise AuditFailure(detail, hint="compare audit.json in the bundle with federation audit --json")


def _epsilon(audit: Mapping[str, Any]) -> object:
    told = audit.get("epsilon")
    return told.get("recomputed") if isinstance(told, Mapping) else None


def _is_close(one: object, other: object) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=_TOLERANCE)
    return one is other


def require_signer(signer: bytes, named: str | None) -> None:
    """AuditFailure if another key signed than the one that was asked for, 64 digits in hex."""
    if named is None:
        return
    try:
        wanted = bytes.fromhex(named)
    except ValueError:
        wanted = b""
    if len(wanted) != len(signer):
        raise InputError("--signer is no public key in hex", hint="it has 64 digits")
    if wanted != signer:
        raise AuditFailure(f"another key signed this bundle: {signer.hex()}", hint="ask whose it is")
