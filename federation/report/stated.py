"""The epsilons that report.html states, each under the name of its field in report.json.

    <data class="epsilon" title="privacy.together.epsilon" value="3.7612">3.77</data>

`value` has every digit; the text, which people read, is the same number rounded up. An audit reads both from the page
and holds them against report.json (federation/audit/pages.py), so a page cannot show another number than the file.
"""

from __future__ import annotations

from markupsafe import Markup

from federation.report.numbers import upward
from federation.report.report import PrivacyClaim, Report, SiteLine, UnitCost

PLACES = 2


def stated(value: float | None, field: str, places: int = PLACES) -> Markup:
    """An epsilon as an element of the page. `field`: its dotted name in report.json.

    >>> stated(2.991, "privacy.epsilon")
    Markup('<data class="epsilon" title="privacy.epsilon" value="2.991">3.00</data>')
    """
    digits = "" if value is None else repr(float(value))
    element = Markup('<data class="epsilon" title="{}" value="{}">{}</data>')
    return element.format(field, digits, upward(value, places))


def fields(report: Report) -> dict[str, float | None]:
    """Every epsilon that the page of a private run has to state, by the name of its field; else none."""
    if not report.privacy.private:
        return {}
    found = _spent("privacy", report.privacy)
    for place, unit in enumerate(report.privacy.units):
        found |= _spent(f"privacy.units[{place}]", unit)
    for place, site in enumerate(report.sites):
        found |= _spent(f"sites[{place}]", site)
    return found


def _spent(place: str, part: PrivacyClaim | UnitCost | SiteLine) -> dict[str, float | None]:
    rest = {"evaluation": part.evaluation, "together": part.together}
    return {
        f"{place}.epsilon": part.epsilon,
        **{f"{place}.{name}.epsilon": some.epsilon for name, some in rest.items() if some is not None},
    }
