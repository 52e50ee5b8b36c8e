"""The installation: Python and the packages that a site stands on, held against what was tested."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.version import Version

from clients.preflight.finding import Finding, fine, looked, odd, wrong
from federation.errors import InputError
from privacy.secagg.kem import require_kem

PACKAGE = "private-federation"
SHOWN = ("flwr", "torch", "opacus")
"""Whose versions decide most about a site."""
_PYTHONS = (Version("3.11"), Version("3.13"))  # the first and the last that were tried


def program() -> Finding:
    """All of it in one line: the first thing that is wrong, or the versions."""
    found = list(installation())
    bad = [each for level in ("error", "warning") for each in found if each.level == level]
    if bad:
        return Finding("program", bad[0].level, f"{bad[0].name}: {bad[0].detail}", bad[0].cure, bad[0].error)
    told = ", ".join(f"{name} {version(name)}" for name in SHOWN)
    return fine("program", f"{PACKAGE} {version(PACKAGE)}, Python {platform.python_version()}, {told}")


def installation() -> Iterator[Finding]:
    """Python, then each package that we need, then the cryptography that secure aggregation takes."""
    yield _python(Version(platform.python_version()))
    try:
        needed = requires(PACKAGE) or []
    except PackageNotFoundError:
        message = f"{PACKAGE} is not installed in {sys.prefix}"
        yield wrong(PACKAGE, InputError(message, hint="install it there: pip install private-federation"))
        return
    for requirement in map(Requirement, needed):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield package(requirement)
    yield looked("ML-KEM", _kem)


def package(requirement: Requirement) -> Finding:
    """One package that we need: there, and of a version that was tested."""
    name, wanted = requirement.name, str(requirement.specifier)
    cure = f"pip install '{name}{wanted}'"
    try:
        found = version(name)
    except PackageNotFoundError:
        return wrong(name, InputError("is not installed", hint=cure))
    if not requirement.specifier.contains(found, prereleases=True):
        return wrong(
            name, InputError(f"{found} is not among the versions that were tested, {wanted}", hint=cure)
        )
    return fine(name, f"{found} (tested: {wanted or 'any'})")


def _python(found: Version) -> Finding:
    first, last = _PYTHONS
    tested = f"tested: {first} to {last}"
    if found < first:
        return wrong(
            "Python", InputError(f"{found} is too old; {tested}", hint=f"install Python {first} or later")
        )
    if (found.major, found.minor) > (last.major, last.minor):
        return odd("Python", f"{found} is newer than what was tested; {tested}", "tell us how it went")
    return fine("Python", f"{found} ({tested})")


def _kem() -> str:
    require_kem()
    return "this build of cryptography has it"
