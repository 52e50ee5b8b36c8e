"""The types behind the names of `privacy`. `__init__.py` says where each name lives."""

from privacy.accounting.calibration import noise_multiplier
from privacy.accounting.events import GaussianEvent
from privacy.accounting.filters import Budget, Filter
from privacy.accounting.pld import epsilon
from privacy.accounting.units import Charge, Patient
from privacy.errors import PrivacyError
from privacy.mechanism.encoding import Codec
from privacy.mechanism.gaussian import GaussianMechanism
from privacy.mechanism.noise import Stream

__all__ = [
    "Budget",
    "Charge",
    "Codec",
    "Filter",
    "GaussianEvent",
    "GaussianMechanism",
    "Patient",
    "PrivacyError",
    "Stream",
    "epsilon",
    "noise_multiplier",
]
