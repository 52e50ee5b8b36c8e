"""A measurement as a file: the figures, of which plan and site, signed by the site's key.

It holds no verdict. Whoever reads it works that out again from the plan and the figures (`judging`), so a record
cannot say "pass" of figures that say otherwise. What it shows is what its signer says was seen; that is evidence
about an honest site's installation, and none about a site that lies.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.audit.measured.figures import Figures
from privacy.canonical import JSON, Fields, canonical, parsed
from privacy.signing import IDENTITY_BYTES, SIGNATURE_BYTES, is_signed, public_identity, sign

SCHEMA = "federation.measurement/1"
_LABEL = "federation/measurement/1"


@dataclass(frozen=True)
class Measurement:
    """What one site's installation was seen to do under a plan. `when` is its own clock's word, as is `version`."""

    plan: str
    site: str
    when: str
    version: str
    figures: Figures
    key: bytes = b""
    signature: bytes = field(default=b"", repr=False)

    def signed(self, key: Ed25519PrivateKey) -> Self:
        """The same, signed."""
        whose = replace(self, key=public_identity(key))
        return replace(whose, signature=sign(key, _LABEL, whose.statement()))

    @property
    def is_signed(self) -> bool:
        """Whether the holder of its key signed it. Whose key that is, a roster says."""
        return is_signed(self.key, self.signature, _LABEL, self.statement())

    def statement(self) -> bytes:
        """What is signed."""
        return canonical(self._content()).encode()

    def to_text(self) -> str:
        """As a file has it."""
        return canonical({**self._content(), "signature": self.signature.hex()}) + "\n"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """What `to_text` wrote. ValueError for any other; the signature is not checked."""
        fields = Fields(parsed(text.removesuffix("\n")))
        if fields.text("schema") != SCHEMA:
            raise ValueError("is no measurement that this version knows")
        plan, site, when, version = (fields.text(name) for name in ("plan", "site", "when", "version"))
        figures = Figures.from_json(fields.take("figures"))
        key, signature = fields.octets("key", IDENTITY_BYTES), fields.octets("signature", SIGNATURE_BYTES)
        fields.finish()
        return cls(plan, site, when, version, figures, key, signature)

    def _content(self) -> dict[str, JSON]:
        return {
            "schema": SCHEMA,
            "plan": self.plan,
            "site": self.site,
            "when": self.when,
            "version": self.version,
            "figures": self.figures.to_json(),
            "key": self.key.hex(),
        }
