"""The runs of a frontier, one after the other: a simulation for each point and seed, and what stands beside.

Seed by seed, so that the records of one seed's split are held at a time. Every figure is on disk before the next is
begun; what is there already is not made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from clients.data.folders import SiteFiles
from clients.data.load import Reading, read_file
from clients.rules.origin import Place
from federation.config.toml import with_value
from federation.errors import PlanError, RosterError, SumRefused, TooFewSurvivors, TrainingDiverged
from federation.model.task import Task
from federation.plan.plan import Plan, parse
from federation.report.report import Metrics, Report
from privacy.errors import PrivacyError
from server.run_folder import RunFolder
from simulations.baseline import rounds_of, without_claim
from simulations.comparing.alone import MOST_SITES, Alone, all_in_one_place, local_only, own_claim
from simulations.comparing.training import last, measured, together
from simulations.simulate import Study, simulate
from simulations.tradeoff.kept import Folder, Json
from simulations.tradeoff.points import Point
from simulations.tried import uses_of
from simulations.world import World, read_world

REFUSALS = (PrivacyError, PlanError, RosterError, SumRefused, TooFewSurvivors, TrainingDiverged)
Progress = Callable[[int, int, str], None]  # how many are done, of how many, and what is next


@dataclass(frozen=True)
class Asked:
    """What a frontier is asked for. `at` is the point at which sites are left out in turn; None for none."""

    text: str
    plan: Plan
    sites: Path
    points: tuple[Point, ...]
    seeds: tuple[int, ...]
    at: Point | None

    @property
    def runnable(self) -> tuple[Point, ...]:
        """The points that are not refused."""
        return tuple(point for point in self.points if point.plan is not None)

    def seeded(self, seed: int) -> Plan:
        """The plan with another seed."""
        return parse(with_value(self.text, ("federation", "seed"), str(seed)))


@dataclass(frozen=True)
class Trials:
    """Every figure that was made. By seed, in the order of the seeds; `runs` by point and seed."""

    runs: Mapping[tuple[str, int], Report | str] = field(default_factory=dict)
    beside: Mapping[tuple[str, int], Json] = field(default_factory=dict)


class Once:
    """Reads each file once, and takes its fingerprints once."""

    def __init__(self) -> None:
        self._read: dict[str, Reading] = {}
        self._uses: dict[bytes, list[tuple[bytes, bytes, list[bytes]]]] = {}

    def read(self, place: Place, plan: Plan, task: Task) -> Reading:
        """`read_file`; the plans of one frontier read a file alike."""
        name = repr(place)
        if name not in self._read:
            self._read[name] = read_file(place, plan, task)
        return self._read[name]

    def uses(self, secret: bytes, files: Sequence[SiteFiles]) -> Sequence[tuple[bytes, bytes, list[bytes]]]:
        """`uses_of`."""
        if secret not in self._uses:
            self._uses[secret] = list(uses_of(secret, files))
        return self._uses[secret]


@dataclass(frozen=True)
class Work:
    """One figure to be made: what it is called, and what makes it where it is not kept."""

    name: str
    words: str
    key: tuple[str, int]
    make: Callable[[], Json] | None  # None: a run


def works(asked: Asked, names: Sequence[str], world: World | None, seed: int) -> Iterator[Work]:
    """What there is to do for one seed, in order. Without a world it can be counted, and no more."""

    def work(what: str, words: str, make: Callable[[World], Json]) -> Work:
        done = None if world is None else partial(_or_why, make, world)
        return Work(f"seed-{seed}-{what}", f"{words}, seed {seed}", (what, seed), done or dict)

    yield work("without-privacy", "all sites without privacy", partial(_federated, None, ()))
    yield work("one-place", "all data in one place", _one_place)
    few = len(names) <= MOST_SITES
    if few:
        yield work("alone", "each site alone", lambda of: local_only(of).to_json())
    for epsilon in dict.fromkeys(point.epsilon for point in asked.runnable):
        if few and own_claim(asked.plan) is not None:
            yield work(
                f"alone-{epsilon:g}", f"each site alone at epsilon {epsilon:g}", partial(_alone, epsilon)
            )
    for point in asked.runnable:
        words = f"epsilon {point.epsilon:g}, {point.noise}, seed {seed}"
        yield Work(f"{point.name}-seed-{seed}", words, (point.name, seed), None)
    if asked.at is not None and asked.at.plan is not None:
        for name in names:
            yield work(f"left-out-{name}", f"without {name}", partial(_federated, asked.at.plan, (name,)))


def make_all(
    asked: Asked,
    folder: Folder,
    files: Sequence[SiteFiles],
    progress: Progress,
    simulated: Callable[[Point, int, Path, Study], Report],
) -> Trials:
    """Make what is not there yet."""
    once, names = Once(), [entry.name for entry in files]
    whole = [work for seed in asked.seeds for work in works(asked, names, None, seed)]
    study = Study(len(asked.runnable) * len(asked.seeds), once.read, once.uses)
    points = {point.name: point for point in asked.runnable}
    runs: dict[tuple[str, int], Report | str] = {}
    beside: dict[tuple[str, int], Json] = {}
    done = sum(_is_there(folder, points, work) for work in whole)
    for seed in asked.seeds:
        world = read_world(asked.seeded(seed), files, reader=once.read)
        if seed == asked.seeds[0] and not folder.is_finished:
            folder.keep_inputs(world)
        for work in works(asked, names, world, seed):
            was_there = _is_there(folder, points, work)
            if not was_there:
                progress(done, len(whole), work.words)
            if work.make is not None:
                beside[work.key] = folder.made(work.name, work.make)
            else:
                point = points[work.key[0]]
                runs[work.key] = _run(partial(simulated, point, seed, _place(folder, work), study))
            done += not was_there
    progress(done, len(whole), "drawing the frontier")
    return Trials(runs, beside)


def are_all_made(asked: Asked, folder: Folder, files: Sequence[SiteFiles]) -> bool:
    """Whether `make_all` would train nothing."""
    names, points = [entry.name for entry in files], {point.name: point for point in asked.runnable}
    return all(
        _is_there(folder, points, work) for seed in asked.seeds for work in works(asked, names, None, seed)
    )


def run_point(point: Point, seed: int, out: Path, study: Study, *, sites: Path, public: bool) -> Report:
    """The simulation of a point, or the report of one that is over."""
    return simulate(
        parse(point.text), sites, out, seed=seed, baseline=False, public=public, study=study,
        notice=lambda _: None,
    )  # fmt: skip


def _run(simulated: Callable[[], Report]) -> Report | str:
    try:
        return simulated()
    except REFUSALS as error:
        return " ".join(str(error).split())


def _is_there(folder: Folder, points: Mapping[str, Point], work: Work) -> bool:
    if work.make is not None:
        return folder.is_kept(work.name)
    plan = points[work.key[0]].plan
    return plan is not None and RunFolder(_place(folder, work), plan).is_finished


def _place(folder: Folder, work: Work) -> Path:
    return folder.path / "runs" / work.name


def _or_why(make: Callable[[World], Json], world: World) -> Json:
    """The figures, or why there are none."""
    try:
        return make(world)
    except REFUSALS as error:
        return {"refused": " ".join(str(error).split())}


def _federated(plan: Plan | None, out: Sequence[str], world: World) -> Json:
    """A federation without the sites in `out`, by a plan with the world's seed; without a plan, without privacy.

    Its figures are of the held-out records of the others.
    """
    if plan is None:
        plan = without_claim(world.plan)
    else:
        seed = plan.federation.model_copy(update={"seed": world.plan.federation.seed})
        # The others would agree on a plan for so many. What else makes so few unsafe still refuses them.
        least = min(plan.cohort.minimum, len(world.members) - len(out))
        cohort = plan.cohort.model_copy(update={"minimum": least})
        evaluation = plan.evaluation.model_copy(update={"epsilon": None})
        plan = plan.model_copy(update={"federation": seed, "cohort": cohort, "evaluation": evaluation})
    members = tuple(member for member in world.members if member.site not in out)
    params = last(rounds_of(plan, world, members))
    held = {site: data for site, data in sorted(world.held_out.items()) if site not in out}
    figures = partial(measured, plan, world.task, params)
    return {
        "pooled": dict(figures(together(held.values()))) if held else {},
        "sites": {site: dict(figures(data)) for site, data in held.items()},
    }


def _one_place(world: World) -> Json:
    pooled, sites = all_in_one_place(world)
    return {"pooled": dict(pooled), "sites": {site: dict(of) for site, of in sites.items()}}


def _alone(epsilon: float, world: World) -> Json:
    privacy = own_claim(world.plan)
    if privacy is None:
        return {"refused": "a site by itself has no such claim"}
    return local_only(world, privacy.model_copy(update={"epsilon": epsilon})).to_json()


def alone_of(found: Json | None) -> Alone | None:
    """Figures of sites by themselves; None where there are none."""
    return None if found is None or "refused" in found else Alone.from_json(found)


def known(found: Json | None, place: str) -> Metrics:
    """The pooled figures of a comparison, or those of a site; empty where there are none."""
    if found is None or "refused" in found:
        return {}
    of: Metrics = found["pooled"] if place == "pooled" else found["sites"].get(place, {})
    return of
