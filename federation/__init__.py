"""What the parties agree on, and the front door: `from federation import Plan, simulate, audit_run`.

    for a researcher      Plan, load_plan, simulate, cross_validate, Report, budget_of
    for a site engineer   preflight; Task, Dataset, Source, adapted and conformance, for a task of your own
    for an auditor        audit_run
    for everybody         FederationError and PrivacyError, the roots of every error we raise

This file is the second composition root beside the command: it reaches every package, by name and at first use. So
`import federation` loads nothing, and no circle of imports goes through here. `__init__.pyi` has the types.

    >>> from federation import FederationError
    >>> FederationError("no sites", hint="check the folder").exit_code
    4
"""

from importlib import import_module

_HOMES = {
    "Dataset": "federation.model.task:Dataset",
    "FederationError": "federation.errors:FederationError",
    "Plan": "federation.plan.plan:Plan",
    "PrivacyError": "privacy.errors:PrivacyError",
    "Report": "federation.report.report:Report",
    "Source": "federation.model.task:Source",
    "Task": "federation.model.task:Task",
    "adapted": "clients.training.adapt:adapted",
    "audit_run": "federation.audit.examine:audit",
    "budget_of": "simulations.budgets:budget_of",
    "conformance": "clients.conformance.kit:conformance",
    "cross_validate": "simulations.folds.crossing:cross_validate",
    "load_plan": "federation.plan.plan:load",
    "preflight": "clients.check:preflight",
    "simulate": "simulations.simulate:simulate",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """The object of that name (PEP 562). ShadowedPackage if a user's own file hides one of our packages."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from federation.origins import check_origins

    check_origins()
    module, attribute = _HOMES[name].split(":")
    found: object = getattr(import_module(module), attribute)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
