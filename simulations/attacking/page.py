"""An attack as a page for people: one file, which opens from disk, loads nothing and runs no script."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from federation.report.templates import page_template
from simulations.attacking import wording
from simulations.attacking.attack import Attacked
from simulations.attacking.plots import roc


def render(of: Attacked) -> str:
    """The page, as HTML. It says what the command says, and draws the curves."""
    word, said = wording.verdict(of)
    targets = [
        {
            "title": wording.TITLES[name],
            "counted": wording.counted(target, of.people.unit),
            # Drawn here, of numbers and fixed words alone.
            "drawing": Markup(roc(dict(target.found), of.proven, f"ROC of {wording.TITLES[name]}")),  # noqa: S704
            "rows": list(wording.rows(of, name)),
        }
        for name, target in of.targets.items()
    ]
    return page_template(Path(__file__).parent).render(
        name=of.plan.federation.name,
        word=word,
        said=said,
        exceeds=of.exceeds,
        meaning=wording.meaning(of),
        caveat=wording.CAVEAT,
        attacks=list(wording.ATTACKS.values()),
        targets=targets,
        notes=list(wording.notes(of)),
        models=of.models,
        digest=of.plan.digest,
    )
