"""Dataset -> Fingerprint -> Plan. Taught in lessons 01 and 02."""

from nnunet_lib.planning.fingerprint import (
    Fingerprint,
    IntensityStatistics,
    compute_fingerprint,
)
from nnunet_lib.planning.plan import Norm, Normalisation, Plan
from nnunet_lib.planning.planner import PlannerSettings, make_plan, plan_dataset
from nnunet_lib.planning.topology import (
    Topology,
    divisors,
    memory_estimate,
    plan_topology,
    stage_filters,
)

__all__ = [
    "Fingerprint",
    "IntensityStatistics",
    "Norm",
    "Normalisation",
    "Plan",
    "PlannerSettings",
    "Topology",
    "compute_fingerprint",
    "divisors",
    "make_plan",
    "memory_estimate",
    "plan_dataset",
    "plan_topology",
    "stage_filters",
]
