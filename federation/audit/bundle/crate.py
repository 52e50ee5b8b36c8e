"""The bundle as an RO-Crate (1.1): what each file is, for whoever opens it in ten years."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

from federation.audit.outcome import Audit

METADATA: Final = "ro-crate-metadata.json"
_CONTEXT, _FORM = "https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/crate/1.1"
_KNOWN = {
    "plan.toml": "what every site agreed on",
    "roster.toml": "who could take part, signed by the consortium",
    "receipts.jsonl": "the coordinator's receipt of each round",
    "consents.jsonl": "the sites' signed consents",
    "report.json": "the report, for programs",
    "report.html": "the report, for people",
    "params.safetensors": "the released model",
    "audit.json": "what the audit found, for programs",
    "audit.html": "what the audit found, for people",
}
_BY_FOLDER = {
    "rounds": "a transcript: what sites signed of a round, by which its sum is proven",
    "rosters": "an earlier roster",
    "ledgers": "a site's ledger",
    "measured": "what a site measured of its installation, on made-up records",
    "papers": "a document made from the run",
}
_FORMATS = {
    "html": "text/html", "json": "application/json", "jsonl": "application/jsonl", "toml": "application/toml",
    "md": "text/markdown", "xml": "application/xml", "yaml": "application/yaml",
}  # fmt: skip


def metadata_of(name: str, sizes: Mapping[str, int], found: Audit, made: str, terms: str) -> str:
    """ro-crate-metadata.json. `sizes`: bytes of each file by name; `terms`: who may have the bundle."""
    files = [_file(path, size) for path, size in sizes.items()]
    parts = [{"@id": file["@id"]} for file in files]
    graph = [
        {
            "@id": METADATA,
            "@type": "CreativeWork",
            "conformsTo": {"@id": _FORM},
            "about": {"@id": "./"},
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": f"Audit of the run {name}",
            "description": f"Run {found.run} of plan {found.plan_digest}, and all that its audit rests on. "
            f"Verdict: {found.verdict}.",
            "datePublished": made,
            "license": {"@id": "#terms"},
            "hasPart": parts,
            "mentions": {"@id": "#audit"},
        },
        {"@id": "#terms", "@type": "CreativeWork", "name": terms},
        {
            "@id": "#audit",
            "@type": "CreateAction",
            "name": "federation audit",
            "instrument": {"@id": "#program"},
            "endTime": made,
            "object": [part for part in parts if not part["@id"].startswith(("audit.", "papers/"))],
            "result": [part for part in parts if part["@id"].startswith(("audit.", "papers/"))],
        },
        {
            "@id": "#program",
            "@type": "SoftwareApplication",
            "name": "private-federation",
            "version": version("private-federation"),
        },
        *files,
    ]
    return json.dumps({"@context": _CONTEXT, "@graph": graph}, indent=1, ensure_ascii=False) + "\n"


def _file(path: str, size: int) -> dict[str, Any]:
    name = path.rpartition("/")[2]
    folder = path.split("/")[-2] if "/" in path else ""
    told = _BY_FOLDER.get(folder) or _KNOWN.get(name) or "a file of the run"
    return {
        "@id": path,
        "@type": "File",
        "name": name,
        "description": told,
        "contentSize": str(size),
        "encodingFormat": _FORMATS.get(name.rpartition(".")[2], "application/octet-stream"),
    }
