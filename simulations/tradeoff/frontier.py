"""The frontier of a plan: what it is worth at each epsilon, at what risk, against what each site has by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
from jinja2 import UndefinedError

from clients.data.folders import SiteFiles, find_sites, mixed_hold_outs
from clients.data.notes import Note
from federation.config.toml import read
from federation.errors import FederationError, InputError
from federation.files import alone_in, kept
from federation.plan.plan import Plan, parse
from federation.plan.tabular import TabularTask
from privacy.errors import PrivacyError, UnsafeParameters
from simulations.tradeoff.kept import FRONTIER, Folder, Json
from simulations.tradeoff.points import NOISES, Point, points_of, require_frontier, seeds_of
from simulations.tradeoff.results import figures_of
from simulations.tradeoff.tables import csv_of
from simulations.tradeoff.trials import Asked, Progress, are_all_made, make_all, run_point
from simulations.world import read_world

PAGE, TABLE, PLANS = "tradeoff.html", "frontier.csv", "plans"
EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0)
MOST_LEFT_OUT = 10  # sites, unless somebody asks for it: each is one more training for each seed

_LACKING = (LookupError, TypeError, ValueError, AttributeError, OSError, UndefinedError)

Stage = Callable[[str], None]


def tradeoff(
    plan: Plan | Path | str,
    sites: Path | str,
    out: Path | str,
    *,
    epsilons: Sequence[float] = EPSILONS,
    noises: Sequence[str] | None = None,
    seeds: int = 3,
    contributions: bool | None = None,
    progress: Progress = lambda _done, _all, _words: None,
    stage: Stage = lambda _: None,
    warn: Callable[[Note], None] = lambda _: None,
    notice: Callable[[str], None] = lambda _: None,
    public: bool = False,
) -> Json:
    """Simulate a plan at each epsilon, with each of `noises` (its own by default) and each seed; the frontier.

    It is written to `out`, as files for programs and a page for people. The same call goes on after an
    interruption, on the same data only. `contributions`: also leave out each site in turn, by default where there
    are few. Raises as `simulate` does, where no point at all can be run.
    """
    torch.set_num_threads(1)
    stage("working out the noise")
    asked = _asked(plan, Path(sites), epsilons, noises, seeds)
    files = _files(asked.plan, asked.sites, warn)
    few = len(files) <= MOST_LEFT_OUT
    if not (few if contributions is None else contributions):
        asked = Asked(asked.text, asked.plan, asked.sites, asked.points, asked.seeds, None)
    folder = _open(Path(out), asked)
    with alone_in(folder.path):
        if folder.is_finished:
            world = read_world(asked.seeded(asked.seeds[0]), files)
            is_compared = folder.require_ended(world)
            found, is_drawn = _again(folder, asked, files)
            notice(_said(Path(out), is_compared, is_drawn))
            return found
        simulated = partial(run_point, sites=asked.sites, public=public)
        trials = make_all(asked, folder, files, progress, simulated)
        found = figures_of(asked, trials)
        _write(folder, asked, found)
        folder.close()
        return found


def _asked(
    plan: Plan | Path | str, sites: Path, epsilons: Sequence[float], noises: Sequence[str] | None, seeds: int
) -> Asked:
    text, path = (plan.to_toml(), None) if isinstance(plan, Plan) else (read(Path(plan)).text, Path(plan))
    planned = parse(text, path)
    places = tuple(noises or (planned.privacy.noise,))
    require_frontier(planned, path, len(epsilons), len(places), seeds)
    points = points_of(text, sorted(set(epsilons)), places)
    if all(point.plan is None for point in points):
        told = f"every point is refused; {points[0].name}: {points[0].refused}"
        if all(point.is_wrong for point in points):
            raise InputError(told, hint="choose epsilons that a plan can have")
        raise UnsafeParameters(told)
    at = _nearest(planned, [point for point in points if point.plan is not None])
    return Asked(text, planned, sites, points, seeds_of(planned, seeds), at)


def _nearest(plan: Plan, points: Sequence[Point]) -> Point:
    """The point nearest to the plan itself: its own noise if that is there, and the epsilon next to its own."""
    wanted = plan.privacy.epsilon or 1.0

    def distance(point: Point) -> tuple[bool, float, int]:
        ratio = max(point.epsilon / wanted, wanted / point.epsilon)
        return point.noise != plan.privacy.noise, ratio, NOISES.index(point.noise)

    return min(points, key=distance)


def _files(plan: Plan, sites: Path, warn: Callable[[Note], None]) -> tuple[SiteFiles, ...]:
    """The sites' files. InputError for a site with a budget of its own, to which each run would be charged."""
    found = find_sites(sites, any_format=not isinstance(plan.task, TabularTask))
    for note in (*found.notes, *mixed_hold_outs(sites, found.sites, plan.evaluation.holdout)):
        warn(note)
    for entry in found.sites:
        if entry.site_file is not None:
            message = f"{entry.site_file}: every run of a trade-off would be charged to this site's journal"
            hint = "use mock or public data, or take the site.toml out of the folder"
            raise InputError(message, hint=hint)
    return tuple(found.sites)


def _open(out: Path, asked: Asked) -> Folder:
    return Folder.open(
        out,
        asked.plan,
        {
            "epsilons": sorted({point.epsilon for point in asked.points}),
            "noises": list(dict.fromkeys(point.noise for point in asked.points)),
            "seeds": list(asked.seeds),
            "contributions": asked.at is not None,
        },
    )


def _write(folder: Folder, asked: Asked, found: Json) -> None:
    with kept(folder.path / PLANS) as plans:
        plans.mkdir(exist_ok=True)
    for point in asked.runnable:
        folder.write(f"{PLANS}/{point.name}.toml", point.file())
    folder.write(TABLE, csv_of(found))
    _drawn(folder, found)
    folder.write(FRONTIER, found)


def _drawn(folder: Folder, found: Json) -> Json:
    """The frontier; its page is there, too."""
    from simulations.tradeoff.page import render

    plans = {
        point["plan"]: (folder.path / point["plan"]).read_text("utf-8")
        for point in found["points"]
        if point["plan"] is not None
    }
    folder.write(PAGE, render(found, plans))
    return found


def _again(folder: Folder, asked: Asked, files: Sequence[SiteFiles]) -> tuple[Json, bool]:
    """A finished frontier as this version tells it, of the figures that are kept; whether its page is drawn anew.

    Where some were deleted, or are of a version whose files this one does not read, it is told as it was.
    """
    found = folder.finished()
    with suppress(FederationError, PrivacyError, *_LACKING):
        if are_all_made(asked, folder, files):
            simulated = partial(run_point, sites=asked.sites, public=True)
            told = figures_of(asked, make_all(asked, folder, files, lambda *_: None, simulated))
            if told != found:
                folder.write(TABLE, csv_of(told))
                folder.tell_again(told)
            found = told
    try:
        return _drawn(folder, found), True
    except _LACKING:
        return found, False


def _said(out: Path, is_compared: bool, is_drawn: bool) -> str:
    said = f"nothing was run: {out} holds this trade-off already, finished"
    said += ", on these data" if is_compared else ""
    lacking = f"{PAGE} is left as it was, since its figures lack what this version draws"
    said += f"; {'its page is drawn anew' if is_drawn else lacking}"
    unknown = "this machine knows no fingerprints of its data, so only names of sites were compared"
    return said if is_compared else f"{said}; {unknown}"
