"""The page of the judged tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.tables.sets import Set
from benchmarks.timing import machine

PAGE = Path(__file__).parents[1] / "tables.md"
EPSILONS = (1.0, 3.0)
Found = dict[tuple[str, str], list[tuple[float, float]]]
"""Two figures of each run, by table and choice."""


def page(known: Sequence[Set], found: Found) -> Iterator[str]:
    """Its lines."""
    yield "# Public tables as they are published, ours beside others"
    yield ""
    yield f"Written by `python -m benchmarks.tables` on {datetime.now(UTC):%Y-%m-%d}. {machine()}."
    yield ""
    yield (
        "A quarter of the rows (of the people, where a person has several) is tested on: the mean of the splits "
        "that the last table counts, and its standard error where there are several, most of which is of the "
        "split. Four sites by chance, but for FATE's three parties and the four hospitals, whose files are their "
        "sites. Plans are what `federation plan new` proposes for all rows, with the settings of its rule for the "
        'epsilon, and with what the last table says. "As proposed" is the model that the rule chooses, too: one '
        "of the two that follow, the same run. The rule is one for all tables, but its constants were not chosen "
        "blindly: some fifty settings were looked at on the first two of these very splits (all tables of classes, "
        "test AUC) before the learning rate, the least sample rate and the choice of the model were settled, so "
        "ours is favored there, and Opacus, which takes the same settings, too. The third split was not looked at. "
        "The pooled models were not tuned. "
        "Pooled models see the inputs of our logistic model (the additive one ours), of all sites at "
        "one place, by scikit-learn: logistic regression, 32 hidden units, boosted trees. Opacus trains our linear "
        "models at one place with our clip, sample rate, Adam and rate, and about as many steps, by its own "
        "accountant; ours has more noise than epsilon needs, as one site may conspire with the server."
    )
    for title, is_survival in (("Classes", False), ("Time until an event", True)):
        chosen = [each for each in known if ("event" in each.task) == is_survival]
        if chosen:
            yield from _tables(title, chosen, found, is_survival=is_survival)
    yield from (
        "",
        "## What people decided after `plan new`",
        "",
        "| table | splits | decided |",
        "| --- | ---: | --- |",
    )
    for each in known:
        splits = max((len(values) for (name, _), values in found.items() if name == each.name), default=0)
        yield f"| {each.name} | {splits} | {_decided(each)} |"
    yield ""


def _tables(title: str, chosen: Sequence[Set], found: Found, *, is_survival: bool) -> Iterator[str]:
    shown = ("C-index", "mean Brier score") if is_survival else ("AUC", "calibration in the large")
    ours = {each.name for each in chosen}
    names = sorted(
        dict.fromkeys(choice for name, choice in found if name in ours),
        key=lambda choice: ("as proposed" not in choice, "ours" not in choice, "Opacus" not in choice),
    )
    for place, what in enumerate(shown):
        yield from ("", f"## {title}: {what}", "")
        if what.startswith("calibration"):
            yield from ("The mean score less the share of positives.", "")
        yield f"| | {' | '.join(each.name for each in chosen)} |"
        yield f"| --- |{' ---: |' * len(chosen)}"
        for choice in names:
            values = [[one[place] for one in found.get((each.name, choice), ())] for each in chosen]
            signed = place == 1 and not is_survival
            yield f"| {choice} | {' | '.join(_cell(one, signed=signed) for one in values)} |"


def _cell(values: Sequence[float], *, signed: bool) -> str:
    if not values:
        return ""
    error = f" ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):{'+' if signed else ''}.3f}{error}"


def _decided(each: Set) -> str:
    said = [
        f"`{name}` left out"
        if one is None
        else f"`{name}` by {', '.join(f'{key} {one[key]}' for key in one)}"
        for name, one in each.features.items()
    ]
    said += [f"`{key}`" for key in each.task if key not in ("model", "classes")]
    said += [f'`patient = "{each.patient}"`, unit patient (Opacus: record)'] * bool(each.patient)
    return ", ".join(said) or "nothing"
