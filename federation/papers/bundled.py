"""A bundle with its documents: those of a run that passed go with it (`federation.audit.bundle` packs)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.audit.bundle.opening import MEASURED
from federation.audit.bundle.packing import Packed, pack
from federation.audit.outcome import Audit
from federation.audit.page import render
from federation.audit.untrusted import text_of
from federation.errors import FederationError
from federation.papers.facts import BLANK, facts_of
from federation.papers.writing import PAPERS
from privacy.errors import PrivacyError

_NAMES = {"registry": "registry.yaml", "card": "card.xml", "dpia": "dpia.md", "nist": "nist.md"}


def pack_run(
    run: Path,
    ledgers: Sequence[Path],
    found: Audit,
    out: Path,
    key: Ed25519PrivateKey,
    measured: Sequence[Path] = (),
) -> None:
    """Write the bundle of a run. Of one that does not verify, or did not end, it holds no documents."""
    texts = {"audit.html": render(found)}
    texts |= {f"{MEASURED}/{number:04d}.json": text_of(path) for number, path in enumerate(measured)}
    name, terms = run.resolve().name, f"{BLANK}: who may have this"
    if found.verdict == "pass":
        try:
            facts = facts_of(run, found)
            texts |= {f"papers/{_NAMES[paper]}": make(facts) for paper, make in PAPERS.items()}
            name, terms = facts.report.name, f"For: {facts.purpose('recipients')}"
        except (FederationError, PrivacyError):  # a run that is not over has no report yet
            texts = {name: text for name, text in texts.items() if not name.startswith("papers/")}
    pack(run, ledgers, found, Packed(name, texts, terms), out, key)
