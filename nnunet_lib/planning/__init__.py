"""Dataset -> Fingerprint -> Plan. Taught in lessons 01 and 02."""

from nnunet_lib.planning.fingerprint import (
    Fingerprint,
    IntensityStatistics,
    compute_fingerprint,
)
from nnunet_lib.planning.plan import Normalisation, Plan
from nnunet_lib.planning.planner import PlannerSettings, make_plan, plan_dataset
from nnunet_lib.planning.topology import Topology, memory_estimate, plan_topology

__all__ = [
    "Fingerprint",
    "IntensityStatistics",
    "Normalisation",
    "Plan",
    "PlannerSettings",
    "Topology",
    "compute_fingerprint",
    "make_plan",
    "memory_estimate",
    "plan_dataset",
    "plan_topology",
]
