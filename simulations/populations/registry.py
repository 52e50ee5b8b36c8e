"""The populations by name: data that this program brings along, to try it on, each with a plan that fits it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from federation.errors import InputError
from simulations.populations.bank import bank
from simulations.populations.digits import digits
from simulations.populations.hospitals import hospitals
from simulations.populations.image_files import images
from simulations.populations.made_up.credit import credit
from simulations.populations.made_up.fraud import fraud
from simulations.populations.made_up.heart import heart
from simulations.populations.made_up.market import market
from simulations.populations.made_up.moderation import moderation
from simulations.populations.made_up.readmission import readmission
from simulations.populations.made_up.ward import ward

_SCENARIOS = Path(__file__).parent.parent / "scenarios"


@dataclass(frozen=True)
class Population:
    """`write` fills a folder with the sites of a seed, SITE/train.csv and SITE/test.csv; it returns the folder."""

    name: str
    about: str
    write: Callable[[Path, int], Path]

    @property
    def scenario(self) -> Path:
        """The plan that goes with it."""
        return _SCENARIOS / f"{self.name}.toml"


POPULATIONS: Mapping[str, Population] = {
    each.name: each
    for each in (
        Population("hospitals", "569 real biopsies in five hospitals", hospitals),
        Population("digits", "1,797 real images of digits from six scanners", digits),
        Population("images", "the digits of six scanners, each a PNG file", images),
        Population("bank", "a made-up credit portfolio in eight branches", bank),
        Population("heart", "1,600 made-up patients of four hospitals, with gaps", heart),
        Population("readmission", "made-up stays of 8,000 people in five hospitals", readmission),
        Population("credit", "9,000 made-up clients of three banks", credit),
        Population("fraud", "made-up payments by 9,000 cards of four issuers", fraud),
        Population("ward", "made-up hours of 2,400 stays in four hospitals", ward),
        Population("market", "made-up days of 2,400 accounts of four brokers", market),
        Population("moderation", "made-up posts by 4,000 authors in four forums", moderation),
    )
}


def population_for(name: str) -> Population:
    """The population of this name. InputError for another name."""
    if name not in POPULATIONS:
        raise InputError(f"no population is called {name}", hint=f"one of {', '.join(POPULATIONS)}")
    return POPULATIONS[name]


def scenario_for(name: str) -> Path:
    """The plan that goes with the named population."""
    return population_for(name).scenario
