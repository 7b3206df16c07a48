"""The plan as a file and as a table."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nnunet_lib.errors import InputError
from nnunet_lib.planning import Fingerprint, Plan, PlannerSettings, make_plan

Maker = Callable[..., Fingerprint]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_comes_back_equal_from_its_file(
    make_fingerprint: Maker, tmp_path: Path, dimensions: int
) -> None:
    fingerprint = make_fingerprint((20, 320, 319), (3.6, 0.625, 0.625), channels=("CT", "T2"))
    plan = make_plan(fingerprint, PlannerSettings(dimensions))
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan


@pytest.mark.parametrize(
    "damage",
    [
        {"format": 99},
        {"surprise": 1},
        {"normalisation": [{"no": 1}]},
        {"axis_order": [0, 0, 2]},
        {"dimensions": 5},
        {"patch_size": [40, 56]},
        {"patch_size": [41, 56, 40]},
        {"filters": [32]},
        {"target_spacing": [1.0, 0.0, 1.0]},
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"batch_size": True},
        {"batch_size": [2]},
        {"patch_size": 40},
        {"strides": [2, 2, 2]},
        {"filters": [[32], [64], [128], [256]]},
        {"dataset": 4},
        {"reasons": "none"},
        {"patch_size": [40.0, 56.0, 40.0]},
        {"filters": [32, 64, 0, 256]},
        {"filters": [32, 64, "128", 256]},
        {"kernels": [[3, 3, 3]] * 3 + [[2, 2, 2]]},
        {"target_spacing": [float("nan"), 1.0, 1.0]},
        {"target_spacing": [1.0, float("inf"), 1.0]},
        {"labels": "bg"},
        {"labels": ["background"]},
        {"labels": ["background", 1]},
        {"channels": []},
        {"mirrored": "no"},
        {"normalisation": []},
        {"normalisation": [{"scheme": "ct", "mean": None}]},
        {"normalisation": [{"scheme": "ct", "mean": "99.4"}]},
        {"normalisation": [{"scheme": "ct", "mean": float("nan")}]},
        {"normalisation": [{"scheme": "z_score", "inside_mask": "no"}]},
        {"axis_order": [0, 1, 2.0]},
        {"axis_order": [False, True, 2]},
        {"dimensions": 3.0},
        {"patch_size": [80, 112, 80], "strides": [[2, 2, 2]] * 4},
        {"normalisation": [{"scheme": "CT", "lower": -40, "upper": 300, "mean": 100}]},
        {"normalisation": [{"scheme": "zscore"}]},
        {"normalisation": [{"scheme": "ct", "lower": 300, "upper": -40, "mean": 100}]},
        {"normalisation": [{"scheme": "ct", "upper": 300, "standard_deviation": 0}]},
        {"norm": "layer"},
        {"negative_slope": -0.1},
        {"negative_slope": 1},
    ],
)
def test_a_damaged_file_is_refused_by_name(
    make_fingerprint: Maker, tmp_path: Path, damage: dict[str, Any]
) -> None:
    path = tmp_path / "plan.json"
    value = json.loads(json.dumps(make_plan(make_fingerprint()).to_json()))
    path.write_text(json.dumps(value | damage))
    with pytest.raises(InputError, match=r"plan\.json"):
        Plan.load(path)


def test_a_plan_from_before_the_choice_of_norms_still_loads(make_fingerprint: Maker) -> None:
    value = make_plan(make_fingerprint()).to_json()
    del value["norm"], value["negative_slope"]
    plan = Plan.from_json(value)
    assert (plan.norm, plan.negative_slope) == ("instance", 0.01)


def test_missing_parts_are_refused(make_fingerprint: Maker) -> None:
    value = make_plan(make_fingerprint()).to_json()
    del value["strides"]
    with pytest.raises(InputError, match="is not a plan"):
        Plan.from_json(value)


def test_the_table_names_every_decision_and_its_reason(make_fingerprint: Maker) -> None:
    plan = make_plan(make_fingerprint(channels=("CT", "T2")), PlannerSettings(base_filters=32))
    text = plan.describe()
    for part in ("32 x 40 x 32", "1 x 1 x 1 mm", "CT: clip to -41 .. 176", "4 x 5 x 4", "256"):
        assert part in text
    assert len(plan.reasons) >= 6
    assert all(reason in text for reason in plan.reasons)
