"""The epsilons that report.html states, each under the name of its field in report.json.

    <data class="epsilon" title="privacy.together.epsilon" value="3.7612">3.77</data>

`value` has every digit; the text, which people read, is the same number rounded up. An audit reads both from the
page and holds them against report.json (federation/audit/report.py): no page shows another number than the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser

from markupsafe import Markup

from federation.report.numbers import upward
from federation.report.report import PrivacyClaim, Report, SiteLine, UnitCost

PLACES = 2
_LONGEST = 24  # letters of an epsilon
_UNBOUNDED_ONCE = "not bounded"  # what earlier versions said of no promise
_NO_TEXT = ("style", "svg")
_CURVES = "Round by round"


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
        if site.charged is not None:
            found[f"sites[{place}].charged.epsilon"] = site.charged.epsilon
    return found


def _spent(place: str, part: PrivacyClaim | UnitCost | SiteLine) -> dict[str, float | None]:
    rest = {"evaluation": part.evaluation, "together": part.together}
    return {
        f"{place}.epsilon": part.epsilon,
        **{f"{place}.{name}.epsilon": some.epsilon for name, some in rest.items() if some is not None},
    }


@dataclass(frozen=True)
class Stated:
    """One epsilon as a page has it: the name of its field, all its digits, and what people read."""

    field: str
    digits: str
    text: str

    def is_of(self, value: float | None) -> bool:
        """Whether both say this number: the digits exactly, the text rounded up to two places or more."""
        text = self.text.strip()[:_LONGEST]
        places = len(text.partition(".")[2])
        if value is None:
            return not self.digits and text in (upward(None), _UNBOUNDED_ONCE)
        return self.digits == repr(float(value)) and text == upward(value, max(places, PLACES))


def read_stated(page: str) -> list[Stated]:
    """Every epsilon that a page states, in order. ValueError for what is no page that all readers read alike."""
    reader = _Reader()
    try:
        reader.feed(page)
        reader.close()
    except AssertionError:
        raise ValueError("no page") from None
    if reader.field is not None:
        raise ValueError("an epsilon that does not end")
    return reader.found


class _Reader(HTMLParser):
    """Collects the elements that `stated` makes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Stated] = []
        self.field: str | None = None
        self._digits, self._text = "", ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin one; nothing else may stand inside it."""
        if self.field is not None:
            raise ValueError("an epsilon with something inside it")
        if tag == "data":
            told = {name: value or "" for name, value in attrs}
            self.field, self._digits, self._text = told.get("title", ""), told.get("value", ""), ""

    def handle_endtag(self, tag: str) -> None:
        """End it."""
        if tag == "data" and self.field is not None:
            self.found.append(Stated(self.field, self._digits, self._text))
            self.field = None

    def handle_data(self, data: str) -> None:
        """Its text."""
        self._text += data


def words(page: str) -> list[str]:
    """All words of a page that people read, in order, but for its drawings and the verdict of an audit.

    The heading over the drawings goes with them: a page without any has none.
    """
    reader = _Words()
    reader.feed(page)
    reader.close()
    return " ".join(reader.found).split()


class _Words(HTMLParser):
    """Collects text outside of styles, drawings, and the cell beside "audit"."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._within: list[str] = []
        self._beside_audit = False

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        """Begin to leave out what is no text."""
        if tag in _NO_TEXT or (tag == "td" and self._beside_audit):
            self._within.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """End it."""
        if self._within and tag == self._within[-1]:
            self._within.pop()
            self._beside_audit = False

    def handle_data(self, data: str) -> None:
        """Its text."""
        text = data.strip()
        if not self._within and text and text != _CURVES:
            self.found.append(text)
            self._beside_audit = text == "audit"
