"""What the signer of a bundle says: an in-toto statement (v1) of every file in it, and what the audit found."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from federation.audit.outcome import Audit
from privacy.errors import MalformedMessage

ENVELOPE = "audit.intoto.dsse.json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_FILES = 1_000_000
FOUND = "audit.json"
"""The file in a bundle that says the same as the statement's predicate."""
_STATEMENT, _PREDICATE = "https://in-toto.io/Statement/v1", "urn:private-federation:audit:1"
_PART = re.compile(r"[\w][\w .@+=,-]*")  # of a name, so that it is one on every system


@dataclass(frozen=True)
class Statement:
    """`files`: SHA-256 in hex by name, of all but the envelope. `audit`: as `federation audit --json` prints it."""

    files: Mapping[str, str]
    audit: Mapping[str, Any]
    made: str
    version: str

    @classmethod
    def now(cls, files: Mapping[str, str], found: Audit) -> Statement:
        """Of this moment, by this version."""
        made = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return cls(files, found.to_json(), made, version("private-federation"))

    def to_bytes(self) -> bytes:
        """As in-toto writes it."""
        content = {
            "_type": _STATEMENT,
            "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in self.files.items()],
            "predicateType": _PREDICATE,
            "predicate": {"made": self.made, "version": self.version, "audit": self.audit},
        }
        return json.dumps(content, allow_nan=False).encode()

    def is_written(self, data: bytes) -> bool:
        """Whether `data` is what `to_bytes` makes of it."""
        try:
            return self.to_bytes() == data
        except (ValueError, RecursionError):  # a number that is none, half of a character
            return False


def found_text(audit: Mapping[str, Any]) -> str:
    """The content of FOUND."""
    return json.dumps(audit, indent=1)


def statement_from_bytes(data: bytes) -> Statement:
    """MalformedMessage for anything but a statement of this kind whose names are safe, each once.

    It has to be the very bytes that `to_bytes` makes: where a name stands twice, or something else beside, two
    readers of JSON may see two statements under one signature.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        content = None
    match content:
        case {
            "_type": str(kind),
            "subject": [*subjects],
            "predicateType": str(predicate),
            "predicate": {"made": str(made), "version": str(told), "audit": dict(audit)},
        } if (kind, predicate) == (_STATEMENT, _PREDICATE) and len(subjects) <= MAX_FILES:
            files = dict(_subject(subject) for subject in subjects)
            found = Statement(files, audit, made, told)
            if len(files) == len(subjects) and found.is_written(data):
                return found
    raise MalformedMessage("this is no statement of an audit")


def _subject(subject: Any) -> tuple[str, str]:
    match subject:
        case {"name": str(name), "digest": {"sha256": str(digest)}} if is_safe(name) and re.fullmatch(
            r"[0-9a-f]{64}", digest
        ):
            return name, digest
    raise MalformedMessage("a file of this bundle has no safe name, or no digest")


def is_safe(name: str) -> bool:
    """Whether a name stays in the folder that it is unpacked in, whatever the system."""
    return len(name) <= 500 and all(_PART.fullmatch(part) and part.strip(". ") for part in name.split("/"))
