"""Refuses to start when our packages do not come from one root: a user's own `server.py` may hide one of them.

The top-level folders are plain packages with plain names (docs/decisions/0001). Python takes the first one on its
path; without this check, half of the program could be another file.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from federation.errors import ShadowedPackage

PACKAGES = ("privacy", "federation", "clients", "server", "simulations")


def check_origins() -> None:
    """ShadowedPackage, naming the file and the cure, unless all packages lie beside this one."""
    root = Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise ShadowedPackage(f"package {name} is missing", hint="install private-federation again")
        origin = Path(spec.origin).resolve()
        if origin != root / name / "__init__.py":
            hint = "rename that file or start from another folder"
            raise ShadowedPackage(f"{origin} hides our package {name}", hint=hint)
