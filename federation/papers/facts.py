"""What every document is made of: a run's plan and report, and the audit that they passed.

Only what report.json and the plan already say is repeated, so no document of a real run holds a figure that was
not charged. What only people can know comes from the plan's `[purpose]`, or is left blank.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from federation.audit.outcome import Audit
from federation.config.purpose import TITLES
from federation.errors import AuditFailure
from federation.plan.plan import Plan, load
from federation.plan.tabular import COUNTS, REGRESSION, SERIES_REGRESSION, SURVIVAL, TabularTask
from federation.plan.tasks import Classification
from federation.report import wording
from federation.report.files import read_report
from federation.report.numbers import downward, tiny, upward
from federation.report.report import Report, metrics_of, whole, whole_risk
from federation.report.risks.words import NO_PROMISE, sentences
from federation.report.telling import evaluated
from federation.words import many

_PREDICTED = {
    REGRESSION: "a number",
    SERIES_REGRESSION: "a number",
    SURVIVAL: "a time until an event",
    COUNTS: "a count",
}
_MODELS = {
    "logistic": "logistic regression",
    "linear": "linear model",
    "additive": "additive model: a curve for each number",
    "mlp": "neural network (multilayer perceptron)",
    "cnn": "neural network (convolutional, of images)",
    "gru": "recurrent neural network (GRU)",
    "transformer": "small transformer",
    "tally": "none: a table of sums",
}
_PARTS = {"record": "records", "patient": "patients", "client": "sites"}
BLANK = "TO BE FILLED IN"
"""Stands wherever neither plan nor run says anything."""
SIMULATED = (
    "One process played every site in a simulation: nothing here is evidence of what an institution did."
)


@dataclass(frozen=True)
class Facts:
    """A run that an audit has passed."""

    plan: Plan
    report: Report
    audit: Audit

    def purpose(self, name: str) -> str:
        """What the plan says in a field of `[purpose]`; a blank that names the field if it says nothing."""
        said = {} if self.plan.purpose is None else self.plan.purpose.to_json()
        return "; ".join(said[name]) if name in said else f"{BLANK}: {TITLES[name]}"

    @property
    def is_private(self) -> bool:
        """Whether the run claims any privacy."""
        return self.report.privacy.private

    @property
    def epsilon(self) -> float | None:
        """Of training and evaluation together, for the unit that the plan protects; None: no bound."""
        return whole(self.report.privacy)

    @property
    def delta(self) -> float | None:
        """The plan's."""
        return self.report.privacy.delta

    @property
    def guarantee(self) -> str:
        """The claim in one sentence."""
        if self.epsilon is None or self.delta is None:
            return (
                "No privacy is promised: what the plan adds is too little for any bound."
                if self.is_private
                else "No privacy is claimed: the plan adds no noise."
            )
        unit = wording.UNITS[self.report.privacy.unit]
        return f"Epsilon {upward(self.epsilon, 3)} at delta {tiny(self.delta)}, for {unit} added or removed."

    @property
    def risks(self) -> tuple[str, ...]:
        """What the claim means in risk, a sentence for each figure, as the audit recounted them."""
        known, privacy = whole_risk(self.report.privacy), self.report.privacy
        if not privacy.private:
            return ()
        if known is None:
            return (NO_PROMISE,)
        return tuple(said.text for said in sentences(known.to_json(), privacy.unit))

    @property
    def meaning(self) -> tuple[str, ...]:
        """The same, the first one with what it is about: the worst case. No sentence stands there twice."""
        said = wording.meaning(self.report.privacy)
        rest = self.risks[1:] if self.risks and said.startswith(self.risks[0]) else self.risks
        return tuple(text for text in (said, *rest) if text)

    @property
    def date(self) -> str:
        """The day the run was finished, as YYYY-MM-DD. AuditFailure if the report does not say it."""
        if self.report.made is None:
            raise AuditFailure(
                "report.json is of an earlier version: it does not say when", hint="run it again"
            )
        return self.report.made.finished[:10]

    @property
    def sites(self) -> str:
        """Who took part."""
        if self.report.population is not None:
            return many(self.report.population, "simulated site")
        return ", ".join(line.id for line in self.report.sites)

    @property
    def place(self) -> str:
        """Where the records are."""
        if self.report.simulated:
            return f"in one place, where the simulation ran as these sites: {self.sites}"
        return f"at the sites, which they never leave: {self.sites}"

    def real(self, text: str) -> str:
        """What only a run between institutions has; a simulation is said not to show it."""
        return f"Not shown by a simulation. Of a real run: {text}" if self.report.simulated else text

    def only_simulated(self, text: str) -> str:
        """What only a simulation has."""
        return text if self.report.simulated else ""

    @property
    def summary(self) -> str:
        """What came of the run, and how, in a sentence."""
        how = "in a simulation of federated learning" if self.report.simulated else "by federated learning"
        if self.plan.task_is_tally:
            return f"Statistics of the columns {self.inputs}, made {how}; no model is trained."
        return f"Predicts {self.predicts}. Trained {how}."

    @property
    def predicts(self) -> str:
        """What the model is for, by the plan."""
        task = self.plan.task
        if self.plan.task_is_tally:
            return "nothing: it publishes statistics"
        if not isinstance(task, TabularTask):
            return f"what the code {task} defines"
        if isinstance(task, Classification):
            return f"the column {task.target}: a chance for each of {', '.join(task.classes)}"
        return f"the column {task.target}: {_PREDICTED[task.kind]}"

    @property
    def model(self) -> str:
        """The kind of model, by the plan."""
        task = self.plan.task
        named = task.model if isinstance(task, TabularTask) else task
        return _MODELS.get(named) or f"what the code {named} defines"

    @property
    def mechanism(self) -> str:
        """What makes the guarantee, in a sentence or two; "None." without noise."""
        privacy, norm = self.report.privacy, self.plan.privacy.clipping_norm
        if not self.is_private or norm is None or privacy.noise_multiplier is None:
            return "None."
        said = (
            f"Discrete Gaussian noise on sums over {_PARTS[privacy.unit]}. What each adds is clipped to the length "
            f"{norm:g}; the noise has at least {downward(privacy.noise_multiplier, 3)} times that as its deviation."
        )
        rate = self.plan.training.sample_rate
        if privacy.unit == "client" or rate == 1:
            return said
        return (
            f"{said} For each sum each of them is drawn by chance, at a rate of {rate:g} (Poisson sampling)."
        )

    @property
    def inputs(self) -> str:
        """What the model reads, by the plan."""
        task = self.plan.task
        if not isinstance(task, TabularTask):
            return f"what the code {task} reads"
        named = ", ".join(feature.name for feature in task.features)
        return f"{named} (of {task.steps} rows of a series)" if task.steps > 1 else named

    @property
    def figures(self) -> tuple[tuple[str, str], ...]:
        """What is known of how well the model does: published figures, and in a simulation exact ones."""
        evaluation = self.report.evaluation
        told = [
            (name.replace("_", " "), f"{value:.3f}")
            for name, value in metrics_of(evaluation.pooled).items()
            if value is not None
        ]
        folds = self.report.folds
        if (
            published := evaluated.published(evaluation.published)
            if folds is None
            else evaluated.folds(folds)
        ):
            told.append(("published evaluation", published))
        return tuple(told)

    @property
    def rounds(self) -> int:
        """Rounds of training, those of all folds included."""
        folds = self.plan.evaluation.folds or 0
        return len(self.report.rounds) + folds * self.plan.federation.rounds

    @property
    def verdict(self) -> str:
        """What the audit found, which this document follows."""
        found = sorted({finding.id for finding in self.audit.findings})
        noted = f" (remarks: {', '.join(found)})" if found else ""
        run = f"run {self.audit.run} of plan {self.audit.plan_digest}"
        return f"federation audit found no contradiction{noted} in {run}, by the ledgers of {self.ledgers}."

    @property
    def ledgers(self) -> str:
        """Of how many sites a ledger was handed in; nothing but the coordinator's word is known of the others."""
        sites = len(self.audit.sites)
        return f"{sites - len(self.audit.without_ledger)} of {many(sites, 'site')}"

    @property
    def source(self) -> str:
        """How the figures of `figures` were measured."""
        if self.plan.task_is_tally:
            return "The statistics stand in the report, each with the 95 % that its noise leaves open."
        if not self.figures:
            return "None: the plan publishes no evaluation, and nothing about accuracy left the sites."
        if self.report.folds is not None:
            return "A published sum with noise for each fold, charged to whoever was held out."
        if self.report.simulated:
            return "Exact figures on held-out records of a simulation; no epsilon covers them."
        return "One published sum with noise, charged to whoever was held out."


def facts_of(run: Path, found: Audit) -> Facts:
    """AuditFailure for a run that was not passed, PlanError or CheckpointError for one that is not complete."""
    if found.verdict != "pass":
        raise AuditFailure("no document is made of a run that does not verify", hint="read the findings")
    return Facts(load(run / "plan.toml"), read_report(run), found)
