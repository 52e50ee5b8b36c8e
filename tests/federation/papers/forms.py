"""What two public schemas demand, as facts of our own writing; the schemas themselves are no part of this project.

OpenDP deployments registry: schemas/deployments-schema.yaml of opendp/deployments-registry-data, read in November
2026. CHAI Applied Model Card: v0.2/schema.xsd of coalition-for-health-ai/mc-schema, read then, too. A folder with
both files, named by FEDERATION_SCHEMAS, has the tests validate against the originals as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REGISTRY: Mapping[str, Any] = {
    "url_slug": str,
    "status": ("Converted", "Draft", "Pending", "Changes Required", "Approved"),
    "tier": (1, 2, 3),
    "deployment": {
        "basic": {
            "name": str,
            "data_curators": [str],
            "intended_use": str,
            "data_product_type": ("Summary statistics", "Machine learning model", "Dataset"),
            "data_product_region": str,
            "description": str,
            "publication_date": str,
        },
        "dp_variant": {
            "variant_name": ("Pure DP", "Approximate DP", "Zero-concentrated DP", "Renyi DP", "Custom"),
            "data_domain": str,
            "unprotected_quantities": str,
        },
        "privacy_loss": {
            "privacy_unit": str,
            "privacy_unit_details": str,
            "privacy_parameters": {"epsilon": float, "delta": float},
            "privacy_parameters_details": str,
        },
        "deployment_model": {
            "model_name": ("Local", "Central", "Shuffle", "Federated", "Varies"),
            "actors": str,
            "release_type": ("One release", "Many releases"),
            "data_source_type": ("Static", "Dynamic"),
            "access_type": ("Interactive", "Non-interactive"),
        },
        "accounting": {"post_processing": str, "composition": str},
        "implementation": {
            "preprocessing_and_hyperparameter_tuning": str,
            "mechanisms": str,
            "justification": str,
        },
        "administrative": {"notes": str, "registry_authors": [str]},
    },
}
"""Keys, and types or allowed values. Nothing else may stand there; without privacy five tables are left out."""

CARD: Mapping[str, Any] = {
    "BasicInfo": ["ModelName", "ModelDeveloper", "DeveloperContact"],
    "ReleaseInfo": ["ReleaseStage", "ReleaseDate", "ReleaseVersion", "GlobalAvailability"],
    "ModelSummary": ["Summary", "Keywords"],
    "UsesAndDirections": [
        "IntendedUseAndWorkflow", "PrimaryIntendedUsers", "HowToUse", "TargetedPatientPopulation",
        "CautionedOutOfScopeSettings",
    ],
    "Warnings": ["KnownRisksAndLimitations", "KnownBiasesOrEthicalConsiderations", "ClinicalRiskLevel"],
    "TrustIngredients": ["AISystemFacts", "TransparencyInformation"],
    "KeyMetrics": ["UsefulnessUsabilityEfficacy", "FairnessEquity", "SafetyReliability"],
    "Resources": ["EvaluationReferences", "PeerReviewedPublications", "PatientConsentOrDisclosure"],
    "Bibliography": [],
}  # fmt: skip
"""Elements in their order, and the elements inside them in theirs, but for those that may be left out."""
METRIC = (
    "MetricGoal", "Results", "Interpretation", "TestType", "TestingDataDescription",
    "ValidationProcessAndJustification",
)  # fmt: skip
FACTS = (
    "OutcomesAndOutputs", "ModelType", "InputDataSource", "OutputAndInputDataTypes",
    "DevelopmentDataCharacterization", "BiasMitigationApproaches", "OngoingMaintenance", "Security", "Transparency",
)  # fmt: skip
