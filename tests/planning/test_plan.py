"""The plan as a file and as a table."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnunet_lib.errors import InputError
from nnunet_lib.planning import Fingerprint, Normalisation, Plan, PlannerSettings, make_plan

Maker = Callable[..., Fingerprint]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_comes_back_equal_from_its_file(
    make_fingerprint: Maker, tmp_path: Path, dimensions: int
) -> None:
    fingerprint = make_fingerprint((20, 320, 319), (3.6, 0.625, 0.625), channels=("CT", "T2"))
    plan = make_plan(fingerprint, PlannerSettings(dimensions))
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan


# What is wrong, as the error says it, and files that are so: what is put into a sound one.
DAMAGES: dict[str, list[dict[str, Any]]] = {
    "another version": [{"format": 99}],
    "is not a plan": [
        {"surprise": 1},
        {"normalisation": [{"no": 1}]},
        {"normalisation": [{"scheme": "ct", "upper": 10**400}]},  # more than a float holds
        {"target_spacing": [10**400, 1.0, 1.0]},
        {"target_spacing": ["1.0", 1.0, 1.0]},
    ],
    "dataset is 4": [{"dataset": 4}],
    "no list of words": [
        {"reasons": "none"},
        {"reasons": [1]},
        {"orientations": [["RAS"]]},
        {"channels": [1]},
        {"labels": "bg"},
        {"labels": ["background", 1]},
    ],
    "channels are none": [{"channels": []}],
    "labels are background alone": [{"labels": ["background"]}],
    "not made of whole numbers above 0": [
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"batch_size": True},
        {"batch_size": [2]},
        {"dimensions": 3.0},
        {"patch_size": 40},
        {"patch_size": [40.0, 56.0, 40.0]},
        {"strides": [2, 2, 2]},
        {"filters": [[32], [64], [128], [256]]},
        {"filters": [32, 64, 0, 256]},
        {"filters": [32, 64, "128", 256]},
    ],
    "mirrored is 'no'": [{"mirrored": "no"}],
    "not 2 or 3": [{"dimensions": 5}],
    "axis_order is": [
        {"axis_order": [0, 0, 2]},
        {"axis_order": [0, 1, 2.0]},
        {"axis_order": [False, True, 2]},
    ],
    "sizes are not 3 positive numbers each": [
        {"patch_size": [40, 56]},
        {"strides": [[1, 1, 1], [2, 2, 2], [2, 2], [2, 2, 2]]},
        {"target_spacing": [1.0, 0.0, 1.0]},
        {"target_spacing": [math.nan, 1.0, 1.0]},
        {"target_spacing": [1.0, math.inf, 1.0]},
    ],
    "kernels have sizes other than": [{"kernels": [[3, 3, 3]] * 3 + [[2, 2, 2]]}],
    "differ in number": [{"filters": [32]}, {"filters": [], "strides": [], "kernels": []}],
    "first stage has strides": [{"patch_size": [80, 112, 80], "strides": [[2, 2, 2]] * 4}],
    "not one a channel": [{"normalisation": []}],
    "channel 0 is": [
        {"normalisation": [{"scheme": "CT", "lower": -40, "upper": 300, "mean": 100}]},
        {"normalisation": [{"scheme": "zscore"}]},
    ],
    "channel 0 has inside_mask 'no'": [
        {"normalisation": [{"scheme": "z_score", "inside_mask": "no"}]}
    ],
    "channel 0 has the mean": [
        {"normalisation": [{"scheme": "ct", "mean": value}]} for value in (None, "99.4", math.nan)
    ],
    "channel 0 has the (lower|upper|standard_deviation)": [
        {"normalisation": [{"scheme": "ct", "lower": -math.inf, "upper": 300}]},
        {"normalisation": [{"scheme": "ct", "upper": math.inf}]},
        {"normalisation": [{"scheme": "ct", "upper": 300, "standard_deviation": math.inf}]},
        {"normalisation": [{"scheme": "ct", "upper": True, "standard_deviation": 1}]},
    ],
    "no range to clip to": [
        {"normalisation": [{"scheme": "ct", "lower": 300, "upper": -40, "mean": 100}]},
        {"normalisation": [{"scheme": "ct", "upper": 300, "standard_deviation": 0}]},
    ],
    "norm is layer": [{"norm": "layer"}],
    "negative_slope is": [{"negative_slope": -0.1}, {"negative_slope": 1}],
    "is no multiple of 8 x 8 x 8": [{"patch_size": [40, 44, 40]}],
}


@pytest.mark.parametrize(
    ("words", "damage"),
    [(words, damage) for words, damages in DAMAGES.items() for damage in damages],
)
def test_a_damaged_file_is_refused_by_name(
    make_fingerprint: Maker, tmp_path: Path, words: str, damage: dict[str, Any]
) -> None:
    path = tmp_path / "plan.json"
    value = json.loads(json.dumps(make_plan(make_fingerprint()).to_json()))
    path.write_text(json.dumps(value | damage))
    with pytest.raises(InputError, match=rf"plan\.json: .*{words}"):
        Plan.load(path)


def test_a_plan_from_before_the_choice_of_norms_still_loads(make_fingerprint: Maker) -> None:
    value = make_plan(make_fingerprint()).to_json()
    del value["norm"], value["negative_slope"]
    plan = Plan.from_json(value)
    assert (plan.norm, plan.negative_slope) == ("instance", 0.01)


def test_numbers_may_be_numpy_s(make_fingerprint: Maker) -> None:
    plan = make_plan(make_fingerprint())
    bright = Normalisation("ct", upper=np.float64(3.0), standard_deviation=np.float64(2.0))
    assert replace(plan, normalisation=(bright,) * len(plan.channels)).normalisation[0] == bright


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
    assert all(reason in " ".join(text.split()) for reason in plan.reasons)
    assert max(map(len, text.splitlines())) < 80  # a notebook breaks longer ones within a word
