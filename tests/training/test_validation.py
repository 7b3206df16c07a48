"""Validation scores what prediction would write."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnunet_lib.datasets import Dataset
from nnunet_lib.distributed import Ranks
from nnunet_lib.inference import InferenceSettings
from nnunet_lib.planning import PlannerSettings, plan_dataset
from nnunet_lib.preprocessing import PreprocessedDataset, preprocess
from nnunet_lib.training.validation import for_every_case, validate, validate_case

PADDED = PlannerSettings(
    dimensions=3, patch_size=(48, 48, 48), target_spacing=(3, 3, 3), base_filters=4, batch_size=2
)


def everywhere(patches: np.ndarray) -> np.ndarray:
    """A network that sees class 1 in every voxel: (n, *patch, channels) -> (n, *patch, 3)."""
    return np.broadcast_to(np.float32([0, 1, 0]), (*patches.shape[:-1], 3))


def test_padding_is_not_scored(phantom_path: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(phantom_path)
    data = preprocess(dataset, plan_dataset(dataset, PADDED)[1], tmp_path)
    case = data.identifiers[0]
    geometry = data.geometry(case)
    assert np.any(geometry.padding)  # else there is nothing to show
    size = int((np.load(data.label_path(case)) == 1).sum())
    voxels = int(np.prod(geometry.resampled_shape))
    scores = validate_case(everywhere, data, case, InferenceSettings())
    assert scores[1] == pytest.approx(2 * size / (size + voxels))


def test_the_score_is_the_mean_of_the_foreground_classes_over_all_cases(
    tiny_3d: PreprocessedDataset,
) -> None:
    """Background, which is easy, would lift it."""
    cases = tiny_3d.identifiers[:3]
    truths = [tiny_3d.geometry(case).unpad(np.load(tiny_3d.label_path(case))) for case in cases]
    sizes = [np.count_nonzero(truth == 1) for truth in truths]
    assert all(np.any(truth == 2) for truth in truths)  # never found: Dice 0
    one = np.mean([2 * size / (size + t.size) for size, t in zip(sizes, truths, strict=True)])
    score = validate(everywhere, tiny_3d, cases, InferenceSettings())
    assert score == pytest.approx((one + 0) / 2)


def test_scores_of_all_ranks_come_in_the_order_of_the_cases() -> None:
    class First(Ranks):
        def gather(self, value: Any) -> list[Any]:
            return [value, {"b": "B"}]

    scores = for_every_case(str.upper, ["a", "b", "c"], First(0, 2))
    assert list(scores.items()) == [("a", "A"), ("b", "B"), ("c", "C")]
