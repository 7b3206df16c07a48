"""Dataset -> Fingerprint -> Plan. Taught in lessons 01 and 02."""

from nnunet_lib.planning.fingerprint import (
    Fingerprint,
    IntensityStatistics,
    compute_fingerprint,
)
from nnunet_lib.planning.plan import Norm, Normalisation, Plan
from nnunet_lib.planning.planner import PlannerSettings, make_plan, plan_dataset
from nnunet_lib.planning.presets import PRESETS, Preset, find_preset, plan_from_preset
from nnunet_lib.planning.topology import (
    Topology,
    divisors,
    memory_estimate,
    plan_topology,
    stage_filters,
)

__all__ = [
    "PRESETS",
    "Fingerprint",
    "IntensityStatistics",
    "Norm",
    "Normalisation",
    "Plan",
    "PlannerSettings",
    "Preset",
    "Topology",
    "compute_fingerprint",
    "divisors",
    "find_preset",
    "make_plan",
    "memory_estimate",
    "plan_dataset",
    "plan_from_preset",
    "plan_topology",
    "stage_filters",
]
