"""The key of whoever audits, where none is named: made once, in the settings of the user."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.identity.keys import load_private, private_pem, store_secret


def own_key() -> Ed25519PrivateKey:
    """The auditor's key of this user, in $XDG_CONFIG_HOME/private-federation, by default in ~/.config."""
    named = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    home = named if named.is_absolute() else Path.home() / ".config"
    path = home / "private-federation" / "auditor.key"
    if not path.exists():
        store_secret(path, private_pem(Ed25519PrivateKey.generate()))
    return load_private(path)
