"""What privacy means, as mathematics: no clock, no files, no sockets, no Flower, no hidden randomness.

    what is released     GaussianEvent, Charge, Patient
    what it costs        epsilon, noise_multiplier, Budget, Filter
    how it is released   GaussianMechanism, Codec, Stream
    what is raised       PrivacyError

Each is imported at first use, so `import privacy` loads nothing. `__init__.pyi` has the types.

    >>> from privacy import GaussianEvent, epsilon
    >>> round(epsilon([GaussianEvent(noise_multiplier=1.0, sample_rate=0.02, count=500)], delta=1e-5), 2)
    2.77
"""

from importlib import import_module

_HOMES = {
    "Budget": "privacy.accounting.filters",
    "Charge": "privacy.accounting.units",
    "Codec": "privacy.mechanism.encoding",
    "Filter": "privacy.accounting.filters",
    "GaussianEvent": "privacy.accounting.events",
    "GaussianMechanism": "privacy.mechanism.gaussian",
    "Patient": "privacy.accounting.units",
    "PrivacyError": "privacy.errors",
    "Stream": "privacy.mechanism.noise",
    "epsilon": "privacy.accounting.pld",
    "noise_multiplier": "privacy.accounting.calibration",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
