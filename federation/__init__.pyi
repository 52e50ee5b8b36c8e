"""The types behind the front door. `__init__.py` says where each name lives."""

from clients.check import preflight
from clients.conformance.kit import conformance
from clients.training.adapt import adapted
from federation.audit.examine import audit as audit_run
from federation.errors import FederationError
from federation.model.task import Dataset, Source, Task
from federation.plan.plan import Plan
from federation.plan.plan import load as load_plan
from federation.report.report import Report
from privacy.errors import PrivacyError
from simulations.budgets import budget_of
from simulations.folds.crossing import cross_validate
from simulations.simulate import simulate

__all__ = [
    "Dataset",
    "FederationError",
    "Plan",
    "PrivacyError",
    "Report",
    "Source",
    "Task",
    "adapted",
    "audit_run",
    "budget_of",
    "conformance",
    "cross_validate",
    "load_plan",
    "preflight",
    "simulate",
]
