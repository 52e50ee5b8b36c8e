"""Packs a run, the ledgers that were handed in, the audit and its documents into one signed ZIP file.

Only files that an audit reads are packed, by name: a run folder may hold other things, and a journal's file keeps
more than its entries, so ledgers are packed as exports. Nothing is compressed and every heading says the same, so
the bytes of a bundle follow from its files: whoever opens it can pack them again and compare.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.audit.bundle.crate import METADATA, metadata_of
from federation.audit.bundle.statement import ENVELOPE, FOUND, PAYLOAD_TYPE, Statement, found_text, is_safe
from federation.audit.outcome import Audit
from federation.audit.untrusted import is_regular
from federation.errors import InputError, UnusableFile
from federation.files import replacing
from federation.ledger.export import export_lines, load_entries
from federation.round.plays import folds_in
from privacy.dsse import sealed

_FILES = (
    "plan.toml", "roster.toml", "receipts.jsonl", "consents.jsonl", "report.json", "report.html",
    "params.safetensors", "forgotten.json",
)  # fmt: skip
_FOLDERS = ("rounds", "rosters")
_MOMENT = (1980, 1, 1, 0, 0, 0)  # of every member: what is the same has the same bytes
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Packed:
    """What else is packed beside the run: texts by name."""

    name: str
    texts: Mapping[str, str]
    terms: str


def pack(
    run: Path, ledgers: Sequence[Path], found: Audit, packed: Packed, out: Path, key: Ed25519PrivateKey
) -> None:
    """Write the bundle. It is there as a whole, or not at all; UnusableFile if it cannot be written."""
    try:
        with replacing(out) as file, zipfile.ZipFile(file, "w") as archive:
            _fill(archive, run, ledgers, found, packed, key)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnusableFile(f"cannot be written ({reason})", hint="name another file", path=out) from None


def _fill(
    archive: zipfile.ZipFile,
    run: Path,
    ledgers: Sequence[Path],
    found: Audit,
    packed: Packed,
    key: Ed25519PrivateKey,
) -> None:
    digests: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for name, path in _of_run(run):
        digests[name], sizes[name] = add(archive, name, path)
    texts = {
        **dict(_ledgers(run, ledgers)),
        FOUND: found_text(found.to_json()),
        **packed.texts,
    }
    for name, text in texts.items():
        digests[name], sizes[name] = _add_text(archive, name, text)
    statement = Statement.now(digests, found)
    crate = metadata_of(packed.name, sizes, found, statement.made, packed.terms)
    digests[METADATA], _ = _add_text(archive, METADATA, crate)
    archive.writestr(_member(ENVELOPE), sealed(statement.to_bytes(), PAYLOAD_TYPE, key))


def _of_run(folder: Path, within: str = "") -> Iterator[tuple[str, Path]]:
    """The files of a run, and of its folds, that an audit reads, by the name that they get."""
    for name in _FILES:
        if _is_own(folder / name):
            yield within + name, folder / name
    for name in _FOLDERS:
        if (folder / name).is_symlink():  # what lies behind it is no part of the run
            continue
        for path in sorted((folder / name).glob("*")):
            if _is_own(path) and is_safe(path.name):
                yield f"{within}{name}/{path.name}", path
    for path in folds_in(folder):
        if not path.is_symlink():
            yield from _of_run(path, f"{within}{path.name}/")


def _is_own(path: Path) -> bool:
    """Whether a file lies here itself: a link could lead to what is no part of the run."""
    return not path.is_symlink() and is_regular(path)


def _ledgers(run: Path, handed: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Each ledger as an export, those handed in last, as an audit reads them."""
    own = sorted((run / "journals").glob("*.sqlite"))
    if any((run / "journals").is_symlink() or not _is_own(path) for path in own):
        hint = "hand the ledger in instead: --ledger FILE"
        raise InputError("a ledger in journals/ is a link, which could lead to one of another run", hint=hint)
    paths = [*own, *handed]
    for number, path in enumerate(paths):
        yield f"ledgers/{number:04d}.jsonl", export_lines(load_entries(path))


def _add_text(archive: zipfile.ZipFile, name: str, text: str) -> tuple[str, int]:
    data = text.encode()
    archive.writestr(_member(name), data)
    return hashlib.sha256(data).hexdigest(), len(data)


def add(archive: zipfile.ZipFile, name: str, path: Path) -> tuple[str, int]:
    """Add a file under a name; its SHA-256 in hex, and its bytes."""
    digest, member = hashlib.sha256(), _member(name)
    member.file_size = path.stat().st_size  # decides whether the heading has room for 64 bits
    with path.open("rb") as file, archive.open(member, "w") as out:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest(), member.file_size


def _member(name: str) -> zipfile.ZipInfo:
    if not is_safe(name):
        raise InputError(f"{name!r} is no name for a bundle", hint="rename the file")
    member = zipfile.ZipInfo(name, _MOMENT)
    member.create_system, member.external_attr = 3, 0o644 << 16  # the same on every system
    return member
